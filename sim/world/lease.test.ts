import { afterEach, expect, test } from 'vitest';
import type { CloudCall } from './cloud-link.ts';
import { PODENIS, World } from './world.ts';

let world: World | undefined;

afterEach(() => world?.end());

test('a process that resumes after its lease has expired sends nothing before it leads again', async () => {
  const calls: CloudCall[] = [];
  world = new World({
    onCloudCall: (call) => {
      calls.push(call);
      return undefined;
    },
  });
  const { clock } = world;
  const node = world.addNode();
  const replica = world.startReplica();
  await world.until('the trunk is attached', () => world?.trunkOf(node.name) !== undefined, 60_000);
  await world.run(5000);
  world.createPod({ name: 'a', nodeName: node.name });
  await world.until('the intent is stored', () => world?.podEni('default/a') !== undefined, 60_000);
  const stopped = replica.term;
  calls.length = 0;
  // The response to that write is in flight, and is read before the timer that ends the term.
  clock.freeze(20_000);
  while (replica.term === stopped && (await clock.step()));
  expect(calls.map(({ action }) => action)).toEqual([]);
  await world.until('bound', () => world?.isBound('default/a') === true, 60_000);
  expect(world.violations()).toEqual([]);
});

test('a new leader whose store is old does not detach what its predecessor has attached since', async () => {
  const made = new World();
  world = made;
  for (const _ of [1, 2]) made.addNode();
  const first = made.startReplica();
  await made.until('trunks', () => ['node-1', 'node-2'].every((name) => made.trunkOf(name) !== undefined), 60_000);
  const second = made.startReplica();
  await made.run(1000);
  const pod = { name: 'db-0', networking: 'fixed', ownerKind: 'StatefulSet' } as const;
  made.createPod({ ...pod, nodeName: 'node-1' });
  await made.until('bound', () => made.isBound('default/db-0'), 60_000);
  made.deletePod('default/db-0', 0);
  made.createPod({ ...pod, nodeName: 'node-2' });
  await made.until('detaching', () => made.podEni('default/db-0')?.status?.phase === 'Detaching', 60_000);
  await made.run(10);
  for (const watch of second.transport.watches) watch.freeze();
  await made.until('moved', () => made.isBound('default/db-0'), 60_000);
  first.kill();
  const fromMs = made.clock.now();
  await made.run(60_000);
  expect(second.term).toBeDefined();
  const detaches = made.cloud.journal().filter(({ action, timeMs }) => action.startsWith('Detach') && timeMs > fromMs);
  expect(detaches).toEqual([]);
  expect(made.unsettled()).toEqual([]);
});

test('a lease that is lost while the new leader lists ends the term, not the process', async () => {
  let isDown = false;
  const made = new World({
    kubeFaults: {
      onRequest: ({ verb, resource }) => {
        if (resource.startsWith('leases.') && verb === 'create') isDown = true;
        else if (isDown) return { kind: 'refused', status: 500 };
        return undefined;
      },
      onWatch: () => (isDown ? { kind: 'refused', status: 500 } : undefined),
    },
  });
  world = made;
  const { name } = made.addNode();
  const replica = made.startReplica();
  let failure: unknown;
  replica.ended.catch((error: unknown) => {
    failure = error;
  });
  await made.run(30_000);
  isDown = false;
  await made.until('the trunk is attached', () => made.trunkOf(name) !== undefined, 120_000);
  expect(failure).toBeUndefined();
});

test('a process that gets its lease back waits for what it sent before', async () => {
  let isDown = false;
  let isSlow = false;
  const made = new World({
    kubeFaults: {
      onRequest: ({ verb, resource }) => {
        if (isDown && resource.startsWith('leases.')) return { kind: 'refused', status: 500 };
        if (!isSlow || verb !== 'create' || resource !== PODENIS) return undefined;
        isSlow = false;
        return { kind: 'slow', requestMs: 4000 };
      },
    },
  });
  world = made;
  // Three slots. One pod stands first in the stores, and gets its node last.
  const { name } = made.addNode('ecs.u1-c1m4.xlarge');
  made.createPod({ name: 'other', nodeName: '' });
  for (const pod of ['a', 'b']) made.createPod({ name: pod, nodeName: name });
  const replica = made.startReplica();
  await made.until('two are bound', () => made.countOf('Bind') === 2, 60_000);
  isDown = true;
  await made.run(7600);
  isSlow = true;
  made.createPod({ name: 'late', nodeName: name });
  // After the last renewal that failed.
  await made.run(1500);
  made.kube.bind({ namespace: 'default', name: 'other' }, name, { actor: 'scheduler', nowMs: made.clock.now() });
  isDown = false;
  const { term } = replica;
  let records = 0;
  made.kube.subscribe(() => {
    records = Math.max(records, made.podEnis().length);
  });
  await made.until('all slots are taken', () => made.countOf('Bind') === 3, 60_000);
  expect(replica.term).not.toBe(term);
  expect(records).toBe(3);
});

/** Two replicas and a node. The one that does not lead hears nothing any more of any resource, or of one. */
async function withDeafCandidate({ instanceType, resource }: { instanceType?: string; resource?: string } = {}) {
  const made = new World();
  world = made;
  const leader = made.startReplica();
  const { name, instanceId } = made.addNode(instanceType);
  await made.until('the trunk', () => made.trunkOf(name) !== undefined, 60_000);
  const candidate = made.startReplica();
  await made.run(1000);
  for (const watch of candidate.transport.watches)
    if (resource === undefined || watch.call.resource === resource) watch.freeze();
  return { made, leader, candidate, name, instanceId };
}

test('a new leader whose store still shows an earlier instance of a node leaves the record of the present one alone', async () => {
  const { made, leader, candidate, name, instanceId } = await withDeafCandidate();
  made.deleteNode(name);
  made.cloud.releaseInstance(instanceId, made.clock.now());
  await made.until('the record is gone', () => made.state().nodes.length === 0, 60_000);
  made.addNode(undefined, name);
  await made.until('another trunk', () => made.trunkOf(name) !== undefined, 60_000);
  const trunk = made.trunkOf(name);
  leader.kill();
  const trunks = new Set<string | undefined>();
  made.kube.subscribe(() => trunks.add(made.trunkOf(name)));
  await made.run(60_000);
  expect(candidate.term).toBeDefined();
  expect([...trunks]).toEqual([trunk]);
  expect(made.unsettled()).toEqual([]);
});

test('a new leader whose store still shows a node that is gone releases its trunk', async () => {
  const { made, leader, name } = await withDeafCandidate();
  made.deleteNode(name);
  await made.until('the record leaves', () => made.state().nodes[0]?.metadata.deletionTimestamp !== undefined, 60_000);
  leader.kill();
  await made.until('the record is gone', () => made.state().nodes.length === 0, 5 * 60_000);
  expect(made.violations()).toEqual([]);
});

test('a new leader whose store does not show the PodENIs of a node gives no slot twice', async () => {
  const { made, leader, candidate, name } = await withDeafCandidate({
    instanceType: 'ecs.u1-c1m4.xlarge',
    resource: PODENIS,
  });
  // It stands first in the stores, and gets its node last.
  made.createPod({ name: 'late', nodeName: '' });
  for (const pod of ['a', 'b', 'c']) made.createPod({ name: pod, nodeName: name });
  await made.until('all slots are taken', () => made.countOf('Bind') === 3, 60_000);
  leader.kill();
  made.kube.bind({ namespace: 'default', name: 'late' }, name, { actor: 'scheduler', nowMs: made.clock.now() });
  let records = 0;
  made.kube.subscribe(() => {
    records = Math.max(records, made.podEnis().length);
  });
  await made.run(5 * 60_000);
  expect(candidate.term).toBeDefined();
  expect(records).toBe(3);
  made.deletePod('default/b');
  await made.until('the next has the slot', () => made.isBound('default/late'), 60_000);
  await made.run(10_000);
  expect(made.unsettled()).toEqual([]);
});
