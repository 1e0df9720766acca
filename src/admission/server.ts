import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { type AdmissionRequest, answerTo, parseReview, type Verdict } from './review.ts';

/** Private key and certificate chain as PEM. */
export interface ServingCertificate {
  certificatePem: string;
  privateKeyPem: string;
}

/** Reviews one request; `path` is `/mutating` or `/validate`. Should end soon after the signal aborts. */
export type Review = (path: ReviewPath, request: AdmissionRequest, signal: AbortSignal) => Promise<Verdict>;

export const REVIEW_PATHS = ['/mutating', '/validate'] as const;
export type ReviewPath = (typeof REVIEW_PATHS)[number];

/** The result of one HTTP request, for metrics. */
export interface ReviewObservation {
  path: ReviewPath | '';
  /** Kind of the object, `''` when the body could not be parsed. */
  kind: string;
  result: 'unchanged' | 'patched' | 'denied' | 'error' | 'malformed';
  durationMs: number;
}

export interface WebhookServerOptions {
  review: Review;
  clock: Clock;
  /** Limit for one review; shorter than the `timeoutSeconds` of the webhook. */
  timeoutMs: number;
  onReview?: (observation: ReviewObservation) => void;
  onError?: (error: unknown) => void;
}

/** etcd objects have at most 1.5 MiB; a review holds two of them, and nested JSON grows by escaping. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;
/**
 * The API server closes an idle connection after 90 seconds. It must close first: a request that meets a connection
 * closed by us is lost, and with failurePolicy Ignore its pod bypasses the webhook.
 */
const KEEP_ALIVE_MS = 120_000;
/** From the first byte of a request to the last. */
const REQUEST_TIMEOUT_MS = 10_000;

/** A request that cannot be answered with an AdmissionReview. */
class HttpProblem extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * The HTTPS server that the API server calls. Responds HTTP 4xx to anything that is not a review and an AdmissionReview
 * to everything else, and survives any input. Without a certificate every handshake fails; {@link WebhookServer.use}
 * sets one.
 */
export class WebhookServer {
  readonly #options: WebhookServerOptions;
  readonly #server: Server;
  #isDraining = false;

  constructor(options: WebhookServerOptions) {
    this.#options = options;
    this.#server = createServer({ minVersion: 'TLSv1.2', keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
      void this.#serve(request, response);
    });
    this.#server.requestTimeout = REQUEST_TIMEOUT_MS;
    // Scanners and clients with another CA cause these; there is nothing to do.
    this.#server.on('tlsClientError', () => undefined);
    this.#server.on('clientError', (_error, socket) => socket.destroy());
  }

  /** The server to listen with (telemetry/http-server.ts). */
  get server(): Server {
    return this.#server;
  }

  /** Serves this certificate from the next handshake on; existing connections continue. */
  use({ certificatePem, privateKeyPem }: ServingCertificate): void {
    this.#server.setSecureContext({ cert: certificatePem, key: privateKeyPem, minVersion: 'TLSv1.2' });
  }

  /**
   * From now on each response closes its connection, so that the API server moves elsewhere without losing a request.
   */
  drain(): void {
    this.#isDraining = true;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { clock, onReview } = this.#options;
    const startedMs = clock.monotonicMs();
    const seen: Pick<ReviewObservation, 'path' | 'kind' | 'result'> = { path: '', kind: '', result: 'malformed' };
    try {
      const body = JSON.stringify(await this.#answer(request, seen));
      this.#send(response, 200, 'application/json', body);
    } catch (error) {
      const status = error instanceof HttpProblem ? error.status : 400;
      // The rest of the body is discarded so that the client can read the response; the request timeout bounds this.
      this.#send(response, status, 'text/plain; charset=utf-8', `${errorMessage(error)}\n`);
    }
    onReview?.({ ...seen, durationMs: clock.monotonicMs() - startedMs });
  }

  #send(response: ServerResponse, status: number, type: string, body: string): void {
    if (this.#isDraining) response.setHeader('connection', 'close');
    response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
    response.end(body);
  }

  async #answer(
    request: IncomingMessage,
    seen: Pick<ReviewObservation, 'path' | 'kind' | 'result'>,
  ): Promise<ReturnType<typeof answerTo>> {
    const path = REVIEW_PATHS.find((known) => known === request.url?.split('?')[0]);
    if (path === undefined) throw new HttpProblem(404, `unknown path; known are ${REVIEW_PATHS.join(' and ')}`);
    seen.path = path;
    if (request.method !== 'POST') throw new HttpProblem(405, 'only POST is allowed');
    const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase() ?? '';
    if (type !== 'application/json') throw new HttpProblem(415, `content-type: "${type}" is not application/json`);
    const parsed = parseReview(parseJson(await readBody(request)));
    if ('error' in parsed) throw new HttpProblem(400, parsed.error);
    const { review } = parsed;
    seen.kind = review.request.kind.kind;
    const verdict = await this.#review(path, review.request);
    seen.result = resultOf(verdict);
    return answerTo(review, verdict);
  }

  /** Never throws: an error denies the request, and the pod's creator retries. */
  async #review(path: ReviewPath, request: AdmissionRequest): Promise<Verdict> {
    const { clock, timeoutMs, review, onError } = this.#options;
    const abort = new AbortController();
    const { promise: late, resolve } = Promise.withResolvers<Verdict>();
    const timer = clock.schedule(timeoutMs, () => {
      const message = `terway-controlplane could not decide within ${timeoutMs} ms; try again`;
      abort.abort(new Error(message));
      resolve({ kind: 'denied', code: 504, message });
    });
    try {
      return await Promise.race([review(path, request, abort.signal), late]);
    } catch (error) {
      onError?.(error);
      return { kind: 'denied', code: 500, message: `terway-controlplane failed: ${errorMessage(error)}; try again` };
    } finally {
      timer.cancel();
    }
  }
}

function resultOf(verdict: Verdict): ReviewObservation['result'] {
  if (verdict.kind === 'denied') return verdict.code >= 500 ? 'error' : 'denied';
  return verdict.patch.length === 0 ? 'unchanged' : 'patched';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new HttpProblem(400, `the body is not JSON: ${errorMessage(error).replace(/\s+/g, ' ')}`);
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const tooLarge = () => new HttpProblem(413, `the body has more than ${MAX_BODY_BYTES} bytes`);
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY_BYTES) throw tooLarge();
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const chunks: Buffer[] = [];
  let size = 0;
  request.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= MAX_BODY_BYTES) chunks.push(chunk);
    else {
      chunks.length = 0;
      reject(tooLarge());
    }
  });
  request.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
  request.on('error', reject);
  request.on('close', () => reject(new HttpProblem(400, 'the request ended early')));
  return promise;
}
