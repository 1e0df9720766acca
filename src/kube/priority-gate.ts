import { onAbort } from '../util/abort.ts';
import type { Clock, ScheduledCall } from '../util/clock.ts';

/** `background`: mirrors, events and other writes that nobody waits for. */
export type Priority = 'normal' | 'background';

export interface PriorityGateOptions {
  clock: Clock;
  /** Background requests wait while this many normal ones are in flight. */
  yieldAboveNormal: number;
  /** Background requests in flight at a time. */
  maxBackground: number;
  /** A background request passes after this time, however many normal ones are in flight. */
  maxWaitMs: number;
}

interface Waiter {
  enter: () => void;
  sinceMs: number;
}

/**
 * Lets normal requests pass at once, and background ones only when few normal ones are in flight. Background requests never
 * starve: after `maxWaitMs` the oldest passes anyway, but never more than `maxBackground` at a time.
 */
export class PriorityGate {
  readonly #options: PriorityGateOptions;
  readonly #waiters = new Set<Waiter>();
  #normal = 0;
  #background = 0;
  #timer: ScheduledCall | undefined;

  constructor(options: PriorityGateOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  /**
   * Passes the gate; the caller must call {@link leave} afterwards. Returns undefined when there is no wait, so that the
   * common case costs no turn of the event loop.
   *
   * @throws the signal's reason when it aborts while waiting
   */
  enter(priority: Priority, signal: AbortSignal): Promise<void> | undefined {
    if (priority === 'normal') {
      this.#normal += 1;
      return undefined;
    }
    if (this.#waiters.size === 0 && this.#isOpen()) {
      this.#background += 1;
      return undefined;
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        enter: () => {
          this.#waiters.delete(waiter);
          aborting.cancel();
          this.#background += 1;
          resolve();
        },
        sinceMs: this.#options.clock.monotonicMs(),
      };
      this.#waiters.add(waiter);
      const aborting = onAbort(signal, () => {
        this.#waiters.delete(waiter);
        reject(signal.reason);
      });
      this.#plan();
    });
  }

  leave(priority: Priority): void {
    if (priority === 'normal') this.#normal -= 1;
    else this.#background -= 1;
    this.#admit();
  }

  #isOpen(): boolean {
    return this.#normal < this.#options.yieldAboveNormal && this.#background < this.#options.maxBackground;
  }

  #admit(): void {
    const { clock, maxBackground, maxWaitMs } = this.#options;
    for (const waiter of this.#waiters) {
      const isAged = clock.monotonicMs() - waiter.sinceMs >= maxWaitMs && this.#background < maxBackground;
      if (!this.#isOpen() && !isAged) break;
      waiter.enter();
    }
    this.#plan();
  }

  /** One timer, for the oldest. While all background places are taken, {@link leave} checks again. */
  #plan(): void {
    const [oldest] = this.#waiters;
    if (this.#timer !== undefined || oldest === undefined || this.#background >= this.#options.maxBackground) return;
    const { clock, maxWaitMs } = this.#options;
    const delayMs = Math.max(0, oldest.sinceMs + maxWaitMs - clock.monotonicMs());
    this.#timer = clock.schedule(delayMs, () => {
      this.#timer = undefined;
      this.#admit();
    });
  }
}
