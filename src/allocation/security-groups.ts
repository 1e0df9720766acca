import type { PodEni } from '../crds/pod-eni.ts';
import type { PodNetworking } from '../crds/pod-networking.ts';

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
  const { generation = 0 } = metadata;
  return (status.observedGeneration ?? generation) < generation ? 'changing' : 'updated';
}

/** A record whose allocations name the PodNetworking's groups and generation; what it leaves out stays as it is. */
export function retarget(podEni: PodEni, networking: PodNetworking): PodEni['spec']['allocations'] {
  const { metadata, spec } = networking;
  return podEni.spec.allocations?.map((allocation) => {
    const { intent, eni } = allocation;
    if (intent?.networking !== metadata.name) return allocation;
    return {
      ...allocation,
      eni: { ...eni, securityGroupIDs: spec.securityGroupIDs ?? [] },
      intent: {
        ...intent,
        ...(metadata.generation === undefined ? {} : { networkingGeneration: metadata.generation }),
      },
    };
  });
}

/** Records that a rollout may have on their way at once. */
const AT_ONCE = 20;

/** Whether security groups of running pods may be changed now; a reason of RolloutComplete when not. */
export type RolloutGate = 'open' | 'AwaitingRecreation' | 'RolloutBlocked';

/** An edit is rolled out when it was checked and found sound, and unless its author wants it otherwise. */
export function rolloutGate({ metadata, spec, status }: PodNetworking): RolloutGate {
  if (status?.status !== 'Ready' || status.observedGeneration !== metadata.generation) return 'RolloutBlocked';
  if ((spec.securityGroupIDs ?? []).length === 0) return 'RolloutBlocked';
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
