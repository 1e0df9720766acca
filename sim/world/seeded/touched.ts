import type { WorldState } from '../invariants.ts';
import { agrees, byId, idsOf } from './restored.ts';

/**
 * ENIs that a user took out of our records, or out of the cloud. What follows is excused until the ENI is where its record says,
 * the record of a node has it, or neither is there any more, and nothing is excused after that.
 */
export class Touched {
  readonly #ever = new Set<string>();
  readonly #open = new Set<string>();

  add(eniId: string): void {
    this.#ever.add(eniId);
    this.#open.add(eniId);
  }

  /** Whether this happened to the ENI at any time: a sandbox that used it may still have its address. */
  has(eniId: string): boolean {
    return this.#ever.has(eniId);
  }

  isExcused(eniId: string): boolean {
    return this.#open.has(eniId);
  }

  endExcuses(state: WorldState): void {
    if (this.#open.size === 0) return;
    const shown = byId(state);
    const records = new Map(state.podEnis.flatMap((podEni) => idsOf(podEni).map((id) => [id, podEni] as const)));
    for (const id of this.#open) {
      const podEni = records.get(id);
      const isSettled = !shown.has(id) || isShared(state, id);
      const isOver = podEni === undefined ? isSettled : agrees(podEni, id, shown.get(id)) === true;
      if (isOver) this.#open.delete(id);
    }
  }
}

/** Whether the record of a node, unless it is about to go, has the ENI among those that pods share. */
function isShared({ nodes }: WorldState, eniId: string): boolean {
  return nodes.some(
    ({ metadata, status }) =>
      metadata.deletionTimestamp === undefined && status?.networkInterfaces?.[eniId]?.status === 'InUse',
  );
}
