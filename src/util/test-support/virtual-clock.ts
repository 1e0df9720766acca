import type { Clock, ScheduledCall } from '../clock.ts';
import { EventQueue } from '../event-queue.ts';

/** A fixed date, so that written times are readable. */
const START_MS = Date.parse('2026-01-01T00:00:00Z');

/** So many calls in a row at one instant are a loop that waits for nothing. */
const MOST_CALLS_AT_ONE_INSTANT = 1_000_000;

interface Call {
  callback: () => void;
  isOver: boolean;
}

/**
 * A clock that moves only when told to. Calls are made at exactly their time, those of one instant in the order in which they
 * were planned, and everything that a call set off has ended before the next one is made. So the same start and the same
 * chance always lead to the same run.
 */
export class VirtualClock implements Clock {
  #monotonicMs = 0;
  #epochMs = START_MS;
  /** Calls that were cancelled stay until their time, as far as they are not at the front. */
  readonly #queue = new EventQueue<Call>();
  #pending = 0;
  #callsAtThisInstant = 0;

  now(): number {
    return this.#epochMs + this.#monotonicMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  schedule(ms: number, callback: () => void): ScheduledCall {
    // It would come before or after nothing, and with it whatever is planned behind it.
    if (Number.isNaN(ms)) throw new RangeError('a call was planned in NaN ms; the time until it must be a number');
    const call: Call = { callback, isOver: false };
    this.#queue.plan(this.#monotonicMs + Math.max(0, ms), call);
    this.#pending += 1;
    return { cancel: () => this.#end(call) };
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = () => {
        call.cancel();
        reject(signal?.reason);
      };
      const call = this.schedule(ms, () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      });
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Calls that are still to be made. */
  get pendingCalls(): number {
    return this.#pending;
  }

  /** When the next call is due, as {@link monotonicMs} tells time; undefined when none is planned. */
  nextDueMs(): number | undefined {
    for (let first = this.#queue.peek(); first !== undefined; first = this.#queue.peek()) {
      if (!first.payload.isOver) return first.dueMs;
      this.#queue.takeDue(first.dueMs);
    }
    return undefined;
  }

  /**
   * Lets what can happen at this instant happen, moves on to the next call, makes it, and lets happen what it set off.
   *
   * @param untilMs a call that is due later, as {@link monotonicMs} tells time, is not made
   * @returns false when there was none to make; time has not moved then.
   * @throws Error when time stands still for a million calls
   */
  async step(untilMs = Number.POSITIVE_INFINITY): Promise<boolean> {
    await settled();
    return this.#makeNext(untilMs);
  }

  /** Moves on by `ms`, making each call at its time. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#monotonicMs + ms;
    await settled();
    while (await this.#makeNext(untilMs));
    this.#moveTo(untilMs);
  }

  /** Moves on without making any call, as a process that was stopped sees it; they are made late, at the next step. */
  freeze(ms: number): void {
    this.#moveTo(this.#monotonicMs + ms);
  }

  /** Sets the wall clock by `ms`, back when negative; no time passes. */
  setWallClock(ms: number): void {
    this.#epochMs += ms;
  }

  /** {@link step} from where everything has settled. */
  async #makeNext(untilMs: number): Promise<boolean> {
    const dueMs = this.nextDueMs();
    if (dueMs === undefined || dueMs > untilMs) return false;
    const call = this.#queue.takeDue(dueMs)?.payload;
    if (call === undefined) return false;
    this.#end(call);
    this.#moveTo(dueMs);
    this.#callsAtThisInstant += 1;
    if (this.#callsAtThisInstant > MOST_CALLS_AT_ONE_INSTANT) {
      throw new Error(`time stands still: ${MOST_CALLS_AT_ONE_INSTANT} calls were made at ${this.#monotonicMs} ms`);
    }
    call.callback();
    await settled();
    return true;
  }

  #moveTo(ms: number): void {
    if (ms <= this.#monotonicMs) return;
    this.#monotonicMs = ms;
    this.#callsAtThisInstant = 0;
  }

  #end(call: Call): void {
    if (call.isOver) return;
    call.isOver = true;
    this.#pending -= 1;
  }
}

/**
 * Resolves when nothing is left that can happen without time passing.
 *
 * Node runs the callback of `setImmediate` in a later phase of its event loop, and between two phases it empties the queues of
 * `process.nextTick` and of promises, what these queue themselves included. So after one turn every promise chain has come to
 * an end or waits for something from outside: the clock, or a socket, file, timer, thread or `setImmediate`. Code that reaches
 * the world through ports on virtual time has none of the latter, and then only the clock can set anything off. Code under test
 * that has a socket is not settled by this; its tests wait for what they expect.
 */
export function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
