import type { Clock } from '../../src/util/clock.ts';
import { SwitchEndedError, WaitTimeoutError } from './errors.ts';

export interface WaitOptions {
  /** Default: 5000. */
  timeoutMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

const DEFAULT_TIMEOUT_MS = 5_000;

/** Events in order of arrival, and a way to wait for one. The oldest are dropped beyond `capacity`. */
export class EventLog<T> {
  readonly #clock: Clock;
  readonly #capacity: number;
  readonly #what: string;
  readonly #listeners = new Set<(event: T | Error) => void>();
  #events: T[] = [];
  #ended: Error | undefined;

  constructor(what: string, clock: Clock, capacity = 100_000) {
    this.#what = what;
    this.#clock = clock;
    this.#capacity = capacity;
  }

  /** All events so far, oldest first. */
  list(): readonly T[] {
    return this.#events;
  }

  /** Removes all events so far. */
  clear(): void {
    this.#events = [];
  }

  /**
   * Resolves with the first event that `matches`, among those so far or later.
   *
   * @throws WaitTimeoutError, which lists the last events; the signal's reason; SwitchEndedError.
   */
  async wait(matches: (event: T) => boolean, options: WaitOptions = {}): Promise<T> {
    options.signal?.throwIfAborted();
    const known = this.#events.find(matches);
    if (known !== undefined) return known;
    if (this.#ended !== undefined) throw this.#ended;
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    return await new Promise<T>((resolve, reject) => {
      const finish = (settle: () => void): void => {
        this.#listeners.delete(listener);
        timer.cancel();
        options.signal?.removeEventListener('abort', onAbort);
        settle();
      };
      const listener = (event: T | Error): void => {
        if (event instanceof Error) finish(() => reject(event));
        else if (matches(event)) finish(() => resolve(event));
      };
      const onAbort = (): void => finish(() => reject(options.signal?.reason));
      const timer = this.#clock.schedule(timeoutMs, () => finish(() => reject(this.#timeout(timeoutMs))));
      this.#listeners.add(listener);
      options.signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  add(event: T): void {
    this.#events.push(event);
    if (this.#events.length > this.#capacity) this.#events = this.#events.slice(this.#capacity / 2);
    for (const listener of [...this.#listeners]) listener(event);
  }

  /** Ends every wait. */
  end(reason: Error = new SwitchEndedError(`the VPC switch ended: no ${this.#what} will come`)): void {
    this.#ended = reason;
    for (const listener of [...this.#listeners]) listener(reason);
  }

  #timeout(timeoutMs: number): WaitTimeoutError {
    const last = this.#events.slice(-5).map((event) => JSON.stringify(event));
    return new WaitTimeoutError(
      `no such ${this.#what} within ${timeoutMs} ms; ${last.length === 0 ? 'there was none' : `the last: ${last.join(' ')}`}`,
    );
  }
}
