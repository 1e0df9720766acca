import { type AbortListener, onAbort } from '../util/abort.ts';
import type { Clock, ScheduledCall } from '../util/clock.ts';
import { TransportError } from './errors.ts';

export interface WatchGuardOptions {
  clock: Clock;
  /** Aborts the watch too. */
  signal: AbortSignal;
  /** Names the watch in errors. */
  what: string;
  /** Time limit of the whole watch, from the server's answer on. Before it, the request has a limit of its own. */
  limitMs: number;
  /** Maximum time without data. */
  silenceLimitMs: number;
}

/** Ends a watch that lasts too long or is silent for too long. PING alone only proves that the connection is alive. */
export class WatchGuard {
  readonly #options: WatchGuardOptions;
  readonly #abort = new AbortController();
  #startedMs: number;
  readonly #aborting: AbortListener;
  #silenceLimitMs: number;
  #lastSignMs: number;
  #timer: ScheduledCall | undefined;
  #reason: TransportError | undefined;

  constructor(options: WatchGuardOptions) {
    this.#options = options;
    this.#silenceLimitMs = options.silenceLimitMs;
    this.#startedMs = options.clock.monotonicMs();
    this.#lastSignMs = this.#startedMs;
    this.#aborting = onAbort(options.signal, () => this.#abort.abort(options.signal.reason));
    this.#plan();
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Why the guard ended the watch; undefined if it did not. */
  get reason(): TransportError | undefined {
    return this.#reason;
  }

  /** The server has answered: by now its own time for the watch has begun. */
  opened(): void {
    this.#startedMs = this.#options.clock.monotonicMs();
    this.alive();
    this.#plan();
  }

  /** Data arrived. Cheap: the timer checks it when it fires. */
  alive(): void {
    this.#lastSignMs = this.#options.clock.monotonicMs();
  }

  setSilenceLimit(silenceLimitMs: number): void {
    this.#silenceLimitMs = silenceLimitMs;
    this.#plan();
  }

  /** Call when the watch is over. */
  end(): void {
    this.#timer?.cancel();
    this.#aborting.cancel();
  }

  #plan(): void {
    this.#timer?.cancel();
    const nowMs = this.#options.clock.monotonicMs();
    const dueMs = Math.min(this.#startedMs + this.#options.limitMs, this.#lastSignMs + this.#silenceLimitMs);
    this.#timer = this.#options.clock.schedule(Math.max(0, dueMs - nowMs), () => this.#check());
  }

  #check(): void {
    const { clock, limitMs, what } = this.#options;
    const nowMs = clock.monotonicMs() + 1;
    if (nowMs - this.#startedMs >= limitMs)
      this.#expire('timeout', `${what}: not ended by the server in ${limitMs} ms`);
    else if (nowMs - this.#lastSignMs < this.#silenceLimitMs) this.#plan();
    else this.#expire('silent', `${what}: nothing came in ${this.#silenceLimitMs} ms`);
  }

  #expire(failure: 'timeout' | 'silent', message: string): void {
    this.#reason = new TransportError(failure, message, { sent: true });
    this.#abort.abort(this.#reason);
  }
}
