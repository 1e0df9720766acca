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
    if (now.size === 0) this.#nodes.delete(nodeName);
    else this.#nodes.set(nodeName, now);
    return [...now.values()];
  }

  of(nodeName: string): Unconfirmed[] {
    return [...(this.#nodes.get(nodeName)?.values() ?? [])];
  }

  /** How many wait, and for how long the first of them has. */
  figures(nowMs: number): { count: number; oldestMs: number } {
    const all = [...this.#nodes.values()].flatMap((addresses) => [...addresses.values()]);
    return { count: all.length, oldestMs: all.reduce((oldest, { sinceMs }) => Math.max(oldest, nowMs - sinceMs), 0) };
  }
}
