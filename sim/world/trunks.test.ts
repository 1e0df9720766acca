import { afterEach, expect, test } from 'vitest';
import { FaultScript } from './script.ts';
import { INSTANCE_TYPE, NODES, World } from './world.ts';

/* Which node gets a trunk; and the trunk of one whose record goes, or whose name another instance gets, before it is attached. */

let world: World | undefined;

afterEach(() => world?.end());

/** A node whose trunk was created and is not attached yet: the calls for that are lost. */
async function joiningNode(): Promise<{ world: World; name: string; instanceId: string }> {
  const script = new FaultScript();
  const made = new World({ config: { leaderElection: false }, onCloudCall: script.onCloudCall });
  world = made;
  const node = made.addNode();
  script.cloud('AttachNetworkInterface', { kind: 'lost-request' }, 100, (call) =>
    Object.values(call.params).includes(node.instanceId),
  );
  made.startReplica();
  await made.until('the trunk is created', () => made.state().cloud.enis.some(isTrunk), 30_000);
  await made.run(2000);
  return { world: made, ...node };
}

const isTrunk = ({ type }: { type: string }) => type === 'Trunk';

/** The instance goes, and another one gets its name. */
async function replaceInstance(
  world: World,
  { name, instanceId }: { name: string; instanceId: string },
  betweenMs: number,
): Promise<void> {
  world.deleteNode(name);
  world.cloud.releaseInstance(instanceId, world.clock.now());
  await world.run(betweenMs);
  world.addNode(INSTANCE_TYPE, name);
}

/** The node gets a trunk soon, and at no time is there one that no object names. */
async function expectOneTrunk(world: World, name: string): Promise<void> {
  const hasTrunk = () => {
    expect(world.violations()).toEqual([]);
    return world.trunkOf(name) !== undefined;
  };
  await world.until('the node has a trunk', hasTrunk, 60_000);
  expect(world.state().cloud.enis.filter(isTrunk)).toHaveLength(1);
}

test('a node that comes back as another instance while its record is being deleted', async () => {
  const { world, ...node } = await joiningNode();
  await replaceInstance(world, node, 500);
  expect(world.state().nodes[0]?.metadata.deletionTimestamp).toBeDefined();
  await expectOneTrunk(world, node.name);
});

test('a node that comes back as another instance before the control plane has heard that it was gone', async () => {
  const { world, ...node } = await joiningNode();
  await replaceInstance(world, node, 0);
  await expectOneTrunk(world, node.name);
});

/** Somebody deletes the record of the node. */
function deleteRecord(world: World, name: string, how: { byForce: boolean }): void {
  const target = { resource: NODES, namespace: undefined, name, subresource: '' };
  const caller = { actor: 'user', nowMs: world.clock.now() };
  if (how.byForce) world.kube.patch(target, 'application/merge-patch+json', { metadata: { finalizers: null } }, caller);
  world.kube.delete(target, {}, caller);
}

test('a record that someone deletes', async () => {
  const { world, name } = await joiningNode();
  deleteRecord(world, name, { byForce: false });
  await world.until('it is gone', () => world.state().nodes[0]?.metadata.deletionTimestamp === undefined, 60_000);
  expect(world.violations()).toEqual([]);
});

test('a record that someone removes together with its node leaves nothing in memory', async () => {
  const { world, name } = await joiningNode();
  world.deleteNode(name);
  deleteRecord(world, name, { byForce: true });
  await world.run(60_000);
  expect(world.replicas[0]?.leaderState?.held).toMatchObject({ 'cloud-calls': 0 });
});

test.each<[boolean | 'always', boolean | undefined, boolean]>([
  [true, true, true],
  [true, false, false],
  [true, undefined, false],
  ['always', undefined, true],
  ['always', false, true],
  [false, true, false],
])('enableTrunk: %s, enable_eni_trunking: %s: a trunk is made: %s', async (enableTrunk, trunking, isMade) => {
  const made = new World({
    config: { leaderElection: false, enableTrunk },
    eniConf: { enable_eni_trunking: trunking },
  });
  world = made;
  made.addNode();
  made.startReplica();
  await made.run(30_000);
  expect(made.state().cloud.enis.filter(isTrunk)).toHaveLength(isMade ? 1 : 0);
});

test('a node that leaves is not asked for again and again while the ENI of its last pod cannot be released', async () => {
  const script = new FaultScript();
  const made = new World({
    config: { leaderElection: false },
    kubeFaults: script.kubeFaults,
    onCloudCall: script.onCloudCall,
  });
  world = made;
  const { name } = made.addNode();
  made.startReplica();
  await made.until('the trunk is attached', () => made.trunkOf(name) !== undefined, 30_000);
  made.createPod({ name: 'a', nodeName: name });
  await made.until('bound', () => made.isBound('default/a'), 30_000);
  script.cloud('DetachNetworkInterface', { kind: 'refused', code: 'Forbidden.RAM', status: 403 }, 15);
  const reads = script.kubeCalls(({ verb, resource }) => verb === 'get' && /^nodes/.test(resource));
  made.deleteNode(name);
  await made.run(10 * 60_000);
  expect(made.state().nodes[0]?.metadata.deletionTimestamp).toBeDefined();
  expect(reads.length).toBeLessThan(20);
  await made.until('the record is gone', () => made.state().nodes.length === 0, 10 * 60_000);
});
