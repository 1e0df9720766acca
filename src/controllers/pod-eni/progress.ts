import type { Clock } from '../../util/clock.ts';

/** A shorter wait is not written: the pod is served before anyone could read it. */
const FIRST_AFTER_MS = 5000;
/** Minimum interval between two writes for the same PodENI. */
const BETWEEN_MS = 15_000;

interface Noted {
  sinceMs: number;
  writtenMs: number;
  text: string;
}

/** What to do about a change in a wait. */
export type ProgressVerdict =
  | { write: true }
  /** Do not write now; ask again after this time. */
  | { write: false; againAfterMs?: number };

/**
 * Decides when a wait is written to the status: after 5 s, then at most every 15 s and only if it changed. Keeps the
 * load of many waiting pods on the API server low.
 */
export class ProgressPacer {
  readonly #clock: Clock;
  readonly #noted = new Map<string, Noted>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Waits that were reported or will be. */
  get size(): number {
    return this.#noted.size;
  }

  /** @param urgent an error is written at once when it is the first report for the key. */
  judge(key: string, text: string, urgent: boolean): ProgressVerdict {
    const nowMs = this.#clock.now();
    const noted = this.#noted.get(key) ?? { sinceMs: nowMs, writtenMs: Number.NEGATIVE_INFINITY, text: '' };
    this.#noted.set(key, noted);
    if (noted.text === text) return { write: false };
    const dueMs = Math.max(urgent ? 0 : noted.sinceMs + FIRST_AFTER_MS, noted.writtenMs + BETWEEN_MS);
    if (nowMs < dueMs) return { write: false, againAfterMs: dueMs - nowMs };
    noted.writtenMs = nowMs;
    noted.text = text;
    return { write: true };
  }

  /** The wait is over. */
  forget(key: string): void {
    this.#noted.delete(key);
  }
}
