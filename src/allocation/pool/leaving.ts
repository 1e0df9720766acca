import type { PoolStatus } from './pool-view.ts';
import { isReleasable } from './view.ts';

/** What becomes of the ENIs when the record of a node goes: `release` of a node that is gone; `keep` where somebody deleted the record. */
export type PoolEnd = 'release' | 'keep';

/** Whether the record must stay until the pool has ended something: calls under way, and ENIs that are to be released. */
export function holdsRecord({ networkInterfaces = {}, poolIntents = [] }: PoolStatus, end: PoolEnd): boolean {
  return poolIntents.length > 0 || (end === 'release' && Object.values(networkInterfaces).some(isReleasable));
}

/** Drops intents of addresses for an ENI that somebody else releases, such as the trunk: they go with it. Changes the status in place. */
export function dropMoot(status: PoolStatus): void {
  const { networkInterfaces = {}, poolIntents = [] } = status;
  const isOpen = ({ eniID }: { eniID: string }) => {
    const eni = networkInterfaces[eniID];
    return eni === undefined || isReleasable(eni);
  };
  status.poolIntents = poolIntents.filter(isOpen);
}
