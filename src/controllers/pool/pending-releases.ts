import type { Freed } from '../../allocation/pool/release.ts';
import { COUNTS_AFTER_MS, type Unconfirmed } from '../../allocation/pool/unconfirmed.ts';
import type { Condition } from '../../kube/conditions.ts';

/** Since when addresses wait for the word of their node. */
export class PendingReleases {
  /** By node, then by address and pod. */
  readonly #nodes = new Map<string, ReadonlyMap<string, Unconfirmed>>();

  /** Nodes that are remembered. */
  get size(): number {
    return this.#nodes.size;
  }

  forget(nodeName: string): void {
    this.#nodes.delete(nodeName);
  }

  /** @param stated what the Node CR says of them, perhaps by an earlier leader */
  note(
    nodeName: string,
    unconfirmed: readonly Freed[],
    stated: Condition | undefined,
    nowMs: number,
  ): readonly Unconfirmed[] {
    const before = this.#nodes.get(nodeName);
    // An earlier leader has waited for them already.
    const earlierMs = stated?.status === 'False' ? Date.parse(stated.lastTransitionTime) - COUNTS_AFTER_MS : nowMs;
    const firstMs = before === undefined ? Math.min(nowMs, earlierMs || nowMs) : nowMs;
    const now = new Map<string, Unconfirmed>();
    for (const { ip, key } of unconfirmed) {
      const id = `${ip} ${key}`;
      now.set(id, before?.get(id) ?? { ip, key, sinceMs: firstMs });
    }
    // As long as the record says that some wait, the write that says otherwise may have been lost.
    if (now.size === 0 && stated?.status !== 'False') this.#nodes.delete(nodeName);
    else this.#nodes.set(nodeName, now);
    return [...now.values()];
  }

  of(nodeName: string): Unconfirmed[] {
    return [...(this.#nodes.get(nodeName)?.values() ?? [])];
  }

  /**
   * How many wait, and for how long the first of them has.
   *
   * @param isAsked whether the word of this node is to be expected; others are not for whoever is alerted by the time
   */
  figures(nowMs: number, isAsked: (nodeName: string) => boolean): { count: number; oldestMs: number } {
    let count = 0;
    let oldestMs = 0;
    for (const [nodeName, addresses] of this.#nodes) {
      count += addresses.size;
      if (!isAsked(nodeName)) continue;
      for (const { sinceMs } of addresses.values()) oldestMs = Math.max(oldestMs, nowMs - sinceMs);
    }
    return { count, oldestMs };
  }
}
