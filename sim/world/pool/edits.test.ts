import { afterEach, expect, test } from 'vitest';
import { addressesOf } from '../../../src/allocation/pool/view.ts';
import { LABEL_CONFIG, TAG_CREATOR, TAG_CREATOR_POOL } from '../../../src/crds/names.ts';
import type { CloudCall } from '../cloud-link.ts';
import { FaultScript } from '../script.ts';
import { type World, ZONE } from '../world.ts';
import {
  addresses,
  createShared,
  crowd,
  deleteRecord,
  editConfig,
  enisOf,
  inConsole,
  NODE,
  ofPool,
  poolWorld,
  recordOf,
  says,
  tells,
} from './support.ts';

/* Edits of eni_conf while pods run: each counts in the next call, or in the record, at once. */

let world: World | undefined;

afterEach(() => world?.end());

/** Seconds that an edit may take: a read of the ENI is among them. */
const AT_ONCE_MS = 5000;

/** Pods on the trunk and on one ENI of the pool, that have told their addresses. */
async function running(
  eniConf: object,
  isDualStack = false,
): Promise<{ made: World; script: FaultScript; uids: string[] }> {
  const script = new FaultScript();
  const made = await poolWorld(eniConf, { script, isDualStack });
  world = made;
  const uids = await crowd(made);
  for (const [at, uid] of uids.entries()) tells(made, `p${at}`, addresses(made).get(uid) ?? []);
  await made.until(
    'nothing is under way',
    () => (made.nodeRecord(NODE)?.status?.poolIntents ?? []).length === 0,
    60_000,
  );
  return { made, script, uids };
}

/** Pods until another ENI is made. @returns the call */
async function nextCreation(made: World, script: FaultScript): Promise<CloudCall['params']> {
  const calls = script.cloudCalls('CreateNetworkInterface');
  for (let at = 0; at < 60; at += 1) createShared(made, `more${at}`);
  await made.until('another ENI is made', () => calls.length > 0, 10_000);
  return calls[0]?.params ?? {};
}

/** vSwitches that `vswitch_selection_policy` chooses between: the second has far more addresses. */
const wide = (made: World) => made.addVSwitch('10.3.0.0/16');

interface Knob {
  name: string;
  before?: object;
  /** @returns what is edited */
  edit: (made: World) => object;
  /** What the next CreateNetworkInterface has. */
  creates: (made: World, params: CloudCall['params']) => void;
}

const KNOBS: Knob[] = [
  {
    name: 'eni_tags',
    before: { eni_tags: { team: 'a' } },
    edit: () => ({ eni_tags: { team: 'b' } }),
    creates: (_, { Tag }) => expect(Tag).toContainEqual({ Key: 'team', Value: 'b' }),
  },
  {
    name: 'resource_group_id',
    edit: () => ({ resource_group_id: 'rg-1' }),
    creates: (_, { ResourceGroupId }) => expect(ResourceGroupId).toBe('rg-1'),
  },
  {
    name: 'security_group',
    edit: (made) => ({
      security_group: made.cloud.createSecurityGroup({ vpcId: made.vpcId, name: 'b' }, made.clock.now()),
    }),
    creates: (made, params) => expect(JSON.stringify(params)).not.toContain(made.securityGroupId),
  },
  {
    name: 'vswitches',
    edit: (made) => ({ vswitches: { [ZONE]: [wide(made)] } }),
    creates: (made, { VSwitchId }) => expect([made.nodeVSwitchId, made.podVSwitchId]).not.toContain(VSwitchId),
  },
  {
    name: 'vswitch_selection_policy',
    edit: (made) => ({
      vswitch_selection_policy: 'most',
      vswitches: { [ZONE]: [...Array.from({ length: 5 }, (_, at) => made.addVSwitch(`10.2.${at}.0/24`)), wide(made)] },
    }),
    creates: (made, { VSwitchId }) => {
      const found = made.state().cloud.vSwitches.find(({ id }) => id === VSwitchId);
      expect(found?.cidrBlock).toBe('10.3.0.0/16');
    },
  },
];

test.each(KNOBS)('$name: the next ENI is made with it', async ({ before = {}, edit, creates }) => {
  const { made, script } = await running({ max_pool_size: 0, ...before });
  editConfig(made, edit(made));
  await made.run(1000);
  creates(made, await nextCreation(made, script));
});

test('a ConfigMap that the label of the node names counts for its pool, and its edits', async () => {
  const script = new FaultScript();
  const made = await poolWorld({ max_pool_size: 0 }, { script, config: { nodeConfigMaps: ['ours'] } });
  world = made;
  const data = (conf: object) => ({ eni_conf: JSON.stringify(conf) });
  made.create('configmaps', 'kube-system', {
    metadata: { name: 'ours' },
    data: data({ min_pool_size: 4, eni_tags: { team: 'b' } }),
  });
  const patch = (resource: string, namespace: string | undefined, name: string, body: object) =>
    made.kube.patch({ resource, namespace, name, subresource: '' }, 'application/merge-patch+json', body, {
      actor: 'user',
      nowMs: made.clock.now(),
    });
  const idle = () =>
    enisOf(made)
      .flatMap((eni) => addressesOf(eni))
      .filter(({ podID = '' }) => podID === '').length;
  expect(idle()).toBe(1);
  patch('nodes', undefined, NODE, { metadata: { labels: { [LABEL_CONFIG]: 'ours' } } });
  await made.until('four are idle', () => idle() === 4, AT_ONCE_MS);
  const { Tag } = await nextCreation(made, script);
  expect(Tag).toContainEqual({ Key: 'team', Value: 'b' });
  patch('configmaps', 'kube-system', 'ours', { data: data({ min_pool_size: 7 }) });
  const free = () =>
    enisOf(made)
      .flatMap((eni) => addressesOf(eni))
      .filter(({ podID = '', status }) => podID === '' && status === 'Valid').length;
  await made.until('seven are idle', () => free() >= 7, 60_000);
});

test('eni_tag_block_list: from the edit on, no pod gets an address of an ENI that it names', async () => {
  const { made, uids } = await running({ max_pool_size: 50, min_pool_size: 10, eni_tags: { team: 'a' } });
  const [blocked] = ofPool(made);
  const id = blocked?.id ?? '';
  const holders = () => addressesOf(recordOf(made, id) ?? { id, status: '' }).map(({ podUID = '' }) => podUID);
  await made.until('it has idle ones', () => holders().includes(''), 60_000);
  const before = new Set(holders());
  editConfig(made, { eni_tag_block_list: [{ key: 'team', value: 'a' }], eni_tags: { team: 'b' } });
  // The Node CR has it.
  await made.run(100);
  const later = Array.from({ length: 20 }, (_, at) => createShared(made, `later${at}`));
  await made.until('it is left alone', () => recordOf(made, id)?.unschedulable === true, AT_ONCE_MS);
  await made.until('an ENI without the tag serves', () => later.every((uid) => addresses(made).has(uid)), 30_000);
  await made.run(3 * 60_000);
  expect(holders().filter((uid) => !before.has(uid))).toEqual([]);
  for (const uid of uids) expect(addresses(made).has(uid)).toBe(true);
  editConfig(made, { eni_tag_block_list: [] });
  await made.until('it serves again', () => recordOf(made, id)?.unschedulable === undefined, AT_ONCE_MS);
});

test('eni_tag_block_list: while the cloud does not tell tags, the node says so, and pods are served when it does', async () => {
  const { made, script } = await running({ max_pool_size: 50, min_pool_size: 10 });
  let isDown = true;
  const refusal = { kind: 'refused', code: 'ServiceUnavailable', status: 503 } as const;
  script.cloud('DescribeNetworkInterfaces', refusal, 1e6, () => isDown);
  editConfig(made, { eni_tag_block_list: [{ key: 'team', value: 'other' }] });
  await made.run(100);
  const uid = createShared(made, 'later');
  const ready = () => made.nodeRecord(NODE)?.status?.conditions?.find(({ type }) => type === 'PoolReady');
  await made.until('it is said', () => ready()?.reason === 'TagsUnread', 2 * 60_000);
  expect(ready()?.status).toBe('False');
  isDown = false;
  await made.until('the pod is served', () => addresses(made).has(uid), 60_000);
  await made.until('and so is the node', () => ready()?.status === 'True', 2 * 60_000);
});

test('eni_tag_block_list: an ENI that was being made when its tag was blocked serves nobody', async () => {
  const made = await poolWorld({ eni_tags: { team: 'a' } }, { latencies: { createMs: 2000, attachMs: 2000 } });
  world = made;
  for (let at = 0; at < 35; at += 1) createShared(made, `p${at}`);
  const isAsked = () => (made.nodeRecord(NODE)?.status?.poolIntents ?? []).some(({ eniID }) => eniID === '');
  await made.until('an ENI is asked for', isAsked, 20_000);
  await made.run(200);
  editConfig(made, { eni_tag_block_list: [{ key: 'team', value: 'a' }], eni_tags: { team: 'b' } });
  await made.until('all are served', () => addresses(made).size === 35, 60_000);
  const ofBlocked = ofPool(made).filter(({ tags }) => tags['team'] === 'a');
  expect(ofBlocked).toHaveLength(1);
  const given = [...addresses(made).values()].flat();
  expect(ofBlocked.flatMap(({ ipv4 }) => ipv4).filter((ip) => given.includes(ip))).toEqual([]);
});

test('eni_tag_filter: ENIs of Terway that it leaves out serve no pod from the edit on, ours go on', async () => {
  const { made } = await running({ max_pool_size: 50 });
  const [ours] = ofPool(made);
  inConsole(made, 'CreateNetworkInterface', {
    ...{ VSwitchId: made.nodeVSwitchId, SecurityGroupId: made.securityGroupId, SecondaryPrivateIpAddressCount: '20' },
    Tag: [{ Key: TAG_CREATOR, Value: TAG_CREATOR_POOL }],
  });
  await made.run(1000);
  const id = ofPool(made).find((eni) => eni.id !== ours?.id)?.id ?? '';
  const [instance] = made.state().cloud.instances;
  inConsole(made, 'AttachNetworkInterface', { NetworkInterfaceId: id, InstanceId: instance?.id ?? '' });
  await made.run(30_000);
  deleteRecord(made);
  const isKnown = () => recordOf(made, id)?.status === 'InUse' && recordOf(made, ours?.id ?? '') !== undefined;
  await made.until('both are known', isKnown, 2 * 60_000);
  expect(recordOf(made, id)?.unschedulable).toBeUndefined();
  editConfig(made, { eni_tag_filter: { team: 'a' } });
  await made.until('it is left alone', () => recordOf(made, id)?.unschedulable === true, AT_ONCE_MS);
  expect(recordOf(made, ours?.id ?? '')?.unschedulable).toBeUndefined();
  editConfig(made, { eni_tag_filter: null });
  await made.until('it serves again', () => recordOf(made, id)?.unschedulable === undefined, AT_ONCE_MS);
});

test('ip_stack from dual to ipv4: IPv6 addresses that nobody has are given back, those of running pods stay', async () => {
  const { made, uids } = await running({ max_pool_size: 50, min_pool_size: 5 }, true);
  const ipv6 = () => enisOf(made).flatMap((eni) => addressesOf(eni, 'ipv6'));
  await made.until('some are idle', () => ipv6().some(({ podID = '' }) => podID === ''), 60_000);
  const idleIpv4 = () =>
    enisOf(made)
      .flatMap((eni) => addressesOf(eni, 'ipv4'))
      .filter(({ podID = '' }) => podID === '').length;
  const kept = idleIpv4();
  editConfig(made, { ip_stack: 'ipv4' });
  await made.until(
    'the others are given back',
    () => ipv6().every(({ podID = '', status }) => podID !== '' || status === 'Deleting'),
    AT_ONCE_MS,
  );
  expect(idleIpv4()).toBe(kept);
  const inCloud = () => made.state().cloud.enis.flatMap((eni) => eni.ipv6);
  await made.until('the cloud has no more', () => inCloud().length === uids.length, 10_000);
  // They stay in the record while a call of an earlier leader may still be on its way.
  await made.until('the record has no more', () => ipv6().length === uids.length, 60_000);
  const [uid = ''] = uids;
  made.deletePod('default/p0', 0);
  says(made, uid, 'default/p0', 'deleted');
  await made.until('that of a pod that went goes, too', () => inCloud().length === uids.length - 1, 60_000);
  const fresh = createShared(made, 'fresh');
  await made.until('a pod is served', () => addresses(made).has(fresh), 10_000);
  expect(addresses(made).get(fresh)).toHaveLength(1);
});

test('ip_stack from ipv4 to dual: pods from then on have both, those that run keep what they have', async () => {
  const { made, uids } = await running({ max_pool_size: 50, ip_stack: 'ipv4' }, true);
  editConfig(made, { ip_stack: 'dual' });
  await made.run(1000);
  const fresh = createShared(made, 'fresh');
  await made.until('a pod is served', () => addresses(made).has(fresh), 20_000);
  expect(addresses(made).get(fresh)).toHaveLength(2);
  for (const uid of uids) expect(addresses(made).get(uid)).toHaveLength(1);
});

test('multiIPGCPeriod of the configuration file counts where eni_conf has no ip_pool_sync_period', async () => {
  const made = await poolWorld({ min_pool_size: 10, max_pool_size: 50 }, { config: { multiIPGCPeriod: '20s' } });
  world = made;
  const free = () =>
    enisOf(made)
      .flatMap((eni) => addressesOf(eni))
      .filter(({ status }) => status === 'Valid').length;
  await made.until('ten are idle', () => free() >= 10, 60_000);
  await made.run(10_000);
  editConfig(made, { min_pool_size: 0, max_pool_size: 3 });
  await made.run(18_000);
  expect(free()).toBeGreaterThanOrEqual(10);
  await made.until('three are left', () => free() === 3, 5000);
});
