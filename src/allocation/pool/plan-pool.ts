import type { NodeEni, PoolIntent, TerwayNode } from '../../crds/node.ts';
import type { Random } from '../../util/random.ts';
import { type Growth, grow, onTheWay, type PoolLimits } from './growth.ts';
import { type HandOuts, handOut } from './hand-out.ts';
import { drainingOf, giveUpBeyond, giveUpDrained } from './places.ts';
import { quietUntilMs } from './reclaim-time.ts';
import { type Releases, release } from './release.ts';
import { givable, giveUpUnwanted, type Shrinkage, shrink } from './shrink.ts';
import {
  addressesOf,
  type Families,
  type Family,
  idleCount,
  type PoolDraft,
  type PoolPod,
  servingEnis,
  unpairedCount,
  unwantedOf,
  withDraining,
} from './view.ts';

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
  /** The record is so new that pods may not have told what they have. */
  isNew: boolean;
  families: Families;
  knobs: PoolKnobs;
  limits: PoolLimits;
  /** ENIs that give nothing until their tags are known. */
  unread?: ReadonlySet<string>;
  /** Whether the vSwitch of an ENI has addresses. */
  mayGrow: (eni: NodeEni) => boolean;
  /** Whether ENIs may be made: the cloud has not refused one a moment ago. */
  mayMake: boolean;
  /** Whether a vSwitch for a new ENI has an address, as far as is known. */
  hasVSwitch: boolean;
  /** Whether anything may be given up: otherwise what is marked would serve nobody, and stay. */
  mayRelease: boolean;
  /** When an address was freed, epoch milliseconds; undefined: long ago, or by an earlier leader. */
  freedMs: (ip: string) => number | undefined;
  /** Since when there has been a surplus, as the last plan said. */
  surplusSinceMs?: number | undefined;
  /** What has been wanted that nobody has asked for, as the last plan said. */
  wanted?: Wanted | undefined;
  random: Random;
  nowMs: number;
}

/** Addresses that can be asked for. */
export interface Wanted {
  /** Epoch milliseconds. */
  sinceMs: number;
  /** Pods wait for them; others are to be idle. */
  isAwaited: boolean;
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
  shrinkage: Shrinkage;
  /** Id of an ENI whose place is needed, and which serves only pods that others cannot serve. */
  draining: string | undefined;
  surplusSinceMs: number | undefined;
  /** Undefined when nothing can be asked for. Whoever writes the intents forgets it. */
  wanted: Wanted | undefined;
  /** When time alone changes the plan; absent: never. */
  againMs?: number;
}

const NOTHING: Shrinkage = { eniIds: [], ips: [] };
/** An ENI is there after a few seconds; for one that takes longer, pods do not wait that it was not made for. */
const SOON_MS = 15_000;
/** Pods of a burst become known one after another: so long their addresses are put together, in as few calls as possible. */
const GATHER_MS = 50;
/** The same where nobody waits. An address that comes free meanwhile, as when pods are replaced, is not asked for at all. */
const GATHER_IDLE_MS = 2000;
/** What was drained is given up a look after its last address came free. */
const DRAINED_RECHECK_MS = 1000;
/** While the degradation level forbids releases. */
const RECHECK_MS = 60_000;

/** What is to be written about the pool of a node, and what is to be asked of the cloud. Pure. */
export function planPool(view: PoolView): PoolPlan {
  const { pods, families, knobs, limits, nowMs } = view;
  const status = structuredClone(view.status);
  const draft: PoolDraft = {
    enis: status.networkInterfaces ?? {},
    intents: status.poolIntents ?? [],
    unread: view.unread,
  };
  startWarmUp(status, knobs);
  giveUpBeyond(draft, limits);
  if (draft.intents.length < (status.poolIntents ?? []).length) status.poolIntents = draft.intents;
  draft.draining = view.mayRelease ? drainingOf(draft, limits, status.conditions) : undefined;

  const releases = release(draft, pods, view);
  const isFreed = (ip: string) => releases.freed.some((freed) => freed.ip === ip);
  const freedMs = (ip: string) => (isFreed(ip) ? nowMs : view.freedMs(ip));
  const { isNew, hasSandbox, hasStrangers } = view;
  const told = { hasSandbox: (uid: string) => isNew && hasSandbox(uid), hasStrangers: isNew && hasStrangers };
  const lateMs = ({ createdAt }: PoolIntent) => Date.parse(createdAt) + SOON_MS;
  // A time in the future is that of another clock, or of this one before it was set back.
  const isSoon = (intent: PoolIntent) => nowMs < lateMs(intent) && Date.parse(intent.createdAt) <= nowMs;
  // What is not known of ENIs is known in a moment.
  const mayAsk = (view.unread?.size ?? 0) === 0;
  const mayGrow = (eni: NodeEni) => mayAsk && view.mayGrow(eni);
  const may = { grow: mayGrow, make: mayAsk && view.mayMake, wait: isSoon };
  const canGetOthers =
    draft.draining === undefined ||
    !mayAsk ||
    bringsMore(draft, families, limits, { ...may, make: may.make && view.hasVSwitch });
  const handOuts = handOut(draft, pods, releases, families, { freedMs, nowMs }, told, canGetOthers);

  const isDrainedNext = giveUpDrained(draft, releases, handOuts);
  if (mayAsk) countForWarmUp(status, draft, families, limits);
  const unserved = handOuts.unserved.length;
  const idle = idleCount(draft, families);
  const needed = Math.max(0, unserved + knobs.leastIdle - idle);
  const rest = warmUpRest(status);
  // What is idle is in the count of the warm-up already.
  const missing = Math.max(needed, rest > 0 ? unserved + rest : 0);
  const coming = onTheWay(draft, families, limits);
  const lacking = Math.max(0, missing - coming);
  const { growth } =
    canGetOthers || unserved === 0
      ? grow(draft, lacking, families, limits, may)
      : grow(withDraining(draft), Math.max(0, unserved - coming), families, limits, may);
  const wanted = growth.length === 0 ? undefined : wantedAt(view, unserved > 0);
  const gatheredMs = wanted === undefined ? nowMs : wanted.sinceMs + (wanted.isAwaited ? GATHER_MS : GATHER_IDLE_MS);
  const isGathering = nowMs < gatheredMs;
  if (handOuts.served.length > 0) noteChange(status, nowMs);

  const unpaired = unpairedCount(draft, families);
  // A warm-up that gets no more keeps no surplus.
  const isShort = unserved > 0 || needed > coming || growth.length > 0 || handOuts.isUncertain;
  const surplusSinceMs =
    !isShort && idle + unpaired > knobs.mostIdle ? Math.min(view.surplusSinceMs ?? nowMs, nowMs) : undefined;
  const surplusDueMs = surplusSinceMs === undefined ? undefined : surplusSinceMs + knobs.syncPeriodMs;
  const isDue = surplusDueMs !== undefined && surplusDueMs <= nowMs;
  const surplus = isDue && view.mayRelease ? Math.max(0, idle - knobs.mostIdle) : 0;
  const surplusUnpaired = isDue && view.mayRelease ? Math.min(unpaired, idle + unpaired - knobs.mostIdle) : 0;
  // A timer for what cannot go would be written anew without end.
  const removable = Math.min(idle - surplus - knobs.leastIdle, givable(draft, families) - surplus);
  const reclaimed = view.mayRelease ? reclaim(status, view, isShort ? 0 : removable) : 0;
  const isGoing = surplus + reclaimed + surplusUnpaired > 0;
  const shrunk = isGoing ? shrink(draft, surplus + reclaimed, surplusUnpaired, families, freedMs) : NOTHING;
  const mayGiveUp = view.mayRelease && !handOuts.isUncertain;
  const unwanted = mayGiveUp ? giveUpUnwanted(draft, families, isFreed) : [];
  // What was bound until now goes with the next look.
  const isUnwantedNext =
    mayGiveUp && Object.values(draft.enis).some((eni) => unwantedOf(eni, families).some(({ ip }) => isFreed(ip)));
  const shrinkage = unwanted.length === 0 ? shrunk : { ...shrunk, ips: [...shrunk.ips, ...unwanted] };

  const reclaimDueMs =
    Date.parse(status.nextIdleIPReclaimTime ?? '') ||
    (removable > 0 ? quietUntilMs(status.lastModifiedTime, knobs.reclaim?.afterMs) : Number.NaN);
  const isHeldBack = !view.mayRelease && (isDue || reclaimDueMs <= nowMs);
  const heldDueMs = isHeldBack ? nowMs + RECHECK_MS : Number.NaN;
  const drainedDueMs = isDrainedNext || isUnwantedNext ? nowMs + DRAINED_RECHECK_MS : Number.NaN;
  const gatherDueMs = isGathering ? gatheredMs : Number.NaN;
  const isWaiting = lacking > 0 || (draft.draining !== undefined && unserved > 0);
  const waitedMs = isWaiting ? draft.intents.filter(isSoon).map(lateMs) : [];
  const dues = [surplusDueMs ?? Number.NaN, reclaimDueMs, heldDueMs, drainedDueMs, gatherDueMs, ...waitedMs].filter(
    (ms) => ms > nowMs,
  );
  return {
    status,
    releases,
    handOuts,
    growth: isGathering ? [] : growth,
    missing,
    shrinkage,
    draining: draft.draining,
    surplusSinceMs: surplus + surplusUnpaired > 0 ? undefined : surplusSinceMs,
    wanted,
    ...(dues.length === 0 ? {} : { againMs: Math.min(...dues) }),
  };
}

/** Whether calls under way, or calls that can be made, bring one more pod an address. */
function bringsMore(
  draft: PoolDraft,
  families: Families,
  limits: PoolLimits,
  may: Parameters<typeof grow>[4],
): boolean {
  const soon = { ...draft, intents: draft.intents.filter(may.wait) };
  return onTheWay(soon, families, limits) > 0 || grow(draft, 1, families, limits, may).beyond === 0;
}

/** Since when it is wanted: pods that come to wait start anew, so that those of a burst are put together. */
function wantedAt({ wanted: before, nowMs }: PoolView, isAwaited: boolean): Wanted {
  const isNew = before === undefined || before.sinceMs > nowMs || (isAwaited && !before.isAwaited);
  return { sinceMs: isNew ? nowMs : before.sinceMs, isAwaited };
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

/** What the node has counts for its warm-up, whoever asked for it. A node that is full can get no more. */
function countForWarmUp(status: PoolStatus, draft: PoolDraft, families: Families, limits: PoolLimits): void {
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
