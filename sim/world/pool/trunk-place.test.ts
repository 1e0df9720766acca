import { afterEach, expect, test } from 'vitest';
import { addressesOf, isBound } from '../../../src/allocation/pool/view.ts';
import { ANNOTATION_TRUNK_INTENT } from '../../../src/crds/names.ts';
import { FaultScript } from '../script.ts';
import { NODES, type World } from '../world.ts';
import { addresses, createShared, editConfig, enisOf, poolWorld, recordOf, says, served } from './support.ts';

/* Trunks are turned on, and off again, where the pool has all places of the instance. */

let world: World | undefined;

afterEach(() => world?.end());

/** Three ENIs with 15 addresses each besides the primary one. */
const SMALL = 'ecs.g7.xlarge';
const NO_TRUNK = { enable_eni_trunking: false, max_pool_size: 0, ip_pool_sync_period: '30s' };

const conditionOf = (made: World, type: string) =>
  made.state().nodes[0]?.status?.conditions?.find((condition) => condition.type === type);
const trunks = (made: World) => made.state().cloud.enis.filter(({ type }) => type === 'Trunk');
const smallestOf = (made: World) => enisOf(made).reduce((a, b) => (boundOf(b).length < boundOf(a).length ? b : a));
const boundOf = (eni: Parameters<typeof addressesOf>[0]) => addressesOf(eni).filter(isBound);

/** A node whose three ENIs all have pods, and which is to have no trunk. */
async function crowded(script = new FaultScript(), edit: object = {}): Promise<World> {
  const made = await poolWorld({ ...NO_TRUNK, ...edit }, { instanceType: SMALL, script });
  world = made;
  await served(
    made,
    Array.from({ length: 40 }, (_, at) => `p${at}`),
  );
  return made;
}

function end(made: World, { podID = '', podUID = '' }: { podID?: string | undefined; podUID?: string | undefined }) {
  made.deletePod(podID, 0);
  says(made, podUID, podID, 'deleted');
}

test('no trunk is made or attached in vain while the instance has no place for it', async () => {
  const script = new FaultScript();
  const made = await crowded(script);
  const smallest = smallestOf(made);
  const attachments = script.cloudCalls('AttachNetworkInterface');
  const creations = script.cloudCalls('CreateNetworkInterface');
  editConfig(made, { enable_eni_trunking: true });
  await made.until('it is said', () => conditionOf(made, 'PoolAsConfigured')?.reason === 'EniGivesWay', 2 * 60_000);
  expect(conditionOf(made, 'TrunkReady')).toMatchObject({ status: 'False', reason: 'PlaceAwaited' });
  await made.run(10 * 60_000);
  expect(trunks(made)).toEqual([]);
  expect(conditionOf(made, 'TrunkReady')).toMatchObject({ status: 'False', reason: 'PlaceAwaited' });
  for (const address of boundOf(smallest)) end(made, address);
  // The release of the place wakes the node.
  await made.until('the trunk is attached', () => made.trunkOf('node-1') !== undefined, 30_000);
  expect([creations.length, attachments.length]).toEqual([1, 1]);
  await made.until('it is recorded', () => conditionOf(made, 'TrunkReady')?.status === 'True', 10_000);
  expect(made.violations()).toEqual([]);
});

test('what comes while an ENI makes room gets addresses of the others as long as these have any', async () => {
  const made = await crowded(undefined, { ip_pool_sync_period: '10m' });
  const smallest = smallestOf(made);
  editConfig(made, { enable_eni_trunking: true });
  await made.until('it is said', () => conditionOf(made, 'PoolAsConfigured')?.reason === 'EniGivesWay', 2 * 60_000);
  const [other] = enisOf(made).filter(({ id }) => id !== smallest.id);
  for (const address of [...boundOf(other ?? smallest).slice(0, 8), ...boundOf(smallest).slice(0, 1)])
    end(made, address);
  // Then none of them rests, and the one that makes room has more pods than the other.
  await made.run(60_000);
  const uids = await served(made, ['a', 'b', 'c']);
  const holders = boundOf(recordOf(made, smallest.id) ?? smallest).map(({ podUID }) => podUID);
  expect(uids.filter((uid) => holders.includes(uid))).toEqual([]);
});

test('no pod waits for an address that an ENI which makes room has, or can get', async () => {
  const made = await crowded();
  const smallest = smallestOf(made);
  editConfig(made, { enable_eni_trunking: true });
  await made.until('it is said', () => conditionOf(made, 'PoolAsConfigured')?.reason === 'EniGivesWay', 2 * 60_000);
  await served(made, ['a', 'b', 'c', 'd', 'e']);
  expect(boundOf(recordOf(made, smallest.id) ?? smallest)).toHaveLength(15);
  const [core] = made.kube.objects('nodes');
  expect(core?.metadata.annotations?.['k8s.aliyun.com/max-available-ip']).toBe('45');
  // As a DaemonSet that is updated.
  const [address] = boundOf(smallest);
  end(made, address ?? {});
  await served(made, ['next']);
  await made.run(60_000);
  expect(conditionOf(made, 'PoolReady')).toMatchObject({ status: 'False', reason: 'NodeFull' });
  expect(conditionOf(made, 'PoolAsConfigured')?.message).toContain(smallest.id);
  // It goes all the same when there is room for its pods on the others.
  for (const bound of boundOf(recordOf(made, smallest.id) ?? smallest)) end(made, bound);
  await made.until('the trunk is attached', () => made.trunkOf('node-1') !== undefined, 60_000);
  expect(made.violations()).toEqual([]);
});

test('the ENI that is said to make room is the one that does, although another has fewer pods by now', async () => {
  const made = await crowded();
  const smallest = smallestOf(made);
  editConfig(made, { enable_eni_trunking: true });
  await made.until('it is said', () => conditionOf(made, 'PoolAsConfigured')?.reason === 'EniGivesWay', 2 * 60_000);
  const [other] = enisOf(made).filter(({ id }) => id !== smallest.id);
  for (const address of boundOf(other ?? smallest).slice(0, 10)) end(made, address);
  await made.run(2 * 60_000);
  expect(conditionOf(made, 'PoolAsConfigured')?.message).toContain(smallest.id);
  made.replicas[0]?.stop();
  made.startReplica();
  await made.run(2 * 60_000);
  expect(conditionOf(made, 'PoolAsConfigured')?.message).toContain(smallest.id);
});

test('trunks that are turned off again take the place of no ENI', async () => {
  const made = await crowded();
  editConfig(made, { enable_eni_trunking: true });
  await made.until('it is said', () => conditionOf(made, 'PoolAsConfigured')?.reason === 'EniGivesWay', 2 * 60_000);
  editConfig(made, { enable_eni_trunking: false });
  await made.until('it is taken back', () => conditionOf(made, 'PoolAsConfigured')?.status === 'True', 60_000);
  expect(conditionOf(made, 'TrunkReady')?.reason).toBe('TrunkNotSupported');
  await made.run(60_000);
  expect(made.state().nodes[0]?.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]).toBeUndefined();
  await served(made, ['a', 'b', 'c', 'd', 'e']);
  expect(addresses(made).size).toBe(45);
  expect(trunks(made)).toEqual([]);
});

test('a trunk that was never attached goes when trunks are turned off again', async () => {
  const script = new FaultScript();
  const made = await poolWorld(NO_TRUNK, { instanceType: SMALL, script });
  world = made;
  const [uid = ''] = await served(made, ['a']);
  const before = addresses(made).get(uid);
  script.cloud('AttachNetworkInterface', { kind: 'refused', code: 'Forbidden.RAM', status: 403 }, 1e6);
  editConfig(made, { enable_eni_trunking: true });
  await made.until('the trunk is refused', () => conditionOf(made, 'TrunkReady')?.reason === 'CloudError', 2 * 60_000);
  expect(trunks(made)).toHaveLength(1);
  editConfig(made, { enable_eni_trunking: false });
  await made.until('it goes', () => trunks(made).length === 0, 60_000);
  await made.run(60_000);
  expect(made.state().nodes[0]?.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]).toBeUndefined();
  expect(conditionOf(made, 'TrunkReady')?.reason).toBe('TrunkNotSupported');
  expect(addresses(made).get(uid)).toEqual(before);
  expect(made.violations()).toEqual([]);
});

test('a place that the flavor keeps for a trunk which nobody is to have is taken from no ENI', async () => {
  const made = await crowded();
  // As the daemon of Terway writes it, while the control plane makes no trunks.
  const kind = (networkInterfaceType: string, count: number) => ({
    ...{ networkInterfaceType, networkInterfaceTrafficMode: 'Standard', count },
  });
  const body = { spec: { flavor: [kind('Trunk', 1), kind('Secondary', 2)] } };
  const target = { resource: NODES, namespace: undefined, name: 'node-1', subresource: '' };
  made.kube.patch(target, 'application/merge-patch+json', body, { actor: 'user', nowMs: made.clock.now() });
  await made.run(60_000);
  expect(conditionOf(made, 'PoolAsConfigured')?.status).toBe('True');
  expect(enisOf(made)).toHaveLength(3);
  await served(made, ['a', 'b', 'c', 'd', 'e']);
});

test('an attached trunk stays when trunks are turned off', async () => {
  const made = await poolWorld({}, { instanceType: SMALL });
  world = made;
  await made.until('it is recorded', () => made.trunkOf('node-1') !== undefined, 60_000);
  const uid = createShared(made, 'a');
  await made.until('the pod has an address', () => addresses(made).has(uid), 60_000);
  editConfig(made, { enable_eni_trunking: false });
  await made.run(10 * 60_000);
  expect(trunks(made)).toMatchObject([{ status: 'InUse' }]);
  expect(conditionOf(made, 'TrunkReady')?.status).toBe('True');
});
