import type { Allocation, PodEni } from '../crds/pod-eni.ts';
import { isChecked, type PodNetworking } from '../crds/pod-networking.ts';
import { isRewritten } from './rewritten.ts';

/** Security groups have no order. */
export function sameSecurityGroups(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((id) => others.includes(id));
}

/**
 * Progress of a running pod towards the security groups of its PodNetworking.
 *
 * - `outdated`: the record names other groups.
 * - `changing`: the record names the right groups, and the cloud has not been seen to agree.
 * - `none`: the rollout does not concern the record. A pod that is bound later gets the current groups anyway.
 */
export type RolloutState = 'none' | 'outdated' | 'changing' | 'updated';

/** Where a record stands in the rollout of a PodNetworking's security groups. */
export function rolloutState(podEni: PodEni, networking: string, securityGroupIds: readonly string[]): RolloutState {
  const { metadata, spec, status } = podEni;
  if (status?.phase !== 'Bind' || metadata.deletionTimestamp !== undefined) return 'none';
  const own = (spec.allocations ?? []).filter(({ intent }) => intent?.networking === networking);
  if (own.length === 0) return 'none';
  if (own.some(({ eni }) => !sameSecurityGroups(eni.securityGroupIDs ?? [], securityGroupIds))) return 'outdated';
  return isRewritten(podEni) ? 'changing' : 'updated';
}

/**
 * The allocation with the security groups and generation of its PodNetworking; unchanged if it belongs to another one.
 */
export function withSecurityGroups(allocation: Allocation, { metadata, spec }: PodNetworking): Allocation {
  const { intent, eni } = allocation;
  if (intent?.networking !== metadata.name) return allocation;
  const { generation } = metadata;
  return {
    ...allocation,
    eni: { ...eni, securityGroupIDs: spec.securityGroupIDs ?? [] },
    intent: { ...intent, ...(generation === undefined ? {} : { networkingGeneration: generation }) },
  };
}

/** How many records a rollout may change at once. */
const AT_ONCE = 20;

/** Whether the security groups of running pods may be changed now; if not, the reason shown in RolloutComplete. */
export type RolloutGate = 'open' | 'AwaitingRecreation' | 'RolloutBlocked';

/** An edit is rolled out after it passed its check, unless its author chose OnRecreate. */
export function rolloutGate(networking: PodNetworking): RolloutGate {
  const { spec } = networking;
  if (!isChecked(networking) || (spec.securityGroupIDs ?? []).length === 0) return 'RolloutBlocked';
  return spec.securityGroupRolloutPolicy === 'OnRecreate' ? 'AwaitingRecreation' : 'open';
}

/**
 * How many records may be rewritten now. While pods wait for cloud calls, a rollout continues one record at a time, so
 * that it neither delays the pods nor starves (L3).
 *
 * @param changing records whose change is in progress.
 */
export function rolloutAllowance(changing: number, podsWaitForCalls: boolean): number {
  return Math.max(0, (podsWaitForCalls ? 1 : AT_ONCE) - changing);
}
