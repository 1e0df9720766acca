/** A binary heap of events by due time; events with the same time keep their order of insertion. */

export interface DueEvent<T> {
  dueMs: number;
  order: number;
  payload: T;
}

export class EventQueue<T> {
  readonly #heap: DueEvent<T>[] = [];
  #nextOrder = 0;

  get size(): number {
    return this.#heap.length;
  }

  /** Time of the earliest event; undefined when there is none. */
  nextDueMs(): number | undefined {
    return this.#heap[0]?.dueMs;
  }

  /** The earliest event, without removing it. */
  peek(): DueEvent<T> | undefined {
    return this.#heap[0];
  }

  plan(dueMs: number, payload: T): void {
    const event = { dueMs, order: this.#nextOrder++, payload };
    const heap = this.#heap;
    heap.push(event);
    let index = heap.length - 1;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = heap[parentIndex];
      if (parent === undefined || !before(event, parent)) break;
      heap[index] = parent;
      index = parentIndex;
    }
    heap[index] = event;
  }

  /** Removes and returns the earliest event if it is due at `nowMs`. */
  takeDue(nowMs: number): DueEvent<T> | undefined {
    const heap = this.#heap;
    const first = heap[0];
    if (first === undefined || first.dueMs > nowMs) return undefined;
    const last = heap.pop();
    if (last !== undefined && heap.length > 0) this.#sink(last);
    return first;
  }

  #sink(event: DueEvent<T>): void {
    const heap = this.#heap;
    let index = 0;
    for (;;) {
      const left = heap[2 * index + 1];
      const right = heap[2 * index + 2];
      if (left === undefined) break;
      const useRight = right !== undefined && before(right, left);
      const child = useRight ? right : left;
      if (!before(child, event)) break;
      heap[index] = child;
      index = 2 * index + (useRight ? 2 : 1);
    }
    heap[index] = event;
  }
}

function before<T>(a: DueEvent<T>, b: DueEvent<T>): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);
}
