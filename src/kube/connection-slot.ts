import { onAbort } from '../util/abort.ts';
import type { Clock, ScheduledCall } from '../util/clock.ts';
import { jitter, type Random } from '../util/random.ts';
import type { Connection, ConnectionListener } from './connection.ts';
import { TransportError } from './errors.ts';

/** Opens a connection; see `openConnection`. */
export type Connect = (listener: ConnectionListener, signal: AbortSignal) => Promise<Connection>;

export interface ConnectionSlotOptions {
  connect: Connect;
  clock: Clock;
  random: Random;
  /** After the first failure to connect; doubles up to `maxBackOffMs`. */
  minBackOffMs: number;
  maxBackOffMs: number;
}

type SlotState =
  /** No connection, and none is needed. */
  | { kind: 'idle' }
  | { kind: 'connecting'; abort: AbortController }
  /** `connection` takes streams: it is neither draining nor closed. */
  | { kind: 'ready'; connection: Connection }
  /** The last attempt failed; the next one starts after the back-off if anyone is waiting. */
  | { kind: 'backing-off'; timer: ScheduledCall }
  | { kind: 'closed' };

/** Which states may follow which. */
const LEGAL: Record<SlotState['kind'], readonly SlotState['kind'][]> = {
  idle: ['connecting', 'closed'],
  connecting: ['ready', 'backing-off', 'closed'],
  ready: ['idle', 'closed'],
  'backing-off': ['idle', 'connecting', 'closed'],
  closed: [],
};

interface Waiter {
  resolve: (connection: Connection) => void;
  reject: (error: unknown) => void;
}

/**
 * Keeps one connection that takes new streams, and replaces it when the server asks to (GOAWAY) or when it dies. A draining
 * connection is left alone until its streams end. Callers queue while there is no connection or no free stream.
 */
export class ConnectionSlot {
  readonly #options: ConnectionSlotOptions;
  readonly #waiters = new Set<Waiter>();
  /** Every open connection, draining ones included; destroyed on close. */
  readonly #connections = new Set<Connection>();
  #state: SlotState = { kind: 'idle' };
  #failures = 0;

  constructor(options: ConnectionSlotOptions) {
    this.#options = options;
  }

  get state(): SlotState['kind'] {
    return this.#state.kind;
  }

  /** Callers that wait for a connection or a free stream. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /**
   * A connection with a free stream, handed to `use` in the same turn of the event loop so that no one else takes the stream.
   *
   * @throws TransportError `connect` when the attempt to connect failed, `closed` after {@link close}; the signal's reason
   */
  async withConnection<R>(use: (connection: Connection) => R, signal: AbortSignal): Promise<R> {
    signal.throwIfAborted();
    if (this.#state.kind === 'ready' && this.#state.connection.hasRoom && this.#waiters.size === 0) {
      return use(this.#state.connection);
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiters.delete(waiter);
        aborting.cancel();
      };
      const waiter: Waiter = {
        resolve: (free) => {
          leave();
          try {
            resolve(use(free));
          } catch (error) {
            reject(error);
          }
        },
        reject: (error) => {
          leave();
          reject(error);
        },
      };
      const aborting = onAbort(signal, () => waiter.reject(signal.reason));
      this.#waiters.add(waiter);
      this.#advance();
    });
  }

  /** Ends all connections and refuses everything from now on. Idempotent. */
  close(): void {
    if (this.#state.kind === 'closed') return;
    const previous = this.#state;
    this.#transition({ kind: 'closed' });
    if (previous.kind === 'connecting') previous.abort.abort(closedError());
    if (previous.kind === 'backing-off') previous.timer.cancel();
    for (const connection of [...this.#connections]) connection.destroy(closedError());
    this.#rejectAll(closedError());
  }

  #transition(next: SlotState): void {
    if (!LEGAL[this.#state.kind].includes(next.kind))
      throw new Error(`connection slot: ${this.#state.kind} -> ${next.kind}`);
    this.#state = next;
  }

  /** Acts on the current state and waiters. */
  #advance(): void {
    switch (this.#state.kind) {
      case 'ready':
        this.#serve(this.#state.connection);
        return;
      case 'idle':
        if (this.#waiters.size > 0) this.#connect();
        return;
      case 'closed':
        this.#rejectAll(closedError());
        return;
      case 'connecting':
      case 'backing-off':
    }
  }

  #serve(connection: Connection): void {
    for (const waiter of this.#waiters) {
      if (!connection.hasRoom) return;
      waiter.resolve(connection);
    }
  }

  #connect(): void {
    const abort = new AbortController();
    this.#transition({ kind: 'connecting', abort });
    let connection: Connection | undefined;
    const retire = () => {
      if (this.#state.kind !== 'ready' || this.#state.connection !== connection) return;
      this.#transition({ kind: 'idle' });
      this.#advance();
    };
    const listener: ConnectionListener = {
      onDraining: retire,
      onClosed: () => {
        if (connection !== undefined) this.#connections.delete(connection);
        retire();
      },
      onRoom: () => this.#advance(),
    };
    this.#options.connect(listener, abort.signal).then(
      (opened) => {
        if (this.#state.kind === 'closed') {
          opened.destroy(closedError());
          return;
        }
        connection = opened;
        this.#connections.add(opened);
        this.#failures = 0;
        this.#transition({ kind: 'ready', connection: opened });
        this.#advance();
      },
      (error: unknown) => {
        if (this.#state.kind === 'closed') return;
        this.#backOff();
        // Every waiter gets the failure; those that retry queue for the next attempt.
        this.#rejectAll(error);
      },
    );
  }

  #backOff(): void {
    const { clock, random, minBackOffMs, maxBackOffMs } = this.#options;
    const delayMs = jitter(random, Math.min(maxBackOffMs, minBackOffMs * 2 ** this.#failures), 0.3);
    this.#failures = Math.min(this.#failures + 1, 20);
    const timer = clock.schedule(delayMs, () => {
      if (this.#state.kind !== 'backing-off') return;
      this.#transition({ kind: 'idle' });
      this.#advance();
    });
    this.#transition({ kind: 'backing-off', timer });
  }

  #rejectAll(error: unknown): void {
    for (const waiter of [...this.#waiters]) waiter.reject(error);
  }
}

function closedError(): TransportError {
  return new TransportError('closed', 'the client was closed', { sent: false });
}
