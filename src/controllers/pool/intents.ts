import { isDeepStrictEqual } from 'node:util';
import { clientTokenOf } from '../../allocation/identity.ts';
import type { Capacity } from '../../allocation/plan.ts';
import type { Growth } from '../../allocation/pool/growth.ts';
import type { Families } from '../../allocation/pool/view.ts';
import { clusterNetwork } from '../../cluster/cluster-network.ts';
import type { EniConfigs } from '../../cluster/eni-configs.ts';
import type { NodeEni, PoolIntent, TerwayNode } from '../../crds/node.ts';
import type { NetworkCatalog } from '../network-catalog.ts';

/** What new ENIs of a node are made with. */
export interface PoolCreation {
  zone: string;
  vSwitchIds: string[];
  vSwitchSelectPolicy: 'ordered' | 'random' | 'most';
  securityGroupIds: string[];
  resourceGroupId: string;
  tags: Record<string, string>;
}

/** A daemon's or our own choice in the Node CR takes precedence over the node's eni-config. */
export function poolCreation(
  { metadata: { name }, spec }: TerwayNode,
  eniConfigs: EniConfigs,
): PoolCreation | { message: string } {
  const { eni } = spec;
  const zone = spec.nodeMetadata?.zoneID ?? '';
  const { resourceGroupID: resourceGroupId = '', vSwitchSelectPolicy = 'random' as const } = eni ?? {};
  if (eni !== undefined && eni.vSwitchOptions.length > 0) {
    const { vSwitchOptions: vSwitchIds, securityGroupIDs: securityGroupIds, tag: tags = {} } = eni;
    return { zone, vSwitchIds, securityGroupIds, tags, resourceGroupId, vSwitchSelectPolicy };
  }
  const network = clusterNetwork(eniConfigs, { nodeName: name, zone });
  return 'message' in network ? network : { zone, ...network, resourceGroupId, vSwitchSelectPolicy };
}

/** Whether a new ENI would be asked for as in this intent of an earlier one. */
export function asksFor(
  { vSwitchIds, securityGroupIds, tags, resourceGroupId }: PoolCreation,
  families: Families,
  intent: PoolIntent,
): boolean {
  const { vSwitchID, securityGroupIDs, resourceGroupID = '', ipv6 } = intent;
  return (
    vSwitchIds.includes(vSwitchID) &&
    families.includes('ipv6') === ipv6 > 0 &&
    isDeepStrictEqual([securityGroupIds, tags, resourceGroupId], [securityGroupIDs, intent.tags, resourceGroupID])
  );
}

/** Intents for what is to be asked for, or what stands in the way of the rest. */
export interface Intents {
  intents: PoolIntent[];
  /** vSwitches without an address. */
  full?: string[];
  /** No vSwitch lies in the node's zone. */
  noneInZone?: string[];
}

/**
 * Chooses vSwitches and takes their addresses. The caller gives them back with {@link giveBack} when the intents could not be
 * written.
 */
export function intentsFor(
  growth: readonly Growth[],
  node: TerwayNode,
  creation: PoolCreation,
  { vSwitches, random, clusterId, nowMs }: Capacity,
  catalog: Pick<NetworkCatalog, 'knows'>,
): Intents {
  const found: Intents = { intents: [] };
  // Two plans may be made in one millisecond.
  const known = node.status?.poolIntents?.length ?? 0;
  const createdAt = new Date(nowMs).toISOString();
  const intentOf = (
    at: number,
    eniID: string,
    vSwitchID: string,
    securityGroupIDs: string[],
    ipv4: number,
    ipv6: number,
  ) => ({
    clientToken: clientTokenOf({
      clusterId,
      owner: `pool/${node.metadata.name}`,
      ownerUid: node.metadata.uid ?? '',
      interfaceName: eniID === '' ? `new-${known + at}` : eniID,
      attempt: 1,
      plannedAt: createdAt,
      vSwitchId: vSwitchID,
      securityGroupIds: securityGroupIDs,
    }),
    createdAt,
    attempt: 1,
    eniID,
    vSwitchID,
    securityGroupIDs,
    ...(eniID !== '' || creation.resourceGroupId === '' ? {} : { resourceGroupID: creation.resourceGroupId }),
    tags: eniID === '' ? creation.tags : {},
    ipv4,
    ipv6,
  });
  for (const [at, { eniId, counts }] of growth.entries()) {
    if (eniId !== undefined) {
      const eni: NodeEni | undefined = node.status?.networkInterfaces?.[eniId];
      const vSwitchId = eni?.vSwitchID ?? '';
      const ipv4 = counts.ipv4 === 0 ? 0 : vSwitches.more(vSwitchId, counts.ipv4);
      // An IPv6 address without its IPv4 address is of no use.
      const ipv6 = Math.max(0, counts.ipv6 - (counts.ipv4 - ipv4));
      if (ipv4 + ipv6 > 0) {
        found.intents.push(intentOf(at, eniId, vSwitchId, eni?.securityGroupIDs ?? [], ipv4, ipv6));
      }
      continue;
    }
    // The caller asks about them.
    if (!catalog.knows(creation.vSwitchIds)) continue;
    const choice = vSwitches.take(creation.zone, creation.vSwitchIds, creation.vSwitchSelectPolicy, random, nowMs);
    if (choice.kind === 'noneInZone') return { ...found, noneInZone: creation.vSwitchIds };
    if (choice.kind === 'full') return { ...found, full: choice.ids };
    const { id } = choice.vSwitch;
    const ipv4 = 1 + vSwitches.more(id, counts.ipv4 - 1);
    found.intents.push(intentOf(at, '', id, creation.securityGroupIds, ipv4, counts.ipv6));
  }
  return found;
}

/** The intents were not written, or the cloud refused. */
export function giveBack(intents: readonly PoolIntent[], { vSwitches }: Pick<Capacity, 'vSwitches'>): void {
  for (const { vSwitchID, ipv4 } of intents) vSwitches.giveBack(vSwitchID, ipv4);
}
