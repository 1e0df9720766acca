/**
 * Slots of each instance that are reserved by PodENIs, planned ones included: members of its trunk, or ENIs where pods get whole
 * ones. They are those of the instance, not of the trunk, so that pods keep theirs while a lost trunk is replaced. One entry per
 * PodENI; rebuilt from the PodENIs at start.
 */
export class SlotLedger {
  readonly #byOwner = new Map<string, { instanceId: string; count: number }>();
  readonly #used = new Map<string, number>();
  readonly #onFreed: (instanceId: string) => void;

  /** @param onFreed is called whenever an instance has fewer reserved slots than before, whoever was the cause */
  constructor(onFreed: (instanceId: string) => void) {
    this.#onFreed = onFreed;
  }

  /** Slots of the instance that are reserved. */
  used(instanceId: string): number {
    return this.#used.get(instanceId) ?? 0;
  }

  /** Slots of the instance that are reserved by others than the owner. */
  usedByOthers(instanceId: string, owner: string): number {
    const own = this.#byOwner.get(owner);
    return this.used(instanceId) - (own?.instanceId === instanceId ? own.count : 0);
  }

  /** The owner holds `count` slots of this instance and none of another. */
  reserve(owner: string, instanceId: string, count: number): void {
    const before = this.#byOwner.get(owner);
    this.#byOwner.set(owner, { instanceId, count });
    this.#add(instanceId, count);
    if (before === undefined) return;
    this.#add(before.instanceId, -before.count);
    if (before.instanceId !== instanceId || before.count > count) this.#onFreed(before.instanceId);
  }

  /** The owner holds no slot. */
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
