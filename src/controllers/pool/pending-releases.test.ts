import { expect, test } from 'vitest';
import { releasesConfirmed } from '../../allocation/pool/unconfirmed.ts';
import type { Condition } from '../../kube/conditions.ts';
import { PendingReleases } from './pending-releases.ts';

const MINUTE_MS = 60_000;
const freed = (at: number) => ({ eniId: 'eni-1', ip: `10.0.0.${at}`, key: `default/p${at}` });
const about = { hasRuntime: true, isStated: true };

function stated(lastTransitionMs: number): Condition {
  const lastTransitionTime = new Date(lastTransitionMs).toISOString();
  return {
    type: 'PoolReleasesConfirmed',
    status: 'False',
    reason: 'ReleasesUnconfirmed',
    message: '',
    lastTransitionTime,
  };
}

test('a new leader says the same, although it does not know since when each of them waits', () => {
  const before = new PendingReleases();
  const all = [7, 6, 5, 4, 3, 2].map(freed);
  // One after another, and each look is a little late.
  for (let count = 1; count <= all.length; count += 1) {
    before.note('node-1', all.slice(0, count), undefined, count * 1700);
  }
  const nowMs = 10 * MINUTE_MS;
  const first = releasesConfirmed(before.note('node-1', all, undefined, nowMs), about, nowMs);
  expect(first.condition?.message).toMatch(/ and more$/);
  const next = new PendingReleases().note('node-1', all, stated(2 * MINUTE_MS + 3000), nowMs);
  expect(releasesConfirmed(next, about, nowMs)).toEqual(first);
});

test('when the write that says that none waits is lost, a pod that goes then has not waited longer', () => {
  const releases = new PendingReleases();
  const condition = stated(3 * MINUTE_MS);
  releases.note('node-1', [freed(1)], undefined, 0);
  releases.note('node-1', [], condition, 9 * MINUTE_MS);
  const [one] = releases.note('node-1', [freed(2)], condition, 10 * MINUTE_MS);
  expect(one?.sinceMs).toBe(10 * MINUTE_MS);
});

test('a node of which none waits is not remembered, once its record says so', () => {
  const releases = new PendingReleases();
  releases.note('node-1', [freed(1)], undefined, 0);
  releases.note('node-1', [], { ...stated(0), status: 'True' }, MINUTE_MS);
  expect(releases.size).toBe(0);
});
