import type { NodeEni } from '../../crds/node.ts';
import { grow, onTheWay, type PoolLimits } from './growth.ts';
import { type Families, idleCount, type PoolDraft } from './view.ts';

/** Why the node can have no more addresses at the moment. */
export type Shortfall =
  /** It has all the ENIs and addresses that it can hold. */
  | 'nodeFull'
  /** No vSwitch that it may use has an address. */
  | 'vSwitchFull'
  /** Tags of ENIs are being read, after an edit of what tags count. */
  | 'unread'
  /** The configuration lets nothing be asked for. */
  | 'stopped'
  /** The cloud refuses the calls that would bring some, or has not attached ENIs that it has made. */
  | 'refused';

/** Whether the node has an address for one more pod (`idle`), can get one (`possible`), or why not. */
export type Supply = 'idle' | 'possible' | Shortfall;

/** What stands in the way of growth. */
export interface Obstacles {
  /** Whether the configuration lets nothing be asked for. */
  isStopped: boolean;
  /** Whether the vSwitch of an ENI has addresses. */
  hasAddresses: (eni: NodeEni) => boolean;
  /** Whether the cloud has refused to give this ENI more addresses a moment ago. */
  isRefused: (eni: NodeEni) => boolean;
  /** Whether a vSwitch for a new ENI has an address. */
  hasVSwitch: boolean;
  /** Whether the cloud has refused to make an ENI a moment ago. */
  isCreationRefused: boolean;
  /** Whether the calls that are to bring addresses fail. */
  areCallsFailing: boolean;
}

/** @param draft as it is after the plan, with the intents that follow from it */
export function supplyOf(
  draft: PoolDraft,
  families: Families,
  limits: PoolLimits,
  { isStopped, hasAddresses, isRefused, hasVSwitch, isCreationRefused, areCallsFailing }: Obstacles,
): Supply {
  if (idleCount(draft, families) > 0) return 'idle';
  if (onTheWay(draft, families, limits) > 0) return areCallsFailing ? 'refused' : 'possible';
  if ((draft.unread?.size ?? 0) > 0) return 'unread';
  if (isStopped) return 'stopped';
  const canGrow = (mayGrow: (eni: NodeEni) => boolean, make: boolean) =>
    grow(draft, 1, families, limits, { grow: mayGrow, make, wait: () => false }).growth.length > 0;
  if (canGrow((eni) => hasAddresses(eni) && !isRefused(eni), hasVSwitch && !isCreationRefused)) return 'possible';
  if (canGrow(hasAddresses, hasVSwitch)) return 'refused';
  if (canGrow(() => true, true)) return 'vSwitchFull';
  // ENIs that are not attached give nothing, and stand in the way of others.
  return Object.values(draft.enis).some(({ status }) => status === 'Attaching') ? 'refused' : 'nodeFull';
}

/** A shortage counts when it has lasted so long: at the limit of a node, addresses come and go with its pods. */
const COUNTS_AFTER_MS = 30_000;
/** It is over when nothing has been refused for so long: a full vSwitch is tried again and again. */
const OVER_AFTER_MS = 60_000;
/** How often it is looked for addresses that others may have released. */
const RECHECK_MS = 60_000;

/** A shortage that was found, and is not certainly over. */
export interface Shortage {
  sinceMs: number;
  latestMs: number;
}

export interface Judgement {
  /** To be remembered for the next look. */
  shortage: Shortage | undefined;
  /** Undefined while it cannot be told; what was said before stays. */
  isSufficient: boolean | undefined;
  /** When time alone changes the judgement, epoch milliseconds; absent: never. */
  againMs?: number;
}

/** What is to be said about the supply of a node, so that it does not change with every pod or call. Pure. */
export function judgeSupply(found: Supply, before: Shortage | undefined, nowMs: number): Judgement {
  if (found === 'idle') return { shortage: undefined, isSufficient: true };
  if (found === 'possible') {
    const overMs = before === undefined ? nowMs : before.latestMs + OVER_AFTER_MS;
    if (before === undefined || nowMs >= overMs) return { shortage: undefined, isSufficient: true };
    return { shortage: before, isSufficient: undefined, againMs: overMs };
  }
  const shortage = { sinceMs: before?.sinceMs ?? nowMs, latestMs: nowMs };
  if (nowMs - shortage.sinceMs < COUNTS_AFTER_MS)
    return { shortage, isSufficient: undefined, againMs: shortage.sinceMs + COUNTS_AFTER_MS };
  return { shortage, isSufficient: false, ...(found === 'nodeFull' ? {} : { againMs: nowMs + RECHECK_MS }) };
}
