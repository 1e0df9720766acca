import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import { type Clock, rfc3339 } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { CloudError } from './errors.ts';
import { httpText, METADATA_ENDPOINT, openMetadata } from './metadata.ts';

/** An access key, with a security token if it is temporary. */
export interface Credential {
  accessKeyId: string;
  accessKeySecret: string;
  securityToken?: string;
  /** Absent: does not expire. Epoch milliseconds. */
  expiresAtMs?: number;
}

/** The origin of credentials. */
export type CredentialConfig =
  | { type: 'accessKey'; accessKeyId: string; accessKeySecret: string }
  | { type: 'sts'; accessKeyId: string; accessKeySecret: string; securityToken: string }
  /** RAM role of the ECS instance, through the metadata service (IMDSv2). */
  | { type: 'ecsRamRole'; roleName?: string | undefined; metadataEndpoint?: string | undefined }
  /** RRSA: exchanges the service account's OIDC token for the credential of a role. */
  | {
      type: 'oidc';
      roleArn: string;
      oidcProviderArn: string;
      oidcTokenFile: string;
      roleSessionName?: string | undefined;
      stsEndpoint?: string | undefined;
    };

/** Fetches one credential. Throws a {@link CloudError} of kind `forbidden` or `unavailable`. */
export type CredentialSource = (signal: AbortSignal) => Promise<Credential>;

const SESSION_NAME = 'terway-controlplane';
const SESSION_SECONDS = 3600;
/** Renewed in the background when less than this is left, so that no call has to wait. */
const RENEW_BEFORE_MS = 15 * 60_000;
/** With less than this left, calls wait for the renewal. */
const REFUSE_BEFORE_MS = 60_000;
/** Minimum time after a failed background renewal before the next attempt. */
const RETRY_MS = 30_000;

/** The source for a configuration. `regionId` selects the regional STS endpoint. */
export function credentialSource(config: CredentialConfig, regionId: string, clock: Clock): CredentialSource {
  switch (config.type) {
    case 'accessKey': {
      const { type: _type, ...key } = config;
      return async () => key;
    }
    case 'sts': {
      const { type: _type, ...key } = config;
      return async () => key;
    }
    case 'ecsRamRole':
      return (signal) => fromMetadata(config.metadataEndpoint ?? METADATA_ENDPOINT, config.roleName, clock, signal);
    case 'oidc':
      return (signal) =>
        fromOidc(config, config.stsEndpoint ?? `https://sts-vpc.${regionId}.aliyuncs.com`, clock, signal);
  }
}

/**
 * Caches a credential and renews it with a single request, however many calls need it. The SDK's own providers send one
 * request per concurrent call.
 */
export class CredentialCache {
  readonly #source: CredentialSource;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  #current: Credential | undefined;
  #renewal: Promise<Credential> | undefined;
  #notBeforeMs = 0;

  constructor(options: { source: CredentialSource; clock: Clock; signal: AbortSignal }) {
    this.#source = options.source;
    this.#clock = options.clock;
    this.#signal = options.signal;
  }

  /** A credential that is valid for at least a minute. @throws CloudError */
  async get(): Promise<Credential> {
    const current = this.#current;
    if (current === undefined) return this.#renew();
    const leftMs = (current.expiresAtMs ?? Number.POSITIVE_INFINITY) - this.#clock.now();
    if (leftMs < REFUSE_BEFORE_MS) return this.#renew();
    if (leftMs < RENEW_BEFORE_MS && this.#clock.now() >= this.#notBeforeMs) {
      this.#renew().catch(() => {
        this.#notBeforeMs = this.#clock.now() + RETRY_MS;
      });
    }
    return current;
  }

  #renew(): Promise<Credential> {
    this.#renewal ??= this.#source(this.#signal)
      .then((credential) => {
        this.#current = credential;
        return credential;
      })
      .finally(() => {
        this.#renewal = undefined;
      });
    return this.#renewal;
  }
}

const temporarySchema = z.object({
  AccessKeyId: z.string().min(1),
  AccessKeySecret: z.string().min(1),
  SecurityToken: z.string().min(1),
  Expiration: z.iso.datetime(),
});

function toCredential(temporary: z.infer<typeof temporarySchema>): Credential {
  return {
    accessKeyId: temporary.AccessKeyId,
    accessKeySecret: temporary.AccessKeySecret,
    securityToken: temporary.SecurityToken,
    expiresAtMs: Date.parse(temporary.Expiration),
  };
}

async function fromMetadata(
  endpoint: string,
  roleName: string | undefined,
  clock: Clock,
  signal: AbortSignal,
): Promise<Credential> {
  const read = await openMetadata(endpoint, clock, signal);
  const base = 'ram/security-credentials/';
  const role = roleName ?? (await read(base)).trim();
  const text = await read(`${base}${role}`);
  return toCredential(parseAnswer(temporarySchema, text, 'instance metadata'));
}

const assumeRoleSchema = z.object({ Credentials: temporarySchema });

async function fromOidc(
  config: Extract<CredentialConfig, { type: 'oidc' }>,
  endpoint: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<Credential> {
  const token = await readFile(config.oidcTokenFile, 'utf8').catch((error: unknown) => {
    throw new CloudError({
      kind: 'forbidden',
      action: 'AssumeRoleWithOIDC',
      code: 'OIDCTokenUnreadable',
      message: `credential.oidcTokenFile: ${errorMessage(error)}`,
      cause: error,
    });
  });
  const body = new URLSearchParams({
    Action: 'AssumeRoleWithOIDC',
    Version: '2015-04-01',
    Format: 'JSON',
    Timestamp: rfc3339(clock.now()),
    RoleArn: config.roleArn,
    OIDCProviderArn: config.oidcProviderArn,
    OIDCToken: token.trim(),
    RoleSessionName: config.roleSessionName ?? SESSION_NAME,
    DurationSeconds: String(SESSION_SECONDS),
  });
  const text = await httpText(endpoint, clock, signal, { method: 'POST', body });
  return toCredential(parseAnswer(assumeRoleSchema, text, 'STS').Credentials);
}

function parseAnswer<T>(schema: z.ZodType<T>, text: string, from: string): T {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    raw = undefined;
  }
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data;
  throw new CloudError({
    kind: 'unavailable',
    action: 'GetCredential',
    code: 'CredentialMalformed',
    message: `the credential from ${from} is malformed: ${parsed.error.issues[0]?.path.join('.')} ${parsed.error.issues[0]?.message}`,
  });
}
