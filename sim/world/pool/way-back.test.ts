import { afterEach, expect, test } from 'vitest';
import { addressesOf } from '../../../src/allocation/pool/view.ts';
import { coreNodeResource } from '../../../src/cluster/resources.ts';
import { ANNOTATION_MAX_AVAILABLE_IP, TAG_CREATOR, TAG_CREATOR_POOL } from '../../../src/crds/names.ts';
import type { NodeAddress, TerwayNode } from '../../../src/crds/node.ts';
import { eventResource } from '../../../src/kubectl/resources.ts';
import { FaultScript } from '../script.ts';
import { NODERUNTIMES, type World } from '../world.ts';
import {
  addresses,
  createShared,
  crowd,
  editConfig,
  editRecord,
  enisOf,
  inConsole,
  NODE,
  ofPool,
  poolWorld,
  recordOf,
  says,
  served,
  tells,
} from './support.ts';

/* Pools are turned off, and Terway's control plane takes over and gives back. */

let world: World | undefined;

afterEach(() => world?.end());

const statusOf = (made: World): NonNullable<TerwayNode['status']> => made.nodeRecord(NODE)?.status ?? {};
const intentsOf = (made: World) => statusOf(made).poolIntents ?? [];
const coreOf = (made: World) => coreNodeResource.parse?.(made.kube.peek('nodes', { namespace: undefined, name: NODE }));

/** `status reason` of `PoolReady`. */
function readiness(made: World): string {
  const found = statusOf(made).conditions?.find(({ type }) => type === 'PoolReady');
  return `${found?.status} ${found?.reason}`;
}

/** What the pool says on the Kubernetes node. */
function saidOnNode(made: World) {
  const { metadata, status } = coreOf(made) ?? {};
  const sufficient = status?.conditions.find(({ type }) => type === 'SufficientIP')?.status;
  return [metadata?.annotations?.[ANNOTATION_MAX_AVAILABLE_IP], sufficient];
}

/** Reasons of the events about a pod. */
function toldTo(made: World, name: string): string[] {
  const all = made.kube.objects('events.events.k8s.io').map((event) => eventResource.parse?.(event));
  return all.flatMap((event) => (event?.regarding?.name === name ? [event.reason] : []));
}

const isFree = ({ podID = '', status }: NodeAddress) => podID === '' && status === 'Valid';

/** ENIs of the node that its record lacks. */
function unrecorded(made: World): string[] {
  const known = new Set(enisOf(made).map(({ id }) => id));
  return ofPool(made).flatMap(({ id }) => (known.has(id) ? [] : [id]));
}

/** Addresses that two pods have. */
function doubled(made: World): string[] {
  const all = [...addresses(made).values()].flat();
  return all.filter((ip, at) => all.indexOf(ip) !== at);
}

/** Pods that wait for an ENI whose creation was asked for. */
async function growing(made: World): Promise<string[]> {
  const uids = Array.from({ length: 40 }, (_, at) => createShared(made, `p${at}`));
  const isAsked = () => intentsOf(made).some(({ eniID }) => eniID === '');
  await made.until('an ENI is asked for', isAsked, 60_000);
  return uids;
}

const OFF = { ipam_type: null };
const SLOW = { createMs: 3000, attachMs: 4000 };

test('pools that are turned off while an ENI is being made record it, hand out nothing, and take back what they said', async () => {
  const made = await poolWorld({ max_pool_size: 5 }, { latencies: SLOW });
  world = made;
  await served(made, ['early']);
  await growing(made);
  await made.run(500);
  editConfig(made, OFF);
  await made.until('it is said', () => readiness(made) === 'False PoolOff', 5000);
  const had = addresses(made);
  expect(saidOnNode(made)).toEqual([undefined, undefined]);
  expect(statusOf(made).conditions?.map(({ type }) => type)).not.toContain('PoolAsConfigured');
  await made.until('nothing is under way', () => intentsOf(made).length === 0, 60_000);
  await made.run(60_000);
  expect(ofPool(made).length).toBeGreaterThan(0);
  expect(unrecorded(made)).toEqual([]);
  expect(ofPool(made).map(({ status }) => status)).toEqual(ofPool(made).map(() => 'InUse'));
  expect(addresses(made)).toEqual(had);
  // Pods for which the ENI was made: on nodes of our agent nobody else gives them an address.
  const [waiting = ''] = Array.from({ length: 40 }, (_, at) => `p${at}`).filter((name) => {
    const uid = made.kube.peek('pods', { namespace: 'default', name })?.metadata.uid ?? '';
    return !addresses(made).has(uid);
  });
  expect(toldTo(made, waiting)).toContain('PoolOff');
  // What others say of the node from then on is left to them.
  made.kube.patch(
    { resource: 'nodes', namespace: undefined, name: NODE, subresource: '' },
    'application/merge-patch+json',
    { metadata: { annotations: { [ANNOTATION_MAX_AVAILABLE_IP]: '7' } } },
    { actor: 'terway', nowMs: made.clock.now() },
  );
  await made.run(60_000);
  expect(saidOnNode(made)[0]).toBe('7');
  editConfig(made, { ipam_type: 'crd' });
  await made.until('all are served', () => addresses(made).size === 41, 60_000);
  await made.until('it is said', () => readiness(made) === 'True PoolServes', 60_000);
  await made.run(5000);
  expect(saidOnNode(made)).toEqual(['210', 'True']);
  expect(doubled(made)).toEqual([]);
});

test('where pools were never on, pods on a node with our agent are told, and others are left alone', async () => {
  const ours = await poolWorld({ ipam_type: null }, { hasMachine: true });
  world = ours;
  createShared(ours, 'a');
  await ours.until('the pod is told', () => toldTo(ours, 'a').includes('PoolOff'), 60_000);
  expect(readiness(ours)).toBe('False PoolOff');
  ours.end();
  const theirs = await poolWorld({ ipam_type: null }, { isAwaited: false });
  world = theirs;
  theirs.kube.patch(
    { resource: NODERUNTIMES, namespace: undefined, name: NODE, subresource: '' },
    'application/merge-patch+json',
    { metadata: { annotations: null } },
    { actor: 'user', nowMs: theirs.clock.now() },
  );
  createShared(theirs, 'a');
  await theirs.run(60_000);
  expect([toldTo(theirs, 'a'), readiness(theirs)]).toEqual([[], 'undefined undefined']);
});

test.each(['before the answer', 'after it'])(
  'an ENI that was asked for %s is recorded by the next leader, although pools are off by then',
  async (when) => {
    const made = await poolWorld({ max_pool_size: 5 }, { latencies: SLOW });
    world = made;
    await growing(made);
    const isThere = () => ofPool(made).length > 0;
    if (when === 'after it') await made.until('it is made', isThere, 10_000);
    else await made.run(100);
    made.replicas[0]?.kill();
    editConfig(made, OFF);
    made.startReplica();
    await made.until('nothing is under way', () => intentsOf(made).length === 0, 2 * 60_000);
    expect(isThere()).toBe(true);
    expect(unrecorded(made)).toEqual([]);
    expect(readiness(made)).toBe('False PoolOff');
    await made.run(20 * 60_000);
    expect(isThere()).toBe(true);
    expect(unrecorded(made)).toEqual([]);
  },
);

test('an ENI that the cloud refuses to make keeps no node from ending', async () => {
  const script = new FaultScript();
  script.cloud('CreateNetworkInterface', { kind: 'refused', code: 'Forbidden.RAM', status: 403 }, 1e6);
  const made = await poolWorld({ enable_eni_trunking: false }, { script });
  world = made;
  createShared(made, 'a');
  await made.until('an ENI is asked for', () => intentsOf(made).length > 0, 60_000);
  await made.run(20_000);
  expect(intentsOf(made)).toHaveLength(1);
  editConfig(made, OFF);
  await made.until('nothing is under way', () => intentsOf(made).length === 0, 2 * 60_000);
});

test('a restart without centralizedIPAM takes back what was said', async () => {
  const made = await poolWorld({ ipam_type: null }, { config: { centralizedIPAM: true } });
  world = made;
  await served(made, ['a']);
  expect(readiness(made)).toBe('True PoolServes');
  made.replicas[0]?.kill();
  made.startReplica('without', { centralizedIPAM: false });
  await made.until('it is said', () => readiness(made) === 'False PoolOff', 60_000);
  expect(saidOnNode(made)).toEqual([undefined, undefined]);
});

test('a restart while eni-config cannot be read says so, and takes nothing back', async () => {
  const made = await poolWorld({ max_pool_size: 5 });
  world = made;
  await served(made, ['a']);
  made.replicas[0]?.kill();
  editConfig(made, { security_group: '' });
  made.startReplica();
  await made.until('it is said', () => readiness(made) === 'False ConfigError', 60_000);
  expect(saidOnNode(made)).toEqual(['210', 'True']);
  editConfig(made, { security_group: made.securityGroupId });
  await made.until('it serves', () => readiness(made) === 'True PoolServes', 60_000);
});

test('without poolGrowth a node ends what it asked for, hands out what is idle, and asks for nothing', async () => {
  const script = new FaultScript();
  const made = await poolWorld({ max_pool_size: 50 }, { latencies: SLOW, script });
  world = made;
  await growing(made);
  await made.run(200);
  const [replica] = made.replicas;
  const creations = script.cloudCalls('CreateNetworkInterface');
  const assignments = script.cloudCalls('AssignPrivateIpAddresses');
  replica?.configure({ poolGrowth: false });
  const asked = intentsOf(made).length;
  await made.until('nothing is under way', () => intentsOf(made).length === 0, 60_000);
  await made.run(1000);
  for (let at = 0; at < 60; at += 1) createShared(made, `late${at}`);
  await made.run(60_000);
  expect(intentsOf(made)).toEqual([]);
  expect(creations.length + assignments.length).toBeLessThanOrEqual(asked);
  const idle = enisOf(made).flatMap((eni) => addressesOf(eni).filter(isFree));
  expect(idle).toEqual([]);
  expect(readiness(made)).toBe('False PoolGrowthOff');
  expect(toldTo(made, 'late59')).toContain('PoolGrowthOff');
  replica?.configure({ poolGrowth: true });
  await made.until('all are served', () => addresses(made).size === 100, 60_000);
});

test('Terway takes over and gives back: no address is doubled, and no ENI is lost', async () => {
  const made = await poolWorld({ max_pool_size: 10, min_pool_size: 3 });
  world = made;
  const uids = await crowd(made);
  const idleEni = () => enisOf(made).find((eni) => addressesOf(eni).some(isFree));
  await made.until('some are idle', () => idleEni() !== undefined, 60_000);
  for (const [at, uid] of uids.entries()) tells(made, `p${at}`, addresses(made).get(uid) ?? []);
  await made.until('nothing is under way', () => intentsOf(made).length === 0, 60_000);
  made.replicas[0]?.kill();

  // Terway keeps what it knows of a record, gives a free address to a new pod and one that came free to another, and makes an ENI.
  const [gone = ''] = uids;
  const [freed = ''] = addresses(made).get(gone) ?? [];
  says(made, gone, 'default/p0', 'deleted');
  made.deletePod('default/p0', 0);
  const heir = createShared(made, 'heir');
  const newcomer = createShared(made, 'newcomer');
  const holder = enisOf(made).find((eni) => eni.ipv4?.[freed] !== undefined);
  const roomy = idleEni();
  const idle = addressesOf(roomy ?? { id: '', status: '' }).find(isFree)?.ip ?? '';
  inConsole(made, 'CreateNetworkInterface', {
    ...{ VSwitchId: made.nodeVSwitchId, SecurityGroupId: made.securityGroupId, SecondaryPrivateIpAddressCount: '2' },
    Tag: [{ Key: TAG_CREATOR, Value: TAG_CREATOR_POOL }],
  });
  await made.run(1000);
  const theirs = ofPool(made).find(({ id }) => recordOf(made, id) === undefined);
  const [instance] = made.state().cloud.instances;
  inConsole(made, 'AttachNetworkInterface', { NetworkInterfaceId: theirs?.id ?? '', InstanceId: instance?.id ?? '' });
  await made.run(20_000);
  const eni = ofPool(made).find(({ id }) => id === theirs?.id);
  const ipv4 = (eni?.ipv4 ?? []).map((ip, at) => [ip, { ip, primary: at === 0, status: 'Valid' }]);
  const bind = (ip: string, name: string, podUID: string) => ({ [ip]: { podID: `default/${name}`, podUID } });
  editRecord(made, {
    poolIntents: null,
    conditions: null,
    warmUpCompleted: null,
    networkInterfaces: {
      [holder?.id ?? '']: { ipv4: bind(freed, 'heir', heir) },
      [eni?.id ?? '']: {
        ...{ id: eni?.id, status: 'InUse', macAddress: eni?.macAddress, vSwitchID: eni?.vSwitchId },
        ...{ networkInterfaceType: 'Secondary', networkInterfaceTrafficMode: 'Standard', ipv4CIDR: '10.0.0.0/16' },
        primaryIPAddress: eni?.ipv4[0],
        ipv4: Object.fromEntries(ipv4),
      },
    },
  });
  editRecord(made, { networkInterfaces: { [roomy?.id ?? '']: { ipv4: bind(idle, 'newcomer', newcomer) } } });
  tells(made, 'heir', [freed]);
  tells(made, 'newcomer', [idle]);
  const before = addresses(made);

  made.startReplica();
  const later = Array.from({ length: 20 }, (_, at) => createShared(made, `later${at}`));
  await made.until('all have addresses', () => later.every((uid) => addresses(made).has(uid)), 2 * 60_000);
  await made.run(20 * 60_000);
  for (const [uid, ips] of before) expect(addresses(made).get(uid)).toEqual(ips);
  expect(before.get(heir)).toEqual([freed]);
  expect(doubled(made)).toEqual([]);
  expect(unrecorded(made)).toEqual([]);
  expect(made.violations()).toEqual([]);
});
