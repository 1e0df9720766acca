import type { Clock } from '../clock.ts';

/** A clock for tests that moves only when told to. */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #calls: { dueMs: number; order: number; callback: () => void }[] = [];
  #order = 0;
  /** A fixed date, so that written times are readable. */
  #epochMs = Date.parse('2026-01-01T00:00:00Z');

  now(): number {
    return this.#epochMs + this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  schedule(ms: number, callback: () => void): { cancel(): void } {
    const call = { dueMs: this.#nowMs + Math.max(0, ms), order: this.#order++, callback };
    this.#calls.push(call);
    return {
      cancel: () => {
        this.#calls = this.#calls.filter((other) => other !== call);
      },
    };
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

  get pendingCalls(): number {
    return this.#calls.length;
  }

  /** Moves on by `ms`, making each call at its time and letting what awaits it run in between. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await settle();
    for (;;) {
      const next = this.#calls
        .filter((call) => call.dueMs <= untilMs)
        .sort((a, b) => a.dueMs - b.dueMs || a.order - b.order)[0];
      if (next === undefined) break;
      this.#calls = this.#calls.filter((call) => call !== next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.callback();
      await settle();
    }
    this.#nowMs = untilMs;
  }

  /** Moves on without making any call, as a process that was stopped sees it. */
  freeze(ms: number): void {
    this.#nowMs += ms;
  }

  /** Sets the wall clock by `ms`, back when negative; no time passes. */
  setWallClock(ms: number): void {
    this.#epochMs += ms;
  }
}

async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}
