import type { NodeEni } from '../../crds/node.ts';
import { grow, type PoolLimits } from './growth.ts';
import type { PoolKnobs, PoolStatus } from './pool-view.ts';
import { addressesOf, type Families, type Family, type PoolDraft, servingEnis } from './view.ts';

/** Once for each Node CR. */
export function startWarmUp(status: PoolStatus, { warmUp }: PoolKnobs): void {
  if (status.warmUpTarget !== undefined || status.warmUpCompleted !== undefined) return;
  if (warmUp > 0) Object.assign(status, { warmUpTarget: warmUp, warmUpAllocatedCount: 0 });
  else status.warmUpCompleted = true;
}

/** What the node has counts for its warm-up, whoever asked for it. A node that is full can get no more. */
export function countForWarmUp(status: PoolStatus, draft: PoolDraft, families: Families, limits: PoolLimits): void {
  if (status.warmUpCompleted === true) return;
  const valid = (eni: NodeEni, family: Family) =>
    addressesOf(eni, family).filter((address) => address.status === 'Valid').length;
  const counts = servingEnis(draft, families).map((eni) => Math.min(...families.map((family) => valid(eni, family))));
  const found = counts.reduce((sum, count) => sum + count, 0);
  countWarmUp(status, Math.max(0, found - (status.warmUpAllocatedCount ?? 0)));
  const anything = { grow: () => true, make: true, wait: () => false };
  const hasRoom = draft.intents.length > 0 || grow(draft, 1, families, limits, anything).growth.length > 0;
  if (found > 0 && !hasRoom) status.warmUpCompleted = true;
}

/** How many addresses it still lacks. */
export function warmUpRest({ warmUpTarget = 0, warmUpAllocatedCount = 0, warmUpCompleted }: PoolStatus): number {
  return warmUpCompleted === true ? 0 : Math.max(0, warmUpTarget - warmUpAllocatedCount);
}

/** Records addresses that the cloud gave. */
export function countWarmUp(status: PoolStatus, addresses: number): void {
  if (status.warmUpCompleted === true) return;
  status.warmUpAllocatedCount = (status.warmUpAllocatedCount ?? 0) + addresses;
  if (status.warmUpAllocatedCount >= (status.warmUpTarget ?? 0)) status.warmUpCompleted = true;
}
