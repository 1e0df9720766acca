import type { VSwitch } from '../ecs/vpc.ts';
import type { Random } from '../util/random.ts';

export type SelectionPolicy = 'ordered' | 'random' | 'most';

export type VSwitchChoice =
  | { kind: 'taken'; vSwitch: VSwitch }
  /** No candidate is in the zone. */
  | { kind: 'noneInZone' }
  /** The candidates in the zone have no free address. */
  | { kind: 'full'; ids: string[] };

/** How long a vSwitch that reported no free address is skipped before it is tried again. */
const BLOCK_MS = 15_000;

interface Entry {
  vSwitch: VSwitch;
  free: number;
  blockedUntilMs: number;
}

/**
 * Free addresses per vSwitch: the last count from DescribeVSwitches minus what was handed out since. Does no I/O; the
 * owner feeds it.
 */
export class VSwitchPool {
  /** The vSwitches of the VPC: the owner removes those that the cloud no longer has. */
  readonly #entries = new Map<string, Entry>();

  /** Takes over described counts; they supersede reservations made in the meantime. */
  update(described: VSwitch[]): void {
    for (const vSwitch of described) {
      const blockedUntilMs = this.#entries.get(vSwitch.id)?.blockedUntilMs ?? 0;
      this.#entries.set(vSwitch.id, { vSwitch, free: vSwitch.availableIpCount, blockedUntilMs });
    }
  }

  /** Drops a vSwitch that the cloud no longer knows. */
  remove(id: string): void {
    this.#entries.delete(id);
  }

  get(id: string): VSwitch | undefined {
    return this.#entries.get(id)?.vSwitch;
  }

  /** Addresses believed to be free; undefined for a vSwitch that was never described. */
  free(id: string): number | undefined {
    return this.#entries.get(id)?.free;
  }

  /**
   * Chooses a vSwitch of the zone and takes one address from its count.
   *
   * @param candidates ids in the order of the PodNetworking.
   */
  take(zone: string, candidates: string[], policy: SelectionPolicy, random: Random, nowMs: number): VSwitchChoice {
    const inZone = this.#inZone(zone, candidates);
    if (inZone.length === 0) return { kind: 'noneInZone' };
    const usable = inZone.filter((entry) => isUsable(entry, nowMs));
    const chosen = pick(usable, policy, random);
    if (chosen === undefined) return { kind: 'full', ids: inZone.map((entry) => entry.vSwitch.id) };
    chosen.free -= 1;
    return { kind: 'taken', vSwitch: chosen.vSwitch };
  }

  /** Whether {@link take} would find an address. */
  canTake(zone: string, candidates: readonly string[], nowMs: number): boolean {
    return this.#inZone(zone, candidates).some((entry) => isUsable(entry, nowMs));
  }

  #inZone(zone: string, candidates: readonly string[]): Entry[] {
    return candidates.flatMap((id) => {
      const entry = this.#entries.get(id);
      return entry?.vSwitch.zoneId === zone ? [entry] : [];
    });
  }

  /**
   * Takes up to so many more addresses of a vSwitch; all of them if it was never described.
   *
   * @returns how many it has
   */
  more(id: string, count: number): number {
    const entry = this.#entries.get(id);
    if (entry === undefined) return count;
    const taken = Math.max(0, Math.min(count, entry.free));
    entry.free -= taken;
    return taken;
  }

  /** Whether it has no address as far as is known, or said so a moment ago. */
  isFull(id: string, nowMs: number): boolean {
    const entry = this.#entries.get(id);
    return entry !== undefined && !isUsable(entry, nowMs);
  }

  /** Returns addresses that were taken but not used. */
  giveBack(id: string, count = 1): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) entry.free += count;
  }

  /** The cloud took back addresses or an ENI of ours, so they are free now, whatever the last description said. */
  released(id: string, count = 1): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    entry.free += count;
    entry.blockedUntilMs = 0;
  }

  /** The cloud reported that no address is left; the vSwitch is tried again after a short time. */
  block(id: string, nowMs: number): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) entry.blockedUntilMs = nowMs + BLOCK_MS;
  }
}

function isUsable({ free, blockedUntilMs }: Entry, nowMs: number): boolean {
  return free > 0 && blockedUntilMs <= nowMs;
}

function pick<E extends { free: number }>(entries: E[], policy: SelectionPolicy, random: Random): E | undefined {
  switch (policy) {
    case 'ordered':
      return entries[0];
    case 'random':
      return entries[Math.floor(random.next() * entries.length)];
    case 'most':
      return entries.reduce<E | undefined>(
        (best, entry) => (best === undefined || entry.free > best.free ? entry : best),
        undefined,
      );
  }
}
