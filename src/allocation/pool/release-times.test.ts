import { expect, test } from 'vitest';
import { PoolNode } from '../test-support/pool-node.ts';
import { addressesOf } from './view.ts';

/* When idle addresses are given up, and when not. */

const MINUTE_MS = 60_000;
const RECLAIM = { afterMs: 10 * MINUTE_MS, intervalMs: MINUTE_MS, batchSize: 2, jitter: 0 };

test('idle addresses go by age although nothing but time passes', () => {
  const node = new PoolNode({ leastIdle: 6, mostIdle: 9, reclaim: RECLAIM });
  node.settle();
  node.knobs.leastIdle = 1;
  node.settle();
  node.wait(9 * MINUTE_MS);
  expect(node.idle()).toBe(6);
  node.wait(20 * MINUTE_MS);
  expect(node.idle()).toBe(1);
});

test('a node that is full and wants more keeps no time at which idle addresses go', () => {
  const node = new PoolNode({ leastIdle: 6, mostIdle: 9, reclaim: RECLAIM });
  node.settle();
  node.knobs.leastIdle = 1;
  node.settle();
  node.wait(11 * MINUTE_MS);
  expect(node.status.nextIdleIPReclaimTime).toBeDefined();
  Object.assign(node.knobs, { leastIdle: 100, mostIdle: 100, reclaim: undefined });
  node.settle();
  expect(node.idle()).toBe(40);
  expect(node.status.nextIdleIPReclaimTime).toBeUndefined();
});

test('nothing is marked while the degradation level forbids releases (#19)', () => {
  const node = new PoolNode({ leastIdle: 6, mostIdle: 6, reclaim: RECLAIM });
  node.settle();
  Object.assign(node.knobs, { leastIdle: 0, mostIdle: 3 });
  node.mayRelease = false;
  node.settle();
  node.wait(60 * MINUTE_MS);
  expect(node.idle()).toBe(6);
  expect(node.enis().flatMap((eni) => addressesOf(eni).map(({ status }) => status))).not.toContain('Deleting');
  node.mayRelease = true;
  node.wait(10 * MINUTE_MS);
  expect(node.idle()).toBeLessThan(4);
});

test('a warm-up counts what the node had before', () => {
  const node = new PoolNode({ leastIdle: 1 });
  node.settle();
  delete node.status.warmUpCompleted;
  Object.assign(node.status, { warmUpTarget: 5, warmUpAllocatedCount: 0 });
  node.settle();
  expect(node.status.warmUpCompleted).toBe(true);
  expect(node.idle()).toBe(5);
});

test('a warm-up that a full node cannot complete is over, and keeps no surplus (#66)', () => {
  const node = new PoolNode({ warmUp: 50, mostIdle: 5 });
  node.settle();
  expect(node.idle()).toBe(40);
  expect(node.status).toMatchObject({ warmUpTarget: 50, warmUpAllocatedCount: 40, warmUpCompleted: true });
  node.wait(10 * MINUTE_MS);
  expect(node.idle()).toBe(5);
});
