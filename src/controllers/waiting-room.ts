import type { WaitsFor } from '../allocation/plan.ts';

/** Pods that found no room, in arrival order behind what they wait for (L3). */
export class WaitingRoom {
  readonly #queues = new Map<string, Set<string>>();
  readonly #placeOf = new Map<string, string>();
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
    const place = placeOf(waitsFor);
    if (this.#placeOf.get(key) === place) return;
    this.leave(key);
    const queue = this.#queues.get(place) ?? new Set();
    queue.add(key);
    this.#queues.set(place, queue);
    this.#placeOf.set(key, place);
  }

  /** The pod waits no longer. */
  leave(key: string): void {
    const place = this.#placeOf.get(key);
    if (place === undefined) return;
    this.#placeOf.delete(key);
    const queue = this.#queues.get(place);
    queue?.delete(key);
    if (queue?.size === 0) this.#queues.delete(place);
  }

  /** How many pods stand before this one; for one that does not wait yet, all of them. */
  ahead(key: string, waitsFor: WaitsFor): number {
    const queue = this.#queues.get(placeOf(waitsFor));
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
    for (const key of this.#queues.get(placeOf(waitsFor)) ?? []) this.#wake(key);
  }
}

function placeOf(waitsFor: WaitsFor): string {
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
