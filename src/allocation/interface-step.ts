import type { Allocation, AttachTarget } from '../crds/pod-eni.ts';
import { isOurs } from './identity.ts';
import type { Observation, ObservedEni, Operation, OperationFailure } from './observation.ts';

/** A destructive call rests on an observation no older than this (I3). */
export const FRESH_MS = 5000;
/** How long a describe may show the state from before a call that the cloud has accepted. */
const LAG_MS = 5000;
/** A creation whose answer was lost is looked for by its tags at least this long after its intent. */
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
  target?: AttachTarget;
  observation?: Observation;
  operation?: Operation;
}

/** What to do next for one interface. */
export type InterfaceStep =
  /** Send CreateNetworkInterface with the intent's token. */
  | { do: 'create' }
  /** Look for an ENI that carries the owner's and attempt's tags. */
  | { do: 'find' }
  /** Persist what the cloud created. */
  | { do: 'record'; eni: ObservedEni }
  /** Persist a new intent with other parameters. */
  | { do: 'newAttempt'; avoidVSwitch: boolean; failure?: OperationFailure }
  /** Ask the cloud for the state. */
  | { do: 'observe' }
  | { do: 'attach'; eni: ObservedEni }
  | { do: 'detach'; eni: ObservedEni }
  | { do: 'delete'; eni: ObservedEni }
  /** A call of ours is under way. */
  | { do: 'waitForCall' }
  /** The cloud works on it; the observer asks until the state changes. */
  | { do: 'waitForCloud'; transition: 'attach' | 'detach' | 'delete' }
  /** Nothing before `untilMs`. */
  | { do: 'pause'; untilMs: number; failure?: OperationFailure }
  /** Only a person or another object can help. */
  | { do: 'blocked'; reason: BlockedReason; message: string }
  /** The goal is reached; for `bind` with the ENI as it is attached. */
  | { do: 'done'; eni?: ObservedEni };

export type BlockedReason = 'EniLost' | 'EniNotOurs' | 'EniMismatch';

/**
 * The next step of one interface towards a goal. Pure.
 *
 * @param nowMs epoch milliseconds.
 */
export function nextInterfaceStep(goal: Goal, view: InterfaceView, clusterId: string, nowMs: number): InterfaceStep {
  if (view.operation?.state === 'running') return { do: 'waitForCall' };
  if (view.allocation.eni.id === '') return withoutId(goal, view, nowMs);
  const { observation, operation } = view;
  if (observation === undefined) return { do: 'observe' };
  if (operation !== undefined && observation.atMs < operation.atMs) {
    const transition = operation.state === 'succeeded' ? transitionOf(operation.kind) : undefined;
    return transition === undefined ? { do: 'observe' } : { do: 'waitForCloud', transition };
  }
  const step =
    observation.eni === undefined ? whenGone(goal, view, nowMs) : whenShown(goal, view, observation.eni, nowMs);
  return guard(step, observation, clusterId, nowMs);
}

function transitionOf(kind: Operation['kind']): 'attach' | 'detach' | 'delete' | undefined {
  return kind === 'create' || kind === 'find' ? undefined : kind;
}

/** No destructive call on an old answer, and none on an ENI that is not ours (I3). */
function guard(step: InterfaceStep, observation: Observation, clusterId: string, nowMs: number): InterfaceStep {
  if (step.do !== 'detach' && step.do !== 'delete') return step;
  if (nowMs - observation.atMs > FRESH_MS) return { do: 'observe' };
  if (!isOurs(step.eni.tags, clusterId)) {
    return {
      do: 'blocked',
      reason: 'EniNotOurs',
      message: `${step.eni.id} does not carry the tags of this cluster, so it is neither detached nor deleted`,
    };
  }
  return step;
}

function withoutId(goal: Goal, view: InterfaceView, nowMs: number): InterfaceStep {
  const { operation } = view;
  const { intent } = view.allocation;
  if (operation?.state === 'succeeded' && operation.eni !== undefined) return { do: 'record', eni: operation.eni };
  if (goal !== 'bind') {
    if (intent === undefined) return { do: 'done' };
    if (operation?.kind === 'create' && operation.state === 'failed' && operation.failure.kind !== 'unavailable') {
      return { do: 'done' };
    }
    if (operation?.kind === 'find' && operation.state === 'succeeded') {
      const lostAtMs = Date.parse(intent.createdAt) + LOST_CREATE_MS;
      if (nowMs >= lostAtMs) return { do: 'done' };
      if (nowMs - operation.atMs < LAG_MS) return { do: 'pause', untilMs: Math.min(lostAtMs, operation.atMs + LAG_MS) };
    }
    return pausedAfterFailure(operation, 'find', nowMs) ?? { do: 'find' };
  }
  if (operation?.kind === 'create' && operation.state === 'failed') {
    if (operation.failure.kind === 'exhausted') {
      return { do: 'newAttempt', avoidVSwitch: true, failure: operation.failure };
    }
    if (operation.failure.kind === 'token')
      return { do: 'newAttempt', avoidVSwitch: false, failure: operation.failure };
  }
  return pausedAfterFailure(operation, 'create', nowMs) ?? { do: 'create' };
}

function whenGone(goal: Goal, view: InterfaceView, nowMs: number): InterfaceStep {
  if (goal !== 'bind') return { do: 'done' };
  const createdAtMs = Date.parse(view.allocation.intent?.createdAt ?? '');
  if (nowMs - createdAtMs < LAG_MS) return { do: 'pause', untilMs: createdAtMs + LAG_MS };
  if (!view.bound && !view.fixed) return { do: 'newAttempt', avoidVSwitch: false };
  const { id } = view.allocation.eni;
  return {
    do: 'blocked',
    reason: 'EniLost',
    message: view.fixed
      ? `${id}, which holds the fixed address ${view.allocation.ipv4 ?? ''}, no longer exists in the cloud; delete this PodENI to let the pod get another address`
      : `${id} no longer exists in the cloud; delete the pod to give its successor a new ENI`,
  };
}

function whenShown(goal: Goal, view: InterfaceView, eni: ObservedEni, nowMs: number): InterfaceStep {
  switch (eni.status) {
    case 'Available':
      return whenAvailable(goal, view, eni, nowMs);
    case 'InUse':
      return whenInUse(goal, view, eni, nowMs);
    case 'Detaching':
      return { do: 'waitForCloud', transition: 'detach' };
    case 'Deleting':
      return { do: 'waitForCloud', transition: 'delete' };
    case 'CreateFailed':
      return goal === 'release' ? { do: 'delete', eni } : { do: 'newAttempt', avoidVSwitch: false };
    default:
      return { do: 'waitForCloud', transition: 'attach' };
  }
}

function whenAvailable(goal: Goal, view: InterfaceView, eni: ObservedEni, nowMs: number): InterfaceStep {
  if (goal === 'hold') return { do: 'done', eni };
  const call = goal === 'bind' ? 'attach' : 'delete';
  if (mayLag(view, call, nowMs)) return { do: 'waitForCloud', transition: call };
  const paused = pausedAfterFailure(view.operation, call, nowMs);
  if (paused !== undefined) return paused;
  if (goal === 'release') return { do: 'delete', eni };
  return mismatchOf(view, eni) ?? { do: 'attach', eni };
}

function whenInUse(goal: Goal, view: InterfaceView, eni: ObservedEni, nowMs: number): InterfaceStep {
  if (goal === 'bind' && isAtTarget(view.target, eni)) return mismatchOf(view, eni) ?? { do: 'done', eni };
  if (mayLag(view, 'detach', nowMs)) return { do: 'waitForCloud', transition: 'detach' };
  return pausedAfterFailure(view.operation, 'detach', nowMs) ?? { do: 'detach', eni };
}

function isAtTarget(target: AttachTarget | undefined, eni: ObservedEni): boolean {
  if (target === undefined || eni.instanceId !== target.instanceID) return false;
  if (target.trunkENIID === undefined) return eni.trunkEniId === undefined;
  return eni.trunkEniId === target.trunkENIID && (eni.vlanId ?? 0) > 0;
}

/** I8: what is attached must be what the record promises. */
function mismatchOf(view: InterfaceView, eni: ObservedEni): InterfaceStep | undefined {
  const { vSwitchID, securityGroupIDs } = view.allocation.eni;
  if (vSwitchID !== undefined && vSwitchID !== eni.vSwitchId) {
    return {
      do: 'blocked',
      reason: 'EniMismatch',
      message: `${eni.id} lies in vSwitch ${eni.vSwitchId}, the PodENI records ${vSwitchID}`,
    };
  }
  const recorded = [...(securityGroupIDs ?? [])].sort().join(',');
  const actual = [...eni.securityGroupIds].sort().join(',');
  if (recorded !== '' && recorded !== actual) {
    return {
      do: 'blocked',
      reason: 'EniMismatch',
      message: `${eni.id} has the security groups ${actual}, the PodENI records ${recorded}`,
    };
  }
  return undefined;
}

/** The call was accepted a moment ago and the answer may still show the state before it. */
function mayLag(view: InterfaceView, kind: Operation['kind'], nowMs: number): boolean {
  const { operation } = view;
  return operation?.kind === kind && operation.state === 'succeeded' && nowMs - operation.atMs < LAG_MS;
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
