import type { NodeEni, PoolIntent } from '../../crds/node.ts';
import { type Growth, grow, onTheWay, type PoolLimits } from './growth.ts';
import type { PoolStatus, PoolView, Wanted } from './pool-view.ts';
import { type Families, idleCount, type PoolDraft, withDraining } from './view.ts';
import { warmUpRest } from './warm-up.ts';

/** An ENI is there after a few seconds; for one that takes longer, pods do not wait that it was not made for. */
const SOON_MS = 15_000;
/** Pods of a burst become known one after another: so long their addresses are put together, in as few calls as possible. */
const GATHER_MS = 50;
/** The same where nobody waits. An address that comes free meanwhile, as when pods are replaced, is not asked for at all. */
const GATHER_IDLE_MS = 2000;

/** What may be asked of the cloud, and what is waited for. */
export interface Means {
  /** Whether anything may be asked for: what is not known of ENIs is known in a moment. */
  ask: boolean;
  grow: (eni: NodeEni) => boolean;
  make: boolean;
  /** Whether what the intent brings is there soon. */
  wait: (intent: PoolIntent) => boolean;
}

export interface Demand {
  /** To be asked for now. */
  growth: Growth[];
  /** Addresses that pods wait for, or that are to be idle, and that are not there. */
  missing: number;
  wanted: Wanted | undefined;
  /** Whether the node has too few addresses, whatever can be asked for: nothing goes meanwhile. */
  isShort: boolean;
  /** When time alone changes it, epoch milliseconds. */
  dues: number[];
}

export function meansOf({ unread, mayGrow, mayMake, nowMs }: PoolView): Means {
  const ask = (unread?.size ?? 0) === 0;
  return {
    ask,
    grow: (eni) => ask && mayGrow(eni),
    make: ask && mayMake,
    // A time in the future is that of another clock, or of this one before it was set back.
    wait: (intent) => nowMs < lateMs(intent) && Date.parse(intent.createdAt) <= nowMs,
  };
}

/** Whether pods for which no address is idle get others soon; otherwise an ENI whose place is needed serves them. */
export function canGetOthers(draft: PoolDraft, { families, limits, hasVSwitch }: PoolView, may: Means): boolean {
  if (draft.draining === undefined || !may.ask) return true;
  return bringsMore(draft, families, limits, { ...may, make: may.make && hasVSwitch });
}

/**
 * What is to be asked for: for pods that have no address, and so that enough are idle.
 *
 * @param unserved pods without an address
 * @param mayGetOthers as {@link canGetOthers} says
 */
export function demandOf(
  draft: PoolDraft,
  status: PoolStatus,
  view: PoolView,
  may: Means,
  unserved: number,
  mayGetOthers: boolean,
): Demand {
  const { families, limits, knobs, nowMs } = view;
  const needed = Math.max(0, unserved + knobs.leastIdle - idleCount(draft, families));
  const rest = warmUpRest(status);
  // What is idle is in the count of the warm-up already.
  const missing = Math.max(needed, rest > 0 ? unserved + rest : 0);
  const coming = onTheWay(draft, families, limits);
  const lacking = Math.max(0, missing - coming);
  const { growth } =
    mayGetOthers || unserved === 0
      ? grow(draft, lacking, families, limits, may)
      : grow(withDraining(draft), Math.max(0, unserved - coming), families, limits, may);
  const wanted = growth.length === 0 ? undefined : wantedAt(view, unserved > 0);
  const gatheredMs = wanted === undefined ? nowMs : wanted.sinceMs + (wanted.isAwaited ? GATHER_MS : GATHER_IDLE_MS);
  const isWaiting = lacking > 0 || (draft.draining !== undefined && unserved > 0);
  const waitedMs = isWaiting ? draft.intents.filter(may.wait).map(lateMs) : [];
  return {
    growth: nowMs < gatheredMs ? [] : growth,
    missing,
    wanted,
    isShort: unserved > 0 || needed > coming || growth.length > 0,
    dues: [gatheredMs, ...waitedMs],
  };
}

function lateMs({ createdAt }: PoolIntent): number {
  return Date.parse(createdAt) + SOON_MS;
}

/** Whether calls under way, or calls that can be made, bring one more pod an address. */
function bringsMore(
  draft: PoolDraft,
  families: Families,
  limits: PoolLimits,
  may: Pick<Means, 'grow' | 'make' | 'wait'>,
): boolean {
  const soon = { ...draft, intents: draft.intents.filter(may.wait) };
  return onTheWay(soon, families, limits) > 0 || grow(draft, 1, families, limits, may).beyond === 0;
}

/** Since when it is wanted: pods that come to wait start anew, so that those of a burst are put together. */
function wantedAt({ wanted: before, nowMs }: PoolView, isAwaited: boolean): Wanted {
  const isNew = before === undefined || before.sinceMs > nowMs || (isAwaited && !before.isAwaited);
  return { sinceMs: isNew ? nowMs : before.sinceMs, isAwaited };
}
