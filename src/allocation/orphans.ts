/** An ENI of ours as a listing showed it. */
export interface ListedEni {
  id: string;
  type: string;
  status: string;
  createdAtMs?: number | undefined;
}

export interface OrphanVerdict {
  /** Orphans of this round, of any age. */
  orphans: string[];
  /** Those that may be released now. */
  release: string[];
  /** So many look orphaned that the cluster's memory is rather to be doubted: nothing may be released. */
  braked: boolean;
}

/** More orphans than this share of all ENIs at once are not believed. */
const BRAKE_SHARE = 0.2;
/** Up to this number the share does not count. */
const BRAKE_MINIMUM = 10;

/** Whether so many of all have lost their owners at once that the memory is rather to be doubted than the owners. */
export function isBraked(orphans: number, all: number): boolean {
  return orphans > Math.max(BRAKE_MINIMUM, all * BRAKE_SHARE);
}

/** Why an orphan may not be released yet. */
export type OrphanHold = 'seenOnce' | 'tooYoung';

/**
 * Released is only what was an orphan in the round before as well and is older than `minimumAgeMs`; undefined when both hold.
 * An ENI without a creation time is as old as our first sight of it, which is two rounds.
 */
export function holdOf(
  eni: ListedEni,
  orphansBefore: ReadonlySet<string>,
  { minimumAgeMs, nowMs }: { minimumAgeMs: number; nowMs: number },
): OrphanHold | undefined {
  if (nowMs - (eni.createdAtMs ?? Number.NEGATIVE_INFINITY) < minimumAgeMs) return 'tooYoung';
  return orphansBefore.has(eni.id) ? undefined : 'seenOnce';
}

/**
 * Which ENIs with our tags belong to nobody, and which of them may be released now ({@link holdOf}). Pure.
 *
 * @param isOwned whether anything in the cluster names the ENI.
 * @param orphansBefore the orphans of the round before.
 */
export function judgeOrphans(
  listed: ListedEni[],
  isOwned: (eni: ListedEni) => boolean,
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
