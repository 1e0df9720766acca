import type { WaitsFor } from '../allocation/plan.ts';

/** Pods for which no slot or address was free, in order of arrival by what they wait for (L3). */
export class PendingPods {
  /** Pods without a PodENI, by the PodNetworkings that will serve them. */
  readonly #unserved = new Map<string, Set<string>>();
  readonly #networkingsOf = new Map<string, readonly string[]>();
  readonly #queues = new Map<string, Set<string>>();
  readonly #placeOf = new Map<string, WaitsFor>();
  readonly #wake: (key: string) => void;
  readonly #onChange: (networking: string) => void;

  /**
   * @param wake is called for every pod that should be reconciled again.
   * @param onChange is called with a PodNetworking when the set of pods that wait for it changed.
   */
  constructor(wake: (key: string) => void, onChange: (networking: string) => void = () => {}) {
    this.#wake = wake;
    this.#onChange = onChange;
  }

  /** Entries held for waiting pods. */
  get size(): number {
    return this.#placeOf.size + this.#queues.size + this.#networkingsOf.size + this.#unserved.size;
  }

  counts(): Record<WaitsFor['kind'], number> {
    const counts = { node: 0, slot: 0, vSwitch: 0, networking: 0 };
    for (const { kind } of this.#placeOf.values()) counts[kind] += 1;
    return counts;
  }

  /**
   * Puts a pod at the end of a queue; one that is already there keeps its place.
   *
   * @param networkings that will serve the pod, if it has no PodENI yet.
   */
  park(key: string, waitsFor: WaitsFor, networkings: readonly string[] = []): void {
    const place = nameOf(waitsFor);
    const before = this.#placeOf.get(key);
    if (before !== undefined && nameOf(before) === place) {
      this.#note(key, networkings);
      return;
    }
    this.leave(key);
    this.#note(key, networkings);
    const queue = this.#queues.get(place) ?? new Set();
    queue.add(key);
    this.#queues.set(place, queue);
    this.#placeOf.set(key, waitsFor);
  }

  /** The pod no longer waits. It may have been all that blocked the next pod, so that one is woken. */
  leave(key: string): void {
    const waitsFor = this.#placeOf.get(key);
    if (waitsFor === undefined) return;
    this.#placeOf.delete(key);
    this.#note(key, []);
    const place = nameOf(waitsFor);
    const queue = this.#queues.get(place);
    queue?.delete(key);
    if (queue?.size === 0) this.#queues.delete(place);
    if (waitsFor.kind !== 'slot' && waitsFor.kind !== 'vSwitch') return;
    const [next] = queue ?? [];
    if (next !== undefined) this.#wake(next);
  }

  /** How many pods are ahead of this one; for one that does not wait yet, all of them. */
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

  /** The place of a waiting pod as text; undefined when it does not wait in a queue. */
  placeOf(key: string): string | undefined {
    const waitsFor = this.#placeOf.get(key);
    if (waitsFor === undefined || (waitsFor.kind !== 'slot' && waitsFor.kind !== 'vSwitch')) return undefined;
    const length = this.#queues.get(nameOf(waitsFor))?.size ?? 0;
    return `place ${this.ahead(key, waitsFor) + 1} of ${length} in line`;
  }

  /** How many pods without a PodENI wait for a PodNetworking, and in which zones they wait for an address. */
  unserved(networking: string): { pods: number; zonesWithoutAddress: Set<string> } {
    const zonesWithoutAddress = new Set<string>();
    const keys = this.#unserved.get(networking) ?? new Set();
    for (const key of keys) {
      const waitsFor = this.#placeOf.get(key);
      if (waitsFor?.kind === 'vSwitch') zonesWithoutAddress.add(waitsFor.zone);
    }
    return { pods: keys.size, zonesWithoutAddress };
  }

  /** All queues with their pods in order; the longest queue first. */
  places(): { waitsFor: WaitsFor; pods: string[] }[] {
    return [...this.#queues.values()]
      .flatMap((queue) => {
        const [first] = queue;
        const waitsFor = first === undefined ? undefined : this.#placeOf.get(first);
        return waitsFor === undefined ? [] : [{ waitsFor, pods: [...queue] }];
      })
      .sort((left, right) => right.pods.length - left.pods.length);
  }

  #note(key: string, networkings: readonly string[]): void {
    const before = this.#networkingsOf.get(key) ?? [];
    if (before.length === networkings.length && before.every((name, at) => name === networkings[at])) return;
    if (networkings.length === 0) this.#networkingsOf.delete(key);
    else this.#networkingsOf.set(key, networkings);
    for (const name of before) {
      const keys = this.#unserved.get(name);
      keys?.delete(key);
      if (keys?.size === 0) this.#unserved.delete(name);
    }
    for (const name of networkings) this.#unserved.set(name, (this.#unserved.get(name) ?? new Set()).add(key));
    for (const name of new Set([...before, ...networkings])) this.#onChange(name);
  }

  /**
   * Wakes pods that wait for an address of this vSwitch, in each queue at most as many as there are addresses. A pod
   * that leaves the queue without an address wakes the next.
   */
  wakeForAddress(vSwitchId: string, addresses: number): void {
    for (const [first] of this.#queues.values()) {
      const waitsFor = first === undefined ? undefined : this.#placeOf.get(first);
      if (waitsFor?.kind !== 'vSwitch' || !waitsFor.ids.includes(vSwitchId)) continue;
      let left = addresses;
      for (const key of this.#queues.get(nameOf(waitsFor)) ?? []) {
        if (left <= 0) break;
        left -= 1;
        this.#wake(key);
      }
    }
  }

  /** Wakes the pods that wait for this, the longest waiting first. They keep their place until they leave. */
  wake(waitsFor: Exclude<WaitsFor, { kind: 'vSwitch' }>): void {
    for (const key of this.#queues.get(nameOf(waitsFor)) ?? []) this.#wake(key);
  }
}

function nameOf(waitsFor: WaitsFor): string {
  switch (waitsFor.kind) {
    case 'node':
    case 'slot':
      return `${waitsFor.kind}:${waitsFor.nodeName}`;
    case 'vSwitch':
      return `vSwitch:${waitsFor.zone}:${[...waitsFor.ids].sort().join(',')}`;
    case 'networking':
      return `networking:${waitsFor.name}`;
  }
}
