/**
 * Slots that are reserved by PodENIs, planned ones included (I7): members of a trunk, or ENIs of an instance on exclusive
 * nodes; the ENI or instance that gives them out is their holder. One entry per PodENI; rebuilt from the PodENIs at start.
 */
export class SlotLedger {
  readonly #byOwner = new Map<string, { holder: string; count: number }>();
  readonly #used = new Map<string, number>();

  /** Slots of the holder that are reserved. */
  used(holder: string): number {
    return this.#used.get(holder) ?? 0;
  }

  /** Slots of the holder that are reserved by others than the owner. */
  usedByOthers(holder: string, owner: string): number {
    const own = this.#byOwner.get(owner);
    return this.used(holder) - (own?.holder === holder ? own.count : 0);
  }

  /** The owner holds `count` slots of this holder and none of another. */
  reserve(owner: string, holder: string, count: number): void {
    this.release(owner);
    this.#byOwner.set(owner, { holder, count });
    this.#used.set(holder, this.used(holder) + count);
  }

  /** The owner holds no slot. @returns the holder where slots became free. */
  release(owner: string): string | undefined {
    const held = this.#byOwner.get(owner);
    if (held === undefined) return undefined;
    this.#byOwner.delete(owner);
    const left = this.used(held.holder) - held.count;
    if (left > 0) this.#used.set(held.holder, left);
    else this.#used.delete(held.holder);
    return held.holder;
  }
}
