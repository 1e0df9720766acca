import { ANNOTATION_POD_UID } from '../../../src/crds/names.ts';
import type { PodEni } from '../../../src/crds/pod-eni.ts';
import { isRecord } from '../../../src/util/json.ts';
import type { Backup } from '../../kube/model/cluster.ts';
import { unrecorded, type WorldState } from '../invariants.ts';
import { recreate, savedReservations } from '../operator.ts';
import { PODENIS, type World } from '../world.ts';
import type { Act } from './acts.ts';
import { idsOf, RestoreExcuses, slotHolders } from './restored.ts';

/** As the documentation of etcd recommends. */
const BUMP_REVISION = 1_000_000_000;

export interface RestoresOptions {
  world: World;
  /** Those that run, by the name of their node. */
  instances: ReadonlyMap<string, Instance>;
  /** Whether a user took an ENI away. */
  isTouched: (eniId: string) => boolean;
  /** Is called with the uid of a pod that the backup takes its address from: someone has to restart it (docs/operate.md). */
  onRenounced: (uid: string) => void;
  /** Is called with the uid of a pod that was gone and that the backup has. */
  onRevived: (uid: string) => void;
  /** Is called when a promise is broken. */
  onProblem: (problem: string) => void;
}

/** Restores backups of the API server, and does what everybody but the control plane does then. */
export class Restores {
  readonly excuses = new RestoreExcuses();
  /** Is called after a backup was restored. */
  onRestored: () => void = () => undefined;
  readonly #options: RestoresOptions;
  readonly #backups = new Backups();
  /** Nodes of records that were created from copies. */
  readonly #copiedTo = new Set<string>();
  /** What is left to do of the last restore. */
  #bringCopies: (() => void) | undefined;

  constructor(options: RestoresOptions) {
    this.#options = options;
  }

  takeBackup(): void {
    this.#backups.take(this.#options.world);
  }

  /** The control plane must have been stopped. */
  restore({ ageMs, isBumped, copiesMs }: Extract<Act, { kind: 'restore-backup' }>): void {
    const { world, instances } = this.#options;
    const backup = this.#backups.newestBefore(world.clock.monotonicMs() - ageMs);
    if (backup === undefined) return;
    const before = world.state();
    const existing = new Set(podUids(world));
    const copies = savedReservations(world);
    world.restore(backup, isBumped ? { bumpRevision: BUMP_REVISION } : {});
    compareNodes(world, instances);
    // What is deleted from now on is not to come back.
    const lacking = copies.filter(
      ({ metadata: { namespace, name } }) => !world.kube.peek(PODENIS, { namespace, name }),
    );
    const replicas = world.replicas.map(({ name }) => name);
    const after = world.state();
    const kept = new Set(unrecorded(after).map(({ id }) => id));
    this.excuses.note(before, after, replicas);
    for (const uid of lostPods(before, after, this.#options.isTouched)) this.#options.onRenounced(uid);
    for (const uid of podUids(world)) if (!existing.has(uid)) this.#options.onRevived(uid);
    this.onRestored();
    const bringCopies = () => {
      if (this.#bringCopies !== bringCopies) return;
      this.#bringCopies = undefined;
      const copied = recreate(world, lacking);
      this.#checkKept(copied.flatMap(idsOf).filter((id) => kept.has(id)));
      this.excuses.noteCopies(copied, world.state());
      for (const { spec } of copied) this.#copiedTo.add(spec.target?.nodeName ?? '');
    };
    this.#bringCopies = bringCopies;
    world.clock.schedule(copiesMs, bringCopies);
  }

  /** Nothing is left for later. */
  finish(): void {
    this.#bringCopies?.();
  }

  /** People delete a pod that is refused because a copy has come late, and its node has more records than slots (docs/operate.md). */
  attend(): void {
    const { world } = this.#options;
    const { nodes, podEnis } = world.state();
    for (const { metadata, spec } of nodes) {
      if (!this.#copiedTo.has(metadata.name)) continue;
      const records = slotHolders(podEnis, metadata.name);
      if (records.length <= (spec.nodeCap?.memberAdapterLimit ?? 0)) continue;
      const refused = records.filter(isRefused).map(({ metadata: { namespace, name } }) => ({ namespace, name }));
      const pod = refused.find((place) => world.kube.peek('pods', place) !== undefined);
      if (pod !== undefined) world.deletePod(`${pod.namespace}/${pod.name}`, 0);
    }
  }

  /** What a backup does not know is an orphan, and stays for ten minutes, so that its record can be restored from a copy. */
  #checkKept(eniIds: readonly string[]): void {
    const { world, isTouched, onProblem } = this.#options;
    for (const id of eniIds) {
      const isGone = world.cloud.eni(id) === undefined && !isTouched(id);
      if (isGone) onProblem(`I3: ${id} was released before its record was restored from a copy`);
    }
  }
}

function podUids(world: World): string[] {
  return world.kube.objects('pods').flatMap(({ metadata: { uid } }) => uid ?? []);
}

/**
 * Uids of pods that had ENIs which the backup gives to nobody, or to others; or which somebody has deleted, and that the backup
 * does not know to be bound.
 */
function lostPods(before: WorldState, after: WorldState, isTouched: (eniId: string) => boolean): string[] {
  const owners = new Map(after.podEnis.flatMap((podEni) => idsOf(podEni).map((id) => [id, podEni] as const)));
  const isLost = (id: string, uid: string) => {
    const owner = owners.get(id);
    return owner === undefined || ownerOf(owner) !== uid || (isTouched(id) && owner.status?.phase !== 'Bind');
  };
  return before.podEnis.filter((podEni) => idsOf(podEni).some((id) => isLost(id, ownerOf(podEni)))).map(ownerOf);
}

/** The cloud has no slot for it. */
function isRefused({ status }: PodEni): boolean {
  return status?.conditions?.some(({ message }) => message?.includes('EniPerInstanceLimitExceeded')) === true;
}

function ownerOf({ metadata }: PodEni): string {
  return metadata.annotations?.[ANNOTATION_POD_UID] ?? '';
}

/** Backups of the API server, taken while a history runs. */
class Backups {
  readonly #taken: { atMs: number; backup: Backup }[] = [];

  take(world: World): void {
    this.#taken.push({ atMs: world.clock.monotonicMs(), backup: world.kube.backup() });
  }

  /** The newest one that is so old, or else the oldest. */
  newestBefore(atMs: number): Backup | undefined {
    return (this.#taken.findLast((taken) => taken.atMs <= atMs) ?? this.#taken[0])?.backup;
  }
}

/** A machine of the cloud that has a kubelet. */
export interface Instance {
  name: string;
  instanceId: string;
  instanceType: string;
}

/**
 * After a restore, the cloud's node controller deletes nodes whose instance is gone, and kubelets whose node is missing
 * register it.
 *
 * @param running by the name of their node
 */
function compareNodes(world: World, running: ReadonlyMap<string, Instance>): void {
  for (const { metadata, spec } of world.kube.objects('nodes')) {
    const instance = running.get(metadata.name);
    const providerId = isRecord(spec) ? spec['providerID'] : undefined;
    const isItself = instance !== undefined && String(providerId).endsWith(`.${instance.instanceId}`);
    if (!isItself) world.deleteNode(metadata.name);
  }
  for (const instance of running.values()) {
    const place = { namespace: undefined, name: instance.name };
    if (world.kube.peek('nodes', place) === undefined) world.registerNode(instance);
  }
}
