/** An ENI of ours from a listing. */
export interface ListedEni {
  id: string;
  type: string;
  status: string;
  /** The second in which it was made: the cloud says no more. */
  createdAtMs?: number | undefined;
}

export interface OrphanVerdict {
  /** Orphans of this round, of any age. */
  orphans: string[];
  /** Those that may be released now. */
  release: string[];
  /** Implausibly many orphans: suspect our own data, not the owners. Nothing may be released. */
  braked: boolean;
}

/** An ENI may have been made so long after its `createdAtMs`. */
const CREATED_WITHIN_MS = 1000;
/** A larger share of orphans among all ENIs is implausible. */
const BRAKE_SHARE = 0.2;
/** Up to this number the share is ignored. */
const BRAKE_MINIMUM = 10;

/** Whether implausibly many of all ENIs are orphans. */
export function isBraked(orphans: number, all: number): boolean {
  return orphans > Math.max(BRAKE_MINIMUM, all * BRAKE_SHARE);
}

/** Why an orphan may not be released yet. */
export type OrphanHold = 'seenOnce' | 'tooYoung';

/**
 * Why an orphan must not be released yet; undefined when it may be. It must have been an orphan in the previous round
 * and be older than `minimumAgeMs` for certain. An ENI without a creation time must have been seen in two rounds.
 */
export function holdOf(
  eni: ListedEni,
  orphansBefore: ReadonlySet<string>,
  { minimumAgeMs, nowMs }: { minimumAgeMs: number; nowMs: number },
): OrphanHold | undefined {
  const createdByMs = (eni.createdAtMs ?? Number.NEGATIVE_INFINITY) + CREATED_WITHIN_MS;
  if (nowMs - createdByMs < minimumAgeMs) return 'tooYoung';
  return orphansBefore.has(eni.id) ? undefined : 'seenOnce';
}

/**
 * Finds ENIs with our tags that have no owner, and which of them may be released now ({@link holdOf}). Pure.
 *
 * @param isOwned whether any object in the cluster names the ENI.
 * @param orphansBefore the orphans of the previous round.
 */
export function judgeOrphans<E extends ListedEni>(
  listed: E[],
  isOwned: (eni: E) => boolean,
  orphansBefore: ReadonlySet<string>,
  options: { minimumAgeMs: number; nowMs: number },
): OrphanVerdict {
  const orphans = listed.filter((eni) => !isOwned(eni));
  const braked = isBraked(orphans.length, listed.length);
  const release = orphans.filter((eni) => holdOf(eni, orphansBefore, options) === undefined);
  return {
    orphans: orphans.map((eni) => eni.id),
    release: braked ? [] : release.map((eni) => eni.id),
    braked,
  };
}
