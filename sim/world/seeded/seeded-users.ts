import type { RpcParams } from '../../../src/cloud/rpc-sender.ts';
import { ANNOTATION_POD_ENI, ANNOTATION_POD_UID, TAG_ATTEMPT } from '../../../src/crds/names.ts';
import type { EniSnapshot } from '../../cloud/model/snapshot.ts';
import type { KubeObject } from '../../kube/model/objects.ts';
import { NETWORKINTERFACES, PODENIS, PODNETWORKINGS, REGION, type World } from '../world.ts';
import type { Networking, UserAct } from './acts.ts';
import { keyOfPod, NAMESPACE, PODS, podOfNumber } from './pods.ts';
import { idsOf } from './restored.ts';
import { Touched } from './touched.ts';

/** Its place among the vSwitches; only plans that need it have one. */
const SMALL_V_SWITCH = 2;
/** Of an ENI that somebody made for something else. */
const FOREIGN = 'of others';
/** Who changes objects and ENIs by hand. */
export const USER = 'user';
const MERGE_PATCH = 'application/merge-patch+json';

export interface UsersOptions {
  world: World;
  vSwitches: readonly string[];
  groups: readonly string[];
  /** Is called with the uid of a pod whose PodENI is deleted. */
  onRenounced: (uid: string) => void;
  /** Whether pods that a PodNetworking picks say so, as the webhook makes them; otherwise they share the ENIs of their node while it is gone. */
  areAdmitted: boolean;
  /** Lets the sandbox of a pod fail. */
  failSandbox: (pod: number) => void;
  /** Is called with each ENI that is taken from the cloud, before it is. */
  onTaken: (eniId: string) => void;
}

/** Carries out what users do to objects and ENIs in a plan, and notes what they did by hand. */
export class SeededUsers {
  /** ENIs that they took out of our records, or out of the cloud. */
  readonly touched = new Touched();
  /** Those of them whose record was on its way out, so that the control plane goes on with what it has decided. */
  readonly strippedWhileLeaving = new Set<string>();
  /** Somebody is about to take the addresses of the small vSwitch. */
  #isShortSoon = false;
  readonly #options: UsersOptions;
  readonly #world: World;
  /** Of creations whose record a user removed. */
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
      case 'delete-bound-pods':
        for (const key of this.#boundOn(nodeName(act.node)).slice(0, act.count)) this.#world.deletePod(key, 0);
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
      case 'move-eni':
        this.#moveEni(act.bound, nodeName(act.node));
        return;
      case 'take-addresses':
        this.#edit(act.networking, { vSwitchOptions: [SMALL_V_SWITCH, 0].map((at) => this.#options.vSwitches[at]) });
        this.#isShortSoon = true;
        return;
      case 'edit-networking':
        this.#edit(act.networking, {
          vSwitchOptions: act.vSwitches.map((at) => this.#options.vSwitches[at]),
          securityGroupIDs: act.groups.map((at) => this.#options.groups[at]),
        });
    }
  }

  /** Nothing that was begun comes any more. */
  quiet(): void {
    this.#isShortSoon = false;
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

  /** Those that took addresses. */
  removeForeignEnis(): void {
    const { cloud, clock } = this.#world;
    for (const { id, description } of cloud.enis()) if (description === FOREIGN) cloud.deleteEniByHand(id, clock.now());
  }

  removeNetworkings(): void {
    for (const { metadata } of this.#world.kube.objects(PODNETWORKINGS)) this.#delete(PODNETWORKINGS, metadata.name);
  }

  /**
   * Whether an ENI may have no owner until the collector finds it: a user took it away, or it was made for a trunk of a node
   * whose instance is gone.
   */
  isTouched({ id, tags }: EniSnapshot): boolean {
    if (this.#strippedTokens.delete(tags[TAG_ATTEMPT] ?? '')) this.touched.add(id);
    return this.touched.isExcused(id);
  }

  #createPod(pod: number, node: number): void {
    const known = podOfNumber(pod);
    if (known === undefined || this.#peek('nodes', nodeName(node)) === undefined) return;
    if (this.#peek('pods', keyOfPod(pod)) !== undefined) return;
    // Nobody carries out there what the pool of a node says.
    if (known.networking === 'none' && !this.#world.machines.has(nodeName(node))) return;
    this.#world.createPod({
      name: known.name,
      nodeName: nodeName(node),
      networking: known.networking,
      ...(known.networking === 'elastic' || known.networking === 'none' ? {} : { ownerKind: 'StatefulSet' }),
      ...(this.#options.areAdmitted && known.networking !== 'none'
        ? { annotations: { [ANNOTATION_POD_ENI]: 'true' } }
        : {}),
    });
  }

  #deletePod(pod: number, isForced: boolean): void {
    const key = keyOfPod(pod);
    if (this.#peek('pods', key) !== undefined) this.#world.deletePod(key, isForced ? 0 : undefined);
  }

  /** Keys of the pods that exist and have their network on this node. */
  #boundOn(node: string): string[] {
    return this.#world.podEnis().flatMap(({ metadata: { namespace, name }, spec, status }) => {
      const key = `${namespace}/${name}`;
      const isThere = spec.target?.nodeName === node && status?.phase === 'Bind';
      return isThere && this.#peek('pods', key) !== undefined ? [key] : [];
    });
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
    this.#options.onTaken(trunk);
    cloud.detachEniByHand(trunk, clock.now());
    cloud.deleteEniByHand(trunk, clock.now());
  }

  #moveEni(bound: number, node: string): void {
    const { cloud, clock } = this.#world;
    const enis = this.#world.podEnis().flatMap((podEni) => (podEni.status?.phase === 'Bind' ? idsOf(podEni) : []));
    const eniId = enis[bound % enis.length];
    const trunk = this.#world.trunkOf(node) ?? '';
    const instanceId = cloud.eni(trunk)?.attachment?.instanceId;
    if (eniId === undefined || cloud.eni(eniId) === undefined || instanceId === undefined) return;
    this.touched.add(eniId);
    cloud.detachEniByHand(eniId, clock.now());
    const params = { NetworkInterfaceId: eniId, InstanceId: instanceId, TrunkNetworkInstanceId: trunk };
    this.inConsole('AttachNetworkInterface', params);
  }

  #changeGroups(pod: number, group: number): void {
    const { cloud } = this.#world;
    const eniId = this.#eniOf(pod);
    if (eniId === undefined || cloud.eni(eniId) === undefined) return;
    const groups = [this.#options.groups[group] ?? ''];
    this.inConsole('ModifyNetworkInterfaceAttribute', { NetworkInterfaceId: eniId, SecurityGroupId: groups });
  }

  /** An ENI is about to be created. Others take the addresses for ENIs without our tags. */
  onCreation(vSwitchId: unknown): void {
    const { cloud, clock } = this.#world;
    const id = this.#options.vSwitches[SMALL_V_SWITCH];
    if (!this.#isShortSoon || id === undefined || vSwitchId !== id) return;
    this.#isShortSoon = false;
    const found = cloud.snapshot(clock.now()).vSwitches.find((vSwitch) => vSwitch.id === id);
    for (let left = found?.availableIpAddressCount ?? 0; left > 0; left -= 1) {
      const params = { VSwitchId: id, SecurityGroupId: this.#options.groups[0] ?? '', Description: FOREIGN };
      this.inConsole('CreateNetworkInterface', params);
    }
  }

  /** In the console of the cloud. */
  inConsole(action: string, params: RpcParams): void {
    const { cloud, clock } = this.#world;
    cloud.apply({ action, params: { RegionId: REGION, ...params }, accessKeyId: USER }, clock.now());
  }

  #edit(networking: Networking, spec: object): void {
    const target = { resource: PODNETWORKINGS, namespace: undefined, name: networking, subresource: '' };
    if (this.#peek(PODNETWORKINGS, networking) === undefined) return;
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
    return { actor: USER, nowMs: this.#world.clock.now() };
  }
}

export function nodeName(node: number): string {
  return `node-${node + 1}`;
}

function placeOf(key: string): { namespace: string | undefined; name: string } {
  const at = key.indexOf('/');
  return at < 0 ? { namespace: undefined, name: key } : { namespace: key.slice(0, at), name: key.slice(at + 1) };
}
