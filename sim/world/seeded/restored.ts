import { TAG_ATTEMPT } from '../../../src/crds/names.ts';
import type { PodEni } from '../../../src/crds/pod-eni.ts';
import type { EniSnapshot } from '../../cloud/model/snapshot.ts';
import { recordedIn, unrecorded, type WorldState } from '../invariants.ts';

/**
 * What a restored backup makes inevitable: ENIs without a record, and records that say otherwise than the cloud. Each is
 * excused until it has been repaired once, and nothing else is.
 */
export class RestoreExcuses {
  /** ClientTokens whose intent the backup lacks, until an ENI was seen for each. */
  readonly #lostTokens = new Set<string>();
  /** ENIs that no object has named since the restore. */
  readonly #strays = new Set<string>();
  /** ENIs that are not where their record says. */
  readonly #misplaced = new Set<string>();
  /** Records, by uid, that were created from copies, until each was reserved, or bound to a node that has not more of them than slots. */
  readonly #copies = new Set<string>();
  /** Replicas that were stopped for it; calls of theirs may have been under way. */
  readonly #stopped = new Set<string>();

  /** A backup was restored. @param replicas names of those that had run before */
  note(before: WorldState, after: WorldState, replicas: Iterable<string>): void {
    for (const replica of replicas) this.#stopped.add(replica);
    const { tokens } = recordedIn(after);
    for (const token of recordedIn(before).tokens) if (!tokens.has(token)) this.#lostTokens.add(token);
    for (const { id } of unrecorded(after)) this.#strays.add(id);
    const shown = byId(after);
    for (const podEni of after.podEnis) {
      for (const id of idsOf(podEni)) if (agrees(podEni, id, shown.get(id)) === false) this.#misplaced.add(id);
    }
  }

  /**
   * Records were created from copies. Each names a slot of its node, which others may have taken since the restore, and an ENI that
   * may have been released with a record of the backup.
   */
  noteCopies(podEnis: readonly PodEni[], state: WorldState): void {
    const shown = byId(state);
    for (const podEni of podEnis) {
      this.#copies.add(podEni.metadata.uid ?? '');
      for (const id of idsOf(podEni)) if (!shown.has(id)) this.#misplaced.add(id);
    }
  }

  /** Whether this call had left before the restore. What it does then no living record explains. */
  excusesCall(replica: string, eniId: string): boolean {
    if (!this.#stopped.has(replica)) return false;
    if (eniId !== '') this.#misplaced.add(eniId);
    return true;
  }

  /** Whether this replica was stopped for a restore, so that what it does arrived late. */
  wasStopped(replica: string): boolean {
    return this.#stopped.has(replica);
  }

  /** Whether the ENI of a record has been missing since the restore. */
  isLost(eniId: string): boolean {
    return this.#misplaced.has(eniId);
  }

  /** The state without what is excused. Excuses end here. */
  forgive(state: WorldState): WorldState {
    if (this.#stopped.size === 0) return state;
    this.#endExcuses(state);
    const strays = new Set(unrecorded(state).filter((eni) => this.#isStray(eni)));
    const excused = new Set(state.podEnis.filter((podEni) => this.#isExcused(podEni)));
    const { ids, tokens } = recordedIn({ podEnis: [...excused], nodes: [], networkInterfaces: [] });
    const isExcused = (eni: EniSnapshot) =>
      strays.has(eni) || this.#misplaced.has(eni.id) || ids.has(eni.id) || tokens.has(eni.tags[TAG_ATTEMPT] ?? '');
    const podEnis = state.podEnis.filter((podEni) => !excused.has(podEni));
    const enis = state.cloud.enis.filter((eni) => !isExcused(eni));
    return { ...state, podEnis, cloud: { ...state.cloud, enis } };
  }

  #isExcused(podEni: PodEni): boolean {
    return this.#copies.has(podEni.metadata.uid ?? '') || idsOf(podEni).some((id) => this.#misplaced.has(id));
  }

  #isStray({ id, tags }: EniSnapshot): boolean {
    if (this.#lostTokens.delete(tags[TAG_ATTEMPT] ?? '')) this.#strays.add(id);
    return this.#strays.has(id);
  }

  #endExcuses(state: WorldState): void {
    const { ids } = recordedIn(state);
    for (const id of this.#strays) if (ids.has(id)) this.#strays.delete(id);
    for (const { metadata, spec, status } of state.podEnis) {
      const isBound = status?.phase === 'Bind' && !isOverfull(state, spec.target?.nodeName);
      if (isBound || status?.phase === 'Unbind') this.#copies.delete(metadata.uid ?? '');
    }
    if (this.#misplaced.size === 0) return;
    const shown = byId(state);
    const records = new Map(state.podEnis.flatMap((podEni) => idsOf(podEni).map((id) => [id, podEni] as const)));
    for (const id of this.#misplaced) {
      const podEni = records.get(id);
      if (podEni === undefined || agrees(podEni, id, shown.get(id)) === true) this.#misplaced.delete(id);
    }
  }
}

/** Whether the cloud shows the ENI where its record says that it is; undefined while the record is on its way somewhere. */
export function agrees({ status }: PodEni, id: string, shown: EniSnapshot | undefined): boolean | undefined {
  if (shown === undefined) return false;
  if (status?.phase === 'Unbind') return shown.status === 'Available';
  if (status?.phase !== 'Bind') return undefined;
  const { trunk } = shown.attachment ?? {};
  return shown.status === 'InUse' && trunk?.eniId === status.trunkENIID && trunk?.vlanId === status.eniInfos?.[id]?.vid;
}

/** Records that have a slot of a node. */
export function slotHolders(podEnis: readonly PodEni[], nodeName: string): PodEni[] {
  return podEnis.filter(({ spec: { target }, status }) => target?.nodeName === nodeName && status?.phase !== 'Unbind');
}

function isOverfull({ nodes, podEnis }: WorldState, nodeName = ''): boolean {
  const node = nodes.find(({ metadata: { name } }) => name === nodeName);
  return slotHolders(podEnis, nodeName).length > (node?.spec.nodeCap?.memberAdapterLimit ?? 0);
}

/** The ENIs that the cloud shows, by id. */
export function byId({ cloud }: WorldState): Map<string, EniSnapshot> {
  return new Map(cloud.enis.map((eni) => [eni.id, eni]));
}

/** Of ENIs that a record names. */
export function idsOf({ spec }: PodEni): string[] {
  return (spec.allocations ?? []).map(({ eni }) => eni.id).filter((id) => id !== '');
}
