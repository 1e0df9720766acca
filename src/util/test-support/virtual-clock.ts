import { onAbort } from '../abort.ts';
import type { Clock, ScheduledCall } from '../clock.ts';
import { EventQueue } from '../event-queue.ts';

/** A fixed date, for readable timestamps. */
const START_MS = Date.parse('2026-01-01T00:00:00Z');

/** This many calls in a row at one instant mean a loop that never waits. */
const MOST_CALLS_AT_ONE_INSTANT = 1_000_000;

interface Call {
  callback: () => void;
  isOver: boolean;
}

/**
 * A clock that moves only when told to. Calls are made exactly at their time, calls of one instant in the order in which they
 * were scheduled, and all effects of a call settle before the next one. So the same start and the same seed always give the
 * same run.
 */
export class VirtualClock implements Clock {
  #monotonicMs = 0;
  #epochMs = START_MS;
  /** Cancelled calls stay until their time, unless they are at the front. */
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
    // NaN has no order, so it would break the queue.
    if (Number.isNaN(ms)) throw new RangeError('a call was scheduled in NaN ms; the delay must be a number');
    const call: Call = { callback, isOver: false };
    this.#queue.plan(this.#monotonicMs + Math.max(0, ms), call);
    this.#pending += 1;
    return { cancel: () => this.#end(call) };
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const call = this.schedule(ms, () => {
        aborting.cancel();
        resolve();
      });
      const aborting = onAbort(signal, () => {
        call.cancel();
        reject(signal?.reason);
      });
    });
  }

  /** Number of pending calls. */
  get pendingCalls(): number {
    return this.#pending;
  }

  /** When the next call is due, in {@link monotonicMs}; undefined when none is scheduled. */
  nextDueMs(): number | undefined {
    for (let first = this.#queue.peek(); first !== undefined; first = this.#queue.peek()) {
      if (!first.payload.isOver) return first.dueMs;
      this.#queue.takeDue(first.dueMs);
    }
    return undefined;
  }

  /**
   * Settles the current instant, moves on to the next call, makes it, and settles its effects.
   *
   * @param untilMs limit in {@link monotonicMs}; calls after it are not made
   * @returns false when there was no call to make; time has not moved then
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

  /** Moves on without making calls, like a suspended process; they are made late, at the next step. */
  freeze(ms: number): void {
    this.#moveTo(this.#monotonicMs + ms);
  }

  /** Shifts the wall clock by `ms`, back when negative; no time passes. */
  setWallClock(ms: number): void {
    this.#epochMs += ms;
  }

  /** {@link step} when everything has settled. */
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
 * Resolves when nothing more can happen without time passing.
 *
 * Node runs the callback of `setImmediate` in a later phase of its event loop, and between two phases it empties the queues of
 * `process.nextTick` and of promises, including what these queue themselves. So after one turn every promise chain has ended
 * or waits for something external: the clock, or a socket, file, timer, thread or `setImmediate`. Code whose I/O is on virtual
 * time has none of the latter, so only the clock can trigger anything. Code with a real socket is not settled by this; its
 * tests wait for what they expect.
 */
export function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
