import { expect, test } from 'vitest';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { PodStarts } from './pod-starts.ts';

test('a pod waits from its first start to its end; another pod of the name starts over', async () => {
  const clock = new VirtualClock();
  const starts = new PodStarts(clock);
  expect(starts.oldestMs()).toBe(0);
  starts.begin('ns/a', 'uid-1');
  await clock.advance(1000);
  starts.begin('ns/a', 'uid-1');
  starts.begin('ns/b', 'uid-2');
  await clock.advance(500);
  expect(starts.oldestMs()).toBe(1500);
  expect(starts.end('ns/a')).toBe(1500);
  expect(starts.oldestMs()).toBe(500);
  starts.begin('ns/b', 'uid-3');
  expect(starts.end('ns/b')).toBe(0);
  expect(starts.end('ns/b')).toBeUndefined();
});
