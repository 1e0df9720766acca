import type { PoolCondition } from './conditions.ts';

/** An address whose pod is gone, and whose node has not said that no sandbox of it is left. */
export interface Unconfirmed {
  ip: string;
  /** `namespace/name` of the pod. */
  key: string;
  /** As far as this leader knows, epoch milliseconds. */
  sinceMs: number;
}

export const POOL_RELEASES = 'PoolReleasesConfirmed';
/** A node says it within seconds, and after a restart within a minute. */
export const COUNTS_AFTER_MS = 2 * 60_000;
/** So many are named, the same whoever looks: a new leader does not know exactly since when each waits. */
const NAMED = 5;

/**
 * What the Node CR says of addresses that wait for the word of the node: without it they go to nobody, for however long. A node that
 * never was late gets no condition. Pure.
 *
 * @param about.hasRuntime whether there is a NodeRuntime, where the node would say it
 * @param about.isStated whether the Node CR has the condition
 */
export function releasesConfirmed(
  unconfirmed: readonly Unconfirmed[],
  { hasRuntime, isStated }: { hasRuntime: boolean; isStated: boolean },
  nowMs: number,
): { condition?: PoolCondition; againMs?: number } {
  const type = POOL_RELEASES;
  const isLate = ({ sinceMs }: Unconfirmed) => sinceMs + COUNTS_AFTER_MS <= nowMs;
  const late = unconfirmed.filter(isLate).sort((a, b) => (a.ip < b.ip ? -1 : 1));
  const dues = unconfirmed.filter((one) => !isLate(one)).map(({ sinceMs }) => sinceMs + COUNTS_AFTER_MS);
  const again = dues.length === 0 ? {} : { againMs: Math.min(...dues) };
  if (late.length === 0) {
    if (!isStated) return again;
    const message = 'the node has told of all pods that are gone';
    return { ...again, condition: { type, status: 'True', reason: 'ReleasesConfirmed', message } };
  }
  const named = late.slice(0, NAMED).map(({ ip, key }) => `${ip} of ${key}`);
  const others = late.length > NAMED ? ' and more' : '';
  const why = hasRuntime
    ? 'the node has not said that no sandbox is left of pods that are gone'
    : 'there is no NodeRuntime of the node, which would say that no sandbox is left of pods that are gone';
  const message = `${why}; nobody gets their addresses: ${named.join(', ')}${others}`;
  return { ...again, condition: { type, status: 'False', reason: 'ReleasesUnconfirmed', message } };
}
