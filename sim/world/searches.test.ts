import { afterEach, expect, test } from 'vitest';
import { FaultScript } from './script.ts';
import { NETWORKINTERFACES, PODENIS, World, type WorldOptions } from './world.ts';

/* Searches in the cloud without an ENI id. */

let world: World | undefined;

afterEach(() => world?.end());

function emptyCluster(options: WorldOptions): World {
  world = new World({ ...options, config: { leaderElection: false, ...options.config } });
  return world;
}

function describes(world: World, fromMs: number): number {
  return world.cloud
    .journal()
    .filter((entry) => entry.kind === 'call' && entry.action === 'DescribeNetworkInterfaces' && entry.timeMs >= fromMs)
    .length;
}

test('after a restart, many creations with unknown outcome do not delay a pod', async () => {
  const script = new FaultScript();
  const world = emptyCluster({
    config: { rateLimit: { DescribeNetworkInterfaces: 80 } },
    onCloudCall: script.onCloudCall,
  });
  const { name: nodeName } = world.addNode();
  const first = world.startReplica();
  await world.until('the trunk', () => world.trunkOf(nodeName) !== undefined, 60_000);
  const names = Array.from({ length: 60 }, (_, at) => `p-${at}`);
  script.cloud('CreateNetworkInterface', { kind: 'lost-request' }, names.length - 1);
  for (const name of names) world.createPod({ name, nodeName });
  await world.until('all are planned', () => world.podEnis().length === names.length, 60_000);
  await world.run(200);
  first.kill();
  for (const name of names) world.deletePod(`default/${name}`, 0);
  await world.run(60_000 - (world.clock.now() % 60_000) + 1000);
  const fromMs = world.clock.now();
  world.startReplica();
  await world.run(3000);
  world.createPod({ name: 'lives', nodeName });
  const boundMs = await world.until('bound', () => world.isBound('default/lives'), 5 * 60_000);
  expect(boundMs).toBeLessThan(5000);
  await world.until('the others are released', () => world.podEnis().length === 1, 5 * 60_000);
  expect(describes(world, fromMs)).toBeLessThan(40);
  await world.run(60_000);
  expect(world.unsettled()).toEqual([]);
});

test('many joining nodes do not delay a pod', async () => {
  const world = emptyCluster({ config: { rateLimit: { DescribeNetworkInterfaces: 40 } } });
  const { name: nodeName } = world.addNode();
  world.startReplica();
  await world.until('the trunk', () => world.trunkOf(nodeName) !== undefined, 60_000);
  await world.run(60_000 - (world.clock.now() % 60_000) + 1000);
  const joined = Array.from({ length: 40 }, () => world.addNode().name);
  await world.run(100);
  world.createPod({ name: 'lives', nodeName });
  const boundMs = await world.until('bound', () => world.isBound('default/lives'), 5 * 60_000);
  expect(boundMs).toBeLessThan(10_000);
  await world.until('trunks', () => joined.every((name) => world.trunkOf(name) !== undefined), 5 * 60_000);
  await world.run(60_000);
  expect(world.unsettled()).toEqual([]);
});

test('while every ENI has an owner, the collector reads no records from the API server', async () => {
  const script = new FaultScript();
  const world = emptyCluster({ config: { collector: { interval: '1m' } }, kubeFaults: script.kubeFaults });
  const { name: nodeName } = world.addNode();
  const replica = world.startReplica();
  await world.until('the trunk', () => world.trunkOf(nodeName) !== undefined, 60_000);
  for (let at = 0; at < 5; at += 1) world.createPod({ name: `p-${at}`, nodeName });
  await world.until('all are bound', () => world.countOf('Bind') === 5, 60_000);
  await world.run(60_000);
  // A reflector that resumes its watch lists one object, to learn where the server is.
  const lists = script.kubeCalls(({ verb, resource, limit }) => verb === 'list' && resource === PODENIS && limit !== 1);
  const before = replica.term?.collector.latest?.endedAtMs ?? 0;
  await world.run(10 * 60_000);
  expect(replica.term?.collector.latest?.endedAtMs).toBeGreaterThan(before);
  expect(lists).toEqual([]);
});

test('an orphan is found among more resources than a tag filter covers', async () => {
  const script = new FaultScript();
  const world = emptyCluster({
    behaviour: { tagFilterMaxResources: 5 },
    config: { collector: { interval: '1m', minimumAge: '1m' } },
    onCloudCall: script.onCloudCall,
  });
  const { name: nodeName } = world.addNode();
  const first = world.startReplica();
  await world.until('the trunk', () => world.trunkOf(nodeName) !== undefined, 60_000);
  const names = Array.from({ length: 12 }, (_, at) => `p-${at}`);
  for (const name of names) world.createPod({ name, nodeName });
  await world.until('all are bound', () => world.countOf('Bind') === names.length, 60_000);
  await world.run(10_000);
  const left = world.podEni('default/p-11')?.spec.allocations?.[0]?.eni.id ?? '';
  first.kill();
  world.deletePod('default/p-11', 0);
  world.remove(PODENIS, 'default/p-11');
  world.remove(NETWORKINTERFACES, left);
  world.startReplica();
  const isGone = () => world.cloud.enis().every(({ id }) => id !== left);
  await world.until('the ENI is collected', isGone, 15 * 60_000);
  await world.run(60_000);
  expect(world.unsettled()).toEqual([]);
});

test('a node that goes before the cloud says whether it has a trunk leaves nothing in memory', async () => {
  const world = emptyCluster({});
  const replica = world.startReplica();
  await world.run(1000);
  const { name } = world.addNode();
  while (replica.leaderState?.held['node'] !== 1) await world.run(1);
  world.deleteNode(name);
  await world.until('the Node CR is gone', () => world.state().nodes.length === 0, 60_000);
  await world.run(60_000);
  expect(replica.leaderState?.held['node']).toBe(0);
});

test('a trunk that lists do not show yet when its node goes is released all the same', async () => {
  const world = emptyCluster({
    behaviour: { listLag: { createdMs: 4000, deletedMs: 0 }, attachFaults: [{ outcome: 'fails', count: 1 }] },
  });
  world.startReplica();
  await world.run(1000);
  const { name } = world.addNode();
  const hasTrunk = () => world.cloud.enis().some(({ type }) => type === 'Trunk');
  await world.until('the trunk', hasTrunk, 60_000);
  await world.run(3500);
  world.deleteNode(name);
  await world.until('the Node CR is gone', () => world.state().nodes.length === 0, 60_000);
  expect(hasTrunk()).toBe(false);
});
