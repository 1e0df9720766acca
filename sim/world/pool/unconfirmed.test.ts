import { afterEach, expect, test } from 'vitest';
import { NODERUNTIMES, type World } from '../world.ts';
import { addresses, editRules, fallsSilent, NODE, poolWorld, says, served } from './support.ts';

/* A node that does not say that the sandboxes of pods that are gone are gone, too. */

let world: World | undefined;

afterEach(() => world?.end());

const MINUTE_MS = 60_000;

const conditionOf = (made: World) =>
  made.nodeRecord(NODE)?.status?.conditions?.find(({ type }) => type === 'PoolReleasesConfirmed');

/** Pods that are gone, without a word of the node. @returns their uids */
async function silent(count: number): Promise<{ made: World; uids: string[]; names: string[] }> {
  const made = await poolWorld({});
  world = made;
  const names = Array.from({ length: count }, (_, at) => `p${at}`);
  const uids = await served(made, names);
  for (const name of names) made.deletePod(`default/${name}`, 0);
  return { made, uids, names };
}

test('its addresses are named after two minutes, no more than five', async () => {
  const { made, uids, names } = await silent(7);
  const [replica] = made.replicas;
  await made.run(MINUTE_MS);
  expect(conditionOf(made)).toBeUndefined();
  expect(replica?.leaderState?.pools.unconfirmed).toMatchObject({ count: 7 });
  await made.run(2 * MINUTE_MS);
  expect(replica?.leaderState?.pools.unconfirmed.oldestMs).toBeGreaterThan(2.9 * MINUTE_MS);
  const stated = conditionOf(made);
  expect(stated).toMatchObject({ status: 'False', reason: 'ReleasesUnconfirmed' });
  expect(stated?.message.match(/ of default\/p/g)).toHaveLength(5);
  expect(stated?.message).toMatch(/ and more$/);
  expect(addresses(made).size).toBe(7);
  // A new leader knows how long it has been, and writes nothing.
  replica?.kill();
  made.startReplica();
  await made.run(5 * MINUTE_MS);
  expect(conditionOf(made)).toEqual(stated);

  for (const [at, uid] of uids.entries()) says(made, uid, `default/${names[at]}`, 'deleted');
  await made.run(10_000);
  expect(conditionOf(made)).toMatchObject({ status: 'True', reason: 'ReleasesConfirmed' });
  expect(made.replicas[1]?.leaderState?.pools.unconfirmed).toEqual({ count: 0, oldestMs: 0 });
  expect(addresses(made).size).toBe(0);
});

test('a node without a NodeRuntime has nowhere to say it, which is said', async () => {
  const { made } = await silent(1);
  made.remove(NODERUNTIMES, NODE);
  await made.run(3 * MINUTE_MS);
  expect(conditionOf(made)?.message).toContain('there is no NodeRuntime of the node');
});

test('a node that is not Ready does not count for the alert, and its addresses are named all the same', async () => {
  const { made } = await silent(1);
  fallsSilent(made);
  await made.run(3 * MINUTE_MS);
  expect(made.replicas[0]?.leaderState?.pools.unconfirmed).toEqual({ count: 1, oldestMs: 0 });
  expect(conditionOf(made)).toMatchObject({ status: 'False' });
});

test('a node whose pool ends says nothing of them any more', async () => {
  const { made } = await silent(1);
  await made.run(3 * MINUTE_MS);
  expect(conditionOf(made)).toMatchObject({ status: 'False' });
  editRules(made, { eni: { enableIPPrefix: true } });
  await made.run(MINUTE_MS);
  expect(conditionOf(made)).toBeUndefined();
});

test('a node that speaks gets no condition', async () => {
  const { made, uids } = await silent(1);
  await made.run(10_000);
  says(made, uids[0] ?? '', 'default/p0', 'deleted');
  await made.run(5 * MINUTE_MS);
  expect(conditionOf(made)).toBeUndefined();
});
