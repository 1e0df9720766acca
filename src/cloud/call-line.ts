/** Who a call is for, the most urgent first. */
export const CALL_CLASSES = ['pod', 'move', 'repair', 'release', 'audit'] as const;

/**
 * `pod`: a pod waits for its first interface. `move`: a fixed address goes to its next pod. `repair`: what runs is put right, or
 * a check that others wait for. `release`: nobody waits for it at once. `audit`: looking for what has been left behind.
 */
export type CallClass = (typeof CALL_CLASSES)[number];

/** A place in the line of one API. */
export interface Waiter {
  readonly callClass: CallClass;
  /** Since when it has waited; a call that was throttled keeps the time from before. Milliseconds, monotonic. */
  readonly sinceMs: number;
}

/** So many go by class, then one by age: with the most urgent alone, the others would wait as long as those keep coming. */
const BY_CLASS_IN_A_ROW = 9;

/** Those who wait for one API: by class, within a class in order of arrival, and now and then whoever has waited longest. */
export class CallLine<W extends Waiter> {
  /** Sets keep the order of arrival, and give up any place at once. */
  readonly #byClass = new Map<CallClass, { returned: Set<W>; arrived: Set<W> }>(
    CALL_CLASSES.map((name) => [name, { returned: new Set(), arrived: new Set() }]),
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
      return (line?.returned.size ?? 0) + (line?.arrived.size ?? 0);
    };
    return {
      pod: countOf('pod'),
      move: countOf('move'),
      repair: countOf('repair'),
      release: countOf('release'),
      audit: countOf('audit'),
    };
  }

  /** @param isReturned it had its turn, and could not use it: it stands before those of its class that came later. */
  add(waiter: W, isReturned: boolean): void {
    const line = this.#byClass.get(waiter.callClass);
    (isReturned ? line?.returned : line?.arrived)?.add(waiter);
    this.#size += 1;
  }

  /** @returns whether it was in the line. */
  remove(waiter: W): boolean {
    const line = this.#byClass.get(waiter.callClass);
    const isRemoved = line?.returned.delete(waiter) === true || line?.arrived.delete(waiter) === true;
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
      if (first !== undefined && (oldest === undefined || first.sinceMs < oldest.sinceMs)) oldest = first;
    }
    return oldest;
  }

  #firstOf(name: CallClass): W | undefined {
    const line = this.#byClass.get(name);
    return line?.returned.values().next().value ?? line?.arrived.values().next().value;
  }
}
