import { afterEach, expect, test } from 'vitest';
import { ANNOTATION_POD_UID } from '../../src/crds/names.ts';
import { FaultScript } from './script.ts';
import { PODENIS, World } from './world.ts';

/* Guarantees for pods with a fixed address. */

let world: World | undefined;

afterEach(() => world?.end());

async function cluster(script = new FaultScript()): Promise<World> {
  const made = new World({
    config: { leaderElection: false },
    kubeFaults: script.kubeFaults,
    onCloudCall: script.onCloudCall,
  });
  world = made;
  made.addNode();
  made.addNode();
  made.startReplica();
  await made.until('trunks', () => ['node-1', 'node-2'].every((name) => made.trunkOf(name) !== undefined), 60_000);
  return made;
}

const FIXED = { networking: 'fixed', ownerKind: 'StatefulSet' } as const;

const addressOf = (world: World) => world.podEni('default/db-0')?.spec.allocations?.[0]?.ipv4;

/** The pod runs on the first node. @returns its address */
async function boundOnce(world: World): Promise<string | undefined> {
  world.createPod({ name: 'db-0', nodeName: 'node-1', ...FIXED });
  await world.until('bound', () => world.isBound('default/db-0'), 60_000);
  return addressOf(world);
}

function isBoundOnNode2(world: World): boolean {
  return world.isBound('default/db-0') && world.podEni('default/db-0')?.spec.target?.nodeName === 'node-2';
}

/** A pod was bound and is gone; another one of its name has no node yet. */
async function withPendingSuccessor(): Promise<{ world: World; address: string | undefined }> {
  const world = await cluster();
  const address = await boundOnce(world);
  world.deletePod('default/db-0', 0);
  await world.run(100);
  world.createPod({ name: 'db-0', nodeName: '', ...FIXED });
  return { world, address };
}

test('the address is kept while a successor waits for a node, however long', async () => {
  const { world, address } = await withPendingSuccessor();
  // The TTL is ten minutes, but the pod has existed all the time.
  await world.run(15 * 60_000);
  const caller = { actor: 'scheduler', nowMs: world.clock.now() };
  world.kube.bind({ namespace: 'default', name: 'db-0' }, 'node-2', caller);
  await world.until('bound again', () => isBoundOnNode2(world), 60_000);
  expect(addressOf(world)).toBe(address);
});

test('the TTL starts at the end of the last pod of the name, even if that was never bound', async () => {
  const { world, address } = await withPendingSuccessor();
  await world.run(15 * 60_000);
  // More than a TTL after the first pod's end, but just after the second's.
  world.deletePod('default/db-0', 0);
  await world.run(1000);
  world.createPod({ name: 'db-0', nodeName: 'node-2', ...FIXED });
  await world.until('bound again', () => isBoundOnNode2(world), 60_000);
  expect(addressOf(world)).toBe(address);
  world.deletePod('default/db-0', 0);
  await world.until('released', () => world.podEni('default/db-0') === undefined, 11 * 60_000);
});

test('a store that does not show the successor yet does not release the address', async () => {
  const script = new FaultScript();
  const world = await cluster(script);
  const address = await boundOnce(world);
  world.deletePod('default/db-0', 0);
  await world.run(9.5 * 60_000);
  for (const watch of world.replicas[0]?.transport.watches ?? []) watch.freeze();
  world.createPod({ name: 'db-0', nodeName: 'node-2', ...FIXED });
  await world.run(5 * 60_000);
  await world.until('bound again', () => world.isBound('default/db-0'), 5 * 60_000);
  expect(addressOf(world)).toBe(address);
});

test('a deleted node leaves no Node CR, even with a reservation on it', async () => {
  const world = await cluster();
  world.addNetworking('never', { type: 'Fixed', releaseStrategy: 'Never' });
  world.createPod({ name: 'db-0', nodeName: 'node-1', networking: 'never', ownerKind: 'StatefulSet' });
  await world.until('bound', () => world.isBound('default/db-0'), 60_000);
  world.deletePod('default/db-0', 0);
  await world.until('reserved', () => world.podEni('default/db-0')?.status?.phase === 'Unbind', 60_000);
  const caller = { actor: 'user', nowMs: world.clock.now() };
  world.kube.delete({ resource: 'nodes', namespace: undefined, name: 'node-1', subresource: '' }, {}, caller);
  const isGone = () => world.state().nodes.every(({ metadata }) => metadata.name !== 'node-1');
  await world.until('the Node CR is gone', isGone, 10 * 60_000);
  expect(world.podEni('default/db-0')?.status?.phase).toBe('Unbind');
});

test('a pod that goes before it has an ENI leaves no reservation', async () => {
  const world = await cluster();
  world.addNetworking('never', { type: 'Fixed', releaseStrategy: 'Never' });
  world.createPod({ name: 'db-0', nodeName: 'node-1', networking: 'never', ownerKind: 'StatefulSet' });
  await world.until('a record', () => world.podEni('default/db-0') !== undefined, 60_000);
  world.deletePod('default/db-0', 0);
  await world.until('released', () => world.podEni('default/db-0') === undefined, 60_000);
  await world.run(60_000);
  expect(world.podEni('default/db-0')).toBeUndefined();
  expect(world.unsettled()).toEqual([]);
});

/** The leader has reserved the address of a deleted pod and is gone; the next one's store still shows the pod. */
async function afterLateTakeover() {
  const made = new World();
  world = made;
  made.addNode();
  const first = made.startReplica();
  await made.until('trunk', () => made.trunkOf('node-1') !== undefined, 60_000);
  const second = made.startReplica();
  await made.run(1000);
  made.createPod({ name: 'db-0', nodeName: 'node-1', ...FIXED });
  await made.until('bound', () => made.isBound('default/db-0'), 60_000);
  await made.run(1000);
  for (const watch of second.transport.watches) watch.freeze();
  made.deletePod('default/db-0', 0);
  await made.until('reserved', () => made.podEni('default/db-0')?.status?.phase === 'Unbind', 60_000);
  first.kill();
  return { made, second };
}

test('a new leader whose store still shows the pod does not bind its reservation again', async () => {
  const { made, second } = await afterLateTakeover();
  const phases = new Set<string>();
  made.kube.subscribe(({ key }) => {
    if (key === 'default/db-0') phases.add(made.podEni(key)?.status?.phase ?? '');
  });
  await made.run(60_000);
  expect(second.term).toBeDefined();
  expect([...phases]).toEqual([]);
});

test('a new leader whose store still shows the pod does not bind its reservation for that when there is a successor', async () => {
  const { made } = await afterLateTakeover();
  const { uid } = made.createPod({ name: 'db-0', nodeName: 'node-1', ...FIXED }).metadata;
  const owners = new Set<string | undefined>();
  made.kube.subscribe(({ key }) => {
    const { status, metadata } = made.podEni(key) ?? {};
    if (status?.phase === 'Binding') owners.add(metadata?.annotations?.[ANNOTATION_POD_UID]);
  });
  await made.until('bound', () => made.isBound('default/db-0'), 5 * 60_000);
  expect([...owners]).toEqual([uid]);
});

test('a reservation that a user deletes leaves nothing in memory until its TTL would have ended', async () => {
  const world = await cluster();
  await boundOnce(world);
  world.deletePod('default/db-0', 0);
  await world.until('reserved', () => world.countOf('Unbind') === 1, 60_000);
  await world.run(25_000);
  const target = { resource: PODENIS, namespace: 'default', name: 'db-0', subresource: '' };
  world.kube.delete(target, {}, { actor: 'user', nowMs: world.clock.now() });
  await world.until('released', () => world.podEni('default/db-0') === undefined, 60_000);
  await world.run(60_000);
  expect(world.replicas[0]?.leaderState?.held['queue-pod-eni']).toBe(0);
});
