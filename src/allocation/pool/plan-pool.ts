import type { NodeEni, TerwayNode } from '../../crds/node.ts';
import type { Random } from '../../util/random.ts';
import { type Growth, grow, onTheWay, type PoolLimits } from './growth.ts';
import { type HandOuts, handOut } from './hand-out.ts';
import { type Releases, release } from './release.ts';
import { givable, type Shrinkage, shrink } from './shrink.ts';
import { type Families, idleCount, type PoolDraft, type PoolPod } from './view.ts';

export type PoolStatus = NonNullable<TerwayNode['status']>;

/** Knobs of `eni-config`. */
export interface PoolKnobs {
  /** `max_pool_size`: idle addresses beyond it are given up. */
  mostIdle: number;
  /** `min_pool_size` */
  leastIdle: number;
  /** `ip_warm_up_size`: so many addresses a new node asks for, whatever it needs. */
  warmUp: number;
  /** `ip_pool_sync_period`: so long a surplus must have lasted. */
  syncPeriodMs: number;
  /** `idle_ip_reclaim_*`: so many idle addresses go at a time, down to `leastIdle`, while nothing is handed out. */
  reclaim?: { afterMs: number; intervalMs: number; batchSize: number; jitter: number };
}

/** Everything that is known about the pool of one node. */
export interface PoolView {
  status: PoolStatus;
  /** Pods that the pool serves and whose network may still be there, in the order in which they are served. */
  pods: readonly PoolPod[];
  /** Whether the node has reported `deleted` for a pod's uid. */
  isGone: (uid: string) => boolean;
  /** Whether the node has reported a sandbox of a pod's uid that is not gone. */
  hasSandbox: (uid: string) => boolean;
  /** Whether the node has reported sandboxes of pods that are not known, and whose addresses the record does not show. */
  hasStrangers: boolean;
  families: Families;
  knobs: PoolKnobs;
  limits: PoolLimits;
  /** Whether the vSwitch of an ENI has addresses. */
  mayGrow: (eni: NodeEni) => boolean;
  /** When an address was freed, epoch milliseconds; undefined: long ago, or by an earlier leader. */
  freedMs: (ip: string) => number | undefined;
  /** Since when there has been a surplus, as the last plan said. */
  surplusSinceMs?: number | undefined;
  random: Random;
  nowMs: number;
}

export interface PoolPlan {
  /** To be written, if it differs. */
  status: PoolStatus;
  releases: Releases;
  handOuts: HandOuts;
  /** To be asked for, each by an intent. */
  growth: Growth[];
  /** Addresses that pods wait for, or that are to be idle, and that are not there. */
  missing: number;
  /** Those of them that the node has no room for. */
  beyond: number;
  shrinkage: Shrinkage;
  /** What looks idle may be in use: nothing is given up until pods have told their addresses. */
  isUncertain: boolean;
  surplusSinceMs: number | undefined;
  /** When time alone changes the plan; absent: never. */
  againMs?: number;
}

const NOTHING: Shrinkage = { eniIds: [], ips: [] };

/** What is to be written about the pool of a node, and what is to be asked of the cloud. Pure. */
export function planPool(view: PoolView): PoolPlan {
  const { pods, families, knobs, limits, nowMs } = view;
  const status = structuredClone(view.status);
  const draft: PoolDraft = { enis: status.networkInterfaces ?? {}, intents: status.poolIntents ?? [] };
  startWarmUp(status, knobs);

  const releases = release(draft, pods, view.isGone);
  const freedMs = (ip: string) => (releases.freed.some((freed) => freed.ip === ip) ? nowMs : view.freedMs(ip));
  const handOuts = handOut(draft, pods, releases, families, { freedMs, nowMs }, view);

  const unserved = handOuts.unserved.length;
  const rest = warmUpRest(status);
  // What is idle, such as the trunk's address, is no part of the warm-up, or that would never be complete.
  const forWarmUp = rest > 0 ? unserved + rest : 0;
  const idle = idleCount(draft, families);
  const most = Math.max(0, unserved + knobs.leastIdle - idle, forWarmUp);
  const planned = grow(draft, Math.max(0, most - onTheWay(draft, families)), families, limits, view.mayGrow);
  const { growth } = planned;
  // Where no more can be had, what is idle does instead; waiting for more would keep a surplus.
  const canHaveMore = unserved + growth.length + draft.intents.length > 0;
  const isWarm = rest > 0 && idle >= Math.max(rest, knobs.leastIdle) && !canHaveMore;
  if (isWarm) status.warmUpCompleted = true;
  const missing = isWarm ? 0 : most;
  const beyond = isWarm ? 0 : planned.beyond;
  if (handOuts.served.length > 0) noteChange(status, nowMs);

  // What looks idle may be what a pod has that has not told its address.
  const isUncertain = handOuts.untold.length > 0 || view.hasStrangers;
  const isShort = missing > onTheWay(draft, families) || unserved > 0 || isUncertain;
  const surplusSinceMs = !isShort && idle > knobs.mostIdle ? (view.surplusSinceMs ?? nowMs) : undefined;
  const surplusDueMs = surplusSinceMs === undefined ? undefined : surplusSinceMs + knobs.syncPeriodMs;
  const surplus = surplusDueMs !== undefined && surplusDueMs <= nowMs ? idle - knobs.mostIdle : 0;
  // A timer for what cannot go would be written anew without end.
  const removable = Math.min(idle - surplus - knobs.leastIdle, givable(draft, families) - surplus);
  const reclaimed = isShort ? 0 : reclaim(status, view, removable);
  const shrinkage = surplus + reclaimed > 0 ? shrink(draft, surplus + reclaimed, families, freedMs) : NOTHING;

  const reclaimDueMs =
    Date.parse(status.nextIdleIPReclaimTime ?? '') || (removable > 0 ? quietUntilMs(view) : Number.NaN);
  const dues = [surplusDueMs ?? Number.NaN, reclaimDueMs].filter((ms) => ms > nowMs);
  return {
    status,
    releases,
    handOuts,
    growth,
    missing,
    beyond,
    shrinkage,
    isUncertain,
    surplusSinceMs: surplus > 0 ? undefined : surplusSinceMs,
    ...(dues.length === 0 ? {} : { againMs: Math.min(...dues) }),
  };
}

/** Starts the time anew after which idle addresses go by age: something was handed out, or is asked for. */
export function noteChange(status: PoolStatus, nowMs: number): void {
  status.lastModifiedTime = new Date(nowMs).toISOString();
}

/** Once for each Node CR. */
function startWarmUp(status: PoolStatus, { warmUp }: PoolKnobs): void {
  if (status.warmUpTarget !== undefined || status.warmUpCompleted !== undefined) return;
  if (warmUp > 0) Object.assign(status, { warmUpTarget: warmUp, warmUpAllocatedCount: 0 });
  else status.warmUpCompleted = true;
}

function warmUpRest({ warmUpTarget = 0, warmUpAllocatedCount = 0, warmUpCompleted }: PoolStatus): number {
  return warmUpCompleted === true ? 0 : Math.max(0, warmUpTarget - warmUpAllocatedCount);
}

/** Records addresses that the cloud gave. */
export function countWarmUp(status: PoolStatus, addresses: number): void {
  if (status.warmUpCompleted === true) return;
  status.warmUpAllocatedCount = (status.warmUpAllocatedCount ?? 0) + addresses;
  if (status.warmUpAllocatedCount >= (status.warmUpTarget ?? 0)) status.warmUpCompleted = true;
}

/**
 * How many idle addresses go now by age; sets the time of the next look.
 *
 * @param removable so many may go at all
 */
function reclaim(status: PoolStatus, view: PoolView, removable: number): number {
  const { knobs, random, nowMs } = view;
  const { reclaim: policy } = knobs;
  if (policy === undefined || policy.batchSize <= 0 || removable <= 0 || nowMs < quietUntilMs(view)) {
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

/** Until when nothing goes by age, because something was handed out or asked for; not a number where nothing ever does. */
function quietUntilMs({ status: { lastModifiedTime = '' }, knobs: { reclaim: policy } }: PoolView): number {
  return (Date.parse(lastModifiedTime) || 0) + (policy?.afterMs ?? Number.NaN);
}
