import { beforeEach, expect, test } from 'vitest';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { LookLoop, type LookScope } from './look-loop.ts';

let clock: VirtualClock;
let looks: { scope: LookScope; atMs: number }[];
let stop: AbortController;
let done: Promise<void>;
let loop: LookLoop;

beforeEach(() => {
  clock = new VirtualClock();
  looks = [];
  stop = new AbortController();
  loop = new LookLoop({
    clock,
    periodMs: 30_000,
    look: async (scope) => {
      looks.push({ scope, atMs: clock.monotonicMs() });
    },
  });
  done = loop.run(stop.signal);
});

async function end() {
  stop.abort();
  await done;
  expect(clock.pendingCalls).toBe(0);
}

test('at the start, every period, and once for a crowd of changes', async () => {
  await clock.advance(1000);
  for (let at = 0; at < 10; at++) loop.wake('all');
  await clock.advance(60_000);
  expect(looks.map(({ atMs }) => atMs)).toEqual([0, 1200, 31_200]);
  await end();
});

test('a change of the node by somebody else is looked at in a moment', async () => {
  await clock.advance(1000);
  loop.wake('node');
  loop.wake('node');
  await clock.advance(5000);
  expect(looks.slice(1)).toEqual([{ scope: 'node', atMs: 1050 }]);
  await end();
});

test('who changes the node without end gets a few looks at once and then one in five seconds', async () => {
  for (let at = 0; at < 1200; at++) {
    loop.wake('node');
    await clock.advance(50);
  }
  const atNode = looks.filter(({ scope }) => scope === 'node');
  expect(atNode.length).toBeLessThanOrEqual(5 + 12);
  expect(atNode.length).toBeGreaterThanOrEqual(12);
  expect(looks.filter(({ scope }) => scope === 'all').length).toBeGreaterThanOrEqual(2);
  await end();
});
