/**
 * Slots that PodENIs reserve on each instance, including planned ones: members of its trunk, or ENIs on nodes where
 * pods get whole ENIs. They belong to the instance rather than the trunk, so that pods keep them while a lost trunk is
 * replaced. One entry per PodENI; rebuilt from the PodENIs at start.
 */
export class SlotLedger {
  readonly #byOwner = new Map<string, { instanceId: string; count: number }>();
  readonly #used = new Map<string, number>();
  readonly #onFreed: (instanceId: string) => void;

  /** @param onFreed is called whenever the number of reserved slots of an instance drops, for whatever reason */
  constructor(onFreed: (instanceId: string) => void) {
    this.#onFreed = onFreed;
  }

  /** Owners and instances with reserved slots. */
  get size(): number {
    return this.#byOwner.size + this.#used.size;
  }

  used(instanceId: string): number {
    return this.#used.get(instanceId) ?? 0;
  }

  /** Reserved slots of the instance without those of the owner. */
  usedByOthers(instanceId: string, owner: string): number {
    const own = this.#byOwner.get(owner);
    return this.used(instanceId) - (own?.instanceId === instanceId ? own.count : 0);
  }

  /** The owner holds `count` slots of this instance and none of any other. */
  reserve(owner: string, instanceId: string, count: number): void {
    const before = this.#byOwner.get(owner);
    this.#byOwner.set(owner, { instanceId, count });
    this.#add(instanceId, count);
    if (before === undefined) return;
    this.#add(before.instanceId, -before.count);
    if (before.instanceId !== instanceId || before.count > count) this.#onFreed(before.instanceId);
  }

  release(owner: string): void {
    const held = this.#byOwner.get(owner);
    if (held === undefined) return;
    this.#byOwner.delete(owner);
    this.#add(held.instanceId, -held.count);
    this.#onFreed(held.instanceId);
  }

  #add(instanceId: string, count: number): void {
    const sum = this.used(instanceId) + count;
    if (sum > 0) this.#used.set(instanceId, sum);
    else this.#used.delete(instanceId);
  }
}
