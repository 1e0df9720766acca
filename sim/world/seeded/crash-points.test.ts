import { expect, test } from 'vitest';
import { callsOf, LIFE, runWithCrash } from './crash-points.ts';

/** Second crashes come this many calls later at most, in turn. */
const RECOVERY = 9;

/* `make world CRASHES=1` crashes on both sides of every call, and again at every call of the recovery. */

test('a crash at any call loses, duplicates and forgets nothing', async () => {
  const calls = await callsOf(LIFE);
  const hit = new Set<string>();
  for (let call = 1; call <= calls; call += 1) {
    const side = call % 2 === 0 ? 'before' : 'after';
    const { problems, killedAt } = await runWithCrash(LIFE, { call, side });
    for (const name of killedAt) hit.add(name);
    expect(problems, `killed ${side} call ${call}, ${killedAt.join()}`).toEqual([]);
  }
  for (const action of ['Create', 'Attach', 'Detach', 'Delete'])
    expect([...hit]).toContain(`${action}NetworkInterface`);
});

test('a second crash during the recovery changes nothing about that', async () => {
  const calls = await callsOf(LIFE);
  for (let call = 1; call <= calls; call += 4) {
    const point = { call, side: 'after' as const, againAfter: 1 + (call % RECOVERY) };
    const { problems, killedAt } = await runWithCrash(LIFE, point);
    expect(problems, `killed after call ${call}, ${killedAt.join(' and ')}`).toEqual([]);
  }
});
