import { describe, expect, test } from 'vitest';
import type { Allocation } from '../crds/pod-eni.ts';
import { rfc3339 } from '../util/clock.ts';
import { isFixed, releaseDueMs } from './retention.ts';
import { ALLOCATION_TYPE, allocation, NOW_MS, podEni } from './test-support/fixtures.ts';

const record = (types: Partial<Allocation>[], podLastSeen?: string) =>
  podEni({
    allocations: types.map((type) => allocation(type)),
    status: { phase: 'Unbind', ...(podLastSeen === undefined ? {} : { podLastSeen }) },
  });
const ttl = (releaseAfter?: string) => ({
  allocationType: {
    type: 'Fixed' as const,
    releaseStrategy: 'TTL' as const,
    ...(releaseAfter === undefined ? {} : { releaseAfter }),
  },
});
const seenAt = rfc3339(NOW_MS);

describe('a record without a pod is due', () => {
  test.each([
    ['after its TTL', [ttl('10m')], NOW_MS + 600_000],
    ['at once with a TTL of zero', [ttl('0')], NOW_MS],
    ['after the longest of its TTLs', [ttl('10m'), ttl('1h30m'), ttl('1s')], NOW_MS + 5_400_000],
    ['by its only fixed interface', [{}, ttl('10m')], NOW_MS + 600_000],
    ['at once when nothing is fixed', [{}], NOW_MS],
    ['never with strategy Never', [{ allocationType: ALLOCATION_TYPE.fixedForever }], 'never'],
    ['never without a strategy', [{ allocationType: { type: 'Fixed' as const } }], 'never'],
    ['never when one of them is kept forever', [ttl('1s'), { allocationType: ALLOCATION_TYPE.fixedForever }], 'never'],
    // Once legal and kept by upstream: nobody loses an address to a typing error.
    ['never with an invalid TTL', [ttl('10x')], 'never'],
    ['never with a negative TTL', [ttl('-10m')], 'never'],
    ['never without a duration', [ttl()], 'never'],
  ] as const)('%s', (_name, types, expected) => {
    expect(releaseDueMs(record([...types], seenAt))).toBe(expected);
  });

  test('never, when it is unknown since when the pod is gone', () => {
    expect(releaseDueMs(record([ttl('10m')]))).toBe('never');
    expect(releaseDueMs(record([ttl('10m')], 'yesterday'))).toBe('never');
  });
});

test('one fixed interface makes the whole record fixed', () => {
  expect(isFixed(record([{}]))).toBe(false);
  expect(isFixed(record([{}, ttl('10m')]))).toBe(true);
  expect(isFixed(record([{ allocationType: { type: 'Elastic' } }]))).toBe(false);
  expect(isFixed(record([]))).toBe(false);
});
