import { TransportError } from '../../src/kube/errors.ts';
import type { ApiTransport, StreamResponse, TransportRequest, TransportResponse } from '../../src/kube/transport.ts';
import type { Clock } from '../../src/util/clock.ts';
import { type ApiCall, FaultCounts, type FaultPlan, faultName, type RequestFault, type WatchFault } from './faults.ts';
import { answer, openServerWatch, type ParsedRequest, parseRequest, refusal, type ServerRequest } from './handler.ts';
import { expired, StatusError } from './model/errors.ts';
import type { Caller, KubeModel } from './model/model.ts';
import type { OpenWatch } from './model/watches.ts';
import { Pending } from './pending.ts';
import { WatchStream } from './watch-stream.ts';

export interface SimulatedTransportOptions {
  model: KubeModel;
  clock: Clock;
  /** Names who writes in the model's journal, and to the faults. */
  replica: string;
  /** Whose fields `managedFields` says that it writes. Default: the replica. */
  userAgent?: string | undefined;
  faults?: FaultPlan | undefined;
  latency?: Partial<Latency> | undefined;
  /** For a request, from the call to the complete answer. Default 30,000. */
  requestTimeoutMs?: number | undefined;
  /** Between the bookmarks of a watch. Default 60,000. */
  bookmarkIntervalMs?: number | undefined;
  /** Events that wait for a slow client before the server ends its watch. Default 10,000. */
  maxBufferedEvents?: number | undefined;
}

/** Each 1 when absent. */
export interface Latency {
  /** Until the server carries a request out. */
  requestMs: number;
  /** From there to the client. */
  answerMs: number;
  /** From a write to those who watch. */
  eventMs: number;
}

/** Of a watch that does not say how long it wants to be. */
const DEFAULT_WATCH_SECONDS = 1800;
/** The last bookmark of a watch comes so much before its end. */
const LAST_BOOKMARK_MS = 2000;

/**
 * Carries requests to a {@link KubeModel} in the time of a clock, as text in both directions, so that replicas share nothing.
 * A fault plan decides what goes wrong. As with a real server, a request that was sent is executed even if its caller gives up.
 */
export class SimulatedTransport implements ApiTransport {
  readonly #options: SimulatedTransportOptions;
  readonly #latency: Latency;
  readonly #faults: FaultPlan;
  readonly #counts = new FaultCounts();
  readonly #pending = new Set<{ reject(reason: unknown): void }>();
  readonly #watches = new Set<WatchStream>();
  #isClosed = false;
  #watchedLength = 0;
  /** How often the server has gone away. What was under way then is lost. */
  #outages = 0;

  constructor(options: SimulatedTransportOptions) {
    this.#options = options;
    this.#latency = { requestMs: 1, answerMs: 1, eventMs: 1, ...options.latency };
    this.#faults = options.faults ?? {};
  }

  /** How often each fault happened, by its name. */
  get faultCounts(): Readonly<Record<string, number>> {
    return this.#counts.all;
  }

  /** Those that are open now, to be broken, frozen or expired by hand. */
  get watches(): readonly WatchStream[] {
    return [...this.#watches];
  }

  /** Characters that came through watches so far. */
  get watchedLength(): number {
    return this.#watchedLength;
  }

  async request(request: TransportRequest): Promise<TransportResponse> {
    this.#checkUsable(request);
    const call = this.#callOf(request);
    const serve = () => answer(this.#options.model, serverRequest(request), this.#caller());
    const fault = this.#noted(this.#faults.onRequest?.(call));
    return this.#exchange<TransportResponse>(request, fault, {
      serve,
      wrap: (answered) => answered,
      discard: () => {},
    });
  }

  async openStream(request: TransportRequest): Promise<StreamResponse> {
    this.#checkUsable(request);
    const call = this.#callOf(request);
    const fault = this.#noted(this.#faults.onWatch?.(call));
    const isRequestFault = fault !== undefined && fault.kind !== 'expired' && fault.kind !== 'silent';
    return this.#exchange<StreamResponse>(request, isRequestFault ? fault : undefined, {
      serve: () => this.#serveWatch(request, call, fault),
      wrap: (answered) => ({ state: 'refused', ...answered }),
      discard: (answered) => {
        if (answered.state === 'open' && answered.chunks instanceof WatchStream) answered.chunks.discard();
      },
    });
  }

  close(): void {
    this.#isClosed = true;
    for (const pending of [...this.#pending]) pending.reject(closed());
    for (const watch of this.watches) watch.fail(closed());
  }

  /** The server goes away and is back at once: watches break, and no request or answer that is under way arrives. */
  breakConnections(): void {
    this.#outages += 1;
    for (const watch of this.watches) watch.break();
  }

  #checkUsable({ signal }: TransportRequest): void {
    if (this.#isClosed) throw closed();
    signal?.throwIfAborted();
  }

  /** One request and its answer. */
  #exchange<T>(request: TransportRequest, fault: RequestFault | undefined, server: Service<T>): Promise<T> {
    const { clock, requestTimeoutMs = 30_000 } = this.#options;
    const { requestMs, answerMs } = this.#latency;
    const { timeoutMs = requestTimeoutMs, signal } = request;
    const limit = { timeoutMs, signal, what: `${request.method} ${request.path}` };
    const pending = new Pending<T>(clock, limit, (ended) => this.#pending.delete(ended));
    this.#pending.add(pending);
    if (fault?.kind === 'not-sent') {
      const error = new TransportError(fault.failure, `the connection failed: ${fault.failure}`, { sent: false });
      clock.schedule(requestMs, () => pending.reject(error));
      return pending.promise;
    }
    pending.isSent = true;
    const outages = this.#outages;
    const breakOff = () => pending.reject(new TransportError('broken', 'the connection broke', { sent: true }));
    const arrive = () => {
      if (outages !== this.#outages) return breakOff();
      if (fault?.kind === 'lost-request') return fault.failure === 'broken' ? breakOff() : undefined;
      if (fault?.kind === 'doubled') server.discard(server.serve());
      const answered = fault?.kind === 'refused' ? server.wrap(refusalOf(fault)) : server.serve();
      const isLost = fault?.kind === 'lost-answer';
      if (isLost) server.discard(answered);
      if (isLost && fault.failure === 'timeout') return;
      const deliver = () => {
        if (isLost || outages !== this.#outages) breakOff();
        else if (pending.isSettled) server.discard(answered);
        else pending.resolve(answered);
      };
      clock.schedule(answerMs + (fault?.kind === 'slow' ? (fault.answerMs ?? 0) : 0), deliver);
    };
    clock.schedule(requestMs + (fault?.kind === 'slow' ? (fault.requestMs ?? 0) : 0), arrive);
    return pending.promise;
  }

  #serveWatch(request: TransportRequest, call: ApiCall, fault: WatchFault | undefined): StreamResponse {
    if (fault?.kind === 'expired' && fault.as === 'answer') return refusedStream(expired('too old resource version'));
    let stream: WatchStream | undefined;
    try {
      const parsed = parseRequest(request);
      const opened = openServerWatch(this.#options.model, parsed, (line) => stream?.push(line));
      stream = this.#startStream(request, call, parsed, opened, fault?.kind === 'silent');
    } catch (error) {
      if (error instanceof StatusError) return refusedStream(error);
      throw error;
    }
    if (fault?.kind === 'expired') stream.expire();
    return { state: 'open', status: 200, chunks: stream };
  }

  #startStream(
    request: TransportRequest,
    call: ApiCall,
    { query }: ParsedRequest,
    opened: OpenWatch,
    isSilent: boolean,
  ): WatchStream {
    const { clock, bookmarkIntervalMs = 60_000, maxBufferedEvents = 10_000 } = this.#options;
    const timers = new WatchTimers(clock);
    const stream: WatchStream = new WatchStream({
      clock,
      call,
      faults: this.#faults,
      counts: this.#counts,
      signal: request.signal,
      eventMs: this.#latency.eventMs,
      maxBuffered: maxBufferedEvents,
      onRead: (length) => {
        this.#watchedLength += length;
      },
      onEnd: () => {
        opened.close();
        timers.cancel();
        this.#watches.delete(stream);
      },
    });
    this.#watches.add(stream);
    if (isSilent) stream.freeze();
    stream.begin(opened.initial);
    if (opened.isEnded) {
      stream.end();
      return stream;
    }
    const bookmark = () => {
      const line = opened.bookmark();
      if (line !== undefined) stream.push(line);
    };
    const seconds = Number(query.get('timeoutSeconds') ?? '') || DEFAULT_WATCH_SECONDS;
    timers.every(bookmarkIntervalMs, bookmark);
    if (seconds * 1000 > LAST_BOOKMARK_MS) timers.after(seconds * 1000 - LAST_BOOKMARK_MS, bookmark);
    timers.after(seconds * 1000, () => stream.end());
    return stream;
  }

  #callOf(request: TransportRequest): ApiCall {
    const { replica } = this.#options;
    try {
      const { verb, resource, subresource, namespace = '', name = '', query } = parseRequest(request);
      const key = namespace === '' ? name : join(namespace, name);
      const limit = query.get('limit');
      return { replica, verb, resource, subresource, key, ...(limit !== null && { limit: Number(limit) }) };
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      return { replica, verb: 'get', resource: '', subresource: '', key: request.path };
    }
  }

  #noted<F extends WatchFault>(fault: F | undefined): F | undefined {
    if (fault !== undefined) this.#counts.add(faultName(fault));
    return fault;
  }

  #caller(): Caller {
    const { replica, userAgent, clock } = this.#options;
    return { actor: replica, manager: userAgent, nowMs: clock.now() };
  }
}

/** The server's part in an exchange. */
interface Service<T> {
  /** Is called at the instant at which the server acts. */
  serve: () => T;
  /** Makes an answer of what a fault answers in the server's place. */
  wrap: (answered: TransportResponse) => T;
  /** The answer reaches nobody. */
  discard: (answered: T) => void;
}

/** The timers of one watch. */
class WatchTimers {
  readonly #clock: Clock;
  readonly #calls = new Set<{ cancel(): void }>();
  #isOver = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  after(ms: number, act: () => void): void {
    if (this.#isOver) return;
    const call = this.#clock.schedule(ms, () => {
      this.#calls.delete(call);
      act();
    });
    this.#calls.add(call);
  }

  every(ms: number, act: () => void): void {
    this.after(ms, () => {
      act();
      this.every(ms, act);
    });
  }

  cancel(): void {
    this.#isOver = true;
    for (const call of this.#calls) call.cancel();
    this.#calls.clear();
  }
}

function serverRequest({ method, path, body, contentType }: TransportRequest): ServerRequest {
  return { method, path, body, contentType };
}

function refusalOf({ status, retryAfterSeconds }: Extract<RequestFault, { kind: 'refused' }>): TransportResponse {
  const details = retryAfterSeconds === undefined ? undefined : { retryAfterSeconds };
  return refusal(new StatusError(status, REASONS[status] ?? '', 'injected', details));
}

const REASONS: Readonly<Record<number, string>> = {
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  409: 'Conflict',
  410: 'Expired',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

function refusedStream(error: StatusError): StreamResponse {
  return { state: 'refused', ...refusal(error) };
}

function closed(): TransportError {
  return new TransportError('closed', 'the client was closed', { sent: false });
}

function join(namespace: string, name: string): string {
  return name === '' ? namespace : `${namespace}/${name}`;
}
