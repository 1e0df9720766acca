import type { Allocation, PodEni } from '../crds/pod-eni.ts';
import { isChecked, type PodNetworking } from '../crds/pod-networking.ts';
import { isRewritten } from './rewritten.ts';

/** An order has no meaning among security groups. */
export function sameSecurityGroups(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((id) => others.includes(id));
}

/**
 * How far a running pod is with the security groups of a PodNetworking. `outdated`: its record names others. `changing`:
 * the record names them, and the cloud has yet to be seen to agree. `none`: the record has nothing to do with it now; what
 * is created or given to a pod gets the groups of the time anyway.
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

/** An allocation with the security groups and the generation of its PodNetworking; of another one's it stays as it is. */
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

/** Records that a rollout may have on their way at once. */
const AT_ONCE = 20;

/** Whether security groups of running pods may be changed now; else the reason of RolloutComplete. */
export type RolloutGate = 'open' | 'AwaitingRecreation' | 'RolloutBlocked';

/** An edit is rolled out when it was checked, and unless its author wants it otherwise. */
export function rolloutGate(networking: PodNetworking): RolloutGate {
  const { spec } = networking;
  if (!isChecked(networking) || (spec.securityGroupIDs ?? []).length === 0) return 'RolloutBlocked';
  return spec.securityGroupRolloutPolicy === 'OnRecreate' ? 'AwaitingRecreation' : 'open';
}

/**
 * How many records may be rewritten now. While pods wait for calls to the cloud a rollout goes on one by one: it does not
 * take their place, and it does not starve (L3).
 *
 * @param changing records that are on their way.
 */
export function rolloutAllowance(changing: number, podsWaitForCalls: boolean): number {
  return Math.max(0, (podsWaitForCalls ? 1 : AT_ONCE) - changing);
}
