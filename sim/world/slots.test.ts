import { afterEach, expect, test } from 'vitest';
import type { ApiCall } from '../kube/faults.ts';
import { FaultScript } from './script.ts';
import { INSTANCE_TYPE, PODENIS, World, type WorldOptions } from './world.ts';

/* Slots of a node: which pods have one, which wait, and which are woken. */

/** Three member slots. */
const SMALL = 'ecs.u1-c1m4.xlarge';

let world: World | undefined;
let script: FaultScript;

afterEach(() => world?.end());

/** A node with its trunk, and a replica that leads. */
async function smallNode(
  options: WorldOptions = {},
  instanceType = SMALL,
): Promise<{ world: World; nodeName: string }> {
  script = new FaultScript();
  const made = new World({
    config: { leaderElection: false, ...options.config },
    kubeFaults: script.kubeFaults,
    onCloudCall: script.onCloudCall,
  });
  world = made;
  const { name } = made.addNode(instanceType);
  made.startReplica();
  await made.until('the trunk is attached', () => made.trunkOf(name) !== undefined, 60_000);
  return { world: made, nodeName: name };
}

const isCreation = (key: string) => (call: { verb: string; resource: string; key: string }) =>
  call.verb === 'create' && call.resource.startsWith('podenis.') && [key, key.split('/')[0]].includes(call.key);

test('a failed write to the API server does not lose the last slot', async () => {
  const { world, nodeName } = await smallNode();
  for (const name of ['x', 'y']) world.createPod({ name, nodeName });
  await world.until('both are bound', () => world.isBound('default/x') && world.isBound('default/y'), 30_000);
  script.kube(isCreation('default/a'), { kind: 'refused', status: 500 });
  world.createPod({ name: 'a', nodeName });
  world.createPod({ name: 'b', nodeName });
  await world.until('one has it', () => world.isBound('default/a') || world.isBound('default/b'), 60_000);
  expect(world.violations()).toEqual([]);
});

test('slots of deleted pods go to waiting pods in order', async () => {
  const { world, nodeName } = await smallNode();
  for (const name of ['x', 'y', 'z']) world.createPod({ name, nodeName });
  await world.until('all are bound', () => world.countOf('Bind') === 3, 30_000);
  for (const name of ['first', 'second']) {
    world.createPod({ name, nodeName });
    await world.run(1000);
  }
  world.deletePod('default/x');
  await world.until('the first has it', () => world.isBound('default/first'), 60_000);
  expect(world.isBound('default/second')).toBe(false);
  world.deletePod('default/y');
  await world.until('the second has it', () => world.isBound('default/second'), 60_000);
});

test('a creation that times out but is applied does not assign a slot twice', async () => {
  const { world, nodeName } = await smallNode();
  script.kube(isCreation('default/a'), { kind: 'lost-answer', failure: 'broken' });
  for (const name of ['a', 'b', 'c', 'd']) world.createPod({ name, nodeName });
  await world.run(60_000);
  expect(world.violations()).toEqual([]);
  expect(world.countOf('Bind')).toBe(3);
  world.deletePod('default/b');
  await world.until(
    'the fourth has the slot',
    () => world.countOf('Bind') === 3 && !world.isBound('default/b'),
    60_000,
  );
  expect(world.violations()).toEqual([]);
});

test('a reservation has no slot, also when the response to its last write was lost', async () => {
  const { world, nodeName } = await smallNode();
  world.createPod({ name: 'db-0', nodeName, networking: 'fixed', ownerKind: 'StatefulSet' });
  await world.until('bound', () => world.isBound('default/db-0'), 30_000);
  const phase = () => world.podEni('default/db-0')?.status?.phase;
  script.kube(
    ({ verb, subresource, key }) =>
      verb === 'patch' && subresource === 'status' && key === 'default/db-0' && phase() === 'Detaching',
    { kind: 'lost-answer', failure: 'broken' },
  );
  world.deletePod('default/db-0', 0);
  await world.until('reserved', () => phase() === 'Unbind', 30_000);
  await world.run(10_000);
  for (const name of ['x', 'y', 'z']) world.createPod({ name, nodeName });
  await world.until('all are bound', () => world.countOf('Bind') === 3, 30_000);
  expect(world.violations()).toEqual([]);
});

test('after the trunk was replaced, a freed slot wakes the waiting pod', async () => {
  const { world, nodeName } = await smallNode();
  for (const name of ['x', 'y', 'z']) world.createPod({ name, nodeName });
  const bound = (name: string) => world.isBound(`default/${name}`);
  await world.until('all are bound', () => ['x', 'y', 'z'].every(bound), 30_000);
  const trunk = world.trunkOf(nodeName) ?? '';
  world.cloud.detachEniByHand(trunk, world.clock.now());
  world.cloud.deleteEniByHand(trunk, world.clock.now());
  await world.until('another trunk is there', () => (world.trunkOf(nodeName) ?? trunk) !== trunk, 15 * 60_000);
  world.createPod({ name: 'late', nodeName });
  await world.until('the pods from before have it', () => ['x', 'y', 'z'].every(bound), 5 * 60_000);
  await world.run(60_000);
  expect(bound('late')).toBe(false);
  world.deletePod('default/x');
  await world.until('the next one has it', () => bound('late'), 60_000);
  expect(world.violations()).toEqual([]);
});

test('pods of a lost trunk keep their slots, also from pods that have waited for one', async () => {
  const { world, nodeName } = await smallNode();
  for (const name of ['x', 'y', 'z']) world.createPod({ name, nodeName });
  const bound = (name: string) => world.isBound(`default/${name}`);
  await world.until('all are bound', () => ['x', 'y', 'z'].every(bound), 30_000);
  world.createPod({ name: 'waits', nodeName });
  const trunk = world.trunkOf(nodeName) ?? '';
  world.cloud.detachEniByHand(trunk, world.clock.now());
  world.cloud.deleteEniByHand(trunk, world.clock.now());
  await world.until('another trunk is there', () => (world.trunkOf(nodeName) ?? trunk) !== trunk, 15 * 60_000);
  await world.until('they are its members', () => world.unsettled().length === 0, 5 * 60_000);
  expect(['x', 'y', 'z'].every(bound)).toBe(true);
  expect(bound('waits')).toBe(false);
});

/** Three pods have the slots; a fourth, which has had a fixed address before, waits for one, and a fifth behind it. */
async function withWaitingReservation(): Promise<World> {
  const { world, nodeName } = await smallNode();
  const fixed = { name: 'db-0', nodeName, networking: 'fixed', ownerKind: 'StatefulSet' };
  world.createPod(fixed);
  await world.until('bound', () => world.isBound('default/db-0'), 30_000);
  world.deletePod('default/db-0', 0);
  await world.until('reserved', () => world.countOf('Unbind') === 1, 30_000);
  for (const name of ['x', 'y', 'z']) world.createPod({ name, nodeName });
  await world.until('all are bound', () => world.countOf('Bind') === 3, 30_000);
  for (const pod of [fixed, { name: 'late', nodeName }]) {
    world.createPod(pod);
    await world.run(1000);
  }
  return world;
}

test.for([409, 500])('a reservation whose new pod is written only after a %d keeps its place', async (status) => {
  const world = await withWaitingReservation();
  const isRebind = (call: ApiCall) =>
    call.verb === 'patch' && call.resource === PODENIS && call.subresource === '' && call.key === 'default/db-0';
  const rebinds = script.kubeCalls(isRebind);
  script.kube(isRebind, { kind: 'refused', status });
  world.deletePod('default/x');
  await world.until('it has the slot', () => world.isBound('default/db-0'), 60_000);
  expect(rebinds.length).toBeGreaterThan(1);
  expect(world.isBound('default/late')).toBe(false);
  world.deletePod('default/y');
  await world.until('the next has one', () => world.isBound('default/late'), 60_000);
  expect(world.violations()).toEqual([]);
});

test('reservations of pods that have finished have no slots after a restart either', async () => {
  const { world, nodeName } = await smallNode();
  for (const name of ['db-0', 'db-1', 'db-2'])
    world.createPod({ name, nodeName, networking: 'fixed', ownerKind: 'StatefulSet' });
  await world.until('all are bound', () => world.countOf('Bind') === 3, 30_000);
  for (const name of ['db-0', 'db-1', 'db-2']) {
    const target = { resource: 'pods', namespace: 'default', name, subresource: 'status' };
    const caller = { actor: 'kubelet', nowMs: world.clock.now() };
    world.kube.patch(target, 'application/merge-patch+json', { status: { phase: 'Succeeded' } }, caller);
  }
  await world.until('all are reserved', () => world.countOf('Unbind') === 3, 60_000);
  world.replicas[0]?.kill();
  world.startReplica();
  for (const name of ['x', 'y', 'z']) world.createPod({ name, nodeName });
  await world.until('the next three are bound', () => world.countOf('Bind') === 3, 60_000);
  expect(world.countOf('Unbind')).toBe(3);
});

/** The instance of the node is replaced by a small one, and the control plane does not hear of it for minutes. */
function replaceUnheard(world: World, nodeName: string): void {
  const [node] = world.state().nodes;
  for (const watch of world.replicas[0]?.transport.watches ?? []) if (watch.call.resource === 'nodes') watch.freeze();
  world.deleteNode(nodeName);
  world.cloud.releaseInstance(node?.spec.nodeMetadata?.instanceID ?? '', world.clock.now());
  world.addNode(SMALL, nodeName);
}

test('pods that were planned for the instance before get slots of the next one before younger pods', async () => {
  const { world, nodeName } = await smallNode();
  replaceUnheard(world, nodeName);
  for (const name of ['a', 'b', 'c', 'x', 'y', 'z']) {
    world.createPod({ name, nodeName });
    await world.run(1000);
  }
  await world.until('three have networks', () => world.countOf('Bind') === 3, 5 * 60_000);
  expect(['a', 'b', 'c'].filter((name) => !world.isBound(`default/${name}`))).toEqual([]);
});

test('when more pods were planned for the instance before than the next one has slots for, they take turns', async () => {
  const { world, nodeName } = await smallNode({}, INSTANCE_TYPE);
  replaceUnheard(world, nodeName);
  const names = ['a', 'b', 'c', 'd', 'e'];
  for (const name of names) world.createPod({ name, nodeName });
  await world.until('three have networks', () => world.countOf('Bind') === 3, 5 * 60_000);
  const isWaiting = (name: string) => !world.isBound(`default/${name}`);
  const waiting = names.filter(isWaiting);
  for (const name of names) if (!waiting.includes(name)) world.deletePod(`default/${name}`, 0);
  await world.until('the others have them', () => !waiting.some(isWaiting), 2 * 60_000);
});

test('a record that waits for a slot is not written again when others join the line', async () => {
  const { world, nodeName } = await smallNode();
  const other = world.addNode(SMALL).name;
  await world.until('the other trunk is attached', () => world.trunkOf(other) !== undefined, 60_000);
  world.createPod({ name: 'db-0', nodeName: other, networking: 'fixed', ownerKind: 'StatefulSet' });
  for (const name of ['x', 'y', 'z']) world.createPod({ name, nodeName });
  await world.until('all are bound', () => world.countOf('Bind') === 4, 30_000);
  world.deletePod('default/db-0');
  await world.until('reserved', () => world.countOf('Unbind') === 1, 30_000);
  world.createPod({ name: 'db-0', nodeName, networking: 'fixed', ownerKind: 'StatefulSet' });
  await world.run(60_000);
  for (const name of ['a', 'b']) world.createPod({ name, nodeName });
  await world.run(60_000);
  const written: string[] = [];
  world.kube.subscribe(({ resource, key, verb }) => {
    if (resource.startsWith('podenis.')) written.push(`${verb} ${key}`);
  });
  // Somebody touches the pod, so that it is looked at again.
  const pod = { resource: 'pods', namespace: 'default', name: 'db-0', subresource: '' };
  const touched = { metadata: { annotations: { touched: 'true' } } };
  world.kube.patch(pod, 'application/merge-patch+json', touched, { actor: 'user', nowMs: world.clock.now() });
  await world.run(60_000);
  expect(written).toEqual([]);
});
