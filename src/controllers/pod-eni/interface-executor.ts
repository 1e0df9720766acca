import { ownershipTags } from '../../allocation/identity.ts';
import type { Goal, InterfaceStep } from '../../allocation/interface-step.ts';
import { targetOf } from '../../allocation/lifecycle.ts';
import { type Operation, type OperationFailure, reasonOfFailure } from '../../allocation/operation.ts';
import { type Capacity, planNewAttempt } from '../../allocation/plan.ts';
import { isRewritten } from '../../allocation/rewritten.ts';
import type { CallClass } from '../../cloud/call-line.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { QuotaScheduler } from '../../cloud/quota.ts';
import { CLUSTER_NETWORKING, type NodePlace } from '../../cluster/cluster-network.ts';
import type { Informers } from '../../cluster/informers.ts';
import { isFinished } from '../../cluster/pod-view.ts';
import { ANNOTATION_POD_UID } from '../../crds/names.ts';
import { type Allocation, type PodEni, podEniResource } from '../../crds/pod-eni.ts';
import { isChecked, type PodNetworking } from '../../crds/pod-networking.ts';
import type { Reason } from '../../crds/reasons/catalogue.ts';
import type { Eni } from '../../ecs/eni.ts';
import { jsonEqual } from '../../kube/patch.ts';
import { apiVersionOf } from '../../kube/types.ts';
import type { Log } from '../../telemetry/log.ts';
import { type Clock, rfc3339 } from '../../util/clock.ts';
import type { EniDecision, EniDriver, Outcome } from '../eni/driver.ts';
import { API_OF_CALL, type EndedCall } from '../eni/pending-calls.ts';
import type { ControllerEvents } from '../events.ts';
import { nodeOwner } from '../owners.ts';
import type { PendingPods } from '../pending-pods.ts';
import type { OperationLog } from './operation-log.ts';
import type { Report, Reporter } from './reporter.ts';
import type { PodEniWriter } from './writer.ts';

/** One interface of a PodENI, being processed. */
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
/** How often a blocked interface is observed again, in case someone has fixed it. */
const RECHECK_BLOCKED_MS = 60_000;

const CALL_REASON = { attach: 'Attaching', detach: 'Detaching', delete: 'Deleting' } as const;

export interface InterfaceExecutorContext {
  clock: Clock;
  clusterId: string;
  driver: EniDriver;
  events: ControllerEvents;
  log: Log;
  /** A PodNetworking by the name in a record; includes the cluster's eni-config. */
  networkingOf: (name: string, place: NodePlace) => PodNetworking | undefined;
  observer: EniObserver;
  quota: QuotaScheduler;
  /** How long a detach waits for the node to confirm that the sandbox is gone. */
  releaseConfirmationMs: number;
  /** Slots and addresses; each plan adds `nowMs`. */
  capacity: Omit<Capacity, 'nowMs'>;
  pendingPods: PendingPods;
  /** Queues a PodNetworking for a check after this time; the check wakes pods that wait for an address of it. */
  wakeNetworking: (name: string, afterMs: number) => void;
  informers: Pick<Informers, 'podNetworkings' | 'pods'>;
}

/** Executes decided steps for one interface: records, waits, reports. The driver makes the calls (eni/driver.ts). */
export class InterfaceExecutor {
  readonly #context: InterfaceExecutorContext;
  readonly #decide: (key: string, index: number) => Omit<InterfaceWork, 'signal'> | undefined;
  readonly #writer: PodEniWriter;
  readonly #reporter: Reporter;
  /** Failures for lack of an address that were already counted against their vSwitch. */
  readonly #charged = new WeakSet<OperationFailure>();
  readonly #log: OperationLog;

  /** @param decide the next step of an interface, from current knowledge. */
  constructor(
    context: InterfaceExecutorContext,
    options: {
      writer: PodEniWriter;
      reporter: Reporter;
      log: OperationLog;
      decide: (key: string, index: number) => Omit<InterfaceWork, 'signal'> | undefined;
    },
  ) {
    this.#context = context;
    this.#decide = options.decide;
    this.#writer = options.writer;
    this.#reporter = options.reporter;
    this.#log = options.log;
  }

  /** The last call for an interface in this process. */
  operation(key: string, index: number): Operation | undefined {
    return this.#context.driver.operation(subjectId(key, index));
  }

  /** Drops what is remembered of a record that is settled, or waits. Its intents may still have made an ENI. */
  rest(key: string, podEni: PodEni): void {
    this.#log.forget(key);
    for (const [index, { eni }] of (podEni.spec.allocations ?? []).entries()) {
      if (eni.id === '') this.#context.driver.rest(subjectId(key, index));
      else this.#context.driver.forget(subjectId(key, index), { id: eni.id, owner: key });
    }
  }

  /** Drops what is remembered of a record that is gone. */
  forget(key: string, podEni: PodEni): void {
    this.#log.forget(key);
    for (const [index, { eni }] of (podEni.spec.allocations ?? []).entries()) {
      this.#context.driver.forget(subjectId(key, index), { id: eni.id, owner: key });
    }
  }

  /** Executes one step. @throws KubeApiError, TransportError */
  async execute(work: InterfaceWork): Promise<Outcome> {
    const { key, podEni, index, allocation, signal } = work;
    const subject = {
      id: subjectId(key, index),
      owner: key,
      eniId: allocation.eni.id,
      decide: () => {
        const now = this.#decide(key, index);
        return now === undefined ? undefined : this.#decisionOf(now);
      },
      ended: (call: EndedCall) => {
        if (call.isForgotten !== true) this.#log.note(key, call);
      },
    };
    return this.#context.driver.perform(subject, this.#decisionOf(work), {
      record: async ({ eni }) => {
        await this.#writer.record(podEni, index, eni, signal);
        return 'again';
      },
      newAttempt: ({ avoidVSwitch, failure }) => this.#newAttempt(work, avoidVSwitch, failure),
      inProgress: (_, isNew) => this.#inProgress(work, isNew),
      pause: ({ untilMs, failure }) => this.#pause(work, untilMs, failure),
      blocked: ({ reason, message }) => this.#blocked(work, reason, message),
      done: () => ({}),
    });
  }

  #decisionOf({ key, podEni, goal, allocation, step }: Omit<InterfaceWork, 'signal'>): EniDecision {
    const { clusterId } = this.#context;
    const token = allocation.intent?.clientToken;
    const target = targetOf(podEni);
    const creation = {
      kind: 'Secondary' as const,
      vSwitchId: allocation.eni.vSwitchID ?? '',
      securityGroupIds: allocation.eni.securityGroupIDs ?? [],
      deleteOnRelease: allocation.allocationType?.type !== 'Fixed',
      description: 'interface create by terway',
      clientToken: token ?? '',
      // By the plan, not the configuration: a token is bound to its parameters.
      ...(allocation.ipv6CIDR === undefined || allocation.ipv6CIDR === '' ? {} : { ipv6Count: 1 }),
      tags: ownershipTags({
        clusterId,
        owner: key,
        ownerUid: podEni.metadata.uid ?? '',
        clientToken: token ?? '',
      }),
    };
    return {
      step,
      callClass: this.#classOf(key, podEni, goal),
      ...(allocation.intent === undefined ? {} : { creation, plannedMs: Date.parse(allocation.intent.createdAt) }),
      ...(target === undefined ? {} : { target }),
      securityGroupIds: allocation.eni.securityGroupIDs ?? [],
    };
  }

  /** The priority class of the call. */
  #classOf(key: string, podEni: PodEni, goal: Goal): CallClass {
    const { pods } = this.#context.informers;
    if (goal === 'bind') {
      const { phase } = podEni.status ?? {};
      return phase === 'Bind' ? 'repair' : phase === 'Binding' ? 'move' : 'pod';
    }
    const successor = pods.store.get(key);
    const isAwaited =
      successor !== undefined &&
      !isFinished(successor) &&
      successor.metadata.uid !== podEni.metadata.annotations?.[ANNOTATION_POD_UID];
    return isAwaited ? 'move' : 'release';
  }

  /** Reports what the interface waits for, and unusual circumstances first. */
  async #inProgress(work: InterfaceWork, isNew: boolean): Promise<Outcome> {
    const { allocation, step } = work;
    const { id } = allocation.eni;
    switch (step.do) {
      case 'create':
        return this.#waiting(work, 'Creating', 'the ENI is being created');
      case 'attach':
      case 'detach':
      case 'delete':
        if (step.do === 'detach' && step.unconfirmed === true && isNew) this.#sayUnconfirmed(work);
        return this.#waiting(work, CALL_REASON[step.do], `requesting ${step.do} of ${id}`);
      case 'modify':
        return this.#modifying(work, step.eni);
      case 'waitForCall':
        return this.#waiting(work, 'CallingCloud', 'the call to the cloud is still in progress');
      case 'waitForCloud': {
        const usualS = Math.ceil(this.#context.observer.usualMs(step.transition) / 1000);
        const accepted = `the cloud has accepted the ${step.transition} of ${id}, which usually takes ${usualS} s`;
        return this.#waiting(work, CALL_REASON[step.transition], accepted);
      }
      default:
        return {};
    }
  }

  /** Gives the ENI the groups of its record, which come from the plan or a rollout. */
  async #modifying(work: InterfaceWork, eni: Eni): Promise<Outcome> {
    const { podEni, allocation } = work;
    const wanted = allocation.eni.securityGroupIDs ?? [];
    const shown = `${eni.id} has the security groups ${eni.securityGroupIds.join(', ')}, but the PodENI records ${wanted.join(', ')}`;
    const isDrift = podEni.status?.phase === 'Bind' && !isRewritten(podEni);
    if (!isDrift) return this.#waiting(work, 'ChangingSecurityGroups', shown);
    // Written at once: the condition makes a repair continue after a crash.
    return this.#reporter.problem(reportOf(work, 'SecurityGroupDrift', `${shown}; restoring them`));
  }

  #sayUnconfirmed({ key, podEni, allocation }: InterfaceWork): void {
    const { log, events, releaseConfirmationMs } = this.#context;
    const node = podEni.spec.target?.nodeName ?? '';
    const note = `${allocation.eni.id} is detached although the agent of node ${node} did not confirm within ${releaseConfirmationMs / 1000} s that the pod's sandbox is gone; a container that is still running loses its network`;
    const regarding = { apiVersion: apiVersionOf(podEniResource), kind: podEniResource.kind, object: podEni };
    events.transition(regarding, { type: 'Warning', reason: 'ReleaseUnconfirmed', cause: note }, 'pod-eni');
    log.warn(
      { podEni: key, eni: allocation.eni.id, node },
      'detaching: the node agent did not confirm sandbox removal',
    );
  }

  async #pause(work: InterfaceWork, untilMs: number, failure: OperationFailure | undefined): Promise<Outcome> {
    const { clock } = this.#context;
    if (failure !== undefined) {
      const networking = this.#newerNetworking(work, failure);
      if (networking !== undefined) return this.#newAttempt(work, false, failure);
      this.#suspectTrunk(work, failure);
      await this.#reporter.problem(reportOf(work, reasonOfFailure(failure), failure.message));
    }
    return { requeueAfterMs: Math.max(1, untilMs - clock.now()) };
  }

  /**
   * A create that the cloud refused will fail again unless someone corrects the PodNetworking or the eni-config that it
   * was planned from. In that case the corrected one is used.
   */
  #newerNetworking({ goal, podEni, allocation }: InterfaceWork, failure: OperationFailure): PodNetworking | undefined {
    const { intent, eni } = allocation;
    if (goal !== 'bind' || eni.id !== '' || intent?.networking === undefined) return undefined;
    if (failure.kind !== 'invalid' && failure.kind !== 'notFound') return undefined;
    if (intent.networking === CLUSTER_NETWORKING) {
      const current = this.#networkingOf(podEni, CLUSTER_NETWORKING);
      // The eni-config has no generation.
      const isPlannedSo =
        current?.spec.vSwitchOptions?.includes(eni.vSwitchID ?? '') === true &&
        jsonEqual(current.spec.securityGroupIDs, eni.securityGroupIDs);
      return isPlannedSo ? undefined : current;
    }
    const networking = this.#context.informers.podNetworkings.store.get(intent.networking);
    if (networking === undefined || !isChecked(networking)) return undefined;
    return networking.metadata.generation === intent.networkingGeneration ? undefined : networking;
  }

  #networkingOf(podEni: PodEni, name: string): PodNetworking | undefined {
    const place = { zone: podEni.spec.zone ?? '', nodeName: targetOf(podEni)?.nodeName ?? '' };
    return this.#context.networkingOf(name, place);
  }

  /** An attach that finds something missing reveals a vanished trunk before the collector does. */
  #suspectTrunk({ podEni, goal }: InterfaceWork, failure: OperationFailure): void {
    const target = targetOf(podEni);
    if (goal !== 'bind' || failure.kind !== 'notFound' || target?.trunkENIID === undefined) return;
    if (target.nodeName === '') return;
    this.#context.observer.expect(target.trunkENIID, 'read', nodeOwner(target.nodeName), 'repair');
  }

  async #newAttempt(work: InterfaceWork, avoidVSwitch: boolean, failure?: OperationFailure): Promise<Outcome> {
    const { key, podEni, index, allocation, signal } = work;
    const { capacity, clock, pendingPods } = this.#context;
    const { vSwitchID } = allocation.eni;
    // Once per failure: the interface is examined repeatedly while it waits, which says nothing new about the vSwitch.
    if (avoidVSwitch && vSwitchID !== undefined && failure !== undefined && !this.#charged.has(failure)) {
      this.#charged.add(failure);
      capacity.vSwitches.block(vSwitchID, clock.now());
    }
    const name = allocation.intent?.networking ?? '';
    const networking = this.#networkingOf(podEni, name);
    if (networking === undefined) {
      pendingPods.park(key, { kind: 'networking', name });
      const message =
        name === ''
          ? 'the record names neither an ENI nor a PodNetworking to create it from; delete this PodENI'
          : `PodNetworking ${name}, from which the ENI was to be created, no longer exists`;
      await this.#reporter.problem(reportOf(work, 'NetworkingGone', message));
      return { requeueAfterMs: RECHECK_BLOCKED_MS };
    }
    const plan = planNewAttempt(podEni, index, networking, { ...capacity, nowMs: clock.now() });
    if (plan.kind === 'wait') {
      pendingPods.park(key, plan.waitsFor);
      this.#context.wakeNetworking(name, RETRY_FULL_MS);
      const message = failure === undefined ? plan.message : `${plan.message} (${failure.message})`;
      await this.#reporter.problem({ ...reportOf(work, plan.reason, message), place: pendingPods.placeOf(key) });
      return { requeueAfterMs: RETRY_FULL_MS };
    }
    await this.#writer.replaceAllocation(podEni, index, plan.allocation, signal);
    pendingPods.leave(key);
    this.#context.driver.forget(subjectId(key, index), { id: allocation.eni.id, owner: key });
    return 'again';
  }

  async #blocked(work: InterfaceWork, reason: Reason, message: string): Promise<Outcome> {
    const { observer, clock } = this.#context;
    const { id } = work.allocation.eni;
    const observation = observer.latest(id);
    if (observation === undefined || clock.now() - observation.atMs >= RECHECK_BLOCKED_MS) {
      observer.expect(id, 'read', work.key, 'audit');
    }
    const { requeueAfterMs = RECHECK_BLOCKED_MS } = await this.#reporter.problem(reportOf(work, reason, message));
    return { requeueAfterMs: Math.min(requeueAfterMs, RECHECK_BLOCKED_MS) };
  }

  async #waiting(work: InterfaceWork, reason: Reason, message: string): Promise<Outcome> {
    if (work.goal !== 'bind') return {};
    const before = this.#log.lastFailure(work.key);
    const more = before === undefined ? '' : `; the previous call failed: ${before}`;
    const call = this.#context.driver.callOf(subjectId(work.key, work.index));
    const api = call === undefined ? undefined : API_OF_CALL[call];
    const quota = api === undefined ? undefined : this.#context.quota.status(api);
    if (api === undefined || quota === undefined || quota.waiting === 0) {
      return this.#reporter.waiting(reportOf(work, reason, `${message}${more}`));
    }
    const { waiting, limitPerMinute, nextMinuteAtMs } = quota;
    const lastAtMs = nextMinuteAtMs + Math.floor((waiting - 1) / limitPerMinute) * MINUTE_MS;
    const text = `the quota of ${api} (${limitPerMinute} calls per minute) is used up: ${waiting} calls are waiting, the last will be sent at ${rfc3339(lastAtMs)}`;
    return this.#reporter.waiting(reportOf(work, 'WaitingForQuota', `${text}${more}`));
  }
}

function reportOf({ key, podEni, signal }: InterfaceWork, reason: Reason, message: string): Report {
  return { key, podEni, reason, message, signal };
}

function subjectId(key: string, index: number): string {
  return `${key}#${index}`;
}
