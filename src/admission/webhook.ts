import type { KubeClient } from '../kube/client.ts';
import { closeServer, listen } from '../telemetry/http-server.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import type { Random } from '../util/random.ts';
import { WebhookCertificates, type WebhookCertificatesOptions } from './certificates.ts';
import type { NetworkingRules } from './pod-networking.ts';
import { Reviewer, type ReviewSources } from './reviewer.ts';
import { WebhookServer } from './server.ts';

export interface WebhookOptions {
  client: KubeClient;
  sources: ReviewSources;
  rules: NetworkingRules;
  address: { host: string; port: number };
  timeoutMs: number;
  /** How long requests are still served after {@link Webhook.close}. */
  drainMs: number;
  certificates: Pick<WebhookCertificatesOptions, 'namespace' | 'name' | 'mode' | 'policy'>;
  issue: WebhookCertificatesOptions['issue'];
  clock: Clock;
  random: Random;
  log: Log;
  metrics: Metrics;
}

/** Kinds with a metric of their own; others could be anything. */
const COUNTED_KINDS = ['Pod', 'PodNetworking'];

/** The admission webhooks of one replica: server, reviews and certificate. */
export class Webhook {
  readonly #options: WebhookOptions;
  readonly #server: WebhookServer;
  readonly #certificates: WebhookCertificates;
  #isListening = false;

  constructor(options: WebhookOptions) {
    this.#options = options;
    const { clock, timeoutMs, metrics, log, client, random, issue } = options;
    const reviewer = new Reviewer(options.sources, options.rules);
    this.#server = new WebhookServer({
      clock,
      timeoutMs,
      review: (path, request, signal) => reviewer.review(path, request, signal),
      onReview: ({ kind: reviewed, result, durationMs }) => {
        const kind = COUNTED_KINDS.includes(reviewed) ? reviewed : 'other';
        metrics.reviews.inc({ kind, result });
        metrics.reviewSeconds.observe({ kind }, durationMs / 1000);
      },
      onError: (error) => log.warn({ err: errorMessage(error) }, 'review failed'),
    });
    this.#certificates = new WebhookCertificates({
      client,
      clock,
      random,
      issue,
      ...options.certificates,
      onCertificate: (certificate, endsAtMs) => {
        this.#server.use(certificate);
        metrics.webhookCertificateEnds.set(endsAtMs / 1000);
      },
      onInfo: (message) => log.info(message),
      onProblem: (message) => log.warn(message),
    });
  }

  /** Why requests cannot be served; undefined when they can. */
  get problem(): string | undefined {
    return this.#certificates.problem;
  }

  /** Starts listening; @returns the port. Rejects when the address cannot be bound. */
  async listen(): Promise<number> {
    const port = await listen(this.#server.server, this.#options.address);
    this.#isListening = true;
    return port;
  }

  /** Manages the certificate until the signal aborts. */
  run(signal: AbortSignal): Promise<void> {
    return this.#certificates.run(signal);
  }

  /** Serves for a while longer, closing each connection after its response; then stops the server. */
  async close(): Promise<void> {
    if (!this.#isListening) return;
    this.#server.drain();
    await this.#options.clock.sleep(this.#options.drainMs);
    await closeServer(this.#server.server);
  }
}
