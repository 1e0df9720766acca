import * as z from 'zod';
import { API_OF_CALL } from '../../../src/controllers/eni/pending-calls.ts';
import type { Term } from '../../../src/controllers/term.ts';
import { podNetworkingSchema } from '../../../src/crds/pod-networking.ts';
import { VirtualClock } from '../../../src/util/test-support/virtual-clock.ts';
import type { ApiCall, RequestFault } from '../../kube/faults.ts';
import type { KubeObject } from '../../kube/model/objects.ts';
import type { CloudCall, CloudFault } from '../cloud-link.ts';
import { nodeNameOf } from '../kubelets.ts';
import { INJECTED, type MachineCall, type MachineFault } from '../node/process.ts';
import { sandboxOf } from '../node/runtime.ts';
import { Operator } from '../operator.ts';
import { INSTANCE_TYPE, NODERUNTIMES, PODNETWORKINGS, World } from '../world.ts';
import { type Act, NETWORKINGS } from './acts.ts';
import { SeededFaults } from './faults.ts';
import { Outside } from './outside.ts';
import type { Plan } from './plan.ts';
import { isShared, keyOfPod } from './pods.ts';
import { type Instance, Restores } from './restores.ts';
import { SeededCloud } from './seeded-cloud.ts';
import { SeededNodes } from './seeded-nodes.ts';
import { SeededPool } from './seeded-pool.ts';
import { SeededReplicas } from './seeded-replicas.ts';
import { nodeName, SeededUsers } from './seeded-users.ts';

/** Three member slots, so that pods wait for one; the other nodes have plenty. */
const SMALL_TYPE = 'ecs.u1-c1m4.xlarge';
/** The same with as many IPv6 as IPv4 addresses: six member slots. */
const SMALL_DUAL_TYPE = 'ecs.c7.2xlarge';
/** Until a killed replica is followed by the next. */
const RESTART_MS = 1000;
/** What an agent logs of a record that it cannot read. */
const recordErrorSchema = z.object({ record: z.string(), msg: z.string() });

/** A world that carries out the acts of a plan. Acts that make no sense at their time, such as deleting a pod that does not exist, do nothing. */
export class SeededWorld {
  readonly world: World;
  readonly faults: SeededFaults;
  readonly nodes: SeededNodes;
  readonly users: SeededUsers;
  readonly pool: SeededPool;
  readonly restores: Restores;
  readonly #outside: Outside;
  /** Replicas and agents that ended by themselves, and other promises that were broken. */
  readonly failures: string[] = [];
  /** Is called with each act, for a trace. */
  onAct: (act: Act) => void = () => undefined;
  /** Is called with each call that a replica sends to the cloud. */
  onSend: (call: CloudCall) => void = () => undefined;
  /** Is called with each of them that will arrive, however late. */
  onUnderWay: (call: CloudCall) => void = () => undefined;
  /**
   * Is called with each call through a port, but for leases and events: to API server or cloud by a replica, to API server, disk or
   * kernel by an agent. Says whether the process is killed before or after it.
   */
  onCall: (name: string, process: 'replica' | 'agent') => 'before' | 'after' | undefined = () => undefined;
  readonly #replicas: SeededReplicas;
  readonly #cloud: SeededCloud;
  readonly #agents: ReadonlySet<number>;
  readonly #smallType: string;
  /** Those that run, by the name of their node. */
  readonly #instances = new Map<string, Instance>();
  readonly #operator: Operator;
  /** Whether the plan restores a backup. */
  readonly #takesBackups: boolean;
  /** Whether the plan sets wall clocks back, so that what replicas have seen looks younger than it is. */
  readonly shiftsClocks: boolean;
  /** Interval of the collector; undefined: the default. */
  readonly collectorMs: number | undefined;

  constructor(plan: Plan) {
    const clock = new VirtualClock();
    const { collectorMs, isShortOfAddresses } = plan.surroundings;
    this.collectorMs = collectorMs;
    this.faults = new SeededFaults({ seed: plan.seed, rates: plan.rates, clock });
    this.world = new World({
      clock,
      seed: plan.seed,
      config: {
        ...(plan.rateLimit === undefined ? {} : { rateLimit: limitsOf(plan.rateLimit) }),
        ...(collectorMs === undefined ? {} : { collector: { interval: `${collectorMs}ms` } }),
      },
      eniConf: plan.pool === undefined ? {} : { ipam_type: 'crd', ...plan.pool },
      isDualStack: plan.stack !== 'ipv4',
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
      isTouched: (eniId) => this.users.touched.has(eniId),
      onRenounced: (uid) => this.nodes.renounced.add(uid),
      onRevived: (uid) => this.nodes.revived.add(uid),
      onProblem: (problem) => this.failures.push(problem),
    });
    const vSwitches = [world.podVSwitchId, world.addVSwitch(isShortOfAddresses ? '10.2.0.0/29' : '10.2.0.0/16')];
    if (plan.steps.some(({ act }) => act.kind === 'take-addresses')) vSwitches.push(world.addVSwitch('10.3.0.0/29'));
    const group = world.cloud.createSecurityGroup({ vpcId: world.vpcId, name: 'others' }, world.clock.now());
    world.addNetworking('never', { type: 'Fixed', releaseStrategy: 'Never' });
    this.#agents = new Set(plan.agents);
    this.#smallType = plan.stack === 'dual' ? SMALL_DUAL_TYPE : SMALL_TYPE;
    this.#cloud = new SeededCloud(world);
    const groups = [world.securityGroupId, group];
    this.users = new SeededUsers({
      world,
      vSwitches,
      groups,
      areAdmitted: plan.pool !== undefined,
      onRenounced: (uid) => this.nodes.renounced.add(uid),
      failSandbox: (pod) => this.nodes.perform({ kind: 'fail-sandbox', pod, isLate: false }),
      onTaken: (eniId) => this.pool.noteTaken(eniId),
    });
    const { pool: knobs, deletesRecords } = plan;
    this.pool = new SeededPool({ world, faults: this.faults, users: this.users, groups, knobs, deletesRecords });
    this.#replicas = new SeededReplicas({
      world,
      faults: this.faults,
      count: plan.replicas,
      onFailure: (failure) => this.failures.push(failure),
    });
    this.#outside = new Outside({
      world,
      faults: this.faults,
      vSwitches,
      networkings: NETWORKINGS,
      instanceOf: (node) => this.#instances.get(nodeName(node))?.instanceId,
      replicaAt: (replica) => this.#replicas.at(replica),
      deletePodEni: (key) => this.users.deletePodEni(key),
    });
    this.nodes = new SeededNodes(world, this.faults, { nodeName, keyOfPod });
    for (let node = 0; node < plan.nodes; node += 1) this.addNode(node);
    this.#replicas.start();
  }

  /** No fault, no lag and no limit from now on, and people do what the documentation tells them to do. */
  quiet(): void {
    this.faults.stop();
    this.restores.finish();
    this.#outside.quiet();
    this.users.quiet();
    this.#cloud.quiet();
    this.#replicas.quiet();
    this.#replicas.start();
    this.nodes.quiet();
    this.#cloud.endHangingAttachments();
    this.#replaceLostEnis();
  }

  /** Those who deleted an ENI know which pod has lost it, and so does who compares a restored backup with the cloud. */
  #replaceLostEnis(): void {
    const isKnown = (id: string) => this.users.touched.has(id) || this.restores.excuses.isLost(id);
    for (const { metadata, spec } of this.world.podEnis()) {
      const ids = (spec.allocations ?? []).map(({ eni }) => eni.id);
      const isLost = ids.some((id) => isKnown(id) && this.world.cloud.eni(id) === undefined);
      if (isLost) this.#operator.giveUp(`${metadata.namespace}/${metadata.name}`);
    }
  }

  /** The instance and the node of a number; there is none with this name. */
  addNode(node: number): void {
    const name = nodeName(node);
    const instanceType = node === 0 ? this.#smallType : INSTANCE_TYPE;
    const { instanceId } = this.world.addNode(instanceType, name);
    this.#instances.set(name, { name, instanceId, instanceType });
    if (!this.#agents.has(node)) return;
    this.nodes.add(
      { name, instanceId },
      {
        onCall: (call) => this.#onMachineCall(call),
        onFailure: (message) => this.failures.push(message),
        onError: (line) => this.#noteError(line),
        tellsAddresses: this.pool.knobs !== undefined,
      },
    );
  }

  removeNodes(): void {
    for (const { metadata } of this.world.kube.objects('nodes')) this.#removeNode(metadata.name);
  }

  /** People do what the control plane asks for. */
  attend(): void {
    this.#operator.attend();
    this.restores.attend();
    this.pool.attend();
  }

  /** Pods that are to have ENIs of their own: they exist, are not being deleted, and their node exists. */
  livePods(): KubeObject[] {
    return this.world.kube.objects('pods').filter((pod) => {
      if (pod.metadata.deletionTimestamp !== undefined || isShared(pod)) return false;
      return this.#node(nodeNameOf(pod)) !== undefined;
    });
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
    // Acts look at the cloud before they change it.
    world.cloud.advance(world.clock.now());
    switch (act.kind) {
      case 'remove-node':
        this.#removeNode(nodeName(act.node));
        return;
      case 'add-node':
        if (this.#node(nodeName(act.node)) === undefined) this.addNode(act.node);
        return;
      case 'restore-backup':
        this.#replicas.killAll(act.forMs);
        this.restores.restore(act);
        return;
      case 'kill-replica':
      case 'stall-replica':
      case 'freeze-watches':
      case 'late-takeover':
      case 'torn-takeover':
      case 'break-watches':
      case 'degrade':
        this.#replicas.perform(act);
        return;
      case 'throttle':
      case 'fail-attachments':
      case 'lag-lists':
      case 'delay-creations':
      case 'delay-attachments':
        this.#cloud.perform(act);
        return;
      case 'stop-api-server':
      case 'refuse-writes':
      case 'stop-cloud':
      case 'expire-credentials':
      case 'fill-vswitch':
      case 'stop-instance':
      case 'recreate-networking':
      case 'empty-namespace':
      case 'shift-clock':
      case 'suspend':
        this.#outside.perform(act);
        return;
      case 'create-pod':
      case 'delete-pod':
      case 'replace-pod':
      case 'flash-pod':
      case 'crowd-node':
      case 'delete-bound-pods':
      case 'delete-podeni':
      case 'renew-podeni':
      case 'strip-podeni':
      case 'delete-mirror':
      case 'detach-eni':
      case 'delete-eni':
      case 'delete-trunk':
      case 'change-groups':
      case 'move-eni':
      case 'take-addresses':
      case 'edit-networking':
        this.users.perform(act);
        return;
      case 'crowd-pool':
      case 'empty-pool':
      case 'edit-pool':
      case 'unassign-address':
      case 'assign-address':
      case 'detach-shared-eni':
      case 'delete-shared-eni':
      case 'delete-node-record':
      case 'own-pool':
      case 'own-eni':
      case 'own-flavor':
      case 'fill-shared-vswitch':
        this.pool.perform(act);
        return;
      default:
        this.nodes.perform(act);
    }
  }

  /** The term of the replica with this name, if it leads. */
  termOf(replica: string): Term | undefined {
    return this.#replicas.termOf(replica);
  }

  #onRequest(call: ApiCall): RequestFault | undefined {
    if (!call.resource.startsWith('leases.') && !call.resource.startsWith('events')) {
      const isLost = this.#crashesBefore(call.replica, `${call.verb} ${call.resource} ${call.subresource}`.trimEnd());
      if (isLost) return { kind: 'lost-request', failure: 'timeout' };
    }
    return this.faults.kube.onRequest?.(call);
  }

  #onCloudCall(call: CloudCall): CloudFault | undefined {
    if (this.#replicas.forbids(call))
      this.failures.push(`${call.action} was sent although the configuration forbids it`);
    this.onSend(call);
    if (call.action === 'CreateNetworkInterface') this.users.onCreation(call.params['VSwitchId']);
    if (this.#crashesBefore(call.replica, call.action)) return { kind: 'lost-request' };
    const fault = this.#cloud.faultOf(call) ?? this.faults.cloud(call);
    if (fault?.kind !== 'refused' && fault?.kind !== 'lost-request') this.onUnderWay(call);
    return fault;
  }

  #onMachineCall(call: MachineCall): MachineFault | undefined {
    const side = this.onCall(call.operation, 'agent');
    return side === undefined ? (this.nodes.faultOf(call) ?? this.faults.machine(call)) : { kind: 'killed', side };
  }

  /** Kills the process if that is wanted. @returns whether its call is lost */
  #crashesBefore(process: string, name: string): boolean {
    const at = this.#replicas.placeOf(process);
    const side = this.onCall(name, at === undefined ? 'agent' : 'replica');
    if (side === undefined) return false;
    if (at === undefined) this.nodes.machineOfAgent(process)?.killAgent(RESTART_MS);
    else this.#replicas.kill(at, RESTART_MS);
    return side === 'before';
  }

  #removeNode(name: string): void {
    if (this.#node(name) === undefined) return;
    this.world.removeMachine(name);
    // As the garbage collector does.
    this.#deleteRuntime(name);
    const instance = this.#instances.get(name);
    if (instance !== undefined) {
      const gone = this.world.cloud.releaseInstance(instance.instanceId, this.world.clock.now());
      for (const id of gone) this.users.touched.add(id);
    }
    this.#instances.delete(name);
    this.world.deleteNode(name);
  }

  /** Of a log of an agent: no record is torn unless a user did it. */
  #noteError(line: string): void {
    const { record, msg = '' } = recordErrorSchema.safeParse(JSON.parse(line)).data ?? {};
    if (record === undefined || msg.includes(INJECTED)) return;
    if (!this.nodes.damagedRecords.has(sandboxOf(`${record}.json`)))
      this.failures.push(`N3: the record ${record} was torn: ${msg}`);
  }

  #node(name: string): KubeObject | undefined {
    return this.#peek('nodes', name);
  }

  #peek(resource: string, key: string): KubeObject | undefined {
    return this.world.kube.peek(resource, { namespace: undefined, name: key });
  }

  #deleteRuntime(name: string): void {
    if (this.#peek(NODERUNTIMES, name) === undefined) return;
    const target = { resource: NODERUNTIMES, namespace: undefined, name, subresource: '' };
    this.world.kube.delete(target, {}, { actor: 'user', nowMs: this.world.clock.now() });
  }
}

/** For each API that changes something. */
function limitsOf(limit: number): Record<string, number> {
  const apis = Object.values(API_OF_CALL).filter((api) => !api.startsWith('Describe'));
  return Object.fromEntries(apis.map((api) => [api, limit]));
}
