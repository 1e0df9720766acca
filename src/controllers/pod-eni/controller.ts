import { attemptTags, ownershipTags } from '../../allocation/identity.ts';
import type { Goal, InterfaceStep } from '../../allocation/interface-step.ts';
import { nextStep, type Snapshot, type Step, targetOf } from '../../allocation/lifecycle.ts';
import type { OperationFailure } from '../../allocation/observation.ts';
import { planNewAttempt, planRebind, type Room, type Waiting } from '../../allocation/plan.ts';
import { isFixed } from '../../allocation/retention.ts';
import { ANNOTATION_POD_UID } from '../../crds/names.ts';
import type { Allocation, PodEni } from '../../crds/pod-eni.ts';
import { isNotFound } from '../../kube/errors.ts';
import { splitKey } from '../../kube/types.ts';
import { assertNever } from '../../util/errors.ts';
import type { ControllerContext } from '../context.ts';
import { nodeFacts } from '../node-facts.ts';
import { Operations } from '../operations.ts';
import { isFinished, podView } from '../pod-facts.ts';
import { podResource } from '../resources.ts';
import { PodAdmitter } from './admitter.ts';
import { ProgressPacer } from './progress.ts';
import { PodEniWriter } from './writer.ts';

/** Steps that one visit may take before others get their turn. */
const STEPS_PER_VISIT = 10;
/** A pod that the store does not show but the API server does: the store lags. */
const LAG_RECHECK_MS = 1000;

/** What a visit came to: go on at once, or leave, and look again after a time when given. */
type Outcome = 'again' | { requeueAfterMs?: number };

/**
 * Looks after the PodENI of each name: plans it for its pod, drives its life cycle (allocation/lifecycle.ts), and lets it go.
 * One queue key is `namespace/name` of pod and PodENI alike (docs/design/allocation.md).
 */
export class PodEniController {
  readonly #context: ControllerContext;
  readonly #operations: Operations;
  readonly #writer: PodEniWriter;
  readonly #admitter: PodAdmitter;
  readonly #pacer: ProgressPacer;

  constructor(context: ControllerContext) {
    this.#context = context;
    const { client, clock, informers, signal, wakePod } = context;
    this.#operations = new Operations({ clock, signal, wake: wakePod });
    this.#writer = new PodEniWriter({ client, store: informers.podEnis.store, clock });
    this.#pacer = new ProgressPacer(clock);
    this.#admitter = new PodAdmitter(context, this.#writer);
  }

  /** Rebuilds the ledger of member slots from the PodENIs; before the first reconcile. */
  rebuildLedger(): void {
    const { informers, room } = this.#context;
    for (const podEni of informers.podEnis.store.list()) {
      const key = keyOf(podEni);
      const target = targetOf(podEni);
      const pod = informers.pods.store.get(key);
      const claimed =
        pod?.metadata.uid === podEni.metadata.annotations?.[ANNOTATION_POD_UID] &&
        pod?.spec.nodeName === target?.nodeName;
      if (target?.trunkENIID === undefined || (podEni.status?.phase === 'Unbind' && !claimed)) continue;
      room.slots.reserve(key, target.trunkENIID, podEni.spec.allocations?.length ?? 1);
    }
  }

  /** A PodENI vanished, by our hand or another: its slots are free. */
  podEniGone(podEni: PodEni): void {
    const key = keyOf(podEni);
    this.#forget(key, podEni);
    this.#freeSlots(key);
    this.#context.wakePod(key);
  }

  /** Reconciles one name. @throws KubeApiError, TransportError: the queue tries again. */
  async reconcile(key: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number }> {
    const { informers } = this.#context;
    for (let count = 0; count < STEPS_PER_VISIT; count += 1) {
      const podEni = informers.podEnis.store.get(key);
      const outcome =
        podEni === undefined
          ? await this.#admitter.admit(key, informers.pods.store.get(key), signal)
          : await this.#execute(key, podEni, nextStep(this.#snapshot(key, podEni)), signal);
      if (outcome !== 'again') return outcome;
    }
    return { requeueAfterMs: 1 };
  }

  #snapshot(key: string, podEni: PodEni): Snapshot {
    const { informers, observer, clock, clusterId } = this.#context;
    return {
      podEni,
      pod: podView(informers.pods.store.get(key)),
      interfaces: (podEni.spec.allocations ?? []).map((allocation, index) => {
        const observation = observer.latest(allocation.eni.id);
        const operation = this.#operations.get(operationId(key, index));
        return {
          ...(observation === undefined ? {} : { observation }),
          ...(operation === undefined ? {} : { operation }),
        };
      }),
      clusterId,
      nowMs: clock.now(),
    };
  }

  async #execute(key: string, podEni: PodEni, step: Step, signal: AbortSignal): Promise<Outcome> {
    switch (step.do) {
      case 'nothing':
        return this.#settled(key, podEni, step.untilMs);
      case 'deleteObject':
        if (!(await this.#podIsGone(key, podEni, signal))) return { requeueAfterMs: LAG_RECHECK_MS };
        await this.#writer.deleteObject(podEni, signal);
        return 'again';
      case 'startDetach':
        if (!(await this.#podIsGone(key, podEni, signal))) return { requeueAfterMs: LAG_RECHECK_MS };
        await this.#writer.phase(podEni, 'Detaching', { podSeen: true }, signal);
        return 'again';
      case 'rebind':
        return this.#rebind(key, podEni, signal);
      case 'startBinding':
        await this.#writer.phase(podEni, 'Binding', { podSeen: true }, signal);
        return 'again';
      case 'bind':
        return this.#bind(key, podEni, step.enis, signal);
      case 'unbind':
        await this.#writer.unbind(podEni, signal);
        this.#forget(key, podEni);
        this.#freeSlots(key);
        return 'again';
      case 'finish':
        await this.#writer.removeFinalizers(podEni, signal);
        this.#context.log.debug({ podEni: key }, 'released');
        this.#finished(key, podEni);
        return 'again';
      case 'interfaces':
        return this.#executeInterfaces(key, podEni, step.goal, step.steps, signal);
      default:
        return assertNever(step);
    }
  }

  async #executeInterfaces(
    key: string,
    podEni: PodEni,
    goal: Goal,
    steps: { index: number; step: InterfaceStep }[],
    signal: AbortSignal,
  ): Promise<Outcome> {
    let soonestMs: number | undefined;
    for (const { index, step } of steps) {
      const allocation = podEni.spec.allocations?.[index];
      if (allocation === undefined) continue;
      const outcome = await this.#executeInterface({ key, podEni, goal, index, allocation, step, signal });
      // The record changed under the other steps: decide anew.
      if (outcome === 'again') return 'again';
      soonestMs = Math.min(soonestMs ?? Number.POSITIVE_INFINITY, outcome.requeueAfterMs ?? Number.POSITIVE_INFINITY);
    }
    return soonestMs === undefined || !Number.isFinite(soonestMs) ? {} : { requeueAfterMs: soonestMs };
  }

  async #executeInterface(work: InterfaceWork): Promise<Outcome> {
    const { key, podEni, index, allocation, step, signal } = work;
    const { observer, clock } = this.#context;
    const { id } = allocation.eni;
    switch (step.do) {
      case 'create':
        this.#create(work);
        return this.#waiting(work, 'Creating', 'the ENI is being created');
      case 'find':
        this.#find(work);
        return {};
      case 'record':
        await this.#writer.record(podEni, index, step.eni, signal);
        this.#operations.clear(operationId(key, index));
        return 'again';
      case 'newAttempt':
        return this.#newAttempt(work, step.avoidVSwitch, step.failure);
      case 'observe':
        observer.expect(id, 'read', key);
        return {};
      case 'attach':
      case 'detach':
      case 'delete':
        this.#change(work, step.do);
        return this.#waiting(work, CALL_REASON[step.do], `${step.do} of ${id} is being asked for`);
      case 'waitForCall':
        return this.#waiting(work, 'CallingCloud', 'the call to the cloud has not ended');
      case 'waitForCloud':
        observer.expect(id, step.transition, key);
        return this.#waiting(
          work,
          CALL_REASON[step.transition],
          `the cloud has accepted the ${step.transition} of ${id}`,
        );
      case 'pause': {
        const requeueAfterMs = Math.max(1, step.untilMs - clock.now());
        // The last answer is older than what the pause waits for; ask again when it ends.
        if (step.failure === undefined && id !== '') observer.forget(id);
        if (step.failure !== undefined) await this.#failed(work, step.failure);
        return { requeueAfterMs };
      }
      case 'blocked':
        await this.#report(work, step.reason, step.message, true);
        return {};
      case 'done':
        return {};
      default:
        return assertNever(step);
    }
  }

  #create({ key, podEni, index, allocation }: InterfaceWork): void {
    const { cloud, clusterId, clock, observer } = this.#context;
    const token = allocation.intent?.clientToken ?? '';
    const request = {
      kind: 'Secondary' as const,
      vSwitchId: allocation.eni.vSwitchID ?? '',
      securityGroupIds: allocation.eni.securityGroupIDs ?? [],
      deleteOnRelease: allocation.allocationType?.type !== 'Fixed',
      description: 'interface create by terway',
      clientToken: token,
      tags: ownershipTags({
        clusterId,
        owner: key,
        ownerUid: podEni.metadata.uid ?? '',
        clientToken: token,
      }),
    };
    this.#operations.start(operationId(key, index), key, 'create', async (signal) => {
      const eni = await cloud.createEni(request, signal);
      observer.note(eni, clock.now());
      return eni;
    });
  }

  #find({ key, index, allocation }: InterfaceWork): void {
    const { cloud, clusterId, observer } = this.#context;
    const tags = attemptTags(clusterId, allocation.intent?.clientToken ?? '');
    this.#operations.start(operationId(key, index), key, 'find', async (signal) => {
      const { enis, sentAtMs } = await cloud.describeEnis({ tags }, signal);
      const [eni] = enis;
      if (eni !== undefined) observer.note(eni, sentAtMs);
      return eni;
    });
  }

  #change({ key, podEni, index, step }: InterfaceWork, kind: 'attach' | 'detach' | 'delete'): void {
    const { cloud } = this.#context;
    if (step.do !== kind) return;
    const { eni } = step;
    const target = targetOf(podEni);
    this.#operations.start(operationId(key, index), key, kind, async (signal) => {
      if (kind === 'delete') {
        await cloud.deleteEni(eni.id, signal);
      } else if (kind === 'detach') {
        const trunk = eni.trunkEniId === undefined ? {} : { trunkEniId: eni.trunkEniId };
        await cloud.detachEni({ eniId: eni.id, instanceId: eni.instanceId ?? '', ...trunk }, signal);
      } else if (target !== undefined) {
        const trunk = target.trunkENIID === undefined ? {} : { trunkEniId: target.trunkENIID };
        await cloud.attachEni({ eniId: eni.id, instanceId: target.instanceID, ...trunk }, signal);
      }
      return undefined;
    });
  }

  async #newAttempt(work: InterfaceWork, avoidVSwitch: boolean, failure?: OperationFailure): Promise<Outcome> {
    const { key, podEni, index, allocation, signal } = work;
    const { room, clock, informers } = this.#context;
    const { vSwitchID } = allocation.eni;
    if (avoidVSwitch && vSwitchID !== undefined) room.vSwitches.block(vSwitchID, clock.now());
    const networking = informers.podNetworkings.store.get(allocation.intent?.networking ?? '');
    if (networking === undefined) {
      const message = `PodNetworking ${allocation.intent?.networking} no longer exists, so no other vSwitch can be chosen`;
      await this.#report(work, 'NetworkingGone', message, true);
      return { requeueAfterMs: LAG_RECHECK_MS };
    }
    const plan = planNewAttempt(podEni, index, networking, this.#room());
    if (plan.kind === 'wait') {
      this.#context.waitingRoom.park(key, plan.waitsFor);
      await this.#report(
        work,
        plan.reason,
        failure === undefined ? plan.message : `${plan.message} (${failure.message})`,
        true,
      );
      return { requeueAfterMs: RETRY_FULL_MS };
    }
    await this.#writer.replaceAllocation(podEni, index, plan.allocation, signal);
    this.#context.waitingRoom.leave(key);
    this.#operations.clear(operationId(key, index));
    this.#context.observer.forget(allocation.eni.id);
    return 'again';
  }

  async #rebind(key: string, podEni: PodEni, signal: AbortSignal): Promise<Outcome> {
    const { informers, waitingRoom } = this.#context;
    const pod = informers.pods.store.get(key);
    if (pod === undefined || pod.spec.nodeName === '') return {};
    const { nodeName } = pod.spec;
    const identity = { namespace: pod.metadata.namespace ?? '', name: pod.metadata.name, uid: pod.metadata.uid ?? '' };
    const node = nodeFacts(informers.coreNodes.store.get(nodeName), informers.nodes.store.get(nodeName));
    const plan = planRebind(podEni, identity, node, nodeName, this.#room());
    if (plan.kind === 'wait') return this.#park(key, podEni, plan, signal);
    waitingRoom.leave(key);
    await this.#writer.rebind(podEni, identity.uid, plan.target, signal);
    return 'again';
  }

  async #park(key: string, podEni: PodEni, plan: Waiting, signal: AbortSignal): Promise<Outcome> {
    this.#context.waitingRoom.park(key, plan.waitsFor);
    this.#context.events.podWarning(key, plan.reason, plan.message);
    return this.#progress(key, podEni, plan.reason, plan.message, true, signal);
  }

  async #bind(
    key: string,
    podEni: PodEni,
    enis: Parameters<PodEniWriter['bind']>[1],
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { events, log } = this.#context;
    await this.#writer.bind(podEni, enis, { fixed: isFixed(podEni) }, signal);
    this.#pacer.forget(key);
    for (const eni of enis) {
      events.podNormal(
        key,
        'AttachENISucceed',
        `${eni.id} (${eni.primaryIp}, ${eni.vSwitchId}) is attached${eni.vlanId === undefined ? '' : ` with VLAN id ${eni.vlanId}`}`,
      );
      log.info({ podEni: key, eni: eni.id, ip: eni.primaryIp, vlan: eni.vlanId, trunk: eni.trunkEniId }, 'bound');
    }
    return 'again';
  }

  /** Nothing to do: memory keeps nothing of a settled record. */
  #settled(key: string, podEni: PodEni, untilMs: number | undefined): Outcome {
    this.#forget(key, podEni);
    return untilMs === undefined ? {} : { requeueAfterMs: Math.max(1, untilMs - this.#context.clock.now()) };
  }

  #forget(key: string, podEni: PodEni): void {
    this.#pacer.forget(key);
    for (const [index, allocation] of (podEni.spec.allocations ?? []).entries()) {
      this.#operations.clear(operationId(key, index));
      if (allocation.eni.id !== '') this.#context.observer.forget(allocation.eni.id);
    }
  }

  #finished(key: string, podEni: PodEni): void {
    const { released } = this.#context;
    for (const { eni } of podEni.spec.allocations ?? []) if (eni.id !== '') released.add(eni.id);
    this.#forget(key, podEni);
    this.#freeSlots(key);
  }

  #freeSlots(key: string): void {
    const { room, waitingRoom, informers } = this.#context;
    const trunk = room.slots.release(key);
    if (trunk === undefined) return;
    for (const node of informers.nodes.store.byIndex('trunk', trunk)) {
      waitingRoom.wake({ kind: 'slot', nodeName: node.metadata.name });
    }
  }

  #room(): Room {
    return { ...this.#context.room, nowMs: this.#context.clock.now() };
  }

  /**
   * The pod that the record belongs to is gone, by a read that is newer than this decision (I3). The watch's store may be
   * behind.
   */
  async #podIsGone(key: string, podEni: PodEni, signal: AbortSignal): Promise<boolean> {
    try {
      const pod = await this.#context.client.get(podResource, splitKey(key), { signal });
      const owner = podEni.metadata.annotations?.[ANNOTATION_POD_UID];
      return isFinished(pod) || (owner !== undefined && pod.metadata.uid !== owner);
    } catch (error) {
      if (isNotFound(error)) return true;
      throw error;
    }
  }

  async #waiting(work: InterfaceWork, reason: string, message: string): Promise<Outcome> {
    if (work.goal !== 'bind') return {};
    const operation = this.#operations.get(operationId(work.key, work.index));
    const api = operation?.state === 'running' ? API_OF_CALL[operation.kind] : undefined;
    const quota = api === undefined ? undefined : this.#context.quota.status(api);
    if (api === undefined || quota === undefined || quota.waiting === 0) {
      return this.#progress(work.key, work.podEni, reason, message, false, work.signal);
    }
    const text = `the quota of ${api} (${quota.limitPerMinute} calls per minute) is used up; calls wait for the next minute`;
    return this.#progress(work.key, work.podEni, 'WaitingForQuota', text, false, work.signal);
  }

  async #failed(work: InterfaceWork, failure: OperationFailure): Promise<void> {
    await this.#report(work, 'CloudError', failure.message, true);
  }

  async #report(work: InterfaceWork, reason: string, message: string, urgent: boolean): Promise<void> {
    this.#context.events.podWarning(work.key, reason, message);
    await this.#progress(work.key, work.podEni, reason, message, urgent, work.signal);
  }

  async #progress(
    key: string,
    podEni: PodEni,
    reason: string,
    message: string,
    urgent: boolean,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const verdict = this.#pacer.judge(key, `${reason}: ${message}`, urgent);
    if (verdict.write) await this.#writer.notReady(podEni, reason, message, signal);
    else if (verdict.againAfterMs !== undefined) return { requeueAfterMs: verdict.againAfterMs };
    return {};
  }
}

/** One interface of a PodENI that is being worked on. */
interface InterfaceWork {
  key: string;
  podEni: PodEni;
  goal: Goal;
  index: number;
  allocation: Allocation;
  step: InterfaceStep;
  signal: AbortSignal;
}

const RETRY_FULL_MS = 15_000;

const CALL_REASON = { attach: 'Attaching', detach: 'Detaching', delete: 'Deleting' } as const;

const API_OF_CALL = {
  create: 'CreateNetworkInterface',
  find: 'DescribeNetworkInterfaces',
  attach: 'AttachNetworkInterface',
  detach: 'DetachNetworkInterface',
  delete: 'DeleteNetworkInterface',
} as const;

function operationId(key: string, index: number): string {
  return `${key}#${index}`;
}

function keyOf(podEni: PodEni): string {
  return `${podEni.metadata.namespace}/${podEni.metadata.name}`;
}
