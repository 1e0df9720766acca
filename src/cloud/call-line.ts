/** The purpose of a call, most urgent first. */
export const CALL_CLASSES = ['pod', 'move', 'repair', 'release', 'audit'] as const;

/**
 * `pod`: a pod waits for its first interface. `move`: a fixed address moves to its next pod. `repair`: fixes a running
 * pod, or a check that others wait for. `release`: nobody is waiting for it. `audit`: searches for leftovers.
 */
export type CallClass = (typeof CALL_CLASSES)[number];

/** A call that waits for one API. */
export interface Waiter {
  readonly callClass: CallClass;
  /** Its place by age, which grows with every call. A call that must wait again keeps it. */
  readonly place: number;
}

/**
 * After this many turns by class, one goes by age. Otherwise a steady stream of urgent calls would starve the others.
 */
const BY_CLASS_IN_A_ROW = 9;

/** The queue of one API: by class, within a class in order of arrival, and now and then the oldest call. */
export class CallLine<W extends Waiter> {
  /** New arrivals form a set, which supports fast removal; returning calls come before them, ordered by age. */
  readonly #byClass = new Map<CallClass, { returned: W[]; arrived: Set<W>; last: number }>(
    CALL_CLASSES.map((name) => [name, { returned: [], arrived: new Set(), last: 0 }]),
  );
  #size = 0;
  #byClassInARow = 0;

  get size(): number {
    return this.#size;
  }

  /** Number of waiting calls by class. */
  counts(): Record<CallClass, number> {
    const countOf = (name: CallClass) => {
      const line = this.#byClass.get(name);
      return (line?.returned.length ?? 0) + (line?.arrived.size ?? 0);
    };
    return {
      pod: countOf('pod'),
      move: countOf('move'),
      repair: countOf('repair'),
      release: countOf('release'),
      audit: countOf('audit'),
    };
  }

  /** A call that has waited before goes before those of its class that came later. */
  add(waiter: W): void {
    const line = this.#byClass.get(waiter.callClass);
    if (line === undefined) return;
    if (waiter.place < line.last) {
      const later = line.returned.findIndex(({ place }) => place > waiter.place);
      line.returned.splice(later < 0 ? line.returned.length : later, 0, waiter);
    } else {
      line.last = waiter.place;
      line.arrived.add(waiter);
    }
    this.#size += 1;
  }

  /** @returns whether it was in the queue. */
  remove(waiter: W): boolean {
    const line = this.#byClass.get(waiter.callClass);
    if (line === undefined) return false;
    const at = line.returned.indexOf(waiter);
    if (at >= 0) line.returned.splice(at, 1);
    const isRemoved = at >= 0 || line.arrived.delete(waiter);
    if (isRemoved) this.#size -= 1;
    return isRemoved;
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
    for (const name of CALL_CLASSES) {
      const first = this.#firstOf(name);
      if (first !== undefined) return first;
    }
    return undefined;
  }

  #oldest(): W | undefined {
    let oldest: W | undefined;
    for (const name of CALL_CLASSES) {
      const first = this.#firstOf(name);
      if (first !== undefined && (oldest === undefined || first.place < oldest.place)) oldest = first;
    }
    return oldest;
  }

  #firstOf(name: CallClass): W | undefined {
    const line = this.#byClass.get(name);
    return line?.returned[0] ?? line?.arrived.values().next().value;
  }
}
