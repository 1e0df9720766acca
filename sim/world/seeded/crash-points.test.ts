import { expect, test } from 'vitest';
import { callsOf, LIVES, runWithCrash } from './crash-points.ts';

/** Second crashes come this many calls later at most, in turn. */
const RECOVERY = 9;

/** They compute for a minute; on a busy machine a test with nothing to wait for must not fail because of time. */
const TIMEOUT_MS = 600_000;

/* `make world CRASHES=1` crashes on both sides of every call, and again at every call of the recovery. */

test.each([
  ['control-plane', 1],
  ['node', 8],
  ['pool', 4],
  ['pool-dual', 12],
  ['pool-node', 8],
] as const)(
  'a crash at a call of any kind of the %s loses, duplicates and forgets nothing',
  async (name, every) => {
    const life = LIVES[name];
    const calls = await callsOf(life);
    const chosen = [...calls.keys()].filter((at) => at % every === 0 || calls.indexOf(calls[at] ?? '') === at);
    for (const at of chosen) {
      const side = at % 2 === 0 ? 'after' : 'before';
      const { problems, killedAt } = await runWithCrash(life, { call: at + 1, side });
      expect(killedAt).not.toEqual([]);
      expect(problems, `killed ${side} call ${at + 1}, ${killedAt.join()}`).toEqual([]);
    }
  },
  TIMEOUT_MS,
);

test.each([
  ['control-plane', 4],
  ['node', 24],
  ['pool', 12],
  ['pool-dual', 36],
  ['pool-node', 24],
] as const)(
  'a second crash of the %s during the recovery changes nothing about that',
  async (name, every) => {
    const life = LIVES[name];
    const calls = await callsOf(life);
    for (let call = 1; call <= calls.length; call += every) {
      const point = { call, side: 'after' as const, againAfter: 1 + (call % RECOVERY) };
      const { problems, killedAt } = await runWithCrash(life, point);
      expect(problems, `killed after call ${call}, ${killedAt.join(' and ')}`).toEqual([]);
    }
  },
  TIMEOUT_MS,
);
