import type { Clock } from '../../util/clock.ts';

/** What lasts shorter is not written: it has passed before anyone could read it. */
const FIRST_AFTER_MS = 5000;
/** Minimum interval between two writes for the same PodENI; and how long what was written may be out of date. */
const BETWEEN_MS = 15_000;

interface Noted {
  written?: { text: string; atMs: number };
  /** What was not written yet: its present stage, and since when what was written is out of date. */
  pending?: { stage: string; stageSinceMs: number; sinceMs: number };
}

/** What to do about a change in a wait. */
export type ProgressVerdict =
  | { write: true }
  /** Do not write now; ask again after this time. */
  | { write: false; againAfterMs?: number };

/**
 * Decides when a wait is written to the status: when a stage of it has lasted for 5 s, then at most every 15 s and only if
 * it changed. Keeps the load of many waiting pods on the API server low, in particular when the quota of a minute lets
 * hundreds of them go on at once.
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

  /**
   * @param stage what it waits for; a new one begins a new wait of 5 s
   * @param urgent an error is written at once when it is the first report for the key.
   */
  judge(key: string, { stage, text }: { stage: string; text: string }, urgent: boolean): ProgressVerdict {
    const nowMs = this.#clock.now();
    const { written, pending: before = { stage, stageSinceMs: nowMs, sinceMs: nowMs } } = this.#noted.get(key) ?? {};
    if (written?.text === text) {
      this.#noted.set(key, { written });
      return { write: false };
    }
    const pending = before.stage === stage ? before : { ...before, stage, stageSinceMs: nowMs };
    // Stages may follow each other for ever.
    const steadyMs = Math.min(pending.stageSinceMs + FIRST_AFTER_MS, pending.sinceMs + BETWEEN_MS);
    const dueMs = Math.max(urgent ? 0 : steadyMs, (written?.atMs ?? Number.NEGATIVE_INFINITY) + BETWEEN_MS);
    if (nowMs < dueMs) {
      this.#noted.set(key, written === undefined ? { pending } : { written, pending });
      return { write: false, againAfterMs: dueMs - nowMs };
    }
    this.#noted.set(key, { written: { text, atMs: nowMs } });
    return { write: true };
  }

  /** The wait is over. */
  forget(key: string): void {
    this.#noted.delete(key);
  }
}
