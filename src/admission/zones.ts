import type { PodNetworking } from '../crds/pod-networking.ts';

/** Zones in which each of the PodNetworkings has a vSwitch. */
export type ZoneChoice =
  | { kind: 'any' }
  | { kind: 'zones'; zones: string[] }
  /** No node can serve all of them. */
  | { kind: 'disjoint'; message: string };

/**
 * Where a pod can get all its interfaces: zones that all its PodNetworkings share. Of those, zones whose vSwitches are all
 * full are left out as long as another one is left. A PodNetworking whose vSwitches are not known yet does not restrict.
 */
export function zonesFor(networkings: readonly PodNetworking[]): ZoneChoice {
  const known = networkings.filter(({ status }) => (status?.vSwitches ?? []).some(({ zone }) => (zone ?? '') !== ''));
  const [first, ...rest] = known;
  if (first === undefined) return { kind: 'any' };
  const shared = zonesOf(first).filter((zone) => rest.every((networking) => zonesOf(networking).includes(zone)));
  if (shared.length === 0) {
    const each = known.map((networking) => `${networking.metadata.name} in ${zonesOf(networking).join(', ')}`);
    return {
      kind: 'disjoint',
      message: `the PodNetworkings of the pod have no zone in common (vSwitches of ${each.join('; of ')}), so no node can serve it: add vSwitches of a common zone to spec.vSwitchOptions`,
    };
  }
  const withRoom = shared.filter((zone) => known.every((networking) => hasRoom(networking, zone)));
  return { kind: 'zones', zones: withRoom.length > 0 ? withRoom : shared };
}

function zonesOf({ status }: PodNetworking): string[] {
  const zones = (status?.vSwitches ?? []).map(({ zone }) => zone ?? '').filter((zone) => zone !== '');
  return [...new Set(zones)].sort();
}

/** A count that is not known counts as room. */
function hasRoom({ status }: PodNetworking, zone: string): boolean {
  return (status?.vSwitches ?? []).some((vSwitch) => vSwitch.zone === zone && vSwitch.availableIPCount !== 0);
}
