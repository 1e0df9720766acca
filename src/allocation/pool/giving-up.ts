import type { PoolStatus, PoolView } from './pool-view.ts';
import { quietUntilMs } from './reclaim-time.ts';
import { givable, giveUpUnwanted, type Shrinkage, shrink } from './shrink.ts';
import { idleCount, type PoolDraft, unpairedCount, unwantedOf } from './view.ts';

/** While the degradation level forbids releases. */
const RECHECK_MS = 60_000;
/** What was drained, or is of no use, is given up a look after its last address came free. */
export const DRAINED_RECHECK_MS = 1000;

export interface GivingUp {
  shrinkage: Shrinkage;
  /** Since when there has been a surplus that stays. */
  surplusSinceMs: number | undefined;
  /** When time alone changes it, epoch milliseconds. */
  dues: number[];
}

/** What the plan knows of addresses before anything is given up. */
export interface Circumstances {
  /** Whether the node has too few addresses. */
  isShort: boolean;
  /** Whether what looks idle may be in use. */
  isUncertain: boolean;
  /** Whether an address has come free in this plan. */
  isFreed: (ip: string) => boolean;
  /** When an address was freed, epoch milliseconds; undefined: long ago. */
  freedMs: (ip: string) => number | undefined;
}

/** Marks what is to be given up: a surplus that has lasted, what has been idle for long, and what pods do not get any more. */
export function giveUp(
  draft: PoolDraft,
  status: PoolStatus,
  view: PoolView,
  { isShort, isUncertain, isFreed, freedMs }: Circumstances,
): GivingUp {
  const { families, knobs, mayRelease, nowMs } = view;
  const idle = idleCount(draft, families);
  const unpaired = unpairedCount(draft, families);
  // A warm-up that gets no more keeps no surplus.
  const mayGo = !isShort && !isUncertain;
  const sinceMs = mayGo && idle + unpaired > knobs.mostIdle ? Math.min(view.surplusSinceMs ?? nowMs, nowMs) : undefined;
  const surplusDueMs = sinceMs === undefined ? Number.NaN : sinceMs + knobs.syncPeriodMs;
  const isDue = surplusDueMs <= nowMs;
  const surplus = isDue && mayRelease ? Math.max(0, idle - knobs.mostIdle) : 0;
  const surplusUnpaired = isDue && mayRelease ? Math.min(unpaired, idle + unpaired - knobs.mostIdle) : 0;
  // A timer for what cannot go would be written anew without end.
  const removable = Math.min(idle - surplus - knobs.leastIdle, givable(draft, families) - surplus);
  const reclaimed = mayRelease ? reclaim(status, view, mayGo ? removable : 0) : 0;
  const isGoing = surplus + reclaimed + surplusUnpaired > 0;
  const { eniIds, ips } = isGoing ? shrink(draft, surplus + reclaimed, surplusUnpaired, families, freedMs) : NOTHING;
  const mayGiveUp = mayRelease && !isUncertain;
  const unwanted = mayGiveUp ? giveUpUnwanted(draft, families, isFreed) : [];
  // What was bound until now goes with the next look.
  const isUnwantedNext =
    mayGiveUp && Object.values(draft.enis).some((eni) => unwantedOf(eni, families).some(({ ip }) => isFreed(ip)));
  const reclaimDueMs =
    Date.parse(status.nextIdleIPReclaimTime ?? '') ||
    (removable > 0 ? quietUntilMs(status.lastModifiedTime, knobs.reclaim?.afterMs) : Number.NaN);
  const isHeldBack = !mayRelease && (isDue || reclaimDueMs <= nowMs);
  return {
    shrinkage: { eniIds, ips: [...ips, ...unwanted] },
    surplusSinceMs: surplus + surplusUnpaired > 0 ? undefined : sinceMs,
    dues: [
      surplusDueMs,
      reclaimDueMs,
      ...(isHeldBack ? [nowMs + RECHECK_MS] : []),
      ...(isUnwantedNext ? [nowMs + DRAINED_RECHECK_MS] : []),
    ],
  };
}

const NOTHING: Shrinkage = { eniIds: [], ips: [] };

/**
 * How many idle addresses go now by age; sets the time of the next look.
 *
 * @param removable so many may go at all
 */
function reclaim(status: PoolStatus, { knobs, random, nowMs }: PoolView, removable: number): number {
  const { reclaim: policy } = knobs;
  if (
    policy === undefined ||
    policy.batchSize <= 0 ||
    removable <= 0 ||
    nowMs < quietUntilMs(status.lastModifiedTime, knobs.reclaim?.afterMs)
  ) {
    // Deleted, so that the field leaves the record; the timer starts anew once nothing has been handed out for long enough.
    delete status.nextIdleIPReclaimTime;
    return 0;
  }
  const dueMs = Date.parse(status.nextIdleIPReclaimTime ?? '');
  if (dueMs > nowMs) return 0;
  const nextMs = nowMs + policy.intervalMs * (1 + random.next() * policy.jitter);
  status.nextIdleIPReclaimTime = new Date(nextMs).toISOString();
  return Number.isNaN(dueMs) ? 0 : Math.min(policy.batchSize, removable);
}
