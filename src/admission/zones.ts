import type { PodNetworking } from '../crds/pod-networking.ts';

/** Zones in which each of the PodNetworkings has a vSwitch. */
export type ZoneChoice =
  | { kind: 'any' }
  | { kind: 'zones'; zones: string[] }
  /** The PodNetworkings share no zone. */
  | { kind: 'disjoint'; message: string };

/**
 * Where a pod can get all its interfaces: the zones that its PodNetworkings share. Full zones are left out as long as
 * another zone is left. A PodNetworking whose vSwitches are unknown does not restrict.
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
  const withFreeAddress = shared.filter((zone) => known.every((networking) => hasFreeAddress(networking, zone)));
  return { kind: 'zones', zones: withFreeAddress.length > 0 ? withFreeAddress : shared };
}

function zonesOf({ status }: PodNetworking): string[] {
  const zones = (status?.vSwitches ?? []).map(({ zone }) => zone ?? '').filter((zone) => zone !== '');
  return [...new Set(zones)].sort();
}

/** An unknown count counts as free. */
function hasFreeAddress({ status }: PodNetworking, zone: string): boolean {
  return (status?.vSwitches ?? []).some((vSwitch) => vSwitch.zone === zone && vSwitch.availableIPCount !== 0);
}
