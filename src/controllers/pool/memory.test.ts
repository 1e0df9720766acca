import { expect, test } from 'vitest';
import type { OperationFailure } from '../../allocation/operation.ts';
import type { PoolPlan } from '../../allocation/pool/plan-pool.ts';
import { PoolMemory } from './memory.ts';

const failure = (): OperationFailure => ({
  kind: 'limit',
  code: 'InvalidOperation.Ipv4CountExceeded',
  message: 'full',
});

/** For how long the ENI is left alone, seconds. */
function pause(memory: PoolMemory, nowMs: number): number | undefined {
  const { untilMs } = memory.refusalsAt(nowMs).get('eni-1') ?? {};
  return untilMs === undefined ? undefined : (untilMs - nowMs) / 1000;
}

test('an ENI is left alone for longer with each refusal, until it gets addresses', () => {
  const memory = new PoolMemory();
  const pauses: (number | undefined)[] = [];
  let nowMs = 0;
  for (let count = 0; count < 8; count += 1) {
    memory.refuse('eni-1', failure(), nowMs);
    const seconds = pause(memory, nowMs) ?? 0;
    pauses.push(seconds);
    nowMs += seconds * 1000;
    expect(pause(memory, nowMs)).toBeUndefined();
  }
  expect(pauses).toEqual([15, 30, 60, 120, 240, 480, 600, 600]);
  memory.granted('eni-1');
  memory.refuse('eni-1', failure(), nowMs);
  expect(pause(memory, nowMs)).toBe(15);
});

test('a refusal whose record could not be written counts once', () => {
  const memory = new PoolMemory();
  const once = failure();
  for (const nowMs of [0, 1000, 20_000]) memory.refuse('eni-1', once, nowMs);
  expect(pause(memory, 0)).toBe(15);
});

test('what was refused to an ENI goes with its record', () => {
  const memory = new PoolMemory();
  memory.refuse('eni-1', failure(), 0);
  const plan: Pick<PoolPlan, 'surplusSinceMs' | 'wanted' | 'status'> = {
    status: { networkInterfaces: {} },
    surplusSinceMs: undefined,
    wanted: undefined,
  };
  memory.remember(plan, false);
  expect(pause(memory, 0)).toBeUndefined();
});

test('a refusal does not last longer when the clock was set back', () => {
  const memory = new PoolMemory();
  memory.refuse('eni-1', failure(), 3_600_000);
  expect(pause(memory, 0)).toBeUndefined();
});

test('what was wanted is gathered until it was asked for', () => {
  const memory = new PoolMemory();
  const wanted = { sinceMs: 5, isAwaited: true };
  memory.remember({ status: {}, surplusSinceMs: undefined, wanted }, false);
  expect(memory.wanted).toBe(wanted);
  memory.remember({ status: {}, surplusSinceMs: undefined, wanted }, true);
  expect(memory.wanted).toBeUndefined();
});
