import type { KubeClient } from '../kube/client.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../kube/errors.ts';
import { Informer } from '../kube/informer.ts';
import type { JsonPatchOperation } from '../kube/json-patch.ts';
import type { HasMetadata, Resource } from '../kube/types.ts';
import { onAbort } from '../util/abort.ts';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { jitter, type Random } from '../util/random.ts';
import {
  type CertificateData,
  type CertificatePolicy,
  dataAfter,
  type Issued,
  nextCertificateStep,
  notAfterMs,
  problemOf,
} from './certificate-state.ts';
import type { CertificateIssuer } from './issue-certificate.ts';
import {
  mutatingWebhookResource,
  type Secret,
  secretResource,
  validatingWebhookResource,
  type WebhookConfiguration,
} from './resources.ts';
import type { ServingCertificate } from './server.ts';

export interface WebhookCertificatesOptions {
  client: KubeClient;
  clock: Clock;
  random: Random;
  issue: CertificateIssuer;
  /** Namespace of the Secret. */
  namespace: string;
  /** Name of the webhook configurations and of the Service; the Secret is `<name>-webhook-cert`. */
  name: string;
  /**
   * `self`: we issue and rotate the certificate and update the bundles. `secret`: someone else does, and we only read.
   */
  mode: 'self' | 'secret';
  policy: Omit<CertificatePolicy, 'hosts'> & {
    /** Host names besides those of the Service. */
    furtherHosts: readonly string[];
  };
  /** Called with each certificate to serve from now on. */
  onCertificate: (certificate: ServingCertificate, endsAtMs: number) => void;
  onInfo: (message: string) => void;
  /** Called with a problem that is being retried. */
  onProblem: (message: string) => void;
}

const KEYS = ['ca.crt', 'tls.crt', 'tls.key', 'next.crt', 'next.key'] as const;
/** Tolerance for an API server whose clock is behind. */
const BACKDATE_MS = 300_000;
const RETRY_MS = 1000;
const LONGEST_WAIT_MS = 3_600_000;

/**
 * Manages the webhook's certificate: reads it from the Secret, issues and rotates it there together with the other
 * replicas, and keeps the CA bundles of the webhook configurations in line with the Secret. Every replica does all of
 * this; when two write the same step, the resourceVersion lets one win.
 */
export class WebhookCertificates {
  readonly #options: WebhookCertificatesOptions;
  readonly #policy: CertificatePolicy;
  readonly #secretName: string;
  readonly #secrets: Informer<Secret>;
  readonly #configurations: [Resource<WebhookConfiguration>, Informer<WebhookConfiguration>][];
  #changed = Promise.withResolvers<void>();
  #changedAtMs: number;
  #shown: string | undefined;
  #problem: string | undefined;
  #isMissingSaid = false;

  constructor(options: WebhookCertificatesOptions) {
    this.#options = options;
    const { namespace, name, policy, clock } = options;
    this.#secretName = `${name}-webhook-cert`;
    this.#policy = {
      ...policy,
      hosts: [`${name}.${namespace}.svc`, `${name}.${namespace}`, name, ...policy.furtherHosts],
    };
    this.#changedAtMs = clock.monotonicMs();
    this.#secrets = this.#informer(secretResource, this.#secretName, namespace);
    this.#configurations = [mutatingWebhookResource, validatingWebhookResource].map((resource) => [
      resource,
      this.#informer(resource, name, undefined),
    ]);
  }

  /** Why there is no certificate to serve; undefined when there is one. */
  get problem(): string | undefined {
    if (this.#shown !== undefined) return undefined;
    const why = this.#problem === undefined ? '' : `: ${this.#problem}`;
    return `the webhook has no certificate yet (Secret ${this.#options.namespace}/${this.#secretName})${why}`;
  }

  /** Runs until the signal aborts. Errors of the server do not end it. */
  async run(signal: AbortSignal): Promise<void> {
    const informers = [this.#secrets, ...(this.#isSelf ? this.#configurations.map(([, informer]) => informer) : [])];
    const running = Promise.all(informers.map((informer) => informer.run(signal)));
    try {
      await Promise.all(informers.map((informer) => informer.synced(signal)));
      while (!signal.aborted) await this.#round(signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    await running;
  }

  get #isSelf(): boolean {
    return this.#options.mode === 'self';
  }

  /** Checks everything once, then waits for a change or for the time of the next step. */
  async #round(signal: AbortSignal): Promise<void> {
    const { clock, random, onProblem } = this.#options;
    const changed = Promise.withResolvers<void>();
    this.#changed = changed;
    let waitMs = LONGEST_WAIT_MS;
    try {
      this.#show();
      if (this.#isSelf) {
        await this.#keepBundles(signal);
        waitMs = await this.#advance(signal);
      }
    } catch (error) {
      signal.throwIfAborted();
      // Another replica was faster; the watch will deliver its write.
      if (!isConflict(error) && !isAlreadyExists(error)) {
        this.#problem = errorMessage(error);
        onProblem(this.#problem);
      }
      waitMs = RETRY_MS;
    }
    const timer = new AbortController();
    using _stopping = onAbort(signal, () => timer.abort(signal.reason));
    // Jitter, so that replicas rarely write the same step at once.
    const delayMs = jitter(random, Math.min(waitMs, LONGEST_WAIT_MS) * 1.1, 0.09) + 1;
    await Promise.race([changed.promise, clock.sleep(delayMs, timer.signal).catch(() => undefined)]);
    timer.abort();
  }

  /** Serves the certificate of the Secret, unless it is already served or unusable. */
  #show(): void {
    const { clock, onCertificate, onInfo, onProblem, mode } = this.#options;
    const data = this.#data();
    if (data === undefined) {
      if (mode === 'secret')
        this.#problem = 'it does not exist; with webhook.certificates: secret, an external issuer must create it';
      return;
    }
    // The CA of an external issuer need not be in the Secret.
    const problem = problemOf(data, 'tls', clock.now(), { checkAuthority: mode === 'self' });
    if (problem !== undefined) {
      if (this.#problem !== problem) onProblem(`Secret ${this.#secretName}: ${problem}`);
      this.#problem = problem;
      return;
    }
    this.#problem = undefined;
    const [certificatePem = '', privateKeyPem = ''] = [data['tls.crt'], data['tls.key']];
    const endsAtMs = notAfterMs(certificatePem) ?? 0;
    if (this.#shown === certificatePem) return;
    this.#shown = certificatePem;
    onCertificate({ certificatePem, privateKeyPem }, endsAtMs);
    onInfo(`the webhook serves a certificate that expires at ${new Date(endsAtMs).toISOString()}`);
  }

  /** Performs the step that is due. @returns how long until the next one. */
  async #advance(signal: AbortSignal): Promise<number> {
    const { client, clock, namespace, onInfo } = this.#options;
    const nowMs = clock.now();
    const data = this.#data();
    const step = nextCertificateStep(data, this.#policy, nowMs, clock.monotonicMs() - this.#changedAtMs);
    if (step.kind === 'wait') return step.forMs;
    const next = dataAfter(step, data, () => this.#issue(nowMs), nowMs);
    if (next === undefined) return RETRY_MS;
    const encoded = Object.fromEntries(
      KEYS.map((key) => [key, next[key] === undefined ? undefined : Buffer.from(next[key]).toString('base64')]),
    );
    const key = { namespace, name: this.#secretName };
    const present = this.#secrets.store.get(`${namespace}/${this.#secretName}`);
    let written: Secret;
    if (present === undefined) {
      const body = { metadata: key, type: 'kubernetes.io/tls', data: definedOnly(encoded) };
      written = await client.create(secretResource, body, { signal });
    } else {
      const { uid, resourceVersion } = present.metadata;
      // A merge patch removes keys that are null.
      const data = Object.fromEntries(KEYS.map((name) => [name, encoded[name] ?? null]));
      const body = { metadata: { uid, resourceVersion }, data };
      written = await client.patch(secretResource, key, { type: 'merge', body }, { signal });
    }
    const because = 'because' in step ? `: ${step.because}` : '';
    onInfo(`webhook certificate: ${step.kind}${because}`);
    this.#secrets.store.noteWritten(written);
    return 0;
  }

  /** Makes each webhook configuration trust the CAs of the Secret and nothing else. */
  async #keepBundles(signal: AbortSignal): Promise<void> {
    const bundle = this.#data()?.['ca.crt'];
    if (bundle === undefined) return;
    const wanted = Buffer.from(bundle).toString('base64');
    for (const [resource, informer] of this.#configurations) {
      const configuration = informer.store.get(this.#options.name);
      if (configuration === undefined) {
        this.#sayMissing(resource);
        continue;
      }
      const operations = configuration.webhooks.flatMap(({ name, clientConfig }, at): JsonPatchOperation[] =>
        clientConfig.caBundle === wanted
          ? []
          : [
              // The entry at this index may have been replaced by another webhook.
              { op: 'test', path: `/webhooks/${at}/name`, value: name },
              { op: 'add', path: `/webhooks/${at}/clientConfig/caBundle`, value: wanted },
            ],
      );
      if (operations.length === 0) continue;
      const written = await this.#options.client
        .patch(resource, { name: this.#options.name }, { type: 'json', body: operations }, { signal })
        .catch((error: unknown) => {
          if (isNotFound(error)) return undefined;
          throw error;
        });
      if (written !== undefined) informer.store.noteWritten(written);
    }
  }

  #sayMissing({ kind }: { kind: string }): void {
    if (this.#isMissingSaid) return;
    this.#isMissingSaid = true;
    this.#options.onProblem(
      `there is no ${kind} ${this.#options.name}, so the API server does not call the webhook: apply config/deploy/webhook.yaml, or set webhook.enabled to false`,
    );
  }

  #data(): Partial<CertificateData> | undefined {
    const secret = this.#secrets.store.get(`${this.#options.namespace}/${this.#secretName}`);
    if (secret === undefined) return undefined;
    return Object.fromEntries(
      KEYS.flatMap((key) => {
        const value = secret.data[key];
        return value === undefined ? [] : [[key, Buffer.from(value, 'base64').toString('utf8')]];
      }),
    );
  }

  #issue(nowMs: number): Issued {
    const { name, namespace, issue } = this.#options;
    const validity = { notBeforeMs: nowMs - BACKDATE_MS, notAfterMs: nowMs + this.#policy.validityMs };
    // A unique name, so that no client confuses two CAs of the bundle.
    const authorityName = `${name}-webhook-ca-${Math.round(nowMs).toString(36)}`;
    return issue(authorityName, { commonName: `${name}.${namespace}.svc`, hosts: this.#policy.hosts }, validity);
  }

  #informer<T extends HasMetadata>(resource: Resource<T>, name: string, namespace: string | undefined): Informer<T> {
    const { client, clock, random, onProblem } = this.#options;
    const informer = new Informer<T>({
      client,
      clock,
      random,
      resource,
      ...(namespace === undefined ? {} : { namespace }),
      fieldSelector: `metadata.name=${name}`,
      onError: (error) => {
        this.#problem = errorMessage(error);
        onProblem(`watch of ${resource.plural} interrupted: ${this.#problem}`);
      },
    });
    const note = () => {
      this.#changedAtMs = this.#options.clock.monotonicMs();
      this.#changed.resolve();
    };
    informer.addHandler({ onAdd: note, onUpdate: note, onDelete: note });
    return informer;
  }
}

function definedOnly(data: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(data).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
}
