import * as z from 'zod';
import { ANNOTATION_POD_UID, TAG_ATTEMPT } from '../../../src/crds/names.ts';
import { podNetworkingSchema } from '../../../src/crds/pod-networking.ts';
import { VirtualClock } from '../../../src/util/test-support/virtual-clock.ts';
import type { EniSnapshot } from '../../cloud/model/snapshot.ts';
import type { ApiCall, RequestFault } from '../../kube/faults.ts';
import type { KubeObject } from '../../kube/model/objects.ts';
import type { CloudCall, CloudFault } from '../cloud-link.ts';
import { nodeNameOf } from '../kubelets.ts';
import { INJECTED, type MachineCall, type MachineFault } from '../node/process.ts';
import { sandboxOf } from '../node/runtime.ts';
import { Operator } from '../operator.ts';
import type { WorldReplica } from '../replica.ts';
import { INSTANCE_TYPE, NETWORKINTERFACES, NODERUNTIMES, PODENIS, PODNETWORKINGS, REGION, World } from '../world.ts';
import { SeededFaults } from './faults.ts';
import { Outside } from './outside.ts';
import { type Act, CHANGING_APIS, NETWORKINGS, type Networking, type Plan, PODS } from './plan.ts';
import { type Instance, Restores } from './restores.ts';
import { SeededNodes } from './seeded-nodes.ts';
import { Touched } from './touched.ts';

/** Three member slots, so that pods wait for one; the other nodes have plenty. */
const SMALL_TYPE = 'ecs.u1-c1m4.xlarge';
const NAMESPACE = 'default';
/** With the longest delay, and a list that lags, the ENI still appears within 30 s of the intent. */
const YOUNG_MS = 4000;
/** Until a killed replica is followed by the next. */
const RESTART_MS = 1000;
const MERGE_PATCH = 'application/merge-patch+json';
/** What an agent logs of a record that it cannot read. */
const recordErrorSchema = z.object({ record: z.string(), msg: z.string() });
const ALLOCATION_TYPES: Readonly<Record<Networking, object>> = {
  elastic: { type: 'Elastic' },
  fixed: { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '5m' },
  never: { type: 'Fixed', releaseStrategy: 'Never' },
};

/** A place among the replicas, like a pod of the Deployment: when its process is killed, another one follows. */
interface ReplicaPlace {
  current: WorldReplica | undefined;
  starts: number;
}

/** A world that carries out the acts of a plan. Acts that make no sense at their time, such as deleting a pod that does not exist, do nothing. */
export class SeededWorld {
  readonly world: World;
  readonly faults: SeededFaults;
  readonly nodes: SeededNodes;
  /** ENIs that a user took out of our records, or out of the cloud. */
  readonly touchedByHand = new Touched();
  /** Those of them whose record was on its way out, so that the control plane goes on with what it has decided. */
  readonly strippedWhileLeaving = new Set<string>();
  readonly restores: Restores;
  readonly #outside: Outside;
  /** Replicas and agents that ended by themselves, and other promises that were broken. */
  readonly failures: string[] = [];
  /** Is called with each act, for a trace. */
  onAct: (act: Act) => void = () => undefined;
  /** Is called with each call that a replica sends to the cloud. */
  onSend: (call: CloudCall) => void = () => undefined;
  /**
   * Is called with each call through a port, but for leases and events: to API server or cloud by a replica, to API server, disk or
   * kernel by an agent. Says whether the process is killed before or after it.
   */
  onCall: (name: string, process: 'replica' | 'agent') => 'before' | 'after' | undefined = () => undefined;
  readonly #places: ReplicaPlace[];
  readonly #vSwitches: readonly string[];
  readonly #groups: readonly string[];
  readonly #agents: ReadonlySet<number>;
  /** Those that run, by the name of their node. */
  readonly #instances = new Map<string, Instance>();
  /** Of creations whose record a user removed, and of trunks whose instance is gone. */
  readonly #strippedTokens = new Set<string>();
  /** Until when creations arrive late, and by how much. */
  #lateCreations = { byMs: 0, untilMs: 0 };
  readonly #operator: Operator;
  /** Whether the plan restores a backup. */
  readonly #takesBackups: boolean;
  /** Whether the plan sets wall clocks back, so that what replicas have seen looks younger than it is. */
  readonly shiftsClocks: boolean;

  constructor(plan: Plan) {
    const clock = new VirtualClock();
    const { collectorMs, isShortOfAddresses } = plan.surroundings;
    this.faults = new SeededFaults({ seed: plan.seed, rates: plan.rates, clock });
    this.world = new World({
      clock,
      seed: plan.seed,
      config: {
        ...(plan.rateLimit === undefined ? {} : { rateLimit: limitsOf(plan.rateLimit) }),
        ...(collectorMs === undefined ? {} : { collector: { interval: `${collectorMs}ms` } }),
      },
      kubeFaults: { ...this.faults.kube, onRequest: (call) => this.#onRequest(call) },
      onCloudCall: (call) => this.#onCloudCall(call),
    });
    const { world } = this;
    this.#operator = new Operator(world);
    this.shiftsClocks = plan.steps.some(({ act }) => act.kind === 'shift-clock');
    this.#takesBackups = plan.steps.some(({ act }) => act.kind === 'restore-backup');
    this.restores = new Restores({
      world,
      instances: this.#instances,
      isTouched: (eniId) => this.touchedByHand.has(eniId),
      onRenounced: (uid) => this.nodes.renounced.add(uid),
      onProblem: (problem) => this.failures.push(problem),
    });
    this.#vSwitches = [world.podVSwitchId, world.addVSwitch(isShortOfAddresses ? '10.2.0.0/29' : '10.2.0.0/16')];
    const group = world.cloud.createSecurityGroup({ vpcId: world.vpcId, name: 'others' }, world.clock.now());
    this.#groups = [world.securityGroupId, group];
    world.addNetworking('never', ALLOCATION_TYPES.never);
    this.#agents = new Set(plan.agents);
    this.#outside = new Outside({
      world,
      faults: this.faults,
      vSwitches: this.#vSwitches,
      networkings: NETWORKINGS,
      instanceOf: (node) => this.#instances.get(nodeName(node))?.instanceId,
      replicaAt: (replica) => this.#places[replica]?.current,
      deletePodEni: (key) => this.#deletePodEni(key),
    });
    this.nodes = new SeededNodes(world, this.faults, { nodeName, keyOfPod });
    for (let node = 0; node < plan.nodes; node += 1) this.#addNode(node);
    this.#places = Array.from({ length: plan.replicas }, () => ({ current: undefined, starts: 0 }));
    this.startReplicas();
  }

  /** Starts the replicas that do not run. */
  startReplicas(): void {
    for (const at of this.#places.keys()) this.#start(at);
  }

  /** No fault, no lag and no limit from now on, and people do what the documentation tells them to do. */
  quiet(): void {
    const { cloud, clock } = this.world;
    this.faults.stop();
    this.#lateCreations = { byMs: 0, untilMs: 0 };
    this.restores.finish();
    this.#outside.quiet();
    cloud.setBehaviour({ rateWindows: {}, listLag: { createdMs: 0, deletedMs: 0 }, attachFaults: [] }, clock.now());
    this.startReplicas();
    this.nodes.quiet();
    this.#endHangingAttachments();
    this.#replaceLostEnis();
  }

  /** As the cloud's support does. */
  #endHangingAttachments(): void {
    const { cloud, clock } = this.world;
    cloud.advance(clock.now());
    if (cloud.nextDueMs() !== undefined) cloud.completeAll(clock.now());
    for (const { id, status } of cloud.enis()) if (status === 'Attaching') cloud.detachEniByHand(id, clock.now());
  }

  /** Those who deleted an ENI know which pod has lost it, and so does who compares a restored backup with the cloud. */
  #replaceLostEnis(): void {
    const isKnown = (id: string) => this.touchedByHand.has(id) || this.restores.excuses.isLost(id);
    for (const { metadata, spec } of this.world.podEnis()) {
      const ids = (spec.allocations ?? []).map(({ eni }) => eni.id);
      const isLost = ids.some((id) => isKnown(id) && this.world.cloud.eni(id) === undefined);
      if (isLost) this.#operator.giveUp(`${metadata.namespace}/${metadata.name}`);
    }
  }

  /** Deletes every pod and every reservation. */
  removePods(): void {
    for (const { metadata } of this.world.kube.objects('pods'))
      this.world.deletePod(`${NAMESPACE}/${metadata.name}`, 0);
    for (const { metadata } of this.world.kube.objects(PODENIS)) this.#delete(PODENIS, `${NAMESPACE}/${metadata.name}`);
  }

  removeNodes(): void {
    for (const { metadata } of this.world.kube.objects('nodes')) this.#removeNode(metadata.name);
  }

  removeNetworkings(): void {
    for (const name of NETWORKINGS) this.#delete(PODNETWORKINGS, name);
  }

  /** People do what the control plane asks for. */
  attend(): void {
    this.#operator.attend();
  }

  /** Pods that are to have a network: they exist, are not being deleted, and their node exists. */
  livePods(): KubeObject[] {
    return this.world.kube.objects('pods').filter((pod) => {
      if (pod.metadata.deletionTimestamp !== undefined) return false;
      return this.#node(nodeNameOf(pod)) !== undefined;
    });
  }

  /**
   * Whether an ENI may have no owner until the collector finds it: a user took it away, or it was made for a trunk of a node
   * whose instance is gone.
   */
  isTouched({ id, tags }: EniSnapshot): boolean {
    if (this.#strippedTokens.delete(tags[TAG_ATTEMPT] ?? '')) this.touchedByHand.add(id);
    return this.touchedByHand.isExcused(id);
  }

  /** The record of a node has another intent now. A trunk that was made for an instance that is gone is left to the collector. */
  noteDropped(clientToken: string, instanceId: string): void {
    const isThere = [...this.#instances.values()].some((instance) => instance.instanceId === instanceId);
    if (!isThere) this.#strippedTokens.add(clientToken);
  }

  /** Whether a vSwitch of a PodNetworking has a free address. */
  hasAddress(networking: string): boolean {
    const found = this.#peek(PODNETWORKINGS, networking);
    if (found === undefined) return false;
    const ids = podNetworkingSchema.parse(found).spec.vSwitchOptions ?? [];
    return this.world.cloud
      .snapshot(this.world.clock.now())
      .vSwitches.some(({ id, availableIpAddressCount }) => availableIpAddressCount > 0 && ids.includes(id));
  }

  end(): void {
    this.world.end();
  }

  perform(act: Act): void {
    this.onAct(act);
    if (this.#takesBackups) this.restores.takeBackup();
    const { world } = this;
    const nowMs = world.clock.now();
    // Acts look at the cloud before they change it.
    world.cloud.advance(nowMs);
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
        world.clock.schedule(act.forMs, () => {
          if (this.#peek('pods', keyOfPod(act.pod))?.metadata.uid === uid) this.#deletePod(act.pod, true);
        });
        return;
      }
      case 'delete-podeni':
        this.#deletePodEni(keyOfPod(act.pod));
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
      case 'delete-eni': {
        const eniId = this.#eniOf(act.pod);
        if (eniId === undefined || world.cloud.eni(eniId) === undefined) return;
        this.touchedByHand.add(eniId);
        if (act.kind === 'detach-eni') world.cloud.detachEniByHand(eniId, nowMs);
        else world.cloud.deleteEniByHand(eniId, nowMs);
        return;
      }
      case 'delete-trunk': {
        const trunk = world.trunkOf(nodeName(act.node));
        if (trunk === undefined || world.cloud.eni(trunk) === undefined) return;
        for (const eni of world.cloud.enis())
          if (eni.attachment?.trunk?.eniId === trunk) this.touchedByHand.add(eni.id);
        this.touchedByHand.add(trunk);
        world.cloud.detachEniByHand(trunk, nowMs);
        world.cloud.deleteEniByHand(trunk, nowMs);
        return;
      }
      case 'remove-node':
        this.#removeNode(nodeName(act.node));
        return;
      case 'add-node':
        if (this.#node(nodeName(act.node)) === undefined) this.#addNode(act.node);
        return;
      case 'edit-networking':
        this.#editNetworking(act.networking, act.vSwitches, act.groups);
        return;
      case 'kill-replica':
        this.#killReplica(act.replica, act.forMs);
        return;
      case 'stall-replica': {
        const name = this.#places[act.replica]?.current?.name;
        if (name !== undefined) this.faults.stall(name, world.clock.monotonicMs() + act.forMs);
        return;
      }
      case 'freeze-watches':
      case 'break-watches':
        for (const watch of this.#places[act.replica]?.current?.transport.watches ?? []) {
          if (act.kind === 'freeze-watches') watch.freeze();
          else watch.break();
        }
        return;
      case 'late-takeover':
        for (const watch of this.#places[act.replica]?.current?.transport.watches ?? []) watch.freeze();
        world.clock.schedule(act.afterMs, () => {
          for (const at of this.#places.keys()) if (at !== act.replica) this.#killReplica(at, act.forMs);
        });
        return;
      case 'throttle':
        world.cloud.setBehaviour({ rateWindows: { [act.action]: { limit: act.limit, windowMs: 60_000 } } }, nowMs);
        world.clock.schedule(act.forMs, () => world.cloud.setBehaviour({ rateWindows: {} }, world.clock.now()));
        return;
      case 'fail-attachments':
        world.cloud.setBehaviour({ attachFaults: [{ outcome: act.outcome, count: act.count }] }, nowMs);
        return;
      case 'lag-lists': {
        const { createdMs, deletedMs } = act;
        world.cloud.setBehaviour({ listLag: { createdMs, deletedMs } }, nowMs);
        const end = () => world.cloud.setBehaviour({ listLag: { createdMs: 0, deletedMs: 0 } }, world.clock.now());
        world.clock.schedule(act.forMs, end);
        return;
      }
      case 'restore-backup':
        for (const at of this.#places.keys()) this.#killReplica(at, act.forMs);
        this.restores.restore(act);
        return;
      case 'stop-api-server':
      case 'stop-cloud':
      case 'expire-credentials':
      case 'fill-vswitch':
      case 'stop-instance':
      case 'recreate-networking':
      case 'empty-namespace':
      case 'shift-clock':
        this.#outside.perform(act);
        return;
      case 'crowd-node':
        for (const pod of PODS.keys()) this.#createPod(pod, act.node);
        return;
      case 'delay-creations':
        this.#lateCreations = { byMs: act.byMs, untilMs: world.clock.monotonicMs() + act.forMs };
        return;
      case 'renew-podeni':
        this.#deletePodEni(keyOfPod(act.pod));
        world.clock.schedule(act.afterMs, () =>
          this.nodes.perform({ kind: 'fail-sandbox', pod: act.pod, isLate: false }),
        );
        return;
      case 'change-groups':
        this.#changeGroups(act.pod, act.group);
        return;
      default:
        this.nodes.perform(act);
    }
  }

  #onRequest(call: ApiCall): RequestFault | undefined {
    if (!call.resource.startsWith('leases.') && !call.resource.startsWith('events')) {
      const isLost = this.#crashesBefore(call.replica, `${call.verb} ${call.resource} ${call.subresource}`.trimEnd());
      if (isLost) return { kind: 'lost-request', failure: 'timeout' };
    }
    return this.faults.kube.onRequest?.(call);
  }

  #onCloudCall(call: CloudCall): CloudFault | undefined {
    this.onSend(call);
    if (this.#crashesBefore(call.replica, call.action)) return { kind: 'lost-request' };
    return this.#lateCreation(call) ?? this.faults.cloud(call);
  }

  /** Only while the intent is young: the product trusts that an ENI appears within 30 s of it. */
  #lateCreation({ action, params }: CloudCall): CloudFault | undefined {
    const { clock } = this.world;
    if (action !== 'CreateNetworkInterface' || clock.monotonicMs() >= this.#lateCreations.untilMs) return undefined;
    const intents = this.world.podEnis().flatMap(({ spec }) => (spec.allocations ?? []).map(({ intent }) => intent));
    const createdAt = intents.find((intent) => intent?.clientToken === params['ClientToken'])?.createdAt;
    const isYoung = createdAt !== undefined && clock.now() - Date.parse(createdAt) < YOUNG_MS;
    return isYoung ? { kind: 'late', ms: this.#lateCreations.byMs } : undefined;
  }

  #onMachineCall(call: MachineCall): MachineFault | undefined {
    const side = this.onCall(call.operation, 'agent');
    return side === undefined ? (this.nodes.faultOf(call) ?? this.faults.machine(call)) : { kind: 'killed', side };
  }

  /** Kills the process if that is wanted. @returns whether its call is lost */
  #crashesBefore(process: string, name: string): boolean {
    const at = this.#places.findIndex(({ current }) => current?.name === process);
    const side = this.onCall(name, at < 0 ? 'agent' : 'replica');
    if (side === undefined) return false;
    if (at < 0) this.nodes.machineOfAgent(process)?.killAgent(RESTART_MS);
    else this.#killReplica(at, RESTART_MS);
    return side === 'before';
  }

  #createPod(pod: number, node: number): void {
    const known = PODS[pod];
    if (known === undefined || this.#node(nodeName(node)) === undefined) return;
    if (this.world.kube.peek('pods', { namespace: NAMESPACE, name: known.name }) !== undefined) return;
    this.world.createPod({
      name: known.name,
      nodeName: nodeName(node),
      networking: known.networking,
      ...(known.networking === 'elastic' ? {} : { ownerKind: 'StatefulSet' }),
    });
  }

  #deletePod(pod: number, isForced: boolean): void {
    const key = keyOfPod(pod);
    if (this.#peek('pods', key) !== undefined) this.world.deletePod(key, isForced ? 0 : undefined);
  }

  #deletePodEni(key: string): void {
    this.#renounce(key);
    this.#delete(PODENIS, key);
  }

  /** Its pod, if it still runs, gets another PodENI, with another address. */
  #renounce(key: string): void {
    const uid = this.world.podEni(key)?.metadata.annotations?.[ANNOTATION_POD_UID];
    if (uid !== undefined) this.nodes.renounced.add(uid);
  }

  #stripPodEni(key: string): void {
    const found = this.world.podEni(key);
    if (found === undefined) return;
    this.#renounce(key);
    const isLeaving = found.metadata.deletionTimestamp !== undefined || found.status?.phase === 'Detaching';
    for (const { eni, intent } of found.spec.allocations ?? []) {
      if (eni.id !== '') this.touchedByHand.add(eni.id);
      if (eni.id !== '' && isLeaving) this.strippedWhileLeaving.add(eni.id);
      if (intent !== undefined) this.#strippedTokens.add(intent.clientToken);
    }
    const target = { resource: PODENIS, ...placeOf(key), subresource: '' };
    this.world.kube.patch(target, MERGE_PATCH, { metadata: { finalizers: null } }, this.#user());
    this.#delete(PODENIS, key);
  }

  #removeNode(name: string): void {
    if (this.#node(name) === undefined) return;
    this.world.removeMachine(name);
    // As the garbage collector does.
    this.#delete(NODERUNTIMES, name);
    const instance = this.#instances.get(name);
    if (instance !== undefined) {
      const gone = this.world.cloud.releaseInstance(instance.instanceId, this.world.clock.now());
      for (const id of gone) this.touchedByHand.add(id);
    }
    this.#instances.delete(name);
    this.world.deleteNode(name);
  }

  #addNode(node: number): void {
    const name = nodeName(node);
    const instanceType = node === 0 ? SMALL_TYPE : INSTANCE_TYPE;
    const { instanceId } = this.world.addNode(instanceType, name);
    this.#instances.set(name, { name, instanceId, instanceType });
    if (!this.#agents.has(node)) return;
    this.nodes.add(
      { name, instanceId },
      {
        onCall: (call) => this.#onMachineCall(call),
        onFailure: (message) => this.failures.push(message),
        onError: (line) => this.#noteError(line),
      },
    );
  }

  #editNetworking(networking: Networking, vSwitches: readonly number[], groups: readonly number[]): void {
    const target = { resource: PODNETWORKINGS, namespace: undefined, name: networking, subresource: '' };
    if (this.#peek(PODNETWORKINGS, networking) === undefined) return;
    const spec = {
      vSwitchOptions: vSwitches.map((at) => this.#vSwitches[at]),
      securityGroupIDs: groups.map((at) => this.#groups[at]),
    };
    this.world.kube.patch(target, MERGE_PATCH, { spec }, this.#user());
  }

  /** As in the cloud's console. */
  #changeGroups(pod: number, group: number): void {
    const { cloud, clock } = this.world;
    const eniId = this.#eniOf(pod);
    if (eniId === undefined || cloud.eni(eniId) === undefined) return;
    const params = { RegionId: REGION, NetworkInterfaceId: eniId, SecurityGroupId: [this.#groups[group] ?? ''] };
    cloud.apply({ action: 'ModifyNetworkInterfaceAttribute', params, accessKeyId: 'user' }, clock.now());
  }

  #killReplica(at: number, forMs: number): void {
    const place = this.#places[at];
    if (place?.current === undefined) return;
    place.current.kill();
    place.current = undefined;
    this.world.clock.schedule(forMs, () => this.#start(at));
  }

  #start(at: number): void {
    const place = this.#places[at];
    if (place === undefined || place.current !== undefined) return;
    place.starts += 1;
    const name = `replica-${at + 1}${'abcdefghijklmnopqrstuvwxyz'.charAt(place.starts - 1)}`;
    const replica = this.world.startReplica(name);
    place.current = replica;
    const failed = (why: string) => {
      if (place.current !== replica) return;
      place.current = undefined;
      this.failures.push(`${name} ended by itself: ${why}`);
    };
    replica.ended.then(
      () => failed('without an error'),
      (error: unknown) => failed(String(error)),
    );
  }

  /** Of a log of an agent: no record is torn unless a user did it. */
  #noteError(line: string): void {
    const { record, msg = '' } = recordErrorSchema.safeParse(JSON.parse(line)).data ?? {};
    if (record === undefined || msg.includes(INJECTED)) return;
    if (!this.nodes.damagedRecords.has(sandboxOf(`${record}.json`)))
      this.failures.push(`N3: the record ${record} was torn: ${msg}`);
  }

  #eniOf(pod: number): string | undefined {
    const id = this.world.podEni(keyOfPod(pod))?.spec.allocations?.[0]?.eni.id;
    return id === '' ? undefined : id;
  }

  #node(name: string): KubeObject | undefined {
    return this.#peek('nodes', name);
  }

  #peek(resource: string, key: string): KubeObject | undefined {
    return this.world.kube.peek(resource, placeOf(key));
  }

  #delete(resource: string, key: string): void {
    if (this.#peek(resource, key) === undefined) return;
    this.world.kube.delete({ resource, ...placeOf(key), subresource: '' }, {}, this.#user());
  }

  #user(): { actor: string; nowMs: number } {
    return { actor: 'user', nowMs: this.world.clock.now() };
  }
}

export function keyOfPod(pod: number): string {
  return `${NAMESPACE}/${PODS[pod]?.name ?? ''}`;
}

function nodeName(node: number): string {
  return `node-${node + 1}`;
}

function placeOf(key: string): { namespace: string | undefined; name: string } {
  const at = key.indexOf('/');
  return at < 0 ? { namespace: undefined, name: key } : { namespace: key.slice(0, at), name: key.slice(at + 1) };
}

function limitsOf(limit: number): Record<string, number> {
  return Object.fromEntries(CHANGING_APIS.map((api) => [api, limit]));
}
