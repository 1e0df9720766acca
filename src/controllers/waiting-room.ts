import type { WaitsFor } from '../allocation/plan.ts';

/** Pods that found no room, in arrival order behind what they wait for (L3). */
export class WaitingRoom {
  readonly #queues = new Map<string, Set<string>>();
  readonly #placeOf = new Map<string, WaitsFor>();
  readonly #wake: (key: string) => void;

  /** @param wake is called for every pod that should be looked at again. */
  constructor(wake: (key: string) => void) {
    this.#wake = wake;
  }

  /** How many pods wait for anything. */
  get size(): number {
    return this.#placeOf.size;
  }

  /** Puts a pod at the end of a queue; one that is in it already keeps its place. */
  park(key: string, waitsFor: WaitsFor): void {
    const place = nameOf(waitsFor);
    const before = this.#placeOf.get(key);
    if (before !== undefined && nameOf(before) === place) return;
    this.leave(key);
    const queue = this.#queues.get(place) ?? new Set();
    queue.add(key);
    this.#queues.set(place, queue);
    this.#placeOf.set(key, waitsFor);
  }

  /** The pod waits no longer. Who stands behind it may have been held up by it alone, so the next one is looked at. */
  leave(key: string): void {
    const waitsFor = this.#placeOf.get(key);
    if (waitsFor === undefined) return;
    this.#placeOf.delete(key);
    const place = nameOf(waitsFor);
    const queue = this.#queues.get(place);
    queue?.delete(key);
    if (queue?.size === 0) this.#queues.delete(place);
    if (waitsFor.kind !== 'slot') return;
    const [next] = queue ?? [];
    if (next !== undefined) this.#wake(next);
  }

  /** How many pods stand before this one; for one that does not wait yet, all of them. */
  ahead(key: string, waitsFor: WaitsFor): number {
    const queue = this.#queues.get(nameOf(waitsFor));
    if (queue === undefined) return 0;
    let ahead = 0;
    for (const waiting of queue) {
      if (waiting === key) return ahead;
      ahead += 1;
    }
    return ahead;
  }

  /** Looks again at those who wait for this, the longest waiting first. They keep their place until they leave. */
  wake(waitsFor: WaitsFor): void {
    for (const key of this.#queues.get(nameOf(waitsFor)) ?? []) this.#wake(key);
  }
}

function nameOf(waitsFor: WaitsFor): string {
  switch (waitsFor.kind) {
    case 'node':
    case 'slot':
      return `${waitsFor.kind}:${waitsFor.nodeName}`;
    case 'vSwitch':
      return `vSwitch:${waitsFor.zone}`;
    case 'networking':
      return `networking:${waitsFor.name}`;
  }
}
