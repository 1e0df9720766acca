import type { Clock, ScheduledCall } from '../util/clock.ts';

/** Items that were replaced or removed may be as many as the valid ones, and so many more, before they are dropped. */
const MOST_STALE = 1000;
/** Timers overflow beyond 2^31 ms, so longer waits are split. */
const LONGEST_TIMER_MS = 3_600_000;

interface Item<V> {
  key: string;
  dueMs: number;
  value: V;
}

/**
 * Keys with a due time, in a binary heap with one timer, so that 100,000 delayed keys cost one timer. Adding a key again
 * keeps the earlier of its two times.
 */
export class DelayHeap<V> {
  readonly #clock: Clock;
  readonly #onDue: (key: string, value: V) => void;
  readonly #heap: Item<V>[] = [];
  /** The valid item of each key; a heap item that is not in here was replaced by an earlier one. */
  readonly #items = new Map<string, Item<V>>();
  #timer: { dueMs: number; call: ScheduledCall } | undefined;

  constructor(clock: Clock, onDue: (key: string, value: V) => void) {
    this.#clock = clock;
    this.#onDue = onDue;
  }

  get size(): number {
    return this.#items.size;
  }

  add(key: string, delayMs: number, value: V): void {
    const dueMs = this.#clock.monotonicMs() + delayMs;
    const pending = this.#items.get(key);
    if (pending !== undefined && pending.dueMs <= dueMs) return;
    const item: Item<V> = { key, dueMs, value };
    this.#items.set(key, item);
    this.#push(item);
    this.#dropStale();
    this.#arm();
  }

  /** No effect on a key that has no due time. */
  remove(key: string): void {
    if (this.#items.delete(key)) this.#dropStale();
  }

  /** Drops every key. */
  clear(): void {
    this.#timer?.call.cancel();
    this.#timer = undefined;
    this.#heap.length = 0;
    this.#items.clear();
  }

  #dropStale(): void {
    if (this.#heap.length <= 2 * this.#items.size + MOST_STALE) return;
    this.#heap.length = 0;
    for (const item of this.#items.values()) this.#push(item);
  }

  #arm(): void {
    const first = this.#heap[0];
    if (first === undefined) return;
    if (this.#timer !== undefined) {
      if (this.#timer.dueMs <= first.dueMs) return;
      this.#timer.call.cancel();
    }
    const delayMs = Math.max(0, first.dueMs - this.#clock.monotonicMs());
    const call = this.#clock.schedule(Math.min(delayMs, LONGEST_TIMER_MS), () => this.#fire());
    this.#timer = { dueMs: first.dueMs, call };
  }

  #fire(): void {
    this.#timer = undefined;
    // Timers may fire a fraction of a millisecond early.
    const nowMs = this.#clock.monotonicMs() + 0.5;
    for (let first = this.#heap[0]; first !== undefined && first.dueMs <= nowMs; first = this.#heap[0]) {
      this.#pop();
      if (this.#items.get(first.key) !== first) continue;
      this.#items.delete(first.key);
      this.#onDue(first.key, first.value);
    }
    this.#arm();
  }

  #push(item: Item<V>): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(item);
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = heap[parentIndex];
      if (parent === undefined || parent.dueMs <= item.dueMs) break;
      heap[index] = parent;
      index = parentIndex;
    }
    heap[index] = item;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    while (true) {
      let childIndex = 2 * index + 1;
      let child = heap[childIndex];
      if (child === undefined) break;
      const right = heap[childIndex + 1];
      if (right !== undefined && right.dueMs < child.dueMs) {
        childIndex += 1;
        child = right;
      }
      if (last.dueMs <= child.dueMs) break;
      heap[index] = child;
      index = childIndex;
    }
    heap[index] = last;
  }
}
