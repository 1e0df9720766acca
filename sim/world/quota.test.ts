import { afterEach, expect, test } from 'vitest';
import { ANNOTATION_POD_UID } from '../../src/crds/names.ts';
import type { ApiCall } from '../kube/faults.ts';
import { FaultScript } from './script.ts';
import { PODENIS, World, type WorldOptions } from './world.ts';

/* The order of calls within a quota, and whether a call is still wanted at its turn. */

let world: World | undefined;

afterEach(() => world?.end());

async function cluster(nodes: number, options: WorldOptions = {}): Promise<World> {
  const made = new World({ ...options, config: { leaderElection: false, ...options.config } });
  world = made;
  const names = Array.from({ length: nodes }, () => made.addNode().name);
  made.startReplica();
  await made.until('all trunks are attached', () => names.every((name) => made.trunkOf(name) !== undefined), 180_000);
  return made;
}

/** Calls of an API that the cloud has answered since `fromMs`. */
function calls(world: World, action: string, fromMs = 0) {
  return world.cloud
    .journal()
    .filter((entry) => entry.kind === 'call' && entry.action === action && entry.timeMs >= fromMs);
}

test('a pod deleted before its turn gets no ENI, and does not delay live pods', async () => {
  const world = await cluster(5, { config: { rateLimit: { CreateNetworkInterface: 60 } } });
  await world.run(60_000);
  const fromMs = world.clock.now();
  const names = Array.from({ length: 300 }, (_, at) => `p-${at}`);
  for (const [at, name] of names.entries()) world.createPod({ name, nodeName: `node-${(at % 5) + 1}` });
  await world.run(5000);
  for (const name of names) world.deletePod(`default/${name}`);
  await world.run(2000);
  world.createPod({ name: 'lives', nodeName: 'node-1' });
  const boundMs = await world.until('bound', () => world.isBound('default/lives'), 10 * 60_000);
  // The rest of the used-up minute, and its own calls.
  expect(boundMs).toBeLessThan(65_000);
  await world.run(10 * 60_000);
  expect(calls(world, 'CreateNetworkInterface', fromMs).length).toBeLessThanOrEqual(61);
  expect(world.unsettled()).toEqual([]);
});

test('a PodENI that is removed by force leaves no unrecorded ENI', async () => {
  const world = await cluster(1, { config: { rateLimit: { CreateNetworkInterface: 20 } } });
  await world.run(60_000);
  const names = Array.from({ length: 60 }, (_, at) => `p-${at}`);
  for (const name of names) world.createPod({ name, nodeName: 'node-1' });
  await world.run(10_000);
  for (const name of names) {
    world.deletePod(`default/${name}`, 0);
    world.remove(PODENIS, `default/${name}`);
  }
  await world.run(1000);
  const before = calls(world, 'CreateNetworkInterface').length;
  await world.run(10 * 60_000);
  expect(calls(world, 'CreateNetworkInterface').length).toBe(before);
});

test('a fixed address moves before the releases that wait', async () => {
  const limits = { DetachNetworkInterface: 40, DescribeNetworkInterfaces: 800 };
  const world = await cluster(3, { config: { rateLimit: limits } });
  world.createPod({ name: 'db-0', nodeName: 'node-1', networking: 'fixed', ownerKind: 'StatefulSet' });
  const names = Array.from({ length: 200 }, (_, at) => `p-${at}`);
  for (const [at, name] of names.entries()) world.createPod({ name, nodeName: `node-${(at % 2) + 2}` });
  await world.until('all are bound', () => world.countOf('Bind') === 201, 10 * 60_000);
  for (const name of names) world.deletePod(`default/${name}`);
  await world.run(5000);
  world.deletePod('default/db-0', 0);
  world.createPod({ name: 'db-0', nodeName: 'node-2', networking: 'fixed', ownerKind: 'StatefulSet' });
  const nodeOf = () => world.podEni('default/db-0')?.spec.target?.nodeName;
  const movedMs = await world.until('moved', () => nodeOf() === 'node-2' && world.isBound('default/db-0'), 10 * 60_000);
  expect(movedMs).toBeLessThan(70_000);
  expect(world.violations()).toEqual([]);
});

test('a release has its turn while addresses move without end', async () => {
  const limits = { DetachNetworkInterface: 20, DescribeNetworkInterfaces: 800 };
  const world = await cluster(1, { config: { rateLimit: limits } });
  const fixed = { nodeName: 'node-1', networking: 'fixed', ownerKind: 'StatefulSet' };
  const movers = Array.from({ length: 40 }, (_, at) => `db-${at}`);
  for (const name of [...movers, 'leaver']) world.createPod({ name, ...fixed });
  await world.until('all are bound', () => world.countOf('Bind') === 41, 60_000);
  const move = (names: readonly string[]) => {
    for (const name of names) {
      world.deletePod(`default/${name}`, 0);
      world.createPod({ name, ...fixed });
    }
  };
  move(movers.slice(0, 20));
  await world.run(1000);
  world.deletePod('default/leaver', 0);
  await world.run(1000);
  move(movers.slice(20));
  const isReserved = () => world.podEni('default/leaver')?.status?.phase === 'Unbind';
  for (let seconds = 0; seconds < 130 && !isReserved(); seconds += 1) {
    move(movers.filter((name) => world.isBound(`default/${name}`) && isLastPod(world, name)));
    await world.run(1000);
  }
  expect(isReserved()).toBe(true);
});

test('pods that wait for quota are served by age, however long the API server took for their records', async () => {
  const script = new FaultScript();
  const world = await cluster(5, {
    kubeFaults: script.kubeFaults,
    config: { rateLimit: { CreateNetworkInterface: 60 } },
  });
  await world.run(60_000 - (world.clock.now() % 60_000));
  const fromMs = world.clock.now();
  let records = 0;
  const isEverySecondRecord = ({ verb, resource }: ApiCall) =>
    verb === 'create' && resource.startsWith('podenis') && ++records % 2 === 0;
  script.kube(isEverySecondRecord, { kind: 'slow', requestMs: 500 }, 1000);
  const names = Array.from({ length: 180 }, (_, at) => `p-${at}`);
  for (const [at, name] of names.entries()) {
    world.createPod({ name, nodeName: `node-${(at % 5) + 1}` });
    await world.run(2);
  }
  await world.until('all are bound', () => names.every((name) => world.isBound(`default/${name}`)), 10 * 60_000);
  const eniOf = new Map(names.map((name, at) => [world.podEni(`default/${name}`)?.spec.allocations?.[0]?.eni.id, at]));
  const waited = calls(world, 'CreateNetworkInterface', fromMs + 60_000).map(({ objectIds: [id] }) => eniOf.get(id));
  expect(waited).toHaveLength(120);
  // Pods that come within a few milliseconds of each other may be planned in any order.
  const overtaken = waited.filter((at = 0, turn) => waited.slice(0, turn).some((earlier = 0) => earlier > at + 5));
  expect(overtaken).toEqual([]);
});

test('a limit lower than configured is learnt: few refusals after the first minute', async () => {
  const rateWindows = { CreateNetworkInterface: { limit: 60, windowMs: 60_000 as const } };
  const world = await cluster(4, {
    behaviour: { rateWindows },
    config: { rateLimit: { CreateNetworkInterface: 100 } },
  });
  await world.run(60_000 - (world.clock.now() % 60_000));
  const fromMs = world.clock.now();
  for (let at = 0; at < 400; at += 1) world.createPod({ name: `p-${at}`, nodeName: `node-${(at % 4) + 1}` });
  await world.until('all are bound', () => world.countOf('Bind') === 400, 15 * 60_000);
  const later = calls(world, 'CreateNetworkInterface', fromMs + 60_000);
  const refused = later.filter(({ outcome }) => outcome !== 'OK');
  expect(refused.length / later.length).toBeLessThan(0.02);
});

test('a process that starts in a minute that another has used leaves it half of the quota', async () => {
  const world = await cluster(2, { config: { rateLimit: { CreateNetworkInterface: 60 } } });
  await world.run(2 * 60_000 - (world.clock.now() % 60_000));
  const fromMs = world.clock.now();
  for (let at = 0; at < 180; at += 1) world.createPod({ name: `p-${at}`, nodeName: `node-${(at % 2) + 1}` });
  await world.run(10_000);
  expect(calls(world, 'CreateNetworkInterface', fromMs)).toHaveLength(60);
  world.replicas[0]?.kill();
  world.startReplica();
  await world.run(49_000);
  expect(calls(world, 'CreateNetworkInterface', fromMs)).toHaveLength(60 + 30);
  await world.until('all are bound', () => world.countOf('Bind') === 180, 3 * 60_000);
});

test('a NetworkInterface whose ENI cannot be detached retries with growing back-off', async () => {
  const script = new FaultScript();
  const world = await cluster(1, { kubeFaults: script.kubeFaults, onCloudCall: script.onCloudCall });
  const names = Array.from({ length: 10 }, (_, at) => `p-${at}`);
  for (const name of names) world.createPod({ name, nodeName: 'node-1' });
  await world.until('all are bound', () => names.every((name) => world.isBound(`default/${name}`)), 60_000);
  await world.run(10_000);
  const detaches = script.cloudCalls('DetachNetworkInterface');
  script.cloud('DetachNetworkInterface', { kind: 'refused', code: 'Forbidden.RAM', status: 403 }, 1_000_000);
  const reads = script.kubeCalls(({ verb }) => verb === 'get');
  for (const name of names) {
    world.deletePod(`default/${name}`, 0);
    world.remove(PODENIS, `default/${name}`);
  }
  await world.run(10 * 60_000);
  // Each after 1, 2, 4, … 60 s.
  expect(detaches.length).toBeGreaterThanOrEqual(names.length * 10);
  expect(detaches.length).toBeLessThanOrEqual(names.length * 16);
  expect(reads.length).toBeLessThan(5 * detaches.length);
});

/** Whether a PodENI is that of the pod that has its name now. */
function isLastPod(world: World, name: string): boolean {
  const uid = world.kube.peek('pods', { namespace: 'default', name })?.metadata.uid;
  return world.podEni(`default/${name}`)?.metadata.annotations?.[ANNOTATION_POD_UID] === uid;
}
