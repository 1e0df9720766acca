import { afterEach, expect, test } from 'vitest';
import { recreate, savedReservations } from './operator.ts';
import { NETWORKINTERFACES, PODENIS, World } from './world.ts';

/* ENIs that have lost their records, behind many releases that wait for quota. */

const MINUTE_MS = 60_000;
const FIXED = { networking: 'fixed', ownerKind: 'StatefulSet' } as const;

let world: World | undefined;

afterEach(() => world?.end());

const eniOf = (world: World, key: string) => world.podEni(key)?.spec.allocations?.[0]?.eni.id ?? '';

/** Calls that detach or delete an ENI. */
function removals(world: World, eniId: string) {
  return world.cloud
    .journal()
    .filter(
      ({ kind, action, objectIds }) => kind === 'call' && /^(Detach|Delete)/.test(action) && objectIds.includes(eniId),
    );
}

/**
 * The reservation of `db-0` is removed by force, mirror and all, while no control plane runs; the ENI is known as an orphan.
 * Then the PodENI of `mirrored` is removed by force, too, and 120 pods are deleted, so that calls wait for twelve minutes.
 */
async function behindReleases() {
  const looks: { timeMs: number; params: string }[] = [];
  const made: World = new World({
    onCloudCall: ({ action, params }) => {
      if (action === 'DescribeNetworkInterfaces')
        looks.push({ timeMs: made.clock.now(), params: JSON.stringify(params) });
      return undefined;
    },
    config: {
      leaderElection: false,
      collector: { interval: '1m', minimumAge: '1m' },
      rateLimit: { DetachNetworkInterface: 20, DeleteNetworkInterface: 10 },
    },
  });
  world = made;
  const nodes = ['node-1', 'node-2'];
  for (const name of nodes) made.addNode(undefined, name);
  const first = made.startReplica();
  await made.until('trunks', () => nodes.every((name) => made.trunkOf(name) !== undefined), MINUTE_MS);
  made.createPod({ name: 'db-0', nodeName: 'node-1', ...FIXED });
  await made.until('bound', () => made.isBound('default/db-0'), MINUTE_MS);
  made.deletePod('default/db-0', 0);
  await made.until('reserved', () => made.countOf('Unbind') === 1, MINUTE_MS);
  const names = Array.from({ length: 120 }, (_, at) => `p-${at}`);
  for (const [at, name] of ['stays', 'mirrored', ...names].entries())
    made.createPod({ name, nodeName: nodes[at % 2] ?? '' });
  await made.until('all are bound', () => made.countOf('Bind') === 122, 2 * MINUTE_MS);
  await made.run(10_000);
  const saved = savedReservations(made);
  const orphan = eniOf(made, 'default/db-0');
  const mirrored = eniOf(made, 'default/mirrored');
  first.kill();
  made.remove(PODENIS, 'default/db-0');
  made.remove(NETWORKINTERFACES, orphan);
  const second = made.startReplica();
  await made.until('a round has seen it', () => second.term?.collector.latest?.orphans === 1, MINUTE_MS);
  for (const name of names) made.deletePod(`default/${name}`, 0);
  await made.run(1000);
  made.deletePod('default/mirrored', 0);
  made.remove(PODENIS, 'default/mirrored');
  const held = () => second.leaderState?.held['orphan-releases'] ?? 0;
  while (held() === 0) await made.run(1000);
  return { made, orphan, mirrored, saved, looks };
}

test('an orphan that a record claims while its release waits for quota is kept', async () => {
  const { made, orphan, saved } = await behindReleases();
  await made.run(10_000);
  expect(removals(made, orphan).filter(({ action }) => action === 'DeleteNetworkInterface')).toEqual([]);
  recreate(made, saved);
  made.createPod({ name: 'db-0', nodeName: 'node-2', ...FIXED });
  const fromMs = made.clock.now();
  await made.until('it is bound again', () => made.isBound('default/db-0'), MINUTE_MS);
  await made.run(15 * MINUTE_MS);
  expect(removals(made, orphan).filter(({ timeMs }) => timeMs >= fromMs)).toEqual([]);
  expect(eniOf(made, 'default/db-0')).toBe(orphan);
  expect(made.unsettled()).toEqual([]);
});

test('ENIs that waited for quota to be released were looked at right before, whoever releases them', async () => {
  const { made, orphan, mirrored, looks } = await behindReleases();
  const fromMs = made.clock.now();
  const isGone = (id: string) => made.cloud.enis().every((eni) => eni.id !== id);
  await made.until('both are gone', () => isGone(orphan) && isGone(mirrored), 30 * MINUTE_MS);
  const sinceLook = [orphan, mirrored].flatMap((id) => {
    const later = removals(made, id).filter(({ timeMs }) => timeMs >= fromMs + MINUTE_MS);
    return later.map(({ timeMs, action }) => {
      const look = looks.findLast(({ params, timeMs: lookMs }) => lookMs < timeMs && params.includes(id));
      return { id, action, ms: timeMs - (look?.timeMs ?? 0) };
    });
  });
  expect(sinceLook.map(({ action }) => action)).toEqual([
    'DeleteNetworkInterface',
    'DetachNetworkInterface',
    'DeleteNetworkInterface',
  ]);
  expect(sinceLook.filter(({ ms }) => ms > 5100)).toEqual([]);
  await made.run(MINUTE_MS);
  expect(made.unsettled()).toEqual([]);
});

test('the ENI of a running pod that someone detached is attached again while orphans wait for their turn', async () => {
  const { made } = await behindReleases();
  const eniId = eniOf(made, 'default/stays');
  made.cloud.detachEniByHand(eniId, made.clock.now());
  const isBack = () => made.cloud.eni(eniId)?.attachment?.trunk?.eniId === made.trunkOf('node-1');
  expect(isBack()).toBe(false);
  const ms = await made.until('it is back', isBack, 10 * MINUTE_MS);
  // A round of the collector, and the repair.
  expect(ms).toBeLessThan(70_000);
});
