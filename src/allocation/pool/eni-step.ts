import { isDeepStrictEqual } from 'node:util';
import type { NodeAddress, NodeEni, PoolIntent, TerwayNode } from '../../crds/node.ts';
import type { Eni, EniObservation } from '../../ecs/eni.ts';
import { ipv6TokenOf, isOursInPool } from '../identity.ts';
import {
  FRESH_MS,
  type InterfaceStep,
  LAG_MS,
  nextInterfaceStep,
  pausedAfterFailure,
  TOKEN_TRUSTED_MS,
} from '../interface-step.ts';
import { isRefusedForGood, type Operation, type OperationFailure } from '../operation.ts';
import { sameSecurityGroups } from '../security-groups.ts';
import { asShown } from './audit.ts';
import type { PoolNews } from './news.ts';
import { addressesOf, FAMILIES, type Family, isBound } from './view.ts';

/** A call for addresses of an ENI that is in use. */
export type AddressCall =
  | { do: 'assign'; eniId: string; family: Family; count: number; clientToken: string }
  | { do: 'unassign'; eniId: string; family: Family; ips: string[] };

export type PoolEniStep =
  | InterfaceStep
  | AddressCall
  | PoolNews
  /** What is marked is not on the ENI any more, and stays in the record until then. */
  | { do: 'held'; untilMs: number };

/** Everything that is known about one ENI of the pool. */
export interface PoolEniView {
  /** As the Node CR records it; undefined until its creation was recorded. */
  eni: NodeEni | undefined;
  intent: PoolIntent | undefined;
  nodeName: string;
  instanceId: string;
  observation: EniObservation | undefined;
  operation: Operation | undefined;
  /** What the node may have. */
  spec: TerwayNode['spec'];
  /** No call of this term or an earlier one can have changed the ENI since, epoch milliseconds. */
  quietSinceMs: number;
  /**
   * Until when a call that gives addresses back, of this term or an earlier one, may still take effect, as it got no answer; epoch
   * milliseconds. The cloud may give the ENI the same addresses again before: what is marked stays marked, so that nobody gets them.
   */
  heldUntilMs: number;
  /** Since when the ENI is to be released because its node is gone, epoch milliseconds. */
  leavingSinceMs?: number | undefined;
}

/** The API's bound for one call. */
const MOST_RETURNED = 10;

/**
 * The next step of one ENI of the pool: its creation and attachment, the addresses that its intent asks for, what is marked
 * `Deleting`, or its release when it is marked itself. Pure.
 *
 * @param nowMs epoch milliseconds.
 */
export function nextPoolEniStep(view: PoolEniView, clusterId: string, nowMs: number): PoolEniStep {
  const { eni, intent, operation, leavingSinceMs } = view;
  if (eni?.status !== 'InUse' || leavingSinceMs !== undefined) {
    return refusedCreation(view) ?? onItsWay(view, clusterId, nowMs);
  }
  if (operation?.state === 'running') return { do: 'waitForCall' };
  if (intent !== undefined) return nextAssignment(eni, intent, view, nowMs);
  return (
    correction(eni, view, clusterId) ??
    nextRegrouping(eni, view, clusterId, nowMs) ??
    nextReturn(eni, view, clusterId, nowMs)
  );
}

/** What others have changed. A describe may lag, so it counts only a while after the last call. */
function correction(eni: NodeEni, view: PoolEniView, clusterId: string): PoolEniStep | undefined {
  const { observation, quietSinceMs } = view;
  if (observation === undefined || observation.atMs < quietSinceMs + LAG_MS) return undefined;
  return corrected(eni, observation.eni, view, clusterId);
}

function corrected(
  eni: NodeEni,
  shown: Eni | undefined,
  { instanceId, spec }: PoolEniView,
  clusterId: string,
): PoolEniStep | undefined {
  const isHere = shown?.status === 'InUse' && shown.instanceId === instanceId;
  // Whether the trunk is attached is the node controller's to see and to change.
  if (eni.networkInterfaceType === 'Trunk' && !isHere) return undefined;
  const isForeign = shown !== undefined && !isOursInPool(shown.tags, clusterId);
  // Somebody has taken away what is theirs.
  if (isForeign && !isHere && !addressesOf(eni).some(isBound)) return { do: 'foreign', eniId: eni.id };
  const record = asShown(eni, shown, instanceId, { spec, clusterId });
  return isDeepStrictEqual(record, eni) ? undefined : { do: 'shown', eniId: eni.id, eni: record };
}

/** The cloud does not make the ENI, and would refuse it again: the next plan asks for one by the configuration as it is then. */
function refusedCreation({ eni, intent, operation, leavingSinceMs }: PoolEniView): PoolEniStep | undefined {
  if (eni !== undefined || intent === undefined || intent.eniID !== '' || leavingSinceMs !== undefined)
    return undefined;
  if (operation?.kind !== 'create' || operation.state !== 'failed' || !isRefusedForGood(operation.failure)) {
    return undefined;
  }
  // An earlier request may have been carried out, and its answer lost.
  if (operation.unansweredMs !== undefined) return { do: 'find' };
  return { do: 'refused', eniId: '', clientToken: intent.clientToken, failure: operation.failure };
}

/** An edit of the configuration reaches ENIs in use, as far as they carry the tags of this cluster. */
function nextRegrouping(
  eni: NodeEni,
  { spec, observation, operation }: PoolEniView,
  clusterId: string,
  nowMs: number,
): PoolEniStep | undefined {
  const { securityGroupIDs: known, unschedulable } = eni;
  const wanted = spec.eni?.securityGroupIDs ?? [];
  if (wanted.length === 0 || known === undefined || unschedulable === true || sameSecurityGroups(known, wanted))
    return undefined;
  if (!isFresh(observation, nowMs)) return { do: 'observe' };
  const shown = observation.eni;
  if (shown === undefined || !isOursInPool(shown.tags, clusterId)) return undefined;
  if (sameSecurityGroups(shown.securityGroupIds, wanted)) {
    return { do: 'regrouped', eniId: eni.id, securityGroupIds: [...wanted] };
  }
  // The response may still show the groups from before the change.
  const isDone = operation?.kind === 'modify' && operation.state === 'succeeded';
  if (isDone && nowMs - operation.atMs < LAG_MS) return { do: 'observe' };
  return pausedAfterFailure(operation, 'modify', nowMs) ?? { do: 'modify', eni: shown };
}

/** An ENI on its way, in either direction. */
function onItsWay(view: PoolEniView, clusterId: string, nowMs: number): PoolEniStep {
  const { eni, intent, nodeName, instanceId, observation, operation, leavingSinceMs } = view;
  const goal = eni?.status === 'Deleting' || leavingSinceMs !== undefined ? 'release' : 'bind';
  const step = nextInterfaceStep(
    goal,
    {
      allocation: {
        eni: {
          id: eni?.id ?? intent?.eniID ?? '',
          ...(intent === undefined ? {} : { vSwitchID: intent.vSwitchID, securityGroupIDs: intent.securityGroupIDs }),
        },
        ...(intent === undefined ? {} : { intent }),
      },
      inPool: true,
      fixed: false,
      bound: false,
      target: { nodeName, instanceID: instanceId },
      ...(observation === undefined ? {} : { observation }),
      ...(operation === undefined ? {} : { operation }),
      ...(leavingSinceMs === undefined ? {} : { goalSinceMs: leavingSinceMs }),
    },
    clusterId,
    nowMs,
  );
  if (goal === 'bind' && step.do === 'done' && step.eni !== undefined) return { do: 'attached', eni: step.eni };
  if (eni === undefined) return step;
  if (goal === 'bind') {
    const gone = whenGone(eni, view, clusterId, nowMs);
    if (gone !== undefined) return gone;
    // It is gone for certain, too. Whoever has an address of it keeps that until the pod is gone.
    if (step.do === 'newAttempt' && addressesOf(eni).some(isBound)) {
      return corrected(eni, undefined, view, clusterId) ?? step;
    }
  }
  if (goal === 'release' && step.do === 'blocked' && step.reason === 'EniNotOurs') {
    if (leavingSinceMs !== undefined) return { do: 'foreign', eniId: eni.id };
    // It was marked before that was known.
    return corrected(eni, observation?.eni, view, clusterId) ?? step;
  }
  return step;
}

/** What becomes of an ENI that was in use once, and is gone. No creation can be looked for, as there is no intent. */
function whenGone(eni: NodeEni, view: PoolEniView, clusterId: string, nowMs: number): PoolEniStep | undefined {
  const { intent, observation, operation, quietSinceMs } = view;
  if (intent !== undefined || observation === undefined || observation.eni !== undefined) return undefined;
  if (operation?.state === 'running') return undefined;
  const certainMs = quietSinceMs + LAG_MS;
  // A describe may lag.
  if (observation.atMs < certainMs) return nowMs < certainMs ? { do: 'pause', untilMs: certainMs } : { do: 'observe' };
  return corrected(eni, undefined, view, clusterId);
}

/** Each family is a call of its own; a count of 0 says that its addresses are recorded. */
function nextAssignment(
  eni: NodeEni,
  { ipv4, ipv6, clientToken, createdAt }: PoolIntent,
  { operation, observation }: PoolEniView,
  nowMs: number,
): PoolEniStep {
  const family = ipv4 > 0 ? 'ipv4' : 'ipv6';
  const kind = family === 'ipv4' ? 'assignIpv4' : 'assignIpv6';
  if (operation?.kind === kind && operation.state === 'succeeded') {
    return { do: 'arrived', eniId: eni.id, family, ips: operation.addresses ?? [] };
  }
  if (operation?.kind === kind && operation.state === 'failed' && isFinal(operation.failure)) {
    return { do: 'refused', eniId: eni.id, clientToken, failure: operation.failure };
  }
  if (nowMs - Date.parse(createdAt) > TOKEN_TRUSTED_MS) {
    // The cloud may have forgotten the token, and would give others. What the call gave, if it was sent, is on the ENI.
    if (!isFresh(observation, nowMs)) return { do: 'observe' };
    return { do: 'arrived', eniId: eni.id, family, ips: unrecorded(eni, family, observation?.eni) };
  }
  const count = family === 'ipv4' ? ipv4 : ipv6;
  const token = family === 'ipv4' ? clientToken : ipv6TokenOf(clientToken);
  const paused = pausedAfterFailure(operation, kind, nowMs);
  return paused ?? { do: 'assign', eniId: eni.id, family, count, clientToken: token };
}

/** The same call would be refused again. */
function isFinal(failure: OperationFailure): boolean {
  return failure.kind === 'exhausted' || failure.kind === 'token' || isRefusedForGood(failure);
}

/** Only what the cloud showed a moment ago is given back (I3), ten addresses of a family at a time. */
function nextReturn(eni: NodeEni, view: PoolEniView, clusterId: string, nowMs: number): PoolEniStep {
  const { operation, observation, heldUntilMs } = view;
  const marked = addressesOf(eni).filter((address) => address.status === 'Deleting' && !isBound(address));
  if (marked.length === 0) return { do: 'done' };
  const found = observation?.eni;
  const shown = new Set([...(found?.ipv4 ?? []), ...(found?.ipv6 ?? [])]);
  const endedMs = operation !== undefined && operation.state !== 'running' ? operation.atMs : 0;
  const isOlder = observation !== undefined && observation.atMs < endedMs;
  const gone = marked.filter(({ ip }) => !shown.has(ip));
  const isHeld = nowMs < heldUntilMs;
  if (isHeld && observation !== undefined && !isOlder && gone.length === marked.length) {
    return { do: 'held', untilMs: heldUntilMs };
  }
  if (!isFresh(observation, nowMs)) return { do: 'observe' };
  if (isOlder && operation?.state === 'succeeded') return { do: 'observe' };
  if (gone.length > 0 && !isHeld) return { do: 'returned', eniId: eni.id, ips: gone.map(({ ip }) => ip) };
  // What is not for pods any more is left alone. The pool makes no calls for such an ENI, so that no describe lags.
  if (found !== undefined && (eni.unschedulable === true || !isOursInPool(found.tags, clusterId))) {
    return corrected(eni, found, view, clusterId) ?? { do: 'done' };
  }
  for (const family of FAMILIES) {
    const isGoing = (address: NodeAddress) => marked.includes(address) && shown.has(address.ip);
    const ips = addressesOf(eni, family).flatMap((address) => (isGoing(address) ? [address.ip] : []));
    if (ips.length === 0) continue;
    const kind = family === 'ipv4' ? 'unassignIpv4' : 'unassignIpv6';
    // One of them was gone, which the cloud refuses as a whole.
    const wasGone = operation?.state === 'failed' && operation.kind === kind && operation.failure.kind === 'unassigned';
    if (wasGone && isOlder) return { do: 'observe' };
    const paused = pausedAfterFailure(operation, kind, nowMs);
    return paused ?? { do: 'unassign', eniId: eni.id, family, ips: ips.slice(0, MOST_RETURNED) };
  }
  return { do: 'done' };
}

function unrecorded(eni: NodeEni, family: Family, shown: Eni | undefined): string[] {
  const known = new Set(addressesOf(eni, family).map(({ ip }) => ip));
  return (shown?.[family] ?? []).filter((ip) => !known.has(ip));
}

function isFresh(observation: EniObservation | undefined, nowMs: number): observation is EniObservation {
  return observation !== undefined && observation.atMs <= nowMs && nowMs - observation.atMs <= FRESH_MS;
}
