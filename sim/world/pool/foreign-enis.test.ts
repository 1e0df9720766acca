import { afterEach, expect, test } from 'vitest';
import { ownershipTags } from '../../../src/allocation/identity.ts';
import { TAG_CREATOR, TAG_CREATOR_POOL } from '../../../src/crds/names.ts';
import { FaultScript } from '../script.ts';
import type { World } from '../world.ts';
import {
  addresses,
  createShared,
  crowd,
  deleteRecord,
  editConfig,
  enisOf,
  inConsole,
  ofPool,
  poolWorld,
  recordOf,
  served,
  tells,
} from './support.ts';

/* ENIs that the pool did not make, and what others do to those that it made. */

let world: World | undefined;

afterEach(() => world?.end());

/** Three ENIs with 15 addresses each, the trunk among them. */
const SMALL = 'ecs.g7.xlarge';

/** Somebody makes an ENI and attaches it to the node. @returns its id */
async function attach(
  made: World,
  tags: Readonly<Record<string, string>> = {},
  params: Record<string, string> = {},
): Promise<string> {
  const before = new Set(ofPool(made).map(({ id }) => id));
  inConsole(made, 'CreateNetworkInterface', {
    VSwitchId: made.podVSwitchId,
    SecurityGroupId: made.securityGroupId,
    SecondaryPrivateIpAddressCount: '4',
    Tag: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })),
    ...params,
  });
  await made.run(1000);
  const [eni] = ofPool(made).filter(({ id }) => !before.has(id));
  const [instance] = made.state().cloud.instances;
  inConsole(made, 'AttachNetworkInterface', { NetworkInterfaceId: eni?.id ?? '', InstanceId: instance?.id ?? '' });
  const eniOf = () => made.state().cloud.enis.find(({ id }) => id === eni?.id);
  await made.until('it is in use', () => eniOf()?.status === 'InUse', 60_000);
  return eni?.id ?? '';
}

async function newRecord(made: World): Promise<void> {
  const before = made.state().nodes[0]?.metadata.uid;
  deleteRecord(made);
  const isNew = () => ![undefined, before].includes(made.state().nodes[0]?.metadata.uid);
  await made.until('there is a new record', () => isNew() && enisOf(made).length > 0, 60_000);
}

test('an ENI of somebody else has its place and gives nothing, and does not hold a node that leaves', async () => {
  const made = await poolWorld({ max_pool_size: 0 });
  world = made;
  const id = await attach(made);
  await newRecord(made);
  await made.until('it is known', () => recordOf(made, id)?.unschedulable === true, 60_000);
  await served(made, ['a', 'b', 'c']);
  await made.run(10 * 60_000);
  const had = made.state().cloud.enis.find((eni) => eni.id === id)?.ipv4;
  expect(had).toHaveLength(5);
  expect([...addresses(made).values()].flat().filter((ip) => had?.includes(ip))).toEqual([]);
  expect(recordOf(made, id)).toMatchObject({ status: 'InUse', unschedulable: true });
  made.deleteNode('node-1');
  await made.until('the record is gone', () => made.state().nodes.length === 0, 3 * 60_000);
  expect(made.state().cloud.enis.map((eni) => eni.id)).toContain(id);
});

test('an ENI of Terway that was taken over is not read again and again', async () => {
  const script = new FaultScript();
  const made = await poolWorld({ max_pool_size: 10 }, { script });
  world = made;
  const id = await attach(made, { [TAG_CREATOR]: TAG_CREATOR_POOL });
  await newRecord(made);
  await made.until('it is known', () => recordOf(made, id)?.status === 'InUse', 60_000);
  expect(recordOf(made, id)?.unschedulable).toBeUndefined();
  await made.run(3 * 60_000);
  const calls = script.cloudCalls('DescribeNetworkInterfaces');
  await made.run(10 * 60_000);
  expect(calls.filter(({ params }) => params['NetworkInterfaceId'] !== undefined)).toEqual([]);
});

test('a node whose places others have taken asks for no ENI in vain', async () => {
  const script = new FaultScript();
  const made = await poolWorld({ max_pool_size: 0 }, { script, instanceType: SMALL });
  world = made;
  await attach(made);
  await attach(made);
  const calls = script.cloudCalls('AttachNetworkInterface');
  for (let at = 0; at < 20; at += 1) createShared(made, `p${at}`);
  await made.run(3 * 60_000);
  expect(addresses(made).size).toBe(15);
  await made.run(10 * 60_000);
  expect(calls.length).toBeLessThan(10);
  expect(ofPool(made).filter(({ status }) => status !== 'InUse')).toEqual([]);
});

test('an edit of eni_tag_block_list reaches ENIs that the pool has', async () => {
  const made = await poolWorld({ max_pool_size: 5, eni_tags: { team: 'a' } });
  world = made;
  const uids = await crowd(made);
  for (const [at, uid] of uids.entries()) tells(made, `p${at}`, addresses(made).get(uid) ?? []);
  const [eni] = ofPool(made);
  const id = eni?.id ?? '';
  editConfig(made, { eni_tag_block_list: [{ key: 'team', value: 'a' }] });
  await made.until('it is left alone', () => recordOf(made, id)?.unschedulable === true, 3 * 60_000);
  editConfig(made, { eni_tag_block_list: [] });
  await made.until('it serves again', () => recordOf(made, id)?.unschedulable === undefined, 3 * 60_000);
});

test('an ENI of a pod in a namespace that is called `node` is not taken for one of the pool', async () => {
  const made = await poolWorld({ max_pool_size: 5 });
  world = made;
  await crowd(made);
  const own = ofPool(made).map(({ id }) => id);
  const { clusterId } = made.state();
  const id = await attach(made, ownershipTags({ clusterId, owner: 'node/web-0', ownerUid: 'u', clientToken: 't' }));
  await newRecord(made);
  await made.until('those of the pool are known', () => own.every((one) => recordOf(made, one) !== undefined), 60_000);
  expect(recordOf(made, id)).toBeUndefined();
});

test('an ENI for RDMA serves no pod and stays, also when somebody has detached it', async () => {
  const made = await poolWorld({ max_pool_size: 0, ip_pool_sync_period: '1s' }, { instanceType: 'ecs.g8a.xlarge' });
  world = made;
  const tags = { [TAG_CREATOR]: TAG_CREATOR_POOL };
  const id = await attach(made, tags, { NetworkInterfaceTrafficMode: 'HighPerformance' });
  await newRecord(made);
  const modeOf = () => recordOf(made, id)?.networkInterfaceTrafficMode;
  await made.until('it is known', () => modeOf() === 'HighPerformance', 60_000);
  const had = () => made.state().cloud.enis.find((eni) => eni.id === id)?.ipv4 ?? [];
  expect(had()).toHaveLength(5);
  // More than the trunk has addresses for.
  await served(
    made,
    Array.from({ length: 20 }, (_, at) => `p${at}`),
  );
  const given = () => [...addresses(made).values()].flat();
  expect(given().filter((ip) => had().includes(ip))).toEqual([]);
  made.cloud.detachEniByHand(id, made.clock.now());
  const stateOf = () => made.state().cloud.enis.find((eni) => eni.id === id)?.status;
  await made.until('it is detached', () => stateOf() === 'Available', 60_000);
  await made.until('it is attached again', () => stateOf() === 'InUse', 5 * 60_000);
  await made.run(2 * 60_000);
  expect(modeOf()).toBe('HighPerformance');
  expect(had()).toHaveLength(5);
  expect(given().filter((ip) => had().includes(ip))).toEqual([]);
});
