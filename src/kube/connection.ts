import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from 'node:http2';
import { onAbort } from '../util/abort.ts';
import type { Clock, ScheduledCall } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import type { KubeConfig } from './config.ts';
import { TransportError } from './errors.ts';

export interface ConnectionOptions {
  clock: Clock;
  /** For TCP, TLS and the protocol negotiation together. */
  connectTimeoutMs: number;
  /** Silence after which a PING checks that the peer is still there. */
  pingIntervalMs: number;
  /** For the answer to a PING. */
  pingTimeoutMs: number;
  /** Flow-control window of one stream, in bytes. */
  streamWindowBytes: number;
  /** Upper limit for concurrent streams, even if the server allows more. */
  maxStreams: number;
}

/** Assumed until the server's settings arrive; RFC 9113 recommends that servers allow at least this many. */
const ASSUMED_MAX_STREAMS = 100;
const SESSION_WINDOW_BYTES = 16 * 1024 * 1024;
/** Silence is checked this many times per interval, so a PING is late by at most one such step. */
const LOOKS_PER_INTERVAL = 5;
const READ_GRACE_MS = 20;
const PORT_BY_PROTOCOL: Record<string, number> = { 'https:': 443, 'http:': 80 };

/** Callbacks to the owner of a connection. */
export interface ConnectionListener {
  /** The server wants no new streams here (GOAWAY); those that are open run to their end. */
  onDraining(): void;
  /** The connection is gone, and with it its streams. */
  onClosed(): void;
  /** A stream ended, or the server allows more of them. May be called often. */
  onRoom(): void;
}

/**
 * One HTTP/2 connection to the API server. Notices a dead peer by PING: TCP alone reports a black hole only after many
 * minutes.
 */
export class Connection {
  readonly #session: ClientHttp2Session;
  readonly #options: ConnectionOptions;
  readonly #listener: ConnectionListener;
  #openStreams = 0;
  #maxStreams: number;
  #phase: 'open' | 'draining' | 'closed' = 'open';
  /** Bytes read from the socket; growth means that the peer is alive. */
  #bytesRead = 0;
  #quietSinceMs: number;
  #look: ScheduledCall | undefined;
  #pingDeadline: ScheduledCall | undefined;

  /** Takes over a connected session. */
  constructor(session: ClientHttp2Session, options: ConnectionOptions, listener: ConnectionListener) {
    this.#session = session;
    this.#options = options;
    this.#listener = listener;
    this.#maxStreams = Math.min(
      options.maxStreams,
      session.remoteSettings?.maxConcurrentStreams ?? ASSUMED_MAX_STREAMS,
    );
    this.#quietSinceMs = options.clock.monotonicMs();
    session.on('remoteSettings', (settings) => {
      this.#maxStreams = Math.min(options.maxStreams, settings.maxConcurrentStreams ?? ASSUMED_MAX_STREAMS);
      listener.onRoom();
    });
    session.on('goaway', () => this.#drain());
    session.on('error', () => this.#closed());
    session.on('close', () => this.#closed());
    this.#planLook();
  }

  get hasRoom(): boolean {
    return this.#phase === 'open' && this.#openStreams < this.#maxStreams;
  }

  get openStreams(): number {
    return this.#openStreams;
  }

  /**
   * Opens a stream. The caller has seen `hasRoom` in the same turn of the event loop.
   *
   * @throws TransportError `refused` when the connection ended this very moment
   */
  open(headers: OutgoingHttpHeaders, endStream: boolean): ClientHttp2Stream {
    let stream: ClientHttp2Stream;
    try {
      stream = this.#session.request(headers, { endStream });
    } catch (cause) {
      throw new TransportError('refused', `the connection ended: ${errorMessage(cause)}`, { sent: false, cause });
    }
    this.#openStreams += 1;
    stream.once('close', () => {
      this.#openStreams -= 1;
      this.#listener.onRoom();
    });
    return stream;
  }

  /** Sends a PING now instead of after the next silence. */
  verify(): void {
    if (this.#phase === 'closed' || this.#pingDeadline !== undefined) return;
    const { clock, pingTimeoutMs } = this.#options;
    const expire = () => {
      this.#pingDeadline = undefined;
      // Received bytes prove that the peer is alive, and the PONG may be queued behind them.
      if (this.#sawBytes()) return;
      this.destroy(new TransportError('silent', `no answer to a PING in ${pingTimeoutMs} ms`, { sent: true }));
    };
    this.#pingDeadline = clock.schedule(pingTimeoutMs, () => {
      // After a blocked event loop, timers run before sockets are read: the PONG may already be there.
      this.#pingDeadline = clock.schedule(READ_GRACE_MS, expire);
    });
    const answered = () => {
      this.#pingDeadline?.cancel();
      this.#pingDeadline = undefined;
      this.#sawBytes();
    };
    try {
      this.#session.ping(answered);
    } catch {
      // The session is being destroyed; its close event handles the rest.
      answered();
    }
  }

  /** Ends the connection now; open streams fail with `reason`. */
  destroy(reason: TransportError): void {
    this.#session.destroy(reason);
    this.#closed();
  }

  #drain(): void {
    if (this.#phase !== 'open') return;
    this.#phase = 'draining';
    this.#listener.onDraining();
  }

  #closed(): void {
    if (this.#phase === 'closed') return;
    this.#phase = 'closed';
    this.#look?.cancel();
    this.#pingDeadline?.cancel();
    this.#listener.onClosed();
  }

  #planLook(): void {
    const { clock, pingIntervalMs } = this.#options;
    this.#look = clock.schedule(pingIntervalMs / LOOKS_PER_INTERVAL, () => {
      this.#planLook();
      if (this.#sawBytes()) return;
      // Rather a check or two early than late.
      if (clock.monotonicMs() - this.#quietSinceMs >= pingIntervalMs * (1 - 0.5 / LOOKS_PER_INTERVAL)) this.verify();
    });
  }

  #sawBytes(): boolean {
    const bytesRead = this.#session.socket?.bytesRead ?? 0;
    if (bytesRead === this.#bytesRead) return false;
    this.#bytesRead = bytesRead;
    this.#quietSinceMs = this.#options.clock.monotonicMs();
    return true;
  }
}

/**
 * Opens a connection and waits until it can carry streams.
 *
 * @throws TransportError `connect`, in one line, when TCP, TLS or the negotiation of HTTP/2 fails or takes too long
 */
export async function openConnection(
  config: KubeConfig,
  options: ConnectionOptions,
  listener: ConnectionListener,
  signal: AbortSignal,
): Promise<Connection> {
  const url = new URL(config.serverUrl);
  const target = `${url.hostname}:${url.port || PORT_BY_PROTOCOL[url.protocol]}`;
  const failed = (cause: unknown) =>
    new TransportError('connect', `cannot connect to ${target}: ${errorMessage(cause)}`, { sent: false, cause });

  let session: ClientHttp2Session;
  try {
    const tls = await config.tls();
    signal.throwIfAborted();
    session = connect(url.origin, {
      ...tls,
      settings: { enablePush: false, initialWindowSize: options.streamWindowBytes },
      // In MB. It counts what is buffered for streams; with large windows the default of 10 would refuse streams.
      maxSessionMemory: 256,
    });
  } catch (cause) {
    throw failed(cause);
  }
  return new Promise((resolve, reject) => {
    const giveUp = (cause: unknown) => {
      settle();
      // Without a listener a late error of the abandoned session would be an uncaught exception.
      session.on('error', () => {});
      session.destroy();
      reject(failed(cause));
    };
    const onClose = () => giveUp(new Error('closed by the server'));
    const onConnect = () => {
      settle();
      // This call throws before the connection is up. It lets large lists flow without pauses.
      session.setLocalWindowSize(SESSION_WINDOW_BYTES);
      resolve(new Connection(session, options, listener));
    };
    const deadline = options.clock.schedule(options.connectTimeoutMs, () =>
      giveUp(new Error(`no connection in ${options.connectTimeoutMs} ms`)),
    );
    const settle = () => {
      deadline.cancel();
      aborting.cancel();
      session.off('connect', onConnect).off('error', giveUp).off('close', onClose);
    };
    session.once('connect', onConnect).once('error', giveUp).once('close', onClose);
    const aborting = onAbort(signal, () => giveUp(signal.reason));
  });
}
