import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { rfc3339, systemClock } from './clock.ts';
import { VirtualClock } from './test-support/virtual-clock.ts';

const LONG_MS = 3_600_000;

describe.each([
  ['the machine’s clock', systemClock],
  ['the virtual clock', new VirtualClock()],
])('%s', (_name, clock) => {
  test('an abort rejects a sleep with its reason, and leaves no timer behind', async () => {
    const abort = new AbortController();
    const reason = new Error('the lease was lost');
    const sleeping = clock.sleep(LONG_MS, abort.signal);
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(1);
    abort.abort(reason);
    await expect(sleeping).rejects.toBe(reason);
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0);
    if (clock instanceof VirtualClock) expect(clock.pendingCalls).toBe(0);
  });

  test('a sleep with an aborted signal rejects', async () => {
    const reason = new Error('too late');
    await expect(clock.sleep(0, AbortSignal.abort(reason))).rejects.toBe(reason);
  });

  test('never makes a cancelled call, and allows a second cancellation', async () => {
    const calls: string[] = [];
    const cancelled = clock.schedule(1, () => calls.push('cancelled'));
    cancelled.cancel();
    cancelled.cancel();
    const made = new Promise<void>((resolve) => {
      clock.schedule(2, () => {
        calls.push('made');
        resolve();
      });
    });
    if (clock instanceof VirtualClock) await clock.advance(10);
    await made;
    expect(calls).toEqual(['made']);
  });

  test('resolves a sleep, and then releases its signal', async () => {
    const abort = new AbortController();
    const sleeping = clock.sleep(1, abort.signal);
    if (clock instanceof VirtualClock) await clock.advance(1);
    await sleeping;
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0);
    abort.abort();
  });

  test('goes forward', async () => {
    const before = clock.monotonicMs();
    const sleeping = clock.sleep(2);
    if (clock instanceof VirtualClock) await clock.advance(2);
    await sleeping;
    expect(clock.monotonicMs()).toBeGreaterThan(before);
  });
});

test('setting a virtual clock back does not delay its calls', async () => {
  const clock = new VirtualClock();
  const startMs = clock.now();
  const times: number[] = [];
  clock.schedule(1000, () => times.push(clock.now() - startMs));
  clock.setWallClock(-60_000);
  await clock.advance(999);
  expect(times).toEqual([]);
  await clock.advance(1);
  expect(times).toEqual([-59_000]);
  expect(clock.monotonicMs()).toBe(1000);
});

test('times have the format of Kubernetes, without fractions', () => {
  expect(rfc3339(Date.UTC(2026, 0, 2, 3, 4, 5, 999))).toBe('2026-01-02T03:04:05Z');
});
