import type { Allocation, AttachTarget } from '../crds/pod-eni.ts';
import type { Reason } from '../crds/reasons/catalogue.ts';
import type { Eni, EniObservation } from '../ecs/eni.ts';
import { isOurs } from './identity.ts';
import type { Operation, OperationFailure } from './operation.ts';
import { sameSecurityGroups } from './security-groups.ts';

/** A destructive call rests on an observation no older than this (I3). */
export const FRESH_MS = 5000;
/** How long a describe may show the state from before a call that the cloud has accepted. */
const LAG_MS = 5000;
/** A creation whose answer was lost may show up until this long after its intent. */
const LOST_CREATE_MS = 30_000;
const BACKOFF_FIRST_MS = 1000;
const BACKOFF_MAX_MS = 60_000;

/** What an interface is to become. */
export type Goal = 'bind' | 'hold' | 'release';

/** Everything that is known about one interface of a PodENI. */
export interface InterfaceView {
  allocation: Allocation;
  fixed: boolean;
  /** The record says that the pod uses it now. */
  bound: boolean;
  /** When `hold` or `release` was persisted; no creation and no attachment was sent after it. */
  goalSinceMs?: number;
  /** Until when its detachment waits for the node's word that the sandbox is gone; absent when nothing is missing. */
  sandboxDueMs?: number;
  target?: AttachTarget;
  observation?: EniObservation;
  operation?: Operation;
}

/** What to do next for one interface. */
export type InterfaceStep =
  /** Send CreateNetworkInterface with the intent's token. */
  | { do: 'create' }
  /** Look for an ENI that carries the owner's and attempt's tags. */
  | { do: 'find' }
  /** Persist what the cloud created. */
  | { do: 'record'; eni: Eni }
  /** Persist a new intent with other parameters. */
  | { do: 'newAttempt'; avoidVSwitch: boolean; failure?: OperationFailure }
  /** Ask the cloud for the state. */
  | { do: 'observe' }
  | { do: 'attach'; eni: Eni }
  /** `unconfirmed`: the node never said that the sandbox is gone. */
  | { do: 'detach'; eni: Eni; unconfirmed?: true }
  | { do: 'delete'; eni: Eni }
  /** Give the ENI the security groups of the record. */
  | { do: 'modify'; eni: Eni }
  /** A sandbox may still use it; the node is to say that it is gone. */
  | { do: 'waitForNode'; untilMs: number }
  /** A call of ours is under way. */
  | { do: 'waitForCall' }
  /** The cloud works on it; the observer asks until the state changes. */
  | { do: 'waitForCloud'; transition: 'attach' | 'detach' | 'delete' }
  /** Nothing before `untilMs`. */
  | { do: 'pause'; untilMs: number; failure?: OperationFailure }
  /** Only a person or another object can help. */
  | { do: 'blocked'; reason: BlockedReason; message: string }
  /** The goal is reached; for `bind` with the ENI as it is attached. */
  | { do: 'done'; eni?: Eni };

/** Reasons of a step that only another hand can go on from. */
export type BlockedReason = Extract<Reason, 'EniLost' | 'EniNotOurs' | 'EniMismatch'>;

/**
 * The next step of one interface towards a goal. Pure.
 *
 * @param nowMs epoch milliseconds.
 */
export function nextInterfaceStep(goal: Goal, known: InterfaceView, clusterId: string, nowMs: number): InterfaceStep {
  const view = withoutFuture(known, nowMs);
  if (view.operation?.state === 'running') return { do: 'waitForCall' };
  if (view.allocation.eni.id === '') return withoutId(goal, view, nowMs);
  const { observation, operation } = view;
  if (observation === undefined) return { do: 'observe' };
  if (operation !== undefined && observation.atMs < operation.atMs) {
    const transition = operation.state === 'succeeded' ? transitionOf(operation.kind) : undefined;
    return transition === undefined ? { do: 'observe' } : { do: 'waitForCloud', transition };
  }
  const step =
    observation.eni === undefined
      ? whenGone(goal, view, observation, nowMs)
      : whenShown(goal, view, observation, observation.eni, nowMs);
  return guard(step, observation, clusterId, nowMs);
}

/**
 * After the clock was set back, what was noted before it is of unknown age; it is left out rather than waited for. What a
 * creation or a search brought is kept until it is recorded.
 */
function withoutFuture(view: InterfaceView, nowMs: number): InterfaceView {
  const { observation, operation, ...rest } = view;
  const isNews = view.allocation.eni.id === '' && operation?.state === 'succeeded' && operation.eni !== undefined;
  const keepOperation = operation !== undefined && (operation.state === 'running' || operation.atMs <= nowMs || isNews);
  return {
    ...rest,
    ...(observation !== undefined && observation.atMs <= nowMs ? { observation } : {}),
    ...(keepOperation ? { operation } : {}),
  };
}

function transitionOf(kind: Operation['kind']): 'attach' | 'detach' | 'delete' | undefined {
  return kind === 'create' || kind === 'find' || kind === 'modify' ? undefined : kind;
}

/** No call that takes something away on an old answer, and none on an ENI that is not ours (I3). */
function guard(step: InterfaceStep, observation: EniObservation, clusterId: string, nowMs: number): InterfaceStep {
  if (step.do !== 'detach' && step.do !== 'delete' && step.do !== 'modify') return step;
  if (nowMs - observation.atMs > FRESH_MS) return { do: 'observe' };
  if (!isOurs(step.eni.tags, clusterId)) {
    return {
      do: 'blocked',
      reason: 'EniNotOurs',
      message: `${step.eni.id} does not carry the tags of this cluster, so it is neither changed nor released`,
    };
  }
  return step;
}

function withoutId(goal: Goal, view: InterfaceView, nowMs: number): InterfaceStep {
  const { operation } = view;
  const { intent } = view.allocation;
  if (operation?.state === 'succeeded' && operation.eni !== undefined) return { do: 'record', eni: operation.eni };
  switch (goal) {
    case 'bind':
      // Without an intent there is no token, and a creation without one cannot be repeated (I2).
      if (intent === undefined) return { do: 'newAttempt', avoidVSwitch: false };
      return withoutIdToBind(operation, nowMs);
    case 'hold':
      // Nothing is attached; the intent still covers what a lost answer may have created.
      return { do: 'done' };
    case 'release':
      if (intent === undefined) return { do: 'done' };
      return findLost(view, Date.parse(intent.createdAt), nowMs);
  }
}

function withoutIdToBind(operation: Operation | undefined, nowMs: number): InterfaceStep {
  if (operation?.kind === 'find') {
    if (operation.state === 'succeeded') {
      return untilLost(operation, nowMs) ?? { do: 'newAttempt', avoidVSwitch: false };
    }
    return pausedAfterFailure(operation, 'find', nowMs) ?? { do: 'find' };
  }
  if (operation?.kind === 'create' && operation.state === 'failed') {
    if (operation.failure.kind === 'exhausted') {
      // An earlier request of the same token may have been served before the last address went.
      if (operation.unansweredMs !== undefined) return { do: 'find' };
      return { do: 'newAttempt', avoidVSwitch: true, failure: operation.failure };
    }
    // The token was used before: what it created is looked for before it is given up.
    if (operation.failure.kind === 'token') return { do: 'find' };
  }
  return pausedAfterFailure(operation, 'create', nowMs) ?? { do: 'create' };
}

/** A search came too early to prove that an unanswered creation will not show up any more. */
function untilLost(search: Extract<Operation, { state: 'succeeded' }>, nowMs: number): InterfaceStep | undefined {
  if (search.unansweredMs === undefined) return undefined;
  const lostAtMs = search.unansweredMs + LOST_CREATE_MS;
  if (search.atMs >= lostAtMs) return undefined;
  const untilMs = Math.min(lostAtMs, search.atMs + LAG_MS);
  return nowMs < untilMs ? { do: 'pause', untilMs } : { do: 'find' };
}

/**
 * A creation may have been sent, by this process or one before it; that the last one was refused says nothing about an
 * earlier one. It is looked for until no request can be under way and no answer lags any more.
 */
function findLost(view: InterfaceView, createdAtMs: number, nowMs: number): InterfaceStep {
  const { operation, goalSinceMs = 0 } = view;
  if (operation?.kind === 'find' && operation.state === 'succeeded') {
    const lostAtMs = Math.max(createdAtMs + LOST_CREATE_MS, goalSinceMs + LAG_MS);
    if (operation.atMs >= lostAtMs) return { do: 'done' };
    const untilMs = Math.min(lostAtMs, operation.atMs + LAG_MS);
    if (nowMs < untilMs) return { do: 'pause', untilMs };
  }
  return pausedAfterFailure(operation, 'find', nowMs) ?? { do: 'find' };
}

function whenGone(goal: Goal, view: InterfaceView, observation: EniObservation, nowMs: number): InterfaceStep {
  if (goal !== 'bind') {
    // Of what was created right before the pod went, a describe may not know yet.
    const isExpected = hasSucceeded(view, goal === 'hold' ? 'detach' : 'delete');
    return isExpected ? { do: 'done' } : (mayPrecede(view, observation, nowMs) ?? { do: 'done' });
  }
  if (!view.bound) {
    const step = confirmGone(view.operation, observation, nowMs);
    if (step.do !== 'newAttempt' || !view.fixed) return step;
  }
  const { id } = view.allocation.eni;
  return {
    do: 'blocked',
    reason: 'EniLost',
    message: view.fixed
      ? `${id}, which holds the fixed address ${view.allocation.ipv4 ?? ''}, no longer exists in the cloud; delete this PodENI to let the pod get another address`
      : `${id} no longer exists in the cloud; delete the pod to give its successor a new ENI`,
  };
}

/** A describe may not show yet what was created a moment ago; to give it up would leave it to nobody. */
function confirmGone(operation: Operation | undefined, observation: EniObservation, nowMs: number): InterfaceStep {
  if (operation?.kind !== 'find' || operation.state !== 'succeeded') {
    return pausedAfterFailure(operation, 'find', nowMs) ?? { do: 'find' };
  }
  return olderThan(operation.atMs + LAG_MS, observation, nowMs) ?? { do: 'newAttempt', avoidVSwitch: false };
}

function whenShown(
  goal: Goal,
  view: InterfaceView,
  observation: EniObservation,
  eni: Eni,
  nowMs: number,
): InterfaceStep {
  switch (eni.status) {
    case 'Available':
      return whenAvailable(goal, view, observation, eni, nowMs);
    case 'InUse':
      return whenInUse(goal, view, eni, nowMs);
    case 'Detaching':
      return { do: 'waitForCloud', transition: 'detach' };
    case 'Deleting':
      return { do: 'waitForCloud', transition: 'delete' };
    case 'CreateFailed':
      // Of no use; what replaces it is planned when it is gone.
      return goal === 'hold' ? { do: 'done' } : remove(view, eni, nowMs);
    default:
      return { do: 'waitForCloud', transition: 'attach' };
  }
}

function whenAvailable(
  goal: Goal,
  view: InterfaceView,
  observation: EniObservation,
  eni: Eni,
  nowMs: number,
): InterfaceStep {
  if (goal === 'hold') {
    // An attachment that was accepted right before the pod went may not show yet.
    if (hasSucceeded(view, 'detach')) return { do: 'done', eni };
    return mayPrecede(view, observation, nowMs) ?? { do: 'done', eni };
  }
  if (goal === 'release') return remove(view, eni, nowMs);
  if (mayLag(view, 'attach', nowMs)) return { do: 'waitForCloud', transition: 'attach' };
  return pausedAfterFailure(view.operation, 'attach', nowMs) ?? mismatchOf(view, eni, nowMs) ?? { do: 'attach', eni };
}

function remove(view: InterfaceView, eni: Eni, nowMs: number): InterfaceStep {
  if (mayLag(view, 'delete', nowMs)) return { do: 'waitForCloud', transition: 'delete' };
  return pausedAfterFailure(view.operation, 'delete', nowMs) ?? { do: 'delete', eni };
}

function whenInUse(goal: Goal, view: InterfaceView, eni: Eni, nowMs: number): InterfaceStep {
  if (goal === 'bind' && isAtTarget(view.target, eni)) return mismatchOf(view, eni, nowMs) ?? { do: 'done', eni };
  if (mayLag(view, 'detach', nowMs)) return { do: 'waitForCloud', transition: 'detach' };
  const paused = pausedAfterFailure(view.operation, 'detach', nowMs);
  if (paused !== undefined) return paused;
  if (goal === 'bind' || view.sandboxDueMs === undefined) return { do: 'detach', eni };
  return nowMs < view.sandboxDueMs
    ? { do: 'waitForNode', untilMs: view.sandboxDueMs }
    : { do: 'detach', eni, unconfirmed: true };
}

function isAtTarget(target: AttachTarget | undefined, eni: Eni): boolean {
  if (target === undefined || eni.instanceId !== target.instanceID) return false;
  if (target.trunkENIID === undefined) return eni.trunkEniId === undefined;
  return eni.trunkEniId === target.trunkENIID && (eni.vlanId ?? 0) > 0;
}

/** I8: what is attached must be what the record promises. Security groups can be changed, the vSwitch is for life. */
function mismatchOf(view: InterfaceView, eni: Eni, nowMs: number): InterfaceStep | undefined {
  const { vSwitchID, securityGroupIDs } = view.allocation.eni;
  if (vSwitchID !== undefined && vSwitchID !== eni.vSwitchId) {
    return {
      do: 'blocked',
      reason: 'EniMismatch',
      message: `${eni.id} lies in vSwitch ${eni.vSwitchId}, the PodENI records ${vSwitchID}`,
    };
  }
  if (securityGroupIDs === undefined || securityGroupIDs.length === 0) return undefined;
  if (sameSecurityGroups(securityGroupIDs, eni.securityGroupIds)) return undefined;
  // The answer may still show the groups from before the change.
  if (mayLag(view, 'modify', nowMs)) return { do: 'observe' };
  return pausedAfterFailure(view.operation, 'modify', nowMs) ?? { do: 'modify', eni };
}

/** The call was accepted a moment ago and the answer may still show the state before it. */
function mayLag(view: InterfaceView, kind: Operation['kind'], nowMs: number): boolean {
  const { operation } = view;
  return operation?.kind === kind && operation.state === 'succeeded' && nowMs - operation.atMs < LAG_MS;
}

/** The answer may show the state from before the last call that was sent before the goal. */
function mayPrecede(view: InterfaceView, observation: EniObservation, nowMs: number): InterfaceStep | undefined {
  return olderThan((view.goalSinceMs ?? 0) + LAG_MS, observation, nowMs);
}

/** Waits until `sinceMs`, and for an answer from after it. */
function olderThan(sinceMs: number, observation: EniObservation, nowMs: number): InterfaceStep | undefined {
  if (observation.atMs >= sinceMs) return undefined;
  return nowMs < sinceMs ? { do: 'pause', untilMs: sinceMs } : { do: 'observe' };
}

function hasSucceeded({ operation }: InterfaceView, kind: Operation['kind']): boolean {
  return operation?.kind === kind && operation.state === 'succeeded';
}

function pausedAfterFailure(
  operation: Operation | undefined,
  kind: Operation['kind'],
  nowMs: number,
): InterfaceStep | undefined {
  if (operation?.state !== 'failed' || operation.kind !== kind) return undefined;
  const untilMs = operation.atMs + Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (operation.failures - 1));
  return nowMs < untilMs ? { do: 'pause', untilMs, failure: operation.failure } : undefined;
}
