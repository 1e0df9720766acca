import { attemptTags, ownershipTags } from '../../allocation/identity.ts';
import type { Goal, InterfaceStep } from '../../allocation/interface-step.ts';
import { targetOf } from '../../allocation/lifecycle.ts';
import {
  type ObservedEni,
  type Operation,
  type OperationFailure,
  reasonOfFailure,
} from '../../allocation/observation.ts';
import { planNewAttempt } from '../../allocation/plan.ts';
import { isRewritten } from '../../allocation/rewritten.ts';
import type { Allocation, PodEni } from '../../crds/pod-eni.ts';
import type { PodNetworking } from '../../crds/pod-networking.ts';
import type { Reason } from '../../crds/reasons/catalogue.ts';
import { jsonEqual } from '../../kube/patch.ts';
import { apiVersionOf } from '../../kube/types.ts';
import { rfc3339 } from '../../util/clock.ts';
import { assertNever } from '../../util/errors.ts';
import { CLUSTER_NETWORKING } from '../cluster-network.ts';
import type { ControllerContext } from '../context.ts';
import { Operations } from '../operations.ts';
import { nodeOwner } from '../owners.ts';
import { podEniResource } from '../resources.ts';
import { API_OF_CALL, type OperationLog } from './operation-log.ts';
import type { Report, Reporter } from './reporter.ts';
import type { PodEniWriter } from './writer.ts';

/** What a visit came to: go on at once, or leave, and look again after a time when given. */
export type Outcome = 'again' | { requeueAfterMs?: number };

/** One interface of a PodENI that is being worked on. */
export interface InterfaceWork {
  key: string;
  podEni: PodEni;
  goal: Goal;
  index: number;
  allocation: Allocation;
  step: InterfaceStep;
  signal: AbortSignal;
}

const RETRY_FULL_MS = 15_000;
const MINUTE_MS = 60_000;
/** Only another hand can help; whether it did is asked this often. */
const RECHECK_BLOCKED_MS = 60_000;

const CALL_REASON = { attach: 'Attaching', detach: 'Detaching', delete: 'Deleting' } as const;

/** Does what the life cycle has decided for one interface: calls the cloud, records, waits, reports. */
export class InterfaceExecutor {
  readonly #context: ControllerContext;
  readonly #operations: Operations;
  readonly #writer: PodEniWriter;
  readonly #reporter: Reporter;
  /** Refusals for want of an address that have been charged to their vSwitch. */
  readonly #charged = new WeakSet<OperationFailure>();
  readonly #log: OperationLog;

  constructor(context: ControllerContext, writer: PodEniWriter, reporter: Reporter, log: OperationLog) {
    this.#context = context;
    const { clock, signal, wakePod } = context;
    this.#operations = new Operations({ clock, signal, wake: wakePod, onEnd: (key, ended) => log.note(key, ended) });
    this.#writer = writer;
    this.#reporter = reporter;
    this.#log = log;
  }

  /** The last call for an interface, as far as this process knows. */
  operation(key: string, index: number): Operation | undefined {
    return this.#operations.get(operationId(key, index));
  }

  /** Memory keeps nothing of a record that is settled or gone. */
  forget(key: string, podEni: PodEni): void {
    this.#log.forget(key);
    for (const [index, allocation] of (podEni.spec.allocations ?? []).entries()) {
      this.#operations.clear(operationId(key, index));
      if (allocation.eni.id !== '') this.#context.observer.forget(allocation.eni.id);
    }
  }

  /** Executes one step. @throws KubeApiError, TransportError */
  async execute(work: InterfaceWork): Promise<Outcome> {
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
        if (step.do === 'detach' && step.unconfirmed === true) this.#sayUnconfirmed(work);
        this.#change(work, step.do);
        return this.#waiting(work, CALL_REASON[step.do], `${step.do} of ${id} is being asked for`);
      case 'modify':
        return this.#modify(work, step.eni);
      case 'waitForNode':
        return { requeueAfterMs: Math.max(1, step.untilMs - clock.now()) };
      case 'waitForCall':
        return this.#waiting(work, 'CallingCloud', 'the call to the cloud has not ended');
      case 'waitForCloud':
        observer.expect(id, step.transition, key);
        return this.#waiting(
          work,
          CALL_REASON[step.transition],
          `the cloud has accepted the ${step.transition} of ${id}, which takes ${Math.ceil(observer.usualMs(step.transition) / 1000)} s as a rule`,
        );
      case 'pause':
        return this.#pause(work, step.untilMs, step.failure);
      case 'blocked':
        return this.#blocked(work, step.reason, step.message);
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
      // By the plan, not by the configuration: a token belongs to its parameters.
      ...(allocation.ipv6CIDR === undefined || allocation.ipv6CIDR === '' ? {} : { ipv6Count: 1 }),
      tags: ownershipTags({
        clusterId,
        owner: key,
        ownerUid: podEni.metadata.uid ?? '',
        clientToken: token,
      }),
    };
    const call = { id: operationId(key, index), owner: key, kind: 'create', eniId: '' } as const;
    this.#operations.start(call, async (signal) => {
      const created = await cloud.createEni(request, signal);
      observer.note(created.eni, clock.now());
      return created;
    });
  }

  #find({ key, index, allocation }: InterfaceWork): void {
    const { cloud, clusterId, observer } = this.#context;
    const tags = attemptTags(clusterId, allocation.intent?.clientToken ?? '');
    const call = { id: operationId(key, index), owner: key, kind: 'find', eniId: '' } as const;
    this.#operations.start(call, async (signal) => {
      const { enis, sentAtMs } = await cloud.describeEnis({ tags }, signal);
      const [eni] = enis;
      if (eni !== undefined) observer.note(eni, sentAtMs);
      return { eni };
    });
  }

  #change({ key, podEni, index, step }: InterfaceWork, kind: 'attach' | 'detach' | 'delete'): void {
    const { cloud } = this.#context;
    if (step.do !== kind) return;
    const { eni } = step;
    const target = targetOf(podEni);
    this.#operations.start({ id: operationId(key, index), owner: key, kind, eniId: eni.id }, async (signal) => {
      if (kind === 'delete') return cloud.deleteEni(eni.id, signal);
      if (kind === 'detach') {
        const trunk = eni.trunkEniId === undefined ? {} : { trunkEniId: eni.trunkEniId };
        return cloud.detachEni({ eniId: eni.id, instanceId: eni.instanceId ?? '', ...trunk }, signal);
      }
      if (target === undefined) return {};
      const trunk = target.trunkENIID === undefined ? {} : { trunkEniId: target.trunkENIID };
      return cloud.attachEni({ eniId: eni.id, instanceId: target.instanceID, ...trunk }, signal);
    });
  }

  /** The record names the groups, be it since a rollout or from the beginning: the ENI gets them. */
  async #modify(work: InterfaceWork, eni: ObservedEni): Promise<Outcome> {
    const { key, podEni, index, allocation } = work;
    const { cloud } = this.#context;
    const wanted = allocation.eni.securityGroupIDs ?? [];
    const shown = `${eni.id} has the security groups ${eni.securityGroupIds.join(', ')}, the PodENI records ${wanted.join(', ')}`;
    this.#operations.start({ id: operationId(key, index), owner: key, kind: 'modify', eniId: eni.id }, (signal) =>
      cloud.modifyEniSecurityGroups(eni.id, wanted, signal),
    );
    const isDrift = podEni.status?.phase === 'Bind' && !isRewritten(podEni);
    if (!isDrift) return this.#waiting(work, 'ChangingSecurityGroups', shown);
    // At once: it is what makes a repair that a crash interrupts go on.
    return this.#reporter.problem(reportOf(work, 'SecurityGroupDrift', `${shown}; they are set again`));
  }

  #sayUnconfirmed({ key, podEni, allocation }: InterfaceWork): void {
    const { log, events, releaseConfirmationMs } = this.#context;
    const node = podEni.spec.target?.nodeName ?? '';
    const note = `${allocation.eni.id} is detached although the agent of node ${node} did not say within ${releaseConfirmationMs / 1000} s that the pod's sandbox is gone; a container that still runs loses its network`;
    const regarding = { apiVersion: apiVersionOf(podEniResource), kind: podEniResource.kind, object: podEni };
    events.transition(regarding, { type: 'Warning', reason: 'ReleaseUnconfirmed', cause: note }, 'pod-eni');
    log.warn({ podEni: key, eni: allocation.eni.id, node }, 'detaching without the word of the node');
  }

  async #pause(work: InterfaceWork, untilMs: number, failure: OperationFailure | undefined): Promise<Outcome> {
    const { clock, observer } = this.#context;
    const { id } = work.allocation.eni;
    if (failure === undefined) {
      // The last answer is older than what the pause waits for; ask again when it ends.
      if (id !== '') observer.forget(id);
    } else {
      const networking = this.#newerNetworking(work, failure);
      if (networking !== undefined) return this.#newAttempt(work, false, failure);
      this.#suspectTrunk(work, failure);
      await this.#reporter.problem(reportOf(work, reasonOfFailure(failure), failure.message));
    }
    return { requeueAfterMs: Math.max(1, untilMs - clock.now()) };
  }

  /**
   * What the cloud refuses to create will not be accepted later, unless somebody corrects the PodNetworking or the eni-config
   * that it was planned from: then the correction is what counts.
   */
  #newerNetworking({ goal, podEni, allocation }: InterfaceWork, failure: OperationFailure): PodNetworking | undefined {
    const { intent, eni } = allocation;
    if (goal !== 'bind' || eni.id !== '' || intent?.networking === undefined) return undefined;
    if (failure.kind !== 'invalid' && failure.kind !== 'notFound') return undefined;
    if (intent.networking === CLUSTER_NETWORKING) {
      const current = this.#networkingOf(podEni, CLUSTER_NETWORKING);
      // It has no generation.
      const isPlannedSo =
        current?.spec.vSwitchOptions?.includes(eni.vSwitchID ?? '') === true &&
        jsonEqual(current.spec.securityGroupIDs, eni.securityGroupIDs);
      return isPlannedSo ? undefined : current;
    }
    const networking = this.#context.informers.podNetworkings.store.get(intent.networking);
    const { generation } = networking?.metadata ?? {};
    const isReady = networking?.status?.status === 'Ready' && networking.status.observedGeneration === generation;
    return isReady && generation !== intent.networkingGeneration ? networking : undefined;
  }

  #networkingOf(podEni: PodEni, name: string): PodNetworking | undefined {
    const place = { zone: podEni.spec.zone ?? '', nodeName: targetOf(podEni)?.nodeName ?? '' };
    return this.#context.networkingOf(name, place);
  }

  /** An attachment that finds something missing tells that the trunk vanished before the collector does. */
  #suspectTrunk({ podEni, goal }: InterfaceWork, failure: OperationFailure): void {
    const target = targetOf(podEni);
    if (goal !== 'bind' || failure.kind !== 'notFound' || target?.trunkENIID === undefined) return;
    if (target.nodeName === '') return;
    this.#context.observer.expect(target.trunkENIID, 'read', nodeOwner(target.nodeName));
  }

  async #newAttempt(work: InterfaceWork, avoidVSwitch: boolean, failure?: OperationFailure): Promise<Outcome> {
    const { key, podEni, index, allocation, signal } = work;
    const { room, clock, waitingRoom, observer } = this.#context;
    const { vSwitchID } = allocation.eni;
    // Once per refusal: the interface is looked at again while it waits, which says nothing about the vSwitch.
    if (avoidVSwitch && vSwitchID !== undefined && failure !== undefined && !this.#charged.has(failure)) {
      this.#charged.add(failure);
      room.vSwitches.block(vSwitchID, clock.now());
    }
    const name = allocation.intent?.networking ?? '';
    const networking = this.#networkingOf(podEni, name);
    if (networking === undefined) {
      waitingRoom.park(key, { kind: 'networking', name });
      const message =
        name === ''
          ? 'the record names neither an ENI nor a PodNetworking to create one from; delete this PodENI'
          : `PodNetworking ${name}, which the ENI was to be created from, no longer exists`;
      await this.#reporter.problem(reportOf(work, 'NetworkingGone', message));
      return { requeueAfterMs: RECHECK_BLOCKED_MS };
    }
    const plan = planNewAttempt(podEni, index, networking, { ...room, nowMs: clock.now() });
    if (plan.kind === 'wait') {
      waitingRoom.park(key, plan.waitsFor);
      this.#context.wakeNetworking(name, RETRY_FULL_MS);
      const message = failure === undefined ? plan.message : `${plan.message} (${failure.message})`;
      await this.#reporter.problem(reportOf(work, plan.reason, message, waitingRoom.placeOf(key)));
      return { requeueAfterMs: RETRY_FULL_MS };
    }
    await this.#writer.replaceAllocation(podEni, index, plan.allocation, signal);
    waitingRoom.leave(key);
    this.#operations.clear(operationId(key, index));
    observer.forget(allocation.eni.id);
    return 'again';
  }

  async #blocked(work: InterfaceWork, reason: Reason, message: string): Promise<Outcome> {
    const { observer, clock } = this.#context;
    const { id } = work.allocation.eni;
    const observation = observer.latest(id);
    if (observation === undefined || clock.now() - observation.atMs >= RECHECK_BLOCKED_MS) {
      observer.expect(id, 'read', work.key);
    }
    const { requeueAfterMs = RECHECK_BLOCKED_MS } = await this.#reporter.problem(reportOf(work, reason, message));
    return { requeueAfterMs: Math.min(requeueAfterMs, RECHECK_BLOCKED_MS) };
  }

  async #waiting(work: InterfaceWork, reason: Reason, message: string): Promise<Outcome> {
    if (work.goal !== 'bind') return {};
    const before = this.#log.lastFailure(work.key);
    const detail = before === undefined ? undefined : `the call before failed: ${before}`;
    const operation = this.operation(work.key, work.index);
    const api = operation?.state === 'running' ? API_OF_CALL[operation.kind] : undefined;
    const quota = api === undefined ? undefined : this.#context.quota.status(api);
    if (api === undefined || quota === undefined || quota.waiting === 0) {
      return this.#reporter.waiting(reportOf(work, reason, message, detail));
    }
    const { waiting, limitPerMinute, nextMinuteAtMs } = quota;
    const lastAtMs = nextMinuteAtMs + Math.floor((waiting - 1) / limitPerMinute) * MINUTE_MS;
    const text = `the quota of ${api} (${limitPerMinute} calls per minute) is used up: ${waiting} calls wait in line, the last goes out at ${rfc3339(lastAtMs)}`;
    return this.#reporter.waiting(reportOf(work, 'WaitingForQuota', text, detail));
  }
}

function reportOf({ key, podEni, signal }: InterfaceWork, reason: Reason, message: string, detail?: string): Report {
  return { key, podEni, reason, message, detail, signal };
}

function operationId(key: string, index: number): string {
  return `${key}#${index}`;
}
