/** The purpose of a call, most urgent first. */
export const CALL_CLASSES = ['pod', 'move', 'repair', 'release', 'audit'] as const;

/**
 * `pod`: a pod waits for its first interface. `move`: a fixed address moves to its next pod. `repair`: fixes a running
 * pod, or a check that others wait for. `release`: nobody is waiting for it. `audit`: searches for leftovers.
 */
export type CallClass = (typeof CALL_CLASSES)[number];

/** The place of a call within its class. One that must wait again keeps it. */
export interface Place {
  /** Since when its subject has waited, epoch milliseconds. */
  readonly sinceMs: number;
  /** Decides between equal times. */
  readonly serial: number;
}

/** A call that waits for one API. */
export interface Waiter {
  readonly callClass: CallClass;
  readonly place: Place;
}

/** Whether this place comes first. */
export function isBefore(one: Place, other: Place): boolean {
  return one.sinceMs < other.sinceMs || (one.sinceMs === other.sinceMs && one.serial < other.serial);
}

/**
 * After this many turns by class, one goes by age. Otherwise a steady stream of urgent calls would starve the others.
 */
const BY_CLASS_IN_A_ROW = 9;

/** The queue of one API: by class, within a class by age, and now and then the oldest call of all. */
export class CallLine<W extends Waiter> {
  /** Each by place. */
  readonly #byClass: Readonly<Record<CallClass, W[]>> = { pod: [], move: [], repair: [], release: [], audit: [] };
  #size = 0;
  #byClassInARow = 0;

  get size(): number {
    return this.#size;
  }

  /** Number of waiting calls by class. */
  counts(): Record<CallClass, number> {
    const { pod, move, repair, release, audit } = this.#byClass;
    return {
      pod: pod.length,
      move: move.length,
      repair: repair.length,
      release: release.length,
      audit: audit.length,
    };
  }

  add(waiter: W): void {
    const line = this.#byClass[waiter.callClass];
    // Most come last, or nearly so.
    const before = line.findLastIndex(({ place }) => isBefore(place, waiter.place));
    line.splice(before + 1, 0, waiter);
    this.#size += 1;
  }

  /** @returns whether it was in the queue. */
  remove(waiter: W): boolean {
    const line = this.#byClass[waiter.callClass];
    const at = line.indexOf(waiter);
    if (at < 0) return false;
    line.splice(at, 1);
    this.#size -= 1;
    return true;
  }

  /** Removes and returns the next call; undefined when none waits. */
  next(): W | undefined {
    const isByAge = this.#byClassInARow >= BY_CLASS_IN_A_ROW;
    const waiter = isByAge ? this.#oldest() : this.#mostUrgent();
    if (waiter === undefined) return undefined;
    this.#byClassInARow = isByAge ? 0 : this.#byClassInARow + 1;
    this.remove(waiter);
    return waiter;
  }

  #mostUrgent(): W | undefined {
    const name = CALL_CLASSES.find((callClass) => this.#byClass[callClass].length > 0);
    return name === undefined ? undefined : this.#byClass[name][0];
  }

  #oldest(): W | undefined {
    let oldest: W | undefined;
    for (const name of CALL_CLASSES) {
      const [first] = this.#byClass[name];
      if (first !== undefined && (oldest === undefined || isBefore(first.place, oldest.place))) oldest = first;
    }
    return oldest;
  }
}
