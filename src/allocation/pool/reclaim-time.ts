import type { PoolKnobs, PoolStatus } from './plan-pool.ts';

/** Until when nothing goes by age, because something was handed out or asked for; not a number where nothing ever does. */
export function quietUntilMs({ lastModifiedTime = '' }: PoolStatus, { reclaim: policy }: PoolKnobs): number {
  return (Date.parse(lastModifiedTime) || 0) + (policy?.afterMs ?? Number.NaN);
}
