import type { Clock } from '../util/clock.ts';

/** Since when pods wait for their interfaces, as far as this leader has seen them; for metrics alone. */
export class PodStarts {
  readonly #clock: Clock;
  readonly #starts = new Map<string, { uid: string; sinceMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The pod is being served from now on, unless it was before. */
  begin(key: string, uid: string): void {
    if (this.#starts.get(key)?.uid === uid) return;
    this.#starts.set(key, { uid, sinceMs: this.#clock.monotonicMs() });
  }

  /** Nobody waits under this name any more. @returns how long the pod has waited; undefined when its begin was not seen. */
  end(key: string): number | undefined {
    const start = this.#starts.get(key);
    this.#starts.delete(key);
    return start === undefined ? undefined : this.#clock.monotonicMs() - start.sinceMs;
  }

  /** How long the pod that waits longest has done so; 0 when none waits. */
  oldestMs(): number {
    const nowMs = this.#clock.monotonicMs();
    let oldestMs = nowMs;
    for (const { sinceMs } of this.#starts.values()) oldestMs = Math.min(oldestMs, sinceMs);
    return nowMs - oldestMs;
  }
}
