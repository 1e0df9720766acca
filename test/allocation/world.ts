import { attemptTags, isOurs, ownershipTags } from '../../src/allocation/identity.ts';
import type { Goal, InterfaceStep } from '../../src/allocation/interface-step.ts';
import { nextStep, type PodView, type Step, targetOf } from '../../src/allocation/lifecycle.ts';
import type { Operation, OperationKind } from '../../src/allocation/operation.ts';
import { type Capacity, type NodeView, planNewAttempt, planPodEni, planRebind } from '../../src/allocation/plan.ts';
import { isFixed } from '../../src/allocation/retention.ts';
import { rolloutState, sameSecurityGroups, withSecurityGroups } from '../../src/allocation/security-groups.ts';
import { SlotLedger } from '../../src/allocation/slots.ts';
import { VSwitchPool } from '../../src/allocation/vswitch-pool.ts';
import { kindOf } from '../../src/cloud/errors.ts';
import { ANNOTATION_POD_UID } from '../../src/crds/names.ts';
import type { Allocation, PodEni } from '../../src/crds/pod-eni.ts';
import { type PodNetworking, podNetworkingSchema } from '../../src/crds/pod-networking.ts';
import type { Eni, EniObservation } from '../../src/ecs/eni.ts';
import type { FailureKind } from '../../src/ecs/failure.ts';
import { rfc3339 } from '../../src/util/clock.ts';
import { seededRandom } from '../../src/util/random.ts';
import { SimulatedCloud } from './cloud.ts';

/** How a call of ours ends. */
export type Ending = 'ok' | 'answerLost' | 'neverArrived' | 'throttled';

const CLUSTER = 'c1';
export const CONFIRMATION_MS = 30_000;
/** Longest that the cloud takes a request that was on its way when we crashed. */
const LATE_MS = 2000;

interface Call {
  kind: OperationKind;
  /** Makes the call at the cloud. */
  apply: () => { ok: true; eni?: Eni } | { ok: false; code: string; status: number };
}

/**
 * A cluster with a handful of pods and the life cycle of their PodENIs, driven against the cloud model by the same decisions
 * as the control plane, one small action at a time. Persisted state survives `crash`, everything else does not.
 * Violations of the invariants are collected as lines.
 */
export class AllocationWorld {
  readonly cloud = new SimulatedCloud(CLUSTER);
  readonly violations: string[] = [];
  /** Nodes whose agent works: it gives pods their network, and says so when a sandbox is gone. */
  readonly agents = new Set<string>();
  /** Pod uids whose sandbox has its network, and uids that a node reported as deleted. */
  readonly sandboxes = new Set<string>();
  readonly #reported = new Set<string>();
  readonly pods = new Map<string, PodView>();
  readonly records = new Map<string, PodEni>();
  nowMs = this.cloud.startMs;
  readonly #networkings: { elastic: PodNetworking; fixed: PodNetworking };
  readonly #nodes: NodeView[];
  /** Pods as our watch shows them; it may be behind. */
  #seenPods = new Map<string, PodView>();
  #observations = new Map<string, EniObservation>();
  #operations = new Map<string, Operation>();
  #calls = new Map<string, Call>();
  #questions = new Set<string>();
  #late: { atMs: number; apply: () => unknown }[] = [];
  #capacity: Capacity;
  #uids = 0;
  /** What fixed records have promised: by uid of the record. */
  readonly #promises = new Map<string, string>();
  /** PodENIs that a user deleted although the pod lives. */
  readonly #deletedByUser = new Set<string>();

  constructor() {
    const spec = { vSwitchOptions: this.cloud.vSwitchIds, securityGroupIDs: this.cloud.securityGroupIds };
    const networking = (name: string, allocationType: object) =>
      podNetworkingSchema.parse({ metadata: { name, generation: 1 }, spec: { ...spec, allocationType } });
    this.#networkings = {
      elastic: networking('elastic', { type: 'Elastic' }),
      fixed: networking('fixed', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '10m' }),
    };
    this.#nodes = this.cloud.nodes;
    this.#capacity = this.#newCapacity();
  }

  // What happens to pods, and in the cloud behind our back.

  /** Edits the security groups of the PodNetworkings. */
  editSecurityGroups(others: boolean): void {
    const ids = others ? this.cloud.otherSecurityGroupIds : this.cloud.securityGroupIds;
    for (const { metadata, spec } of Object.values(this.#networkings)) {
      if (spec.securityGroupIDs?.join() === ids.join()) continue;
      metadata.generation = (metadata.generation ?? 0) + 1;
      spec.securityGroupIDs = ids;
    }
  }

  /** What the PodNetworking of a name asks for. */
  securityGroupsOf(name: string): string[] {
    return this.#networkingOf(name).spec.securityGroupIDs ?? [];
  }

  /** What the rollout does for one record. @returns whether it was rewritten. */
  rollOut(name: string): boolean {
    const record = this.records.get(name);
    const networking = this.#networkingOf(name);
    const groups = networking.spec.securityGroupIDs ?? [];
    if (record === undefined || rolloutState(record, networking.metadata.name, groups) !== 'outdated') return false;
    this.#rewrite(record, (allocation) => withSecurityGroups(allocation, networking));
    return true;
  }

  podComes(name: string, nodeAt: number): void {
    if (this.pods.get(name)?.state === 'live') return;
    const node = this.#nodes[nodeAt % this.#nodes.length];
    this.pods.set(name, { state: 'live', uid: `uid-${++this.#uids}`, nodeName: node?.nodeName ?? '' });
  }

  podGoes(name: string): void {
    this.pods.delete(name);
  }

  /**
   * Kubelet and agent of the pod's node do what there is to do: give the pod its network once the record is Bind, take it
   * when the pod is gone, and say of each record that leaves that no sandbox has it.
   */
  nodeWorks(name: string): void {
    const record = this.records.get(name);
    if (record === undefined || !this.agents.has(record.spec.target?.nodeName ?? '')) return;
    const uid = podUidOf(record);
    const leaves = record.metadata.deletionTimestamp !== undefined || record.status?.phase === 'Detaching';
    if (this.#podIsGone(name, record)) {
      if (this.sandboxes.delete(uid)) this.#reported.add(uid);
    } else if (record.status?.phase === 'Bind' && !leaves) {
      this.sandboxes.add(uid);
      this.#reported.delete(uid);
    }
    if (leaves && !this.sandboxes.has(uid)) this.#reported.add(uid);
  }

  /** Our watch catches up. */
  syncPods(): void {
    this.#seenPods = new Map(this.pods);
  }

  userDeletesRecord(name: string): void {
    const record = this.records.get(name);
    if (record === undefined || record.metadata.deletionTimestamp !== undefined) return;
    record.metadata.deletionTimestamp = rfc3339(this.nowMs);
    this.#deletedByUser.add(record.metadata.uid ?? '');
  }

  pass(ms: number): void {
    this.nowMs += ms;
    this.#late.sort((a, b) => a.atMs - b.atMs);
    for (let [next] = this.#late; next !== undefined && next.atMs <= this.nowMs; [next] = this.#late) {
      this.#late.shift();
      this.cloud.nowMs = next.atMs;
      next.apply();
    }
    this.cloud.nowMs = this.nowMs;
  }

  /** Ends the process. Requests on their way arrive, soon, or get lost. */
  crash(arrive: boolean, lateMs: number): void {
    for (const call of this.#calls.values()) {
      if (arrive) this.#late.push({ atMs: this.nowMs + Math.min(lateMs, LATE_MS), apply: call.apply });
    }
    this.#observations = new Map();
    this.#operations = new Map();
    this.#calls = new Map();
    this.#questions = new Set();
    this.#capacity = this.#newCapacity();
  }

  /** Ends the call of this pod that is under way. */
  endCall(name: string, ending: Ending): boolean {
    const call = this.#calls.get(name);
    if (call === undefined) return false;
    this.#calls.delete(name);
    const outcome = ending === 'ok' || ending === 'answerLost' ? call.apply() : undefined;
    const before = this.#failuresBefore.get(name) ?? 0;
    const fail = (kind: FailureKind, code: string) => {
      this.#failuresBefore.set(name, before + 1);
      const failure = { kind, code, message: code };
      this.#operations.set(name, { kind: call.kind, state: 'failed', atMs: this.nowMs, failure, failures: before + 1 });
    };
    if (ending === 'throttled') fail('throttled', 'Throttling.User');
    else if (outcome === undefined || ending === 'answerLost') fail('unavailable', 'RequestTimeout');
    else if (!outcome.ok) fail(kindOf(outcome.code, outcome.status), outcome.code);
    else {
      const { eni } = outcome;
      this.#failuresBefore.delete(name);
      this.#operations.set(name, { kind: call.kind, state: 'succeeded', atMs: this.nowMs, ...(eni ? { eni } : {}) });
      if (eni !== undefined) this.#observations.set(eni.id, { atMs: this.nowMs, eni });
    }
    return true;
  }
  readonly #failuresBefore = new Map<string, number>();

  /** The observer answers every question, with a state that may lag. */
  answerQuestions(lagMs: number): void {
    for (const id of this.#questions) this.observe(id, lagMs);
    this.#questions.clear();
  }

  /** Brings an observation, asked for or not, such as the collector does. */
  observe(id: string, lagMs = 0): void {
    const eni = this.cloud.describe(id, this.nowMs - lagMs);
    this.#observations.set(id, eni === undefined ? { atMs: this.nowMs } : { atMs: this.nowMs, eni });
  }

  /** One step of the reconciler for one name. @returns what it did. */
  reconcile(name: string): string {
    const record = this.records.get(name);
    const pod = this.#seenPods.get(name) ?? { state: 'none' };
    if (record === undefined) return pod.state === 'live' ? this.#plan(name, pod) : 'nothing';
    const [allocation] = record.spec.allocations ?? [];
    const observation = this.#observations.get(allocation?.eni.id ?? '');
    const operation = this.#operations.get(name);
    const step = nextStep({
      podEni: structuredClone(record),
      pod,
      interfaces: [{ ...(observation ? { observation } : {}), ...(operation ? { operation } : {}) }],
      ...(this.agents.has(record.spec.target?.nodeName ?? '')
        ? { sandbox: { deleted: this.#reported.has(podUidOf(record)), timeoutMs: CONFIRMATION_MS } }
        : {}),
      clusterId: CLUSTER,
      nowMs: this.nowMs,
    });
    const done = this.#execute(name, record, step);
    if (done !== 'nothing') this.#check();
    return done;
  }

  #plan(name: string, pod: Extract<PodView, { state: 'live' }>): string {
    const networking = this.#networkingOf(name);
    const node = this.#nodes.find((facts) => facts.nodeName === pod.nodeName);
    const plan = planPodEni(
      { namespace: 'default', name, uid: pod.uid },
      [{ name: 'eth0', networking }],
      node,
      pod.nodeName,
      this.#now(),
    );
    if (plan.kind === 'wait') return `wait ${plan.reason}`;
    plan.podEni.metadata.uid = `record-${++this.#uids}`;
    plan.podEni.metadata.generation = 1;
    this.records.set(name, plan.podEni);
    return 'plan';
  }

  #execute(name: string, record: PodEni, step: Step): string {
    switch (step.do) {
      case 'podVanished':
      case 'nothing':
        this.#forget(name, record);
        break;
      case 'deleteObject':
        if (!this.#podIsGone(name, record)) return 'podLives';
        record.metadata.deletionTimestamp = rfc3339(this.nowMs);
        break;
      case 'startDetach':
        if (!this.#podIsGone(name, record)) return 'podLives';
        record.status = { ...record.status, phase: 'Detaching', podLastSeen: rfc3339(this.nowMs) };
        break;
      case 'startBinding':
        record.status = { ...record.status, phase: 'Binding', podLastSeen: rfc3339(this.nowMs) };
        break;
      case 'rebind':
        return this.#rebind(name, record);
      case 'bind':
        this.#bind(record, step.enis);
        break;
      case 'unbind':
        record.status = { ...record.status, phase: 'Unbind', instanceID: '', trunkENIID: '' };
        this.#forget(name, record);
        this.#capacity.slots.release(`default/${name}`);
        break;
      case 'finish':
        this.records.delete(name);
        this.#forget(name, record);
        this.#capacity.slots.release(`default/${name}`);
        break;
      case 'interfaces': {
        const [first] = step.steps;
        return first === undefined ? 'empty' : this.#interface(name, record, step.goal, first.step);
      }
    }
    return step.do;
  }

  #interface(name: string, record: PodEni, goal: Goal, step: InterfaceStep): string {
    const allocation = record.spec.allocations?.[0];
    if (allocation === undefined) return 'empty';
    const { id } = allocation.eni;
    const token = allocation.intent?.clientToken ?? '';
    switch (step.do) {
      case 'create': {
        const { vSwitchID = '', securityGroupIDs = [] } = allocation.eni;
        const owner = { clusterId: CLUSTER, owner: `default/${name}`, ownerUid: record.metadata.uid ?? '' };
        if (token === '') this.violations.push(`${name}: a creation without an intent (I2)`);
        const tags = ownershipTags({ ...owner, clientToken: token });
        this.#call(name, 'create', () => this.cloud.create({ vSwitchID, securityGroupIDs, token, tags }));
        break;
      }
      case 'find': {
        const atMs = this.nowMs;
        this.#call(name, 'find', () => this.cloud.find(attemptTags(CLUSTER, token), atMs - this.findLagMs));
        break;
      }
      case 'record':
        this.#rewrite(record, (before) => ({
          ...before,
          ipv4: step.eni.primaryIp,
          eni: { ...before.eni, id: step.eni.id, mac: step.eni.macAddress },
        }));
        this.#operations.delete(name);
        break;
      case 'newAttempt': {
        const capacity = this.#now();
        if (step.avoidVSwitch) capacity.vSwitches.block(allocation.eni.vSwitchID ?? '', this.nowMs);
        const plan = planNewAttempt(record, 0, this.#networkingOf(name), capacity);
        if (plan.kind === 'wait') return `wait ${plan.reason}`;
        this.#rewrite(record, () => plan.allocation);
        this.#operations.delete(name);
        this.#observations.delete(id);
        break;
      }
      case 'observe':
      case 'waitForCloud':
        this.#questions.add(id);
        break;
      case 'attach': {
        const target = targetOf(record);
        if (target !== undefined) this.#call(name, 'attach', () => this.cloud.attach(id, target));
        break;
      }
      case 'detach':
      case 'delete':
        this.#checkDestructive(name, record, goal, step.do, step.eni);
        // What was detached while no agent worked, or by hand, may be deleted.
        if (goal !== 'bind' && step.do === 'detach') this.#checkSandbox(name, record, step.unconfirmed === true);
        this.#call(name, step.do, () => (step.do === 'detach' ? this.cloud.detach(step.eni) : this.cloud.delete(id)));
        break;
      case 'modify': {
        const wanted = allocation.eni.securityGroupIDs ?? [];
        this.#call(name, 'modify', () => this.cloud.modify(id, wanted));
        break;
      }
      case 'pause':
        if (step.failure === undefined && id !== '') this.#observations.delete(id);
        break;
      case 'waitForCall':
      case 'waitForNode':
      case 'blocked':
      case 'done':
        break;
    }
    return step.do === 'blocked' ? step.reason : step.do;
  }
  /** How far a search by tags lags behind. */
  findLagMs = 0;

  #call(name: string, kind: OperationKind, apply: Call['apply']): void {
    const before = this.#operations.get(name);
    if (before?.kind !== kind || before.state !== 'failed') this.#failuresBefore.delete(name);
    this.#operations.set(name, { kind, state: 'running', sinceMs: this.nowMs });
    this.#calls.set(name, { kind, apply });
  }

  #rebind(name: string, record: PodEni): string {
    const pod = this.#seenPods.get(name);
    if (pod?.state !== 'live') return 'nothing';
    const node = this.#nodes.find((facts) => facts.nodeName === pod.nodeName);
    const plan = planRebind(record, { namespace: 'default', name, uid: pod.uid }, node, pod.nodeName, this.#now());
    if (plan.kind === 'wait') return `wait ${plan.reason}`;
    record.metadata.annotations = { ...record.metadata.annotations, [ANNOTATION_POD_UID]: pod.uid };
    record.spec.target = plan.target;
    const networking = this.#networkingOf(name);
    const isReserved = record.status?.phase === 'Unbind';
    this.#rewrite(record, (allocation) => (isReserved ? withSecurityGroups(allocation, networking) : allocation));
    return 'rebind';
  }

  #networkingOf(name: string): PodNetworking {
    return name.startsWith('fixed') ? this.#networkings.fixed : this.#networkings.elastic;
  }

  /** The API server counts changes of the spec. */
  #rewrite(record: PodEni, change: (allocation: Allocation) => Allocation): void {
    record.spec.allocations = (record.spec.allocations ?? []).map(change);
    record.metadata.generation = (record.metadata.generation ?? 0) + 1;
  }

  #bind(record: PodEni, enis: Eni[]): void {
    const [eni] = enis;
    if (eni === undefined) return;
    const { instanceId = '', trunkEniId = '', vlanId = 0 } = eni;
    if (!sameSecurityGroups(eni.securityGroupIds, record.spec.allocations?.[0]?.eni.securityGroupIDs ?? [])) {
      this.violations.push(`${record.metadata.name}: bound with the groups ${eni.securityGroupIds.join()} (I8)`);
    }
    record.status = {
      ...record.status,
      observedGeneration: record.metadata.generation ?? 0,
      phase: 'Bind',
      instanceID: instanceId,
      trunkENIID: trunkEniId,
      eniInfos: { [eni.id]: { id: eni.id, vid: vlanId, status: 'Bind' } },
    };
  }

  #forget(name: string, record: PodEni): void {
    if (!this.#calls.has(name)) this.#operations.delete(name);
    for (const { eni } of record.spec.allocations ?? []) this.#observations.delete(eni.id);
  }

  /** A read of the pod from the API server, which is never behind. */
  #podIsGone(name: string, record: PodEni): boolean {
    const pod = this.pods.get(name);
    return pod?.state !== 'live' || pod.uid !== podUidOf(record);
  }

  #now(): Capacity {
    return { ...this.#capacity, nowMs: this.nowMs };
  }

  /** As the control plane rebuilds it at its start. */
  #newCapacity(): Capacity {
    const vSwitches = new VSwitchPool();
    vSwitches.update(this.cloud.vSwitches());
    const slots = new SlotLedger(() => undefined);
    for (const [name, record] of this.records) {
      const instanceId = targetOf(record)?.instanceID;
      const pod = this.pods.get(name);
      const isClaimed =
        pod?.state === 'live' &&
        pod.uid === record.metadata.annotations?.[ANNOTATION_POD_UID] &&
        pod.nodeName === record.spec.target?.nodeName;
      if (instanceId === undefined || (record.status?.phase === 'Unbind' && !isClaimed)) continue;
      slots.reserve(`default/${name}`, instanceId, 1);
    }
    return { slots, vSwitches, random: seededRandom(1), clusterId: CLUSTER, withIpv6: false, nowMs: this.nowMs };
  }

  #checkDestructive(name: string, record: PodEni, goal: Goal, call: string, eni: Eni): void {
    const { deletionTimestamp, uid = '' } = record.metadata;
    const about = `${name}: ${call} of ${eni.id} towards ${goal} (I3)`;
    if (!isOurs(eni.tags, CLUSTER)) this.violations.push(`${about}: not ours`);
    if (goal === 'release' && deletionTimestamp === undefined) this.violations.push(`${about}: not persisted`);
    if (goal === 'hold' && record.status?.phase !== 'Detaching') this.violations.push(`${about}: not persisted`);
    if (goal === 'bind' && eni.instanceId === targetOf(record)?.instanceID)
      this.violations.push(`${about}: at its place`);
    if (goal !== 'bind' && !this.#podIsGone(name, record) && !this.#deletedByUser.has(uid)) {
      this.violations.push(`${about}: its pod lives`);
    }
  }

  /** An address is not taken from a sandbox that the node knows of, unless its word has not come for long. */
  #checkSandbox(name: string, record: PodEni, unconfirmed: boolean): void {
    const since = record.metadata.deletionTimestamp ?? record.status?.podLastSeen ?? '';
    const waited = this.nowMs - Date.parse(since) >= CONFIRMATION_MS;
    if (unconfirmed && !waited) this.violations.push(`${name}: detached without waiting for its node`);
    const isUsed = this.sandboxes.has(podUidOf(record)) && this.agents.has(record.spec.target?.nodeName ?? '');
    if (isUsed && !unconfirmed && this.#podIsGone(name, record)) {
      this.violations.push(`${name}: its sandbox still has the address`);
    }
  }

  #check(): void {
    const owners = new Map<string, string>();
    for (const [name, record] of this.records) {
      for (const { eni, ipv4 } of record.spec.allocations ?? []) {
        // The address of an ENI that somebody deleted by hand may be given to another at once.
        const address = this.cloud.model.eni(eni.id) === undefined ? '' : (ipv4 ?? '');
        for (const held of [eni.id, address].filter((text) => text !== '')) {
          const other = owners.get(held);
          if (other !== undefined) this.violations.push(`${held} belongs to ${other} and ${name} (I1)`);
          owners.set(held, name);
        }
        if (isFixed(record) && eni.id !== '') this.#checkPromise(name, record, `${eni.id} ${ipv4} ${record.spec.zone}`);
      }
    }
    for (const { id, tags } of this.cloud.ours()) {
      if (!this.#isCovered(id, tags)) this.violations.push(`${id} belongs to nobody (I5)`);
    }
    this.violations.push(...this.cloud.violations());
  }

  #checkPromise(name: string, record: PodEni, promise: string): void {
    const uid = record.metadata.uid ?? '';
    const before = this.#promises.get(uid) ?? promise;
    if (before !== promise) this.violations.push(`${name}: ${before} became ${promise} (I4)`);
    this.#promises.set(uid, promise);
  }

  #isCovered(id: string, tags: Record<string, string>): boolean {
    return [...this.records.values()].some((record) =>
      (record.spec.allocations ?? []).some(({ eni, intent }) => {
        if (eni.id !== '') return eni.id === id;
        return intent !== undefined && Object.values(tags).includes(intent.clientToken);
      }),
    );
  }
}

function podUidOf(record: PodEni): string {
  return record.metadata.annotations?.[ANNOTATION_POD_UID] ?? '';
}
