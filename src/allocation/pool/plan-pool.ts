import { canGetOthers, demandOf, meansOf } from './demand.ts';
import { DRAINED_RECHECK_MS, giveUp } from './giving-up.ts';
import type { Growth } from './growth.ts';
import { type HandOuts, handOut } from './hand-out.ts';
import { drainingOf, giveUpBeyond, giveUpDrained } from './places.ts';
import type { PoolStatus, PoolView, Wanted } from './pool-view.ts';
import { noteChange } from './reclaim-time.ts';
import { type Releases, release } from './release.ts';
import type { Shrinkage } from './shrink.ts';
import type { PoolDraft } from './view.ts';
import { countForWarmUp, startWarmUp } from './warm-up.ts';

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

/** What is to be written about the pool of a node, and what is to be asked of the cloud. Pure. */
export function planPool(view: PoolView): PoolPlan {
  const { pods, families, knobs, limits, isNew, nowMs } = view;
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

  const may = meansOf(view);
  const mayGetOthers = canGetOthers(draft, view, may);
  const told = { hasSandbox: (uid: string) => isNew && view.hasSandbox(uid), hasStrangers: isNew && view.hasStrangers };
  const handOuts = handOut(draft, pods, releases, families, { freedMs, nowMs }, told, mayGetOthers);
  const isDrainedNext = giveUpDrained(draft, releases, handOuts);
  if (handOuts.served.length > 0) noteChange(status, nowMs);

  if (may.ask) countForWarmUp(status, draft, families, limits);
  const unserved = handOuts.unserved.length;
  const { growth, missing, wanted, isShort, dues } = demandOf(draft, status, view, may, unserved, mayGetOthers);
  const { isUncertain } = handOuts;
  const going = giveUp(draft, status, view, { isShort, isUncertain, isFreed, freedMs });

  const drainedMs = isDrainedNext ? nowMs + DRAINED_RECHECK_MS : Number.NaN;
  const againMs = Math.min(...[drainedMs, ...dues, ...going.dues].filter((ms) => ms > nowMs));
  return {
    status,
    releases,
    handOuts,
    growth,
    missing,
    shrinkage: going.shrinkage,
    draining: draft.draining,
    surplusSinceMs: going.surplusSinceMs,
    wanted,
    ...(Number.isFinite(againMs) ? { againMs } : {}),
  };
}
