import type { Allocation, AttachTarget } from '../crds/pod-eni.ts';
import type { Reason } from '../crds/reasons/catalogue.ts';
import type { Eni, EniObservation } from '../ecs/eni.ts';
import { isOurs, isOursInPool } from './identity.ts';
import { isRefusedForGood, type Operation, type OperationFailure } from './operation.ts';
import { sameSecurityGroups } from './security-groups.ts';

/** A destructive call needs an observation no older than this (I3). */
export const FRESH_MS = 5000;
/** How long a describe may still show the state before an accepted call. */
export const LAG_MS = 5000;
/** A call whose answer was lost may take effect up to this long afterwards: an ENI may appear, or addresses go. */
export const LOST_CALL_MS = 30_000;
/**
 * How long a ClientToken certainly protects against a second ENI: the cloud forgets tokens after a day. An older intent comes
 * from a restored backup, or from a control plane that was stopped.
 */
export const TOKEN_TRUSTED_MS = 12 * 60 * 60_000;
const BACKOFF_FIRST_MS = 1000;
const BACKOFF_MAX_MS = 60_000;

/** The desired state of an interface. */
export type Goal = 'bind' | 'hold' | 'release';

/** Everything that is known about one interface of a PodENI. */
export interface InterfaceView {
  allocation: Allocation;
  fixed: boolean;
  /** The record or the node says that the pod uses it now. */
  bound: boolean;
  /** When `hold` or `release` was persisted; no create or attach was sent after it. */
  goalSinceMs?: number;
  /**
   * How long the detach waits for the node to confirm that the sandbox is gone; absent when no confirmation is needed.
   */
  sandboxDueMs?: number;
  target?: AttachTarget;
  observation?: EniObservation;
  operation?: Operation;
  /** The record of a node's pool names it. */
  inPool?: true;
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
  /** `unconfirmed`: the node never confirmed that the sandbox is gone. */
  | { do: 'detach'; eni: Eni; unconfirmed?: true }
  | { do: 'delete'; eni: Eni }
  /** Give the ENI the security groups of the record. */
  | { do: 'modify'; eni: Eni }
  /** A sandbox may still use the interface; wait until the node confirms that it is gone. */
  | { do: 'waitForNode'; untilMs: number }
  /** One of our calls is in progress. */
  | { do: 'waitForCall' }
  /** The cloud is processing a change; the observer polls until the state changes. */
  | { do: 'waitForCloud'; transition: 'attach' | 'detach' | 'delete' }
  /** Do nothing before `untilMs`. */
  | { do: 'pause'; untilMs: number; failure?: OperationFailure }
  /** Only a person or a change to another object can help. */
  | { do: 'blocked'; reason: BlockedReason; message: string }
  /** The goal is reached; for `bind` with the ENI as it is attached. */
  | { do: 'done'; eni?: Eni };

/** Reasons of a `blocked` step. */
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
  return guard(step, observation, view.inPool === true ? isOursInPool : isOurs, clusterId, nowMs);
}

/**
 * After the clock was set back, the age of earlier entries is unknown. They are dropped, because waiting for them could
 * take arbitrarily long. An ENI that a create or search returned is kept until it is recorded.
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
  return kind === 'attach' || kind === 'detach' || kind === 'delete' ? kind : undefined;
}

/** Allows no destructive call on a stale observation or on an ENI that is not ours (I3). */
function guard(
  step: InterfaceStep,
  observation: EniObservation,
  isOwn: typeof isOurs,
  clusterId: string,
  nowMs: number,
): InterfaceStep {
  if (step.do !== 'detach' && step.do !== 'delete' && step.do !== 'modify') return step;
  if (nowMs - observation.atMs > FRESH_MS) return { do: 'observe' };
  if (!isOwn(step.eni.tags, clusterId)) {
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
      // Without an intent there is no token, and a create without a token cannot be repeated safely (I2).
      if (intent === undefined) return { do: 'newAttempt', avoidVSwitch: false };
      return withoutIdToBind(operation, Date.parse(intent.createdAt), nowMs);
    case 'hold':
      // Nothing is attached. The intent still covers an ENI that a create with a lost response may have made.
      return { do: 'done' };
    case 'release':
      if (intent === undefined) return { do: 'done' };
      return findLost(view, Date.parse(intent.createdAt), nowMs);
  }
}

function withoutIdToBind(operation: Operation | undefined, plannedMs: number, nowMs: number): InterfaceStep {
  if (operation === undefined && nowMs - plannedMs > TOKEN_TRUSTED_MS) return { do: 'find' };
  if (operation?.kind === 'find') {
    if (operation.state === 'succeeded') {
      return untilLost(operation, nowMs) ?? { do: 'newAttempt', avoidVSwitch: false };
    }
    return pausedAfterFailure(operation, 'find', nowMs) ?? { do: 'find' };
  }
  if (operation?.kind === 'create' && operation.state === 'failed') {
    if (operation.failure.kind === 'exhausted') {
      // An earlier request with the same token may have succeeded before the last address was taken.
      if (operation.unansweredMs !== undefined) return { do: 'find' };
      return { do: 'newAttempt', avoidVSwitch: true, failure: operation.failure };
    }
    // The next attempt may ask for something else, and would leave what an earlier request has created.
    if (isRefusedForGood(operation.failure) && operation.unansweredMs !== undefined) return { do: 'find' };
    // The token was used before. Look for the ENI that it created before giving the token up.
    if (operation.failure.kind === 'token') return { do: 'find' };
  }
  return pausedAfterFailure(operation, 'create', nowMs) ?? { do: 'create' };
}

/** The search came too early to prove that an unanswered create has no effect. */
function untilLost(search: Extract<Operation, { state: 'succeeded' }>, nowMs: number): InterfaceStep | undefined {
  if (search.unansweredMs === undefined) return undefined;
  const lostAtMs = search.unansweredMs + LOST_CALL_MS;
  if (search.atMs >= lostAtMs) return undefined;
  const untilMs = Math.min(lostAtMs, search.atMs + LAG_MS);
  return nowMs < untilMs ? { do: 'pause', untilMs } : { do: 'find' };
}

/**
 * A create may have been sent by this process or a previous one; a refusal of the last call says nothing about earlier
 * ones. Search until no request can still be in progress and no response can lag.
 */
function findLost(view: InterfaceView, createdAtMs: number, nowMs: number): InterfaceStep {
  const { operation, goalSinceMs = 0 } = view;
  if (operation?.kind === 'find' && operation.state === 'succeeded') {
    const lostAtMs = Math.max(createdAtMs + LOST_CALL_MS, goalSinceMs + LAG_MS);
    if (operation.atMs >= lostAtMs) return { do: 'done' };
    const untilMs = Math.min(lostAtMs, operation.atMs + LAG_MS);
    if (nowMs < untilMs) return { do: 'pause', untilMs };
  }
  return pausedAfterFailure(operation, 'find', nowMs) ?? { do: 'find' };
}

function whenGone(goal: Goal, view: InterfaceView, observation: EniObservation, nowMs: number): InterfaceStep {
  if (goal !== 'bind') {
    // A describe may not show yet what was created right before the pod went away, even if it was deleted since.
    const isExpected = hasSucceeded(view, goal === 'hold' ? 'detach' : 'delete');
    const plannedMs = Date.parse(view.allocation.intent?.createdAt ?? '') || 0;
    const sinceMs = isExpected ? plannedMs : (view.goalSinceMs ?? 0);
    return olderThan(sinceMs + LAG_MS, observation, nowMs) ?? { do: 'done' };
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

/** A describe may not show an ENI that was created a moment ago; giving it up would leak it. */
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
      // Unusable. Its replacement is planned once it is gone.
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
    // A describe may not show yet an attach that was accepted right before the pod went away.
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

/** I8: an attached ENI must match its record. Security groups can be changed; the vSwitch cannot. */
function mismatchOf(view: InterfaceView, eni: Eni, nowMs: number): InterfaceStep | undefined {
  const { vSwitchID, securityGroupIDs } = view.allocation.eni;
  if (vSwitchID !== undefined && vSwitchID !== eni.vSwitchId) {
    return {
      do: 'blocked',
      reason: 'EniMismatch',
      message: `${eni.id} is in vSwitch ${eni.vSwitchId}, but the PodENI records ${vSwitchID}`,
    };
  }
  if (securityGroupIDs === undefined || securityGroupIDs.length === 0) return undefined;
  if (sameSecurityGroups(securityGroupIDs, eni.securityGroupIds)) return undefined;
  // The response may still show the groups from before the change.
  if (mayLag(view, 'modify', nowMs)) return { do: 'observe' };
  return pausedAfterFailure(view.operation, 'modify', nowMs) ?? { do: 'modify', eni };
}

/** The call was accepted a moment ago, so the response may still show the earlier state. */
function mayLag(view: InterfaceView, kind: Operation['kind'], nowMs: number): boolean {
  const { operation } = view;
  return operation?.kind === kind && operation.state === 'succeeded' && nowMs - operation.atMs < LAG_MS;
}

/** The observation may predate the effect of the last call that was sent before the goal was persisted. */
function mayPrecede(view: InterfaceView, observation: EniObservation, nowMs: number): InterfaceStep | undefined {
  return olderThan((view.goalSinceMs ?? 0) + LAG_MS, observation, nowMs);
}

/** Waits until `sinceMs`, then for an observation made after it. */
function olderThan(sinceMs: number, observation: EniObservation, nowMs: number): InterfaceStep | undefined {
  if (observation.atMs >= sinceMs) return undefined;
  return nowMs < sinceMs ? { do: 'pause', untilMs: sinceMs } : { do: 'observe' };
}

function hasSucceeded({ operation }: InterfaceView, kind: Operation['kind']): boolean {
  return operation?.kind === kind && operation.state === 'succeeded';
}

/** Waits longer after each failure in a row of this kind. */
export function pausedAfterFailure(
  operation: Operation | undefined,
  kind: Operation['kind'],
  nowMs: number,
): Extract<InterfaceStep, { do: 'pause' }> | undefined {
  if (operation?.state !== 'failed' || operation.kind !== kind) return undefined;
  const untilMs = operation.atMs + Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (operation.failures - 1));
  return nowMs < untilMs ? { do: 'pause', untilMs, failure: operation.failure } : undefined;
}
