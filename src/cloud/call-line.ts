/** Who a call is for, the most urgent first. */
export const CALL_CLASSES = ['pod', 'move', 'repair', 'release', 'audit'] as const;

/**
 * `pod`: a pod waits for its first interface. `move`: a fixed address goes to its next pod. `repair`: what runs is put right, or
 * a check that others wait for. `release`: nobody waits for it at once. `audit`: looking for what has been left behind.
 */
export type CallClass = (typeof CALL_CLASSES)[number];

/** Who waits for one API. */
export interface Waiter {
  readonly callClass: CallClass;
  /** Its place by age: grows with every call. One that must wait again keeps it. */
  readonly place: number;
}

/** So many go by class, then one by age: with the most urgent alone, the others would wait as long as those keep coming. */
const BY_CLASS_IN_A_ROW = 9;

/** Those who wait for one API: by class, within a class in order of arrival, and now and then whoever has waited longest. */
export class CallLine<W extends Waiter> {
  /** Who arrives stands at the end of a set, which gives up any place at once; who returns stands before, by age. */
  readonly #byClass = new Map<CallClass, { returned: W[]; arrived: Set<W>; last: number }>(
    CALL_CLASSES.map((name) => [name, { returned: [], arrived: new Set(), last: 0 }]),
  );
  #size = 0;
  #byClassInARow = 0;

  get size(): number {
    return this.#size;
  }

  /** How many wait by class. */
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

  /** One that has waited before stands before those of its class that came later. */
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

  /** @returns whether it was in the line. */
  remove(waiter: W): boolean {
    const line = this.#byClass.get(waiter.callClass);
    if (line === undefined) return false;
    const at = line.returned.indexOf(waiter);
    if (at >= 0) line.returned.splice(at, 1);
    const isRemoved = at >= 0 || line.arrived.delete(waiter);
    if (isRemoved) this.#size -= 1;
    return isRemoved;
  }

  /** Takes out whose turn it is; undefined when nobody waits. */
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
