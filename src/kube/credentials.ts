import { readFile } from 'node:fs/promises';
import type { RequestOptions } from 'node:https';
import type { User } from '@kubernetes/client-node';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { isRecord } from '../util/json.ts';
import { KubeConfigError } from './errors.ts';
import type { UserEntry } from './kubeconfig-file.ts';

/** Projected tokens live ten minutes or more and are rotated at 80 % of that; client-go caches for as long. */
const TOKEN_FILE_TTL_MS = 60_000;

export interface AuthOptions {
  /** True after a 401: discards the cached value. */
  refresh?: boolean;
}

/** A user's credentials. */
export interface Credentials {
  /** The value of the Authorization header, if any. Cheap: cached, and concurrent callers share one load. */
  auth: (options?: AuthOptions) => Promise<string | undefined>;
  /** Certificate and key for TLS, as PEM; empty if there are none. Read on each call, so that rotation takes effect. */
  clientCertificate: () => Promise<{ cert?: string; key?: string }>;
}

/** `Bearer` with the content of a file, which is read again once a minute. */
export function tokenFileAuth(file: string, clock: Clock): Credentials['auth'] {
  return cached(clock, async () => {
    const token = await readText(file, 'token file');
    return { value: `Bearer ${token.trim()}`, ttlMs: TOKEN_FILE_TTL_MS };
  });
}

/** The credentials of a kubeconfig's user entry. */
export function credentialsOf(user: UserEntry, file: string, clock: Clock): Credentials {
  if (user.exec || user['auth-provider']) return pluginCredentials(user, file, clock);
  const clientCertificate = async () => {
    const cert = await readPem(file, 'client-certificate', user['client-certificate-data'], user['client-certificate']);
    const key = await readPem(file, 'client-key', user['client-key-data'], user['client-key']);
    if ((cert === undefined) !== (key === undefined)) {
      throw new KubeConfigError(`kubeconfig ${file}: client-certificate and client-key must be given together`);
    }
    return cert === undefined || key === undefined ? {} : { cert, key };
  };
  // kubectl prefers the file over the token beside it.
  if (user.tokenFile) return { auth: tokenFileAuth(user.tokenFile, clock), clientCertificate };
  const header = user.token ? `Bearer ${user.token}` : basicAuth(user);
  return { auth: () => Promise.resolve(header), clientCertificate };
}

/**
 * The PEM text of a field that is given inline as base64 (`…-data`, which wins) or as a file.
 *
 * @throws KubeConfigError when it can be neither read nor decoded to PEM
 */
export async function readPem(
  file: string,
  field: string,
  data: string | null | undefined,
  path: string | null | undefined,
): Promise<string | undefined> {
  if (!data && !path) return undefined;
  const name = data ? `${field}-data` : field;
  const pem = data ? Buffer.from(data, 'base64').toString('utf8') : await readText(path ?? '', field);
  if (!pem.includes('-----BEGIN ')) throw new KubeConfigError(`kubeconfig ${file}: ${name} holds no PEM block`);
  return pem;
}

/** @throws KubeConfigError when the file cannot be read */
export async function readText(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new KubeConfigError(`${what} ${path} cannot be read: ${errorMessage(cause)}`, cause);
  }
}

function basicAuth(user: UserEntry): string | undefined {
  if (!user.username) return undefined;
  return `Basic ${Buffer.from(`${user.username}:${user.password ?? ''}`).toString('base64')}`;
}

/** The output of a plugin; both parts come from the same run. */
interface PluginResult {
  header: string | undefined;
  certificate: { cert?: string; key?: string };
}

/** client-node runs exec plugins and auth providers; caching and single flight are ours. */
function pluginCredentials(user: UserEntry, file: string, clock: Clock): Credentials {
  const run = cached(clock, async () => ({ value: await runPlugin(user, file), ttlMs: TOKEN_FILE_TTL_MS }));
  return {
    auth: async (options) => (await run(options)).header,
    clientCertificate: async () => (await run()).certificate,
  };
}

async function runPlugin(user: UserEntry, file: string): Promise<PluginResult> {
  // Import only this file: the package's index loads every class of the API, which is most of its cost.
  const { KubeConfig } = await import('@kubernetes/client-node/dist/config.js');
  const loader = new KubeConfig();
  const entry: User = { name: 'user', exec: execOf(user), authProvider: user['auth-provider'] };
  loader.loadFromClusterAndUser({ name: 'cluster', server: 'https://localhost', skipTLSVerify: false }, entry);
  const options: RequestOptions = { headers: {} };
  try {
    await loader.applyToHTTPSOptions(options);
  } catch (cause) {
    const what = user.exec ? `exec plugin ${user.exec.command}` : `auth-provider ${user['auth-provider']?.name}`;
    throw new KubeConfigError(`kubeconfig ${file}: ${what} failed: ${errorMessage(cause)}`, cause);
  }
  const { headers, cert, key } = options;
  const header = isRecord(headers) ? headers['Authorization'] : undefined;
  return {
    header: typeof header === 'string' ? header : undefined,
    certificate: typeof cert === 'string' && typeof key === 'string' ? { cert, key } : {},
  };
}

/** Plugins learn from KUBERNETES_EXEC_INFO which version of the protocol to answer in; client-node does not set it. */
function execOf(user: UserEntry): User['exec'] {
  if (!user.exec) return undefined;
  const apiVersion = user.exec.apiVersion ?? 'client.authentication.k8s.io/v1';
  const info = JSON.stringify({ apiVersion, kind: 'ExecCredential', spec: { interactive: false } });
  const env = [...(user.exec.env ?? []), { name: 'KUBERNETES_EXEC_INFO', value: info }];
  return { ...user.exec, args: user.exec.args ?? [], env };
}

interface Fresh<V> {
  value: V;
  ttlMs: number;
}

/** Caches a value for a while; concurrent callers share one load. */
function cached<V>(clock: Clock, load: () => Promise<Fresh<V>>): (options?: AuthOptions) => Promise<V> {
  let state:
    | { kind: 'empty' }
    | { kind: 'loading'; result: Promise<V> }
    | { kind: 'loaded'; value: V; untilMs: number } = {
    kind: 'empty',
  };
  return async (options = {}) => {
    if (state.kind === 'loading') return state.result;
    if (state.kind === 'loaded' && !options.refresh && clock.monotonicMs() < state.untilMs) return state.value;
    const previous = state;
    const result = load().then(
      ({ value, ttlMs }) => {
        state = { kind: 'loaded', value, untilMs: clock.monotonicMs() + ttlMs };
        return value;
      },
      (error: unknown) => {
        state = previous;
        throw error;
      },
    );
    state = { kind: 'loading', result };
    return result;
  };
}
