import { afterEach, expect, test } from 'vitest';
import { addressesOf, isBound } from '../../../src/allocation/pool/view.ts';
import {
  ANNOTATION_TRUNK_INTENT,
  ANNOTATION_TRUNK_ON,
  RESOURCE_MEMBER_ENI,
  TAG_CREATOR,
  TAG_CREATOR_POOL,
} from '../../../src/crds/names.ts';
import { NODES, type World } from '../world.ts';
import {
  addresses,
  createShared,
  editConfig,
  editRecord,
  enisOf,
  inConsole,
  LATE_RECORDS,
  poolWorld,
  says,
  served,
} from './support.ts';

/* The trunk and the pool of its node. */

let world: World | undefined;

afterEach(() => world?.end());

/** Three ENIs with 15 addresses each besides the primary one. */
const SMALL = 'ecs.g7.xlarge';

const conditionOf = (made: World, type: string) =>
  made.state().nodes[0]?.status?.conditions?.find((condition) => condition.type === type);

test('one ENI makes room for a trunk where the pool has all places, and pods keep their addresses', async () => {
  const made = await poolWorld(
    { enable_eni_trunking: false, max_pool_size: 0, ip_pool_sync_period: '30s' },
    { instanceType: SMALL },
  );
  world = made;
  await served(
    made,
    Array.from({ length: 40 }, (_, at) => `p${at}`),
  );
  const before = addresses(made);
  const smallest = enisOf(made).reduce((a, b) => (boundOf(b).length < boundOf(a).length ? b : a));
  editConfig(made, { enable_eni_trunking: true });
  await made.until('it is said', () => conditionOf(made, 'PoolAsConfigured')?.reason === 'EniGivesWay', 2 * 60_000);
  expect(conditionOf(made, 'PoolAsConfigured')?.message).toContain(smallest.id);
  await made.run(10 * 60_000);
  expect(addresses(made)).toEqual(before);
  expect(made.trunkOf('node-1')).toBeUndefined();
  for (const { podID = '', podUID = '' } of boundOf(smallest)) {
    made.deletePod(podID, 0);
    says(made, podUID, podID, 'deleted');
  }
  await made.until('the trunk is attached', () => made.trunkOf('node-1') !== undefined, 5 * 60_000);
  await made.until('all is as configured', () => conditionOf(made, 'PoolAsConfigured')?.status === 'True', 60_000);
  const gone = new Set(boundOf(smallest).map(({ podUID = '' }) => podUID));
  expect(addresses(made)).toEqual(new Map([...before].filter(([uid]) => !gone.has(uid))));
  expect(made.violations()).toEqual([]);
});

function boundOf(eni: Parameters<typeof addressesOf>[0]) {
  return addressesOf(eni).filter(isBound);
}

test('pods that come while a detached trunk is being attached do not keep the node controller from seeing it', async () => {
  const options = {
    latencies: { attachMs: 10_000 },
    kubeFaults: LATE_RECORDS,
    config: { collector: { interval: '15s' } },
  };
  const made = await poolWorld({ max_pool_size: 0 }, options);
  world = made;
  await made.run(60_000);
  const trunkId = made.trunkOf('node-1') ?? '';
  const statusOf = () => made.state().cloud.enis.find(({ id }) => id === trunkId)?.status;
  made.cloud.detachEniByHand(trunkId, made.clock.now());
  const uids: string[] = [];
  // Calls for addresses of the trunk, so that the pool does not count what it shows as detached.
  while (statusOf() !== 'Attaching' && uids.length < 25) {
    uids.push(createShared(made, `p${uids.length}`));
    await made.run(1000);
  }
  expect(statusOf()).toBe('Attaching');
  // Then what is seen of it during the attachment would count.
  await made.run(8500);
  uids.push(createShared(made, 'next'));
  await made.until('it is in use', () => statusOf() === 'InUse', 60_000);
  const isServed = () => uids.every((uid) => addresses(made).has(uid));
  await made.until('the pods have addresses', isServed, 60_000);
  expect(made.nodeRecord('node-1')?.status?.networkInterfaces?.[trunkId]?.status).toBe('InUse');
  expect(conditionOf(made, 'TrunkReady')?.status).toBe('True');
  made.createPod({ name: 'member', nodeName: 'node-1' });
  await made.until('it has a member', () => made.isBound('default/member'), 2 * 60_000);
});

test.each([
  ['detached is attached again', false],
  ['deleted is replaced', true],
])('a trunk of Terway that somebody has %s', async (_, isDeleted) => {
  const made = await poolWorld({});
  world = made;
  const trunkId = made.trunkOf('node-1') ?? '';
  asOfTerway(made, trunkId);
  const [uid = ''] = await served(made, ['a']);
  const before = addresses(made).get(uid);
  await made.run(5 * 60_000);
  const [instance] = made.state().cloud.instances;
  inConsole(made, 'DetachNetworkInterface', { NetworkInterfaceId: trunkId, InstanceId: instance?.id ?? '' });
  const statusOf = (id: string) => made.state().cloud.enis.find((eni) => eni.id === id)?.status;
  await made.until('it is detached', () => statusOf(trunkId) === 'Available', 10_000);
  if (isDeleted) inConsole(made, 'DeleteNetworkInterface', { NetworkInterfaceId: trunkId });
  const trunks = () => made.state().cloud.enis.filter(({ type, status }) => type === 'Trunk' && status === 'InUse');
  await made.until('there is a trunk', () => trunks().length === 1, 5 * 60_000);
  await made.run(60_000);
  expect(trunks().map(({ id }) => id === trunkId)).toEqual([!isDeleted]);
  expect(made.trunkOf('node-1')).toBe(trunks()[0]?.id);
  if (!isDeleted) expect(addresses(made).get(uid)).toEqual(before);
});

test.each([
  ['is not made again where the configuration asks for none', { enable_eni_trunking: false }, 0],
  ['is replaced, although its record lacks the vSwitch', {}, 1],
])('a trunk of Terway that somebody has deleted %s', async (_, edit, count) => {
  // It is not seen while it is detached and not deleted yet.
  const made = await poolWorld({}, { config: { collector: { interval: '5m' } } });
  world = made;
  const trunkId = made.trunkOf('node-1') ?? '';
  asOfTerway(made, trunkId);
  editConfig(made, edit);
  await made.run(60_000);
  const [instance] = made.state().cloud.instances;
  inConsole(made, 'DetachNetworkInterface', { NetworkInterfaceId: trunkId, InstanceId: instance?.id ?? '' });
  const trunks = () => made.state().cloud.enis.filter(({ type }) => type === 'Trunk');
  await made.run(10_000);
  inConsole(made, 'DeleteNetworkInterface', { NetworkInterfaceId: trunkId });
  if (count === 1) editRecord(made, { networkInterfaces: { [trunkId]: { vSwitchID: '' } } });
  const isForgotten = () => enisOf(made).every(({ id }) => id !== trunkId);
  await made.until('it is forgotten', isForgotten, 10 * 60_000);
  await made.run(5 * 60_000);
  expect(trunks()).toHaveLength(count);
  expect(conditionOf(made, 'TrunkReady')).toMatchObject(
    count === 1 ? { status: 'True' } : { status: 'False', reason: 'TrunkNotSupported' },
  );
  const [core] = made.kube.objects('nodes');
  expect(core?.metadata.annotations?.[ANNOTATION_TRUNK_ON]).toBe(trunks()[0]?.id);
  expect(core?.['status']).toMatchObject({ allocatable: { [RESOURCE_MEMBER_ENI]: count === 1 ? '112' : '0' } });
});

/** As Terway's control plane leaves a trunk: with a tag of its own, and without an intent. */
function asOfTerway(made: World, trunkId: string): void {
  const id = { ResourceId: [trunkId], ResourceType: 'eni' };
  inConsole(made, 'UntagResources', { ...id, All: 'true' });
  inConsole(made, 'TagResources', { ...id, Tag: [{ Key: TAG_CREATOR, Value: TAG_CREATOR_POOL }] });
  const target = { resource: NODES, namespace: undefined, name: 'node-1', subresource: '' };
  const body = { metadata: { annotations: { [ANNOTATION_TRUNK_INTENT]: null } } };
  made.kube.patch(target, 'application/merge-patch+json', body, { actor: 'user', nowMs: made.clock.now() });
}
