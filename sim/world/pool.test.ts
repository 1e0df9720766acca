import { afterEach, expect, test } from 'vitest';
import * as z from 'zod';
import { addressesOf } from '../../src/allocation/pool/view.ts';
import { ANNOTATION_REPORTS_RELEASE } from '../../src/crds/names.ts';
import { says } from './pool/support.ts';
import { FaultScript } from './script.ts';
import { NODERUNTIMES, NODES, World } from './world.ts';

/* Ordinary pods share the ENIs of their node. */

let world: World | undefined;

afterEach(() => world?.end());

async function cluster(pool: object, script = new FaultScript()): Promise<World> {
  const made = new World({
    config: { leaderElection: false },
    eniConf: { ipam_type: 'crd', ...pool },
    onCloudCall: script.onCloudCall,
  });
  world = made;
  const { name } = made.addNode();
  made.create(NODERUNTIMES, undefined, {
    metadata: { name, annotations: { [ANNOTATION_REPORTS_RELEASE]: 'true' } },
    spec: {},
  });
  made.startReplica();
  await made.until('the trunk is attached', () => made.trunkOf(name) !== undefined, 60_000);
  return made;
}

/** Addresses of each pod of the node, by uid. */
function addresses(made: World): Map<string, string[]> {
  const enis = made.state().nodes.flatMap(({ status }) => Object.values(status?.networkInterfaces ?? {}));
  const bound = enis.flatMap((eni) => addressesOf(eni)).filter(({ podUID = '' }) => podUID !== '');
  return new Map(
    [...Map.groupBy(bound, ({ podUID = '' }) => podUID)].map(([uid, all]) => [uid, all.map(({ ip }) => ip)]),
  );
}

/** The kubelet tells what a pod has. */
function tellsAddress(made: World, uid: string, ips: readonly string[]): void {
  const pod = made.kube.objects('pods').find(({ metadata }) => metadata.uid === uid);
  const target = { resource: 'pods', namespace: 'default', name: pod?.metadata.name ?? '', subresource: 'status' };
  const status = { podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) };
  made.kube.patch(target, 'application/merge-patch+json', { status }, { actor: 'kubelet', nowMs: made.clock.now() });
}

test('pods of a node get addresses of its ENIs, and give them back', async () => {
  const made = await cluster({ max_pool_size: 0, min_pool_size: 0, ip_pool_sync_period: '30s' });
  const pods = ['a', 'b', 'c'].map((name) => made.createPod({ name, nodeName: 'node-1', networking: 'none' }));
  const uids = pods.map(({ metadata }) => metadata.uid);
  await made.until('all have addresses', () => uids.every((uid) => addresses(made).get(uid)?.length === 1), 20_000);
  expect(new Set([...addresses(made).values()].flat()).size).toBe(3);
  for (const name of ['a', 'b', 'c']) made.deletePod(`default/${name}`, 0);
  await made.run(5000);
  expect(addresses(made).size).toBe(3);
  for (const [at, uid] of uids.entries()) says(made, uid, `default/${'abc'[at]}`, 'deleted');
  await made.until('all are free', () => addresses(made).size === 0, 5000);
  await made.run(5 * 60_000);
  const held = made.state().cloud.enis.flatMap(({ type, ipv4 }) => (type === 'Primary' ? [] : ipv4));
  expect(held).toHaveLength(1);
  expect(made.violations()).toEqual([]);
});

/** More pods than the trunk has addresses for, so that there is an ENI of the pool; all have addresses. */
async function crowded(): Promise<World> {
  const made = await cluster({ max_pool_size: 5, min_pool_size: 0 });
  const pods = Array.from({ length: 35 }, (_, at) => `p${at}`);
  const uids = pods.map((name) => made.createPod({ name, nodeName: 'node-1', networking: 'none' }).metadata.uid);
  const has = (uid: string) => addresses(made).get(uid)?.length === 1;
  await made.until('all have addresses', () => uids.every(has), 60_000);
  return made;
}

const ofPool = (made: World) => made.state().cloud.enis.filter(({ type }) => type === 'Secondary');

test('the ENIs of a node that leaves are released before its record goes (#20)', async () => {
  const made = await crowded();
  expect(ofPool(made)).not.toEqual([]);
  made.deleteNode('node-1');
  await made.until('the record is gone', () => made.state().nodes.length === 0, 3 * 60_000);
  expect(made.state().cloud.enis.filter(({ type }) => type !== 'Primary')).toEqual([]);
});

test('a node that leaves while an ENI is being made leaves none behind (#1)', async () => {
  const made = await cluster({ max_pool_size: 5, min_pool_size: 0 });
  const pods = Array.from({ length: 35 }, (_, at) => `p${at}`);
  for (const name of pods) made.createPod({ name, nodeName: 'node-1', networking: 'none' });
  await made.until('it is asked for', () => made.state().nodes.some(({ status }) => status?.poolIntents?.length), 5000);
  made.deleteNode('node-1');
  await made.until('the record is gone', () => made.state().nodes.length === 0, 5 * 60_000);
  expect(made.state().cloud.enis.filter(({ type }) => type !== 'Primary')).toEqual([]);
});

test('a record that somebody deletes comes back with its ENIs, and pods keep their addresses', async () => {
  const made = await crowded();
  const before = addresses(made);
  const known = ofPool(made).map(({ id }) => id);
  const [eni] = ofPool(made);
  for (const [at, uid] of [...before.keys()].entries()) says(made, uid, `default/p${at}`, 'initial');
  made.kube.delete(
    { resource: NODES, namespace: undefined, name: 'node-1', subresource: '' },
    {},
    { actor: 'user', nowMs: made.clock.now() },
  );
  await made.until(
    'there is a new record',
    () => made.state().nodes[0]?.metadata.deletionTimestamp === undefined,
    60_000,
  );
  await made.until('it knows the ENI', () => recordOf(made, eni?.id ?? '')?.status === 'InUse', 60_000);
  made.createPod({ name: 'new', nodeName: 'node-1', networking: 'none' });
  await made.run(10_000);
  // Nobody knows yet which addresses are free.
  expect(addresses(made).size).toBe(0);
  for (const [uid, ips] of before) tellsAddress(made, uid, ips);
  await made.until('all have addresses', () => addresses(made).size === 36, 60_000);
  for (const [uid, ips] of before) expect(addresses(made).get(uid)).toEqual(ips);
  expect(ofPool(made).map(({ id }) => id)).toEqual(known);
});

const recordOf = (made: World, eniId: string) => made.state().nodes[0]?.status?.networkInterfaces?.[eniId];

test('an ENI that somebody detaches is attached again, with the addresses of its pods', async () => {
  const made = await crowded();
  const before = addresses(made);
  const [eni] = ofPool(made);
  made.cloud.detachEniByHand(eni?.id ?? '', made.clock.now());
  await made.until('it is known', () => recordOf(made, eni?.id ?? '')?.status === 'Attaching', 15 * 60_000);
  await made.until('it is in use', () => recordOf(made, eni?.id ?? '')?.status === 'InUse', 60_000);
  expect(addresses(made)).toEqual(before);
});

test('an ENI that somebody deletes gives nothing any more, and its record goes after its last pod', async () => {
  const made = await crowded();
  for (const [uid, ips] of addresses(made)) tellsAddress(made, uid, ips);
  const [eni] = ofPool(made);
  const id = eni?.id ?? '';
  made.cloud.deleteEniByHand(id, made.clock.now());
  await made.until('it is known', () => recordOf(made, id)?.status === 'Deleting', 15 * 60_000);
  const lost = Object.values(recordOf(made, id)?.ipv4 ?? {});
  expect(lost.length).toBeGreaterThan(0);
  expect(lost.every(({ status }) => status === 'Invalid')).toBe(true);
  for (const { podID = '', podUID = '' } of lost) {
    made.deletePod(podID, 0);
    says(made, podUID, podID, 'deleted');
  }
  await made.until('it is gone', () => recordOf(made, id) === undefined, 60_000);
});

test('an edit of the security groups reaches the ENIs in use', async () => {
  const made = await crowded();
  const groups = [made.cloud.createSecurityGroup({ vpcId: made.vpcId, name: 'edited' }, made.clock.now())];
  const target = { resource: 'configmaps', namespace: 'kube-system', name: 'eni-config', subresource: '' };
  const [config] = made.kube.objects('configmaps');
  const data = z.object({ eni_conf: z.string() }).parse(config?.['data']);
  const eniConf = { ...z.looseObject({}).parse(JSON.parse(data.eni_conf)), security_group: groups[0] };
  const edit = { data: { eni_conf: JSON.stringify(eniConf) } };
  made.kube.patch(target, 'application/merge-patch+json', edit, { actor: 'user', nowMs: made.clock.now() });
  const ofEnis = () => ofPool(made).map(({ securityGroupIds }) => securityGroupIds);
  const haveThem = () => ofEnis().every((ids) => JSON.stringify(ids) === JSON.stringify(groups));
  await made.until('the ENIs have them', haveThem, 60_000);
  const [eni] = ofPool(made);
  await made.until('it is recorded', () => recordOf(made, eni?.id ?? '')?.securityGroupIDs?.[0] === groups[0], 60_000);
});

test('refused addresses are not asked for without end, and other ENIs are tried', async () => {
  const script = new FaultScript();
  script.cloud(
    'AssignPrivateIpAddresses',
    { kind: 'refused', code: 'InvalidOperation.Ipv4CountExceeded', status: 400 },
    1e6,
  );
  const made = await cluster({ max_pool_size: 0 }, script);
  const calls: string[] = [];
  made.cloud.subscribe(({ action }) => calls.push(action));
  const uids = ['a', 'b', 'c'].map(
    (name) => made.createPod({ name, nodeName: 'node-1', networking: 'none' }).metadata.uid,
  );
  await made.until('all have addresses', () => uids.every((uid) => addresses(made).has(uid ?? '')), 60_000);
  await made.run(5 * 60_000);
  expect(calls.filter((action) => action === 'AssignPrivateIpAddresses').length).toBeLessThan(10);
});

test('an ENI is asked for addresses less and less often while it is refused them', async () => {
  const script = new FaultScript();
  const isFull = { kind: 'refused', code: 'InvalidOperation.Ipv4CountExceeded', status: 400 } as const;
  script.cloud('AssignPrivateIpAddresses', isFull, 1e6);
  const made = await cluster({ max_pool_size: 0 }, script);
  script.cloud('CreateNetworkInterface', { kind: 'refused', code: 'InvalidVSwitchId.IpNotEnough', status: 403 }, 1e6);
  const calls = script.cloudCalls('AssignPrivateIpAddresses');
  for (const name of ['a', 'b']) made.createPod({ name, nodeName: 'node-1', networking: 'none' });
  await made.run(5 * 60_000);
  // At once, and after 15, 45, 105 and 225 s.
  expect(calls).toHaveLength(5);
});

test('an ENI that a restored record lacks is taken in, not released', async () => {
  const made = await crowded();
  const [eni] = ofPool(made);
  const id = eni?.id ?? '';
  const before = addresses(made);
  const target = { resource: NODES, namespace: undefined, name: 'node-1', subresource: 'status' };
  const lost = { status: { networkInterfaces: { [id]: null } } };
  made.kube.patch(target, 'application/merge-patch+json', lost, { actor: 'user', nowMs: made.clock.now() });
  for (const [uid, ips] of before) tellsAddress(made, uid, ips);
  await made.until('it is recorded', () => recordOf(made, id)?.status === 'InUse', 30 * 60_000);
  await made.until('all have their addresses', () => addresses(made).size === before.size, 60_000);
  expect(addresses(made)).toEqual(before);
  expect(ofPool(made).map((one) => one.id)).toContain(id);
});
