import type { Clock } from '../util/clock.ts';

/** Since when pods wait for their interfaces, as far as this leader knows; only for metrics. */
export class PodStarts {
  readonly #clock: Clock;
  readonly #starts = new Map<string, { uid: string; sinceMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Waiting pods. */
  get size(): number {
    return this.#starts.size;
  }

  /** Starts the clock of a pod, unless it is already running. */
  begin(key: string, uid: string): void {
    if (this.#starts.get(key)?.uid === uid) return;
    this.#starts.set(key, { uid, sinceMs: this.#clock.monotonicMs() });
  }

  /** Nobody waits under this name any more. @returns how long the pod waited; undefined when its start was not seen. */
  end(key: string): number | undefined {
    const start = this.#starts.get(key);
    this.#starts.delete(key);
    return start === undefined ? undefined : this.#clock.monotonicMs() - start.sinceMs;
  }

  /** The longest current wait; 0 when no pod waits. */
  oldestMs(): number {
    const nowMs = this.#clock.monotonicMs();
    let oldestMs = nowMs;
    for (const { sinceMs } of this.#starts.values()) oldestMs = Math.min(oldestMs, sinceMs);
    return nowMs - oldestMs;
  }
}
