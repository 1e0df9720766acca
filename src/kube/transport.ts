import type { ClientHttp2Stream, IncomingHttpHeaders, IncomingHttpStatusHeader } from 'node:http2';
import { type AbortListener, onAbort } from '../util/abort.ts';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import type { Random } from '../util/random.ts';
import type { KubeConfig } from './config.ts';
import { type Connection, type ConnectionOptions, openConnection } from './connection.ts';
import { ConnectionSlot } from './connection-slot.ts';
import { TransportError } from './errors.ts';
import { type Priority, PriorityGate } from './priority-gate.ts';

export interface TransportOptions {
  config: KubeConfig;
  clock: Clock;
  random: Random;
  userAgent?: string;
  /** Time limit of a request, from the call to the complete response, waiting for a connection included. Default 30,000. */
  requestTimeoutMs?: number;
  /** Default 10,000. */
  connectTimeoutMs?: number;
  /** Silence after which a PING is sent. Default 15,000. */
  pingIntervalMs?: number;
  /** For the answer to a PING. Default 5,000. */
  pingTimeoutMs?: number;
  /** Background requests wait while this many normal ones are in flight. Default 1. */
  yieldAboveNormal?: number;
  /** How long a background request yields at most. Default 2,000. */
  maxYieldMs?: number;
}

export interface TransportRequest {
  method: string;
  /** With query. */
  path: string;
  body?: string | undefined;
  contentType?: string | undefined;
  signal?: AbortSignal | undefined;
  timeoutMs?: number | undefined;
  priority?: Priority | undefined;
}

export interface TransportResponse {
  status: number;
  /** The header's value, in seconds. */
  retryAfter: string | undefined;
  body: string;
}

/** The response to a streaming request. Anything but 200 is read completely, as an error text. */
export type StreamResponse =
  | { state: 'open'; status: number; chunks: AsyncIterable<string> }
  | ({ state: 'refused' } & TransportResponse);

/** How requests reach an API server. It handles authentication, time limits and priorities; its caller handles retries. */
export interface ApiTransport {
  /**
   * Sends a request and reads the whole response, whatever its status.
   *
   * @throws TransportError when no complete response came; its `sent` says whether the server may have acted. The signal's
   *   reason when it aborts first.
   */
  request(request: TransportRequest): Promise<TransportResponse>;
  /**
   * Sends a GET and returns the response when its headers have arrived. The deadline covers the headers only. The stream is
   * closed when the iteration is left or the signal aborts.
   *
   * @throws TransportError when no response came, and from the iteration when the stream does not end normally;
   *   the signal's reason when it aborts first.
   */
  openStream(request: TransportRequest): Promise<StreamResponse>;
  /** Ends every connection. Running and later requests fail with `closed`. */
  close(): void;
}

type ResponseHeaders = IncomingHttpHeaders & IncomingHttpStatusHeader;

const NGHTTP2_NO_ERROR = 0;
const NGHTTP2_REFUSED_STREAM = 7;
const NGHTTP2_CANCEL = 8;
const MAX_BACKGROUND = 8;
const UNAUTHORIZED = 401;

/**
 * Carries requests to the API server over two shared HTTP/2 connections, one for requests and one for watches, so that
 * watches do not use up streams of requests and a large list does not delay an event.
 */
export class Transport implements ApiTransport {
  readonly #config: KubeConfig;
  readonly #clock: Clock;
  readonly #requestTimeoutMs: number;
  readonly #requests: ConnectionSlot;
  readonly #watches: ConnectionSlot;
  readonly #gate: PriorityGate;
  readonly #baseHeaders: Record<string, string>;
  /** Path prefix of a server behind a proxy for several clusters; `''` for most. */
  readonly #pathPrefix: string;

  constructor(options: TransportOptions) {
    const { config, clock, random } = options;
    this.#config = config;
    this.#clock = clock;
    this.#requestTimeoutMs = options.requestTimeoutMs ?? 30_000;
    this.#gate = new PriorityGate({
      clock,
      yieldAboveNormal: options.yieldAboveNormal ?? 1,
      maxBackground: MAX_BACKGROUND,
      maxWaitMs: options.maxYieldMs ?? 2000,
    });
    const connection = {
      clock,
      connectTimeoutMs: options.connectTimeoutMs ?? 10_000,
      pingIntervalMs: options.pingIntervalMs ?? 15_000,
      pingTimeoutMs: options.pingTimeoutMs ?? 5000,
      maxStreams: 200,
    };
    const slot = (connectionOptions: ConnectionOptions) =>
      new ConnectionSlot({
        connect: (listener, signal) => openConnection(config, connectionOptions, listener, signal),
        clock,
        random,
        minBackOffMs: 100,
        maxBackOffMs: 5000,
      });
    this.#requests = slot({ ...connection, streamWindowBytes: 4 * 1024 * 1024 });
    // All buffered data of a watch is parsed at once; the window limits how long that blocks the event loop.
    this.#watches = slot({ ...connection, streamWindowBytes: 512 * 1024 });
    const url = new URL(config.serverUrl);
    this.#pathPrefix = url.pathname.replace(/\/$/, '');
    this.#baseHeaders = {
      ':scheme': url.protocol.slice(0, -1),
      ':authority': url.host,
      accept: 'application/json',
      'user-agent': options.userAgent ?? 'terway-controlplane',
      ...config.headers,
    };
  }

  async request(request: TransportRequest): Promise<TransportResponse> {
    const { priority = 'normal', timeoutMs = this.#requestTimeoutMs } = request;
    const call = new Deadline(this.#clock, timeoutMs, `${request.method} ${request.path}`, request.signal);
    let hasEntered = false;
    try {
      const waiting = this.#gate.enter(priority, call.signal);
      if (waiting !== undefined) await waiting;
      hasEntered = true;
      const response = await this.#exchange(request, call, false);
      // The token may have been revoked or rotated early.
      if (response.status === UNAUTHORIZED) return await this.#exchange(request, call, true);
      return response;
    } finally {
      call.end();
      if (hasEntered) this.#gate.leave(priority);
    }
  }

  async openStream(request: TransportRequest): Promise<StreamResponse> {
    const { signal, timeoutMs = this.#requestTimeoutMs } = request;
    const call = new Deadline(this.#clock, timeoutMs, `${request.method} ${request.path}`, signal);
    try {
      for (let isRefresh = false; ; isRefresh = true) {
        const headers = await this.#headers(request, isRefresh);
        const { stream } = await this.#open(this.#watches, headers, undefined, call);
        const answered = await awaitHeaders(stream, call.signal);
        const status = answered[':status'] ?? 0;
        if (status === 200) return { state: 'open', status, chunks: chunksOf(stream, signal) };
        if (status === UNAUTHORIZED && !isRefresh) {
          stream.close(NGHTTP2_CANCEL);
          continue;
        }
        const body = await readAll(stream, call.signal);
        return { state: 'refused', status, retryAfter: answered['retry-after'], body };
      }
    } finally {
      call.end();
    }
  }

  close(): void {
    this.#requests.close();
    this.#watches.close();
  }

  async #exchange(request: TransportRequest, call: Deadline, isRefresh: boolean): Promise<TransportResponse> {
    const headers = await this.#headers(request, isRefresh);
    const { stream, connection } = await this.#open(this.#requests, headers, request.body, call);
    try {
      let status = 0;
      let retryAfter: string | undefined;
      stream.once('response', (answered: ResponseHeaders) => {
        status = answered[':status'] ?? 0;
        retryAfter = answered['retry-after'];
      });
      const body = await readAll(stream, call.signal);
      return { status, retryAfter, body };
    } catch (error) {
      // A timeout may be the first sign of a dead connection; check now instead of after the next silence.
      if (call.hasExpired) connection.verify();
      throw error;
    }
  }

  async #headers(request: TransportRequest, refresh: boolean): Promise<Record<string, string>> {
    const authorization = await this.#config.auth({ refresh });
    const headers: Record<string, string> = {
      ...this.#baseHeaders,
      ':method': request.method,
      ':path': this.#pathPrefix + request.path,
    };
    if (authorization !== undefined) headers['authorization'] = authorization;
    if (request.body !== undefined) headers['content-type'] = request.contentType ?? 'application/json';
    return headers;
  }

  async #open(
    slot: ConnectionSlot,
    headers: Record<string, string>,
    body: string | undefined,
    call: Deadline,
  ): Promise<{ stream: ClientHttp2Stream; connection: Connection }> {
    const opened = await slot.withConnection((connection) => {
      const stream = connection.open(headers, body === undefined);
      call.isSent = true;
      stream.setEncoding('utf8');
      if (body !== undefined) stream.end(body);
      // Errors are handled where the response is awaited; this listener keeps a late one from being an uncaught exception.
      stream.on('error', () => {});
      return { stream, connection };
    }, call.signal);
    return opened;
  }
}

/** One call's time limit combined with the caller's signal. Must be ended, or the caller's signal keeps it alive. */
class Deadline {
  isSent = false;
  hasExpired = false;
  readonly #abort = new AbortController();
  readonly #aborting: AbortListener;
  readonly #timer: { cancel(): void };

  constructor(clock: Clock, timeoutMs: number, what: string, parent: AbortSignal | undefined) {
    parent?.throwIfAborted();
    this.#aborting = onAbort(parent, () => this.#abort.abort(parent?.reason));
    this.#timer = clock.schedule(timeoutMs, () => {
      this.hasExpired = true;
      const message = `${what}: no answer in ${timeoutMs} ms`;
      this.#abort.abort(new TransportError('timeout', message, { sent: this.isSent }));
    });
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  end(): void {
    this.#timer.cancel();
    this.#aborting.cancel();
  }
}

/** The whole body. Complete only if the server ended the stream itself: a lost connection ends streams too. */
function readAll(stream: ClientHttp2Stream, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let body = '';
    let failure: unknown;
    stream.on('data', (chunk: string) => {
      body += chunk;
    });
    stream.once('error', (error: unknown) => {
      failure = error;
    });
    stream.once('close', () => {
      aborting.cancel();
      if (failure === undefined && stream.rstCode === NGHTTP2_NO_ERROR) resolve(body);
      else reject(streamError(stream, failure));
    });
    const aborting = onAbort(signal, () => {
      stream.close(NGHTTP2_CANCEL);
      reject(signal.reason);
    });
  });
}

function awaitHeaders(stream: ClientHttp2Stream, signal: AbortSignal): Promise<ResponseHeaders> {
  return new Promise((resolve, reject) => {
    const deafen = () => stream.off('response', onResponse).off('error', onError).off('close', onClose);
    const settle = () => {
      aborting.cancel();
      deafen();
    };
    const onResponse = (headers: ResponseHeaders) => {
      settle();
      resolve(headers);
    };
    const onError = (error: unknown) => {
      settle();
      reject(streamError(stream, error));
    };
    const onClose = () => onError(undefined);
    stream.once('response', onResponse).once('error', onError).once('close', onClose);
    const aborting = onAbort(signal, () => {
      deafen();
      stream.close(NGHTTP2_CANCEL);
      reject(signal.reason);
    });
  });
}

async function* chunksOf(
  stream: ClientHttp2Stream,
  signal: AbortSignal | undefined,
): AsyncGenerator<string, void, undefined> {
  using _aborting = onAbort(signal, () => stream.destroy());
  try {
    signal?.throwIfAborted();
    for await (const chunk of stream) yield String(chunk);
    signal?.throwIfAborted();
    // Node ends the stream normally even when the connection was lost; only the code shows it.
    if ((stream.rstCode ?? NGHTTP2_NO_ERROR) !== NGHTTP2_NO_ERROR) throw streamError(stream, undefined);
  } catch (error) {
    signal?.throwIfAborted();
    throw streamError(stream, error);
  } finally {
    stream.destroy();
  }
}

function streamError(stream: ClientHttp2Stream, cause: unknown): TransportError {
  if (cause instanceof TransportError) return cause;
  const refused = stream.rstCode === NGHTTP2_REFUSED_STREAM;
  const detail = cause === undefined ? `stream closed with code ${stream.rstCode}` : errorMessage(cause);
  if (refused) return new TransportError('refused', `the server refused the stream: ${detail}`, { sent: false, cause });
  return new TransportError('broken', `the connection broke: ${detail}`, { sent: true, cause });
}
