import type { NodeCap } from '../crds/node.ts';
import type { InstanceTypeLimits } from '../ecs/instance.ts';

/** `spec.nodeCap` of a Node CR, from the limits of its instance type. */
export function nodeCapOf(limits: InstanceTypeLimits): NodeCap {
  const members = (minus: number) => (limits.trunkSupported ? Math.max(0, limits.eniTotalQuantity - minus) : 0);
  return {
    adapters: limits.eniQuantity,
    totalAdapters: limits.eniTotalQuantity,
    ipv4PerAdapter: Math.max(0, limits.ipv4PerEni),
    ipv6PerAdapter: Math.max(0, limits.ipv6PerEni),
    memberAdapterLimit: members(limits.eniQuantity),
    maxMemberAdapterLimit: members(2),
    eriQuantity: publishedEri(limits),
    instanceBandwidthRx: limits.bandwidthRx,
    instanceBandwidthTx: limits.bandwidthTx,
    networkCards: limits.networkCardIndexes.map((index) => ({ index })),
    networkCardsCount: limits.networkCardIndexes.length,
  };
}

function publishedEri({ eriQuantity, eniQuantity }: InstanceTypeLimits): number {
  if (eriQuantity <= 0 || eniQuantity <= 2) return 0;
  return Math.min(eniQuantity >= 8 ? 2 : 1, eriQuantity);
}
