/**
 * Member slots of trunks that are reserved by PodENIs, planned ones included (I7). One entry per PodENI; rebuilt from the
 * PodENIs at start.
 */
export class SlotLedger {
  readonly #byOwner = new Map<string, { trunkEniId: string; count: number }>();
  readonly #used = new Map<string, number>();

  /** Slots of the trunk that are reserved. */
  used(trunkEniId: string): number {
    return this.#used.get(trunkEniId) ?? 0;
  }

  /** Slots of the trunk that are reserved by others than the owner. */
  usedByOthers(trunkEniId: string, owner: string): number {
    const own = this.#byOwner.get(owner);
    return this.used(trunkEniId) - (own?.trunkEniId === trunkEniId ? own.count : 0);
  }

  /** The owner holds `count` slots of this trunk and none of another. */
  reserve(owner: string, trunkEniId: string, count: number): void {
    this.release(owner);
    this.#byOwner.set(owner, { trunkEniId, count });
    this.#used.set(trunkEniId, this.used(trunkEniId) + count);
  }

  /** The owner holds no slot. @returns the trunk where slots became free. */
  release(owner: string): string | undefined {
    const held = this.#byOwner.get(owner);
    if (held === undefined) return undefined;
    this.#byOwner.delete(owner);
    const left = this.used(held.trunkEniId) - held.count;
    if (left > 0) this.#used.set(held.trunkEniId, left);
    else this.#used.delete(held.trunkEniId);
    return held.trunkEniId;
  }
}
