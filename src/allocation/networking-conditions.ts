import type { Reason } from '../crds/reasons/catalogue.ts';
import type { NetworkingStats } from './pod-networking-stats.ts';
import type { RolloutGate } from './security-groups.ts';

/** A condition about the pods that a PodNetworking serves. */
export interface ServiceCondition {
  type: 'CapacityAvailable' | 'AllocationHealthy' | 'RolloutComplete';
  status: 'True' | 'False' | 'Unknown';
  reason: Reason;
  message: string;
}

/** What these conditions are derived from. */
export interface ServiceView {
  stats: NetworkingStats;
  gate: RolloutGate;
  /** Zones in which pods wait for an address. */
  zonesWithoutAddress: ReadonlySet<string>;
  /** Existing candidates and their free addresses after all reservations; undefined until the cloud has responded. */
  vSwitches: readonly { id: string; zone: string; free: number }[] | undefined;
}

/** `CapacityAvailable`, `AllocationHealthy` and `RolloutComplete`. Pure. */
export function serviceConditions(view: ServiceView): ServiceCondition[] {
  return [capacity(view), allocation(view.stats), rollout(view)];
}

function capacity({ vSwitches, zonesWithoutAddress }: ServiceView): ServiceCondition {
  const type = 'CapacityAvailable';
  if (vSwitches === undefined || vSwitches.length === 0) {
    return {
      type,
      status: 'Unknown',
      reason: 'NotKnown',
      message: 'the number of free addresses is not known yet',
    };
  }
  const full = vSwitches.filter(({ free }) => free <= 0);
  const ids = (some: typeof full) => some.map(({ id }) => id).join(', ');
  if (full.length === vSwitches.length) {
    return { type, status: 'False', reason: 'AllVSwitchesFull', message: `no free address in ${ids(full)}` };
  }
  const zones = [...zonesWithoutAddress].sort().flatMap((zone) => {
    const inZone = vSwitches.filter((vSwitch) => vSwitch.zone === zone);
    const isFull = inZone.length > 0 && inZone.every(({ free }) => free <= 0);
    return isFull ? [`${zone} (${ids(inZone)})`] : [];
  });
  if (zones.length > 0) {
    const message = `pods wait for an address in ${zones.join(', ')}; add a vSwitch of that zone to vSwitchOptions or free some addresses`;
    return { type, status: 'False', reason: 'ZoneFull', message };
  }
  const message =
    full.length === 0 ? 'every vSwitch has free addresses' : `no pod is waiting; no free address in ${ids(full)}`;
  return { type, status: 'True', reason: 'AddressesFree', message };
}

function allocation({ failing }: NetworkingStats): ServiceCondition {
  const type = 'AllocationHealthy';
  if (failing.size === 0) return { type, status: 'True', reason: 'Healthy', message: 'no failing pods' };
  const [last] = [...failing.values()].sort((a, b) => (a.since === b.since ? 0 : a.since > b.since ? -1 : 1));
  const count = failing.size === 1 ? 'the interface of one pod fails' : `the interfaces of ${failing.size} pods fail`;
  const isDegraded = [...failing.values()].every(({ reason }) => reason === 'CloudDegraded');
  const words = last === undefined ? '' : `, most recently ${last.key}: ${last.reason}: ${last.message}`;
  const reason = isDegraded ? 'CloudDegraded' : 'PodsFailing';
  return { type, status: 'False', reason, message: `${count}${words}` };
}

function rollout({ stats, gate }: ServiceView): ServiceCondition {
  const type = 'RolloutComplete';
  const { updated, changing, outdated } = stats.rollout;
  if (changing.size === 0 && outdated.size === 0) {
    return { type, status: 'True', reason: 'UpToDate', message: 'running pods have the security groups of the spec' };
  }
  const total = updated + changing.size + outdated.size;
  const progress = `${updated} of ${total} running pods have the security groups of the spec`;
  if (gate === 'open' || outdated.size === 0) {
    const message = `${progress}, ${changing.size} in progress`;
    return { type, status: 'False', reason: 'RollingOut', message };
  }
  const why = {
    AwaitingRecreation:
      'the others keep their old groups until they are recreated (securityGroupRolloutPolicy: OnRecreate)',
    RolloutBlocked: 'the others keep their old groups until the PodNetworking is Ready',
  }[gate];
  return { type, status: 'False', reason: gate, message: `${progress}; ${why}` };
}
