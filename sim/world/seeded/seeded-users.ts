import { ANNOTATION_POD_UID, TAG_ATTEMPT } from '../../../src/crds/names.ts';
import type { EniSnapshot } from '../../cloud/model/snapshot.ts';
import type { KubeObject } from '../../kube/model/objects.ts';
import { NETWORKINTERFACES, PODENIS, PODNETWORKINGS, REGION, type World } from '../world.ts';
import { NETWORKINGS, type Networking, type UserAct } from './acts.ts';
import { PODS } from './plan.ts';
import { Touched } from './touched.ts';

const NAMESPACE = 'default';
const MERGE_PATCH = 'application/merge-patch+json';

export interface UsersOptions {
  world: World;
  vSwitches: readonly string[];
  groups: readonly string[];
  /** Is called with the uid of a pod whose PodENI is deleted. */
  onRenounced: (uid: string) => void;
  /** Lets the sandbox of a pod fail. */
  failSandbox: (pod: number) => void;
}

/** Carries out what users do to objects and ENIs in a plan, and notes what they did by hand. */
export class SeededUsers {
  /** ENIs that they took out of our records, or out of the cloud. */
  readonly touched = new Touched();
  /** Those of them whose record was on its way out, so that the control plane goes on with what it has decided. */
  readonly strippedWhileLeaving = new Set<string>();
  readonly #options: UsersOptions;
  readonly #world: World;
  /** Of creations whose record a user removed, and of trunks whose instance is gone. */
  readonly #strippedTokens = new Set<string>();

  constructor(options: UsersOptions) {
    this.#options = options;
    this.#world = options.world;
  }

  perform(act: UserAct): void {
    const { clock } = this.#world;
    switch (act.kind) {
      case 'create-pod':
        this.#createPod(act.pod, act.node);
        return;
      case 'delete-pod':
        this.#deletePod(act.pod, act.isForced);
        return;
      case 'replace-pod':
        this.#deletePod(act.pod, true);
        this.#createPod(act.pod, act.node);
        return;
      case 'flash-pod': {
        this.#createPod(act.pod, act.node);
        const uid = this.#peek('pods', keyOfPod(act.pod))?.metadata.uid;
        clock.schedule(act.forMs, () => {
          if (this.#peek('pods', keyOfPod(act.pod))?.metadata.uid === uid) this.#deletePod(act.pod, true);
        });
        return;
      }
      case 'crowd-node':
        for (const pod of PODS.keys()) this.#createPod(pod, act.node);
        return;
      case 'delete-podeni':
        this.deletePodEni(keyOfPod(act.pod));
        return;
      case 'renew-podeni':
        this.deletePodEni(keyOfPod(act.pod));
        clock.schedule(act.afterMs, () => this.#options.failSandbox(act.pod));
        return;
      case 'strip-podeni':
        this.#stripPodEni(keyOfPod(act.pod));
        return;
      case 'delete-mirror': {
        const eniId = this.#eniOf(act.pod);
        if (eniId !== undefined) this.#delete(NETWORKINTERFACES, eniId);
        return;
      }
      case 'detach-eni':
      case 'delete-eni':
        this.#takeAway(act.pod, act.kind);
        return;
      case 'delete-trunk':
        this.#deleteTrunk(nodeName(act.node));
        return;
      case 'change-groups':
        this.#changeGroups(act.pod, act.group);
        return;
      case 'edit-networking':
        this.#editNetworking(act.networking, act.vSwitches, act.groups);
    }
  }

  deletePodEni(key: string): void {
    this.#renounce(key);
    this.#delete(PODENIS, key);
  }

  /** Deletes every pod and every reservation. */
  removePods(): void {
    for (const { metadata } of this.#world.kube.objects('pods'))
      this.#world.deletePod(`${NAMESPACE}/${metadata.name}`, 0);
    for (const { metadata } of this.#world.kube.objects(PODENIS))
      this.#delete(PODENIS, `${NAMESPACE}/${metadata.name}`);
  }

  removeNetworkings(): void {
    for (const name of NETWORKINGS) this.#delete(PODNETWORKINGS, name);
  }

  /**
   * Whether an ENI may have no owner until the collector finds it: a user took it away, or it was made for a trunk of a node
   * whose instance is gone.
   */
  isTouched({ id, tags }: EniSnapshot): boolean {
    if (this.#strippedTokens.delete(tags[TAG_ATTEMPT] ?? '')) this.touched.add(id);
    return this.touched.isExcused(id);
  }

  /** A creation whose ENI is left to the collector. */
  noteStripped(clientToken: string): void {
    this.#strippedTokens.add(clientToken);
  }

  #createPod(pod: number, node: number): void {
    const known = PODS[pod];
    if (known === undefined || this.#peek('nodes', nodeName(node)) === undefined) return;
    if (this.#peek('pods', keyOfPod(pod)) !== undefined) return;
    this.#world.createPod({
      name: known.name,
      nodeName: nodeName(node),
      networking: known.networking,
      ...(known.networking === 'elastic' ? {} : { ownerKind: 'StatefulSet' }),
    });
  }

  #deletePod(pod: number, isForced: boolean): void {
    const key = keyOfPod(pod);
    if (this.#peek('pods', key) !== undefined) this.#world.deletePod(key, isForced ? 0 : undefined);
  }

  /** Its pod, if it still runs, gets another PodENI, with another address. */
  #renounce(key: string): void {
    const uid = this.#world.podEni(key)?.metadata.annotations?.[ANNOTATION_POD_UID];
    if (uid !== undefined) this.#options.onRenounced(uid);
  }

  #stripPodEni(key: string): void {
    const found = this.#world.podEni(key);
    if (found === undefined) return;
    this.#renounce(key);
    const isLeaving = found.metadata.deletionTimestamp !== undefined || found.status?.phase === 'Detaching';
    for (const { eni, intent } of found.spec.allocations ?? []) {
      if (eni.id !== '') this.touched.add(eni.id);
      if (eni.id !== '' && isLeaving) this.strippedWhileLeaving.add(eni.id);
      if (intent !== undefined) this.#strippedTokens.add(intent.clientToken);
    }
    const target = { resource: PODENIS, ...placeOf(key), subresource: '' };
    this.#world.kube.patch(target, MERGE_PATCH, { metadata: { finalizers: null } }, this.#user());
    this.#delete(PODENIS, key);
  }

  #takeAway(pod: number, how: 'detach-eni' | 'delete-eni'): void {
    const { cloud, clock } = this.#world;
    const eniId = this.#eniOf(pod);
    if (eniId === undefined || cloud.eni(eniId) === undefined) return;
    this.touched.add(eniId);
    if (how === 'detach-eni') cloud.detachEniByHand(eniId, clock.now());
    else cloud.deleteEniByHand(eniId, clock.now());
  }

  #deleteTrunk(name: string): void {
    const { cloud, clock } = this.#world;
    const trunk = this.#world.trunkOf(name);
    if (trunk === undefined || cloud.eni(trunk) === undefined) return;
    for (const eni of cloud.enis()) if (eni.attachment?.trunk?.eniId === trunk) this.touched.add(eni.id);
    this.touched.add(trunk);
    cloud.detachEniByHand(trunk, clock.now());
    cloud.deleteEniByHand(trunk, clock.now());
  }

  /** As in the cloud's console. */
  #changeGroups(pod: number, group: number): void {
    const { cloud, clock } = this.#world;
    const eniId = this.#eniOf(pod);
    if (eniId === undefined || cloud.eni(eniId) === undefined) return;
    const groups = [this.#options.groups[group] ?? ''];
    const params = { RegionId: REGION, NetworkInterfaceId: eniId, SecurityGroupId: groups };
    cloud.apply({ action: 'ModifyNetworkInterfaceAttribute', params, accessKeyId: 'user' }, clock.now());
  }

  #editNetworking(networking: Networking, vSwitches: readonly number[], groups: readonly number[]): void {
    const target = { resource: PODNETWORKINGS, namespace: undefined, name: networking, subresource: '' };
    if (this.#peek(PODNETWORKINGS, networking) === undefined) return;
    const spec = {
      vSwitchOptions: vSwitches.map((at) => this.#options.vSwitches[at]),
      securityGroupIDs: groups.map((at) => this.#options.groups[at]),
    };
    this.#world.kube.patch(target, MERGE_PATCH, { spec }, this.#user());
  }

  #eniOf(pod: number): string | undefined {
    const id = this.#world.podEni(keyOfPod(pod))?.spec.allocations?.[0]?.eni.id;
    return id === '' ? undefined : id;
  }

  #peek(resource: string, key: string): KubeObject | undefined {
    return this.#world.kube.peek(resource, placeOf(key));
  }

  #delete(resource: string, key: string): void {
    if (this.#peek(resource, key) === undefined) return;
    this.#world.kube.delete({ resource, ...placeOf(key), subresource: '' }, {}, this.#user());
  }

  #user(): { actor: string; nowMs: number } {
    return { actor: 'user', nowMs: this.#world.clock.now() };
  }
}

export function keyOfPod(pod: number): string {
  return `${NAMESPACE}/${PODS[pod]?.name ?? ''}`;
}

export function nodeName(node: number): string {
  return `node-${node + 1}`;
}

function placeOf(key: string): { namespace: string | undefined; name: string } {
  const at = key.indexOf('/');
  return at < 0 ? { namespace: undefined, name: key } : { namespace: key.slice(0, at), name: key.slice(at + 1) };
}
