import { stringify } from 'yaml';
import { networkInterfaceSchema } from '../../src/crds/network-interface.ts';
import { nodeSchema, type TerwayNode } from '../../src/crds/node.ts';
import { type NodeRuntime, nodeRuntimeSchema } from '../../src/crds/node-runtime.ts';
import { type PodEni, podEniSchema } from '../../src/crds/pod-eni.ts';
import { splitKey } from '../../src/kube/types.ts';
import { isRecord } from '../../src/util/json.ts';
import { type Random, seededRandom } from '../../src/util/random.ts';
import { VirtualClock } from '../../src/util/test-support/virtual-clock.ts';
import type { LatencyChanges } from '../cloud/model/account.ts';
import type { BehaviourChanges } from '../cloud/model/behaviour.ts';
import { CloudModel } from '../cloud/model/model.ts';
import type { Snapshot } from '../cloud/model/snapshot.ts';
import type { FaultPlan } from '../kube/faults.ts';
import type { Backup } from '../kube/model/cluster.ts';
import { KubeModel } from '../kube/model/model.ts';
import type { KubeObject } from '../kube/model/objects.ts';
import type { CloudCall, CloudFault } from './cloud-link.ts';
import { CRDS } from './crds.ts';
import { unsettled, violations, type WorldState } from './invariants.ts';
import { Kubelets, nodeNameOf } from './kubelets.ts';
import { Machine, type MachineOptions } from './node/machine.ts';
import { readOnce } from './read-once.ts';
import { WorldReplica } from './replica.ts';

export interface WorldOptions {
  seed?: number;
  /** Default: one of its own. */
  clock?: VirtualClock;
  /** Keys of the configuration file of every replica. */
  config?: Record<string, unknown>;
  /** Keys of `eni_conf` besides those that every world has. */
  eniConf?: Record<string, unknown>;
  /** The vSwitch of nodes, whose addresses pods share, has IPv6, and `eni_conf` asks for it. */
  isDualStack?: boolean;
  latencies?: LatencyChanges;
  behaviour?: BehaviourChanges;
  kubeFaults?: FaultPlan;
  onCloudCall?: (call: CloudCall) => CloudFault | undefined;
  /** Writes and calls that the journals keep. Default 200,000. */
  journalCapacity?: number;
}

export interface PodOptions {
  /** Default `default`. */
  namespace?: string;
  name: string;
  nodeName: string;
  /** Of which PodNetworking; default `elastic`. */
  networking?: string;
  /** Kind of the owner; default none. */
  ownerKind?: string;
  annotations?: Readonly<Record<string, string>>;
}

const CLUSTER_ID = 'c-world';
export const REGION = 'cn-hangzhou';
export const ZONE = 'cn-hangzhou-i';
/** Member slots: 112. */
export const INSTANCE_TYPE = 'ecs.g7.16xlarge';
const GROUP = 'network.alibabacloud.com';
export const PODENIS = `podenis.${GROUP}`;
export const PODNETWORKINGS = `podnetworkings.${GROUP}`;
export const NODES = `nodes.${GROUP}`;
export const NETWORKINTERFACES = `networkinterfaces.${GROUP}`;
export const NODERUNTIMES = `noderuntimes.${GROUP}`;

/**
 * A cluster and its cloud on virtual time: models of the API server and of ECS, kubelets, replicas of the shipped control
 * plane, and nodes with the shipped agent. The same options and the same calls give the same run.
 */
export class World {
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly cloud: CloudModel;
  #cloudSeen: Snapshot | undefined;
  readonly kube: KubeModel;
  readonly vpcId: string;
  readonly podVSwitchId: string;
  readonly securityGroupId: string;
  readonly #options: WorldOptions;
  readonly #kubelets: Kubelets;
  /** That of nodes and of the ENIs that pods share. */
  readonly nodeVSwitchId: string;
  readonly #replicas: WorldReplica[] = [];
  readonly #machines = new Map<string, Machine>();
  readonly #readPodEni = readOnce((object) => podEniSchema.parse(object));
  readonly #readNetworkInterface = readOnce((object) => networkInterfaceSchema.parse(object));
  /** The Node CR in an object. */
  readonly readNode = readOnce((object) => nodeSchema.parse(object));
  readonly #readNodeRuntime = readOnce((object) => nodeRuntimeSchema.parse(object));
  #nodes = 0;

  constructor(options: WorldOptions = {}) {
    const { seed = 1, latencies, behaviour, journalCapacity = 200_000, isDualStack = false } = options;
    this.#options = options;
    this.clock = options.clock ?? new VirtualClock();
    this.random = seededRandom(seed);
    const nowMs = this.clock.now();
    this.kube = new KubeModel({ resources: CRDS, seed, startMs: nowMs, journalCapacity });
    this.cloud = new CloudModel({ seed, regionId: REGION, latencies, behaviour, journalCapacity });
    const [ofVpc, ofNodes] = isDualStack ? ['fd00:10::/48', 'fd00:10::/64'] : [];
    this.vpcId = this.cloud.createVpc({ cidrBlock: '10.0.0.0/8', ipv6CidrBlock: ofVpc }, nowMs);
    this.nodeVSwitchId = this.addVSwitch('10.0.0.0/16', ofNodes);
    this.podVSwitchId = this.addVSwitch('10.1.0.0/16');
    this.securityGroupId = this.cloud.createSecurityGroup({ vpcId: this.vpcId, name: 'pods' }, nowMs);
    this.#kubelets = new Kubelets(this.kube, this.clock, (nodeName) => this.#machines.has(nodeName));
    const eniConf = {
      vswitches: { [ZONE]: [this.nodeVSwitchId] },
      security_group: this.securityGroupId,
      enable_eni_trunking: true,
      ...(isDualStack ? { ip_stack: 'dual' } : {}),
      ...options.eniConf,
    };
    this.create('configmaps', 'kube-system', {
      metadata: { name: 'eni-config' },
      data: { eni_conf: JSON.stringify(eniConf) },
    });
    this.addNetworking('elastic', { type: 'Elastic' });
    this.addNetworking('fixed', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '10m' });
  }

  // Actions of users, kubelets and the cloud's console.

  create(resource: string, namespace: string | undefined, body: object, actor = 'user'): KubeObject {
    const { group, version, kind } = this.kube.resource(resource);
    const apiVersion = group === '' ? version : `${group}/${version}`;
    return this.kube.create({ resource, namespace }, { apiVersion, kind, ...body }, { actor, nowMs: this.clock.now() });
  }

  /** @returns its id. */
  addVSwitch(cidrBlock: string, ipv6CidrBlock?: string): string {
    const { vpcId } = this;
    return this.cloud.createVSwitch({ vpcId, zoneId: ZONE, cidrBlock, ipv6CidrBlock }, this.clock.now());
  }

  /** A PodNetworking that selects pods with the label `networking` of its name. */
  addNetworking(name: string, allocationType: object, vSwitchIds: readonly string[] = [this.podVSwitchId]): void {
    this.create(PODNETWORKINGS, undefined, {
      metadata: { name },
      spec: {
        selector: { podSelector: { matchLabels: { networking: name } } },
        allocationType,
        vSwitchOptions: vSwitchIds,
        securityGroupIDs: [this.securityGroupId],
      },
    });
  }

  /** @returns name and instance id. */
  addNode(instanceType = INSTANCE_TYPE, name = `node-${this.#nodes + 1}`): { name: string; instanceId: string } {
    this.#nodes += 1;
    const { instanceId } = this.cloud.runInstance(
      { instanceType, vSwitchId: this.nodeVSwitchId, securityGroupIds: [this.securityGroupId] },
      this.clock.now(),
    );
    this.registerNode({ name, instanceId, instanceType });
    return { name, instanceId };
  }

  /** As the kubelet of an instance does. */
  registerNode({ name, instanceId, instanceType }: { name: string; instanceId: string; instanceType: string }): void {
    this.create('nodes', undefined, {
      metadata: {
        name,
        labels: {
          'topology.kubernetes.io/region': REGION,
          'topology.kubernetes.io/zone': ZONE,
          'node.kubernetes.io/instance-type': instanceType,
        },
      },
      spec: { providerID: `${REGION}.${instanceId}` },
      status: { conditions: [{ type: 'Ready', status: 'True' }] },
    });
  }

  /** Deletes a Kubernetes node and, as the pod garbage collector does, its pods. */
  deleteNode(name: string): void {
    const caller = { actor: 'user', nowMs: this.clock.now() };
    this.kube.delete({ resource: 'nodes', namespace: undefined, name, subresource: '' }, {}, caller);
    for (const pod of this.kube.objects('pods')) {
      if (nodeNameOf(pod) === name) this.deletePod(`${pod.metadata.namespace}/${pod.metadata.name}`, 0);
    }
  }

  /** Gives a node a node agent of ours, and a kubelet and a runtime for it. */
  addMachine(
    { name, instanceId }: { name: string; instanceId: string },
    options: Pick<MachineOptions, 'onCall' | 'onFailure' | 'onError' | 'podIPsAnnotation' | 'tellsAddresses'> = {},
  ): Machine {
    const { kube, clock, random, cloud } = this;
    const machine = new Machine({
      ...options,
      nodeName: name,
      instanceId,
      kube,
      clock,
      random,
      kubeFaults: this.#options.kubeFaults,
      hasEni: (mac) =>
        cloud
          .enis()
          .some((eni) => eni.macAddress === mac && eni.status === 'InUse' && eni.attachment?.instanceId === instanceId),
    });
    this.#machines.set(name, machine);
    return machine;
  }

  /** The machine of a node ends. */
  removeMachine(nodeName: string): void {
    this.#machines.get(nodeName)?.end();
    this.#machines.delete(nodeName);
  }

  createPod({
    namespace = 'default',
    name,
    nodeName,
    networking = 'elastic',
    ownerKind,
    annotations = {},
  }: PodOptions): KubeObject {
    const owner = { apiVersion: 'apps/v1', kind: ownerKind, name: 'owner', uid: 'owner', controller: true };
    return this.create('pods', namespace, {
      metadata: {
        name,
        labels: { networking },
        annotations,
        ...(ownerKind === undefined ? {} : { ownerReferences: [owner] }),
      },
      spec: { nodeName, containers: [{ name: 'main', image: 'pause' }], tolerations: [{ operator: 'Exists' }] },
    });
  }

  /** Without grace the object goes at once. */
  deletePod(key: string, gracePeriodSeconds?: number): void {
    const [namespace, name = ''] = key.split('/');
    this.kube.delete(
      { resource: 'pods', namespace, name, subresource: '' },
      gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds },
      { actor: 'user', nowMs: this.clock.now() },
    );
  }

  /** Somebody removes an object by force, finalizers and all. */
  remove(resource: string, key: string): void {
    const { namespace, name } = splitKey(key);
    const target = { resource, namespace, name, subresource: '' };
    const caller = { actor: 'user', nowMs: this.clock.now() };
    this.kube.patch(target, 'application/merge-patch+json', { metadata: { finalizers: null } }, caller);
    this.kube.delete(target, {}, caller);
  }

  /**
   * Restores a backup of the API server. Its connections break, and what is under way is lost; kubelets start anew. Replicas go
   * on, unless they were killed before.
   */
  restore(backup: Backup, options: { bumpRevision?: number } = {}): void {
    this.kube.restore(backup, options);
    for (const { transport } of this.#replicas) transport.breakConnections();
    this.#kubelets.restart();
    for (const machine of this.#machines.values()) machine.serverRestored();
  }

  // The control plane.

  /** @param config keys of its configuration file that differ */
  startReplica(
    name = `replica-${this.#replicas.length + 1}`,
    config: Readonly<Record<string, unknown>> = {},
  ): WorldReplica {
    const replica = new WorldReplica({
      name,
      kube: this.kube,
      cloud: this.cloud,
      clock: this.clock,
      random: this.random,
      config: stringify({ webhook: { enabled: false }, ...this.#options.config, ...config }),
      clusterId: CLUSTER_ID,
      vpcId: this.vpcId,
      regionId: REGION,
      kubeFaults: this.#options.kubeFaults,
      onCloudCall: this.#options.onCloudCall,
    });
    this.#replicas.push(replica);
    return replica;
  }

  /** Lets time pass. @throws what a replica failed with by itself */
  async run(ms: number): Promise<void> {
    await this.clock.advance(ms);
    this.cloud.advance(this.clock.now());
  }

  /**
   * Lets time pass until a condition holds, checking after each call of the clock.
   *
   * @returns the elapsed milliseconds
   * @throws Error when it does not hold in time
   */
  async until(what: string, holds: () => boolean, withinMs: number): Promise<number> {
    const startMs = this.clock.monotonicMs();
    for (let seen = -1; ; ) {
      // Conditions depend only on the API server and the cloud, so skip the check when neither changed.
      const now = this.kube.generation + this.cloud.generation;
      if (now !== seen && holds()) break;
      seen = now;
      if (!(await this.clock.step(startMs + withinMs))) {
        this.cloud.advance(this.clock.now());
        if (holds()) break;
        throw new Error(`after ${(this.clock.monotonicMs() - startMs) / 1000} of ${withinMs / 1000} s: not ${what}`);
      }
    }
    return this.clock.monotonicMs() - startMs;
  }

  /** Ends every replica at once. */
  end(): void {
    for (const replica of this.#replicas) replica.kill();
    for (const machine of this.#machines.values()) machine.end();
    this.#kubelets.end();
  }

  // Observations.

  get replicas(): readonly WorldReplica[] {
    return this.#replicas;
  }

  /** Of nodes with a node agent. */
  get machines(): ReadonlyMap<string, Machine> {
    return this.#machines;
  }

  podEni(key: string): PodEni | undefined {
    const [namespace, name = ''] = key.split('/');
    const found = this.kube.peek(PODENIS, { namespace, name });
    return found === undefined ? undefined : this.#readPodEni(found);
  }

  podEnis(): PodEni[] {
    return this.kube.objects(PODENIS).map(this.#readPodEni);
  }

  nodeRuntime(nodeName: string): NodeRuntime | undefined {
    const found = this.kube.peek(NODERUNTIMES, { namespace: undefined, name: nodeName });
    return found === undefined ? undefined : this.#readNodeRuntime(found);
  }

  isBound(key: string): boolean {
    return this.podEni(key)?.status?.phase === 'Bind';
  }

  /** How many PodENIs there are in a phase. */
  countOf(phase: string): number {
    return this.kube.objects(PODENIS).filter(({ status }) => isRecord(status) && status['phase'] === phase).length;
  }

  /** Trunk ENI id of a node, once it is recorded as attached. */
  trunkOf(nodeName: string): string | undefined {
    return Object.values(this.nodeRecord(nodeName)?.status?.networkInterfaces ?? {}).find(
      ({ networkInterfaceType, status }) => networkInterfaceType === 'Trunk' && status === 'InUse',
    )?.id;
  }

  /** The Node CR of a node. */
  nodeRecord(nodeName: string): TerwayNode | undefined {
    const found = this.kube.peek(NODES, { namespace: undefined, name: nodeName });
    return found === undefined ? undefined : this.readNode(found);
  }

  state(): WorldState {
    return {
      clusterId: CLUSTER_ID,
      podEnis: this.podEnis(),
      networkInterfaces: this.kube.objects(NETWORKINTERFACES).map(this.#readNetworkInterface),
      nodes: this.kube.objects(NODES).map(this.readNode),
      cloud: this.#cloudState(),
      counters: this.cloud.counters(),
    };
  }

  /** A snapshot costs a copy of every object, so it is kept until one changes. */
  #cloudState(): Snapshot {
    const nowMs = this.clock.now();
    this.cloud.advance(nowMs);
    if (this.#cloudSeen?.generation !== this.cloud.generation) this.#cloudSeen = this.cloud.snapshot(nowMs);
    return { ...this.#cloudSeen, nowMs };
  }

  /** Violations of the invariants right now. */
  violations(): string[] {
    return violations(this.state());
  }

  /** Violations in a settled system. */
  unsettled(): string[] {
    return unsettled(this.state());
  }
}
