import { afterEach, expect, test } from 'vitest';
import type { World } from '../world.ts';
import { type LeftByTerway, leftByTerway } from './left-by-terway.ts';
import { addresses, createShared, enisOf, NODE, recordOf } from './support.ts';

/* The control plane takes over what Terway's leaves, and touches only what is not settled. */

const MINUTE_MS = 60_000;

let world: World | undefined;

afterEach(() => world?.end());

/** The objects of a cluster that Terway has run, and from now on all that the control plane does. */
function cluster(name: string) {
  const left = leftByTerway(name);
  world = left.world;
  const changes: string[] = [];
  const looks: string[] = [];
  left.world.cloud.subscribe(({ kind, action, params }) => {
    if (kind !== 'call') return;
    const ids = Object.entries(params).filter(([key]) => /^(NetworkInterfaceId|InstanceId|VlanId)/.test(key));
    if (!action.startsWith('Describe')) changes.push(action);
    else if (ids.length > 0) looks.push(`${action} ${ids.map(([, id]) => id).join(' ')}`);
  });
  const writes: { resource: string; afterMs: number }[] = [];
  const startMs = left.world.clock.now();
  left.world.kube.subscribe(({ actor, resource }) => {
    if (actor.startsWith('replica')) writes.push({ resource, afterMs: left.world.clock.now() - startMs });
  });
  left.world.startReplica();
  return { ...left, changes, looks, writes };
}

/** IPv6 addresses in the cloud. */
const inCloud = (made: World) => made.state().cloud.enis.flatMap(({ ipv6 }) => ipv6);

/** The Node CR without what only this control plane says. */
function recordIn({ world: made }: Pick<LeftByTerway, 'world'>) {
  const { metadata, spec, status = {} } = structuredClone(made.nodeRecord(NODE)) ?? {};
  const { resourceVersion: _version, ...named } = metadata ?? {};
  const { conditions: _said, observedGeneration: _generation, ...rest } = status;
  return { metadata: named, spec, status: rest };
}

test.each(['with-trunk', 'without-trunk', 'dual-stack', 'exclusive', 'old-daemon'])(
  '%s: nothing is called for, and nothing is written but conditions, once',
  async (name) => {
    const { changes, looks, writes, ...left } = cluster(name);
    const before = recordIn(left);
    await left.world.run(10 * MINUTE_MS);
    expect(changes).toEqual([]);
    expect(looks).toEqual([]);
    expect(recordIn(left)).toEqual(before);
    expect(writes.filter(({ afterMs }) => afterMs > MINUTE_MS)).toEqual([]);
    // The PodNetworkings are the world's own.
    const written = new Set(writes.map(({ resource }) => resource.split('.')[0]));
    const others = ['pods', 'podenis', 'noderuntimes', 'configmaps'];
    expect(others.filter((resource) => written.has(resource))).toEqual([]);
  },
);

test.each(['with-trunk', 'without-trunk', 'dual-stack', 'old-daemon'])(
  '%s: the next pod gets an idle address at once, and nobody else’s',
  async (name) => {
    const { world: made, changes } = cluster(name);
    const before = addresses(made);
    await made.run(5000);
    const uid = createShared(made, 'next');
    await made.until('it has an address', () => addresses(made).has(uid), 1000);
    const { [uid]: own = [], ...others } = Object.fromEntries(addresses(made));
    expect(own).toHaveLength(name === 'dual-stack' ? 2 : 1);
    expect(others).toEqual(Object.fromEntries(before));
    expect(changes).toEqual([]);
  },
);

test('attaching: the ENI that was made is attached, no other is made, and its addresses serve (#2)', async () => {
  const { world: made, changes, eniId } = cluster('attaching');
  const before = addresses(made);
  const id = eniId('eni-bp1pool2');
  await made.until('it is in use', () => recordOf(made, id)?.status === 'InUse', 20_000);
  expect(changes).toEqual(['AttachNetworkInterface']);
  expect(Object.keys(recordOf(made, id)?.ipv4 ?? {})).toEqual(['10.0.1.11', '10.0.1.12']);
  expect(addresses(made)).toEqual(before);
});

test('ipv6-texts: each address has one text from the first write on, and stays with its pod', async () => {
  const { world: made, changes, uid, eniId } = cluster('ipv6-texts');
  const expected = {
    [uid('web-0')]: ['10.0.1.1', 'fd00:10::1:1'],
    [uid('web-1')]: ['10.0.1.2', 'fd00:10::1:2'],
    [uid('web-2')]: ['10.0.1.11', 'fd00:10::1:11'],
  };
  await made.run(2000);
  expect(Object.fromEntries(addresses(made))).toEqual(expected);
  const id = eniId('eni-bp1pool2');
  await made.until('the other ENI is in use', () => recordOf(made, id)?.status === 'InUse', MINUTE_MS);
  const next = createShared(made, 'next');
  await made.until('the marked pair is gone', () => !inCloud(made).includes('fd00:10::1:3'), 2 * MINUTE_MS);
  await made.run(2 * MINUTE_MS);
  expect(Object.fromEntries(addresses(made))).toEqual({ ...expected, [next]: ['10.0.1.12', 'fd00:10::1:12'] });
  expect(Object.keys(recordOf(made, id)?.ipv6 ?? {})).toEqual(['fd00:10::1:11', 'fd00:10::1:12']);
  expect(changes.sort()).toEqual(['AttachNetworkInterface', 'UnassignIpv6Addresses', 'UnassignPrivateIpAddresses']);
  const events = made.kube.objects('events.events.k8s.io').map((event) => event['reason']);
  expect(events).not.toContain('AddressUnavailable');
});

test('deleting: what is marked goes, and nothing else', async () => {
  const { world: made, changes, eniId } = cluster('deleting');
  const before = addresses(made);
  await made.until('the ENI is gone', () => recordOf(made, eniId('eni-bp1pool2')) === undefined, MINUTE_MS);
  await made.run(5 * MINUTE_MS);
  expect(changes.sort()).toEqual(['DeleteNetworkInterface', 'DetachNetworkInterface', 'UnassignPrivateIpAddresses']);
  const kept = ['10.0.1.1', '10.0.1.2', '10.0.1.5'];
  expect(Object.keys(recordOf(made, eniId('eni-bp1pool1'))?.ipv4 ?? {})).toEqual(kept);
  expect(made.state().cloud.enis.find(({ id }) => id === eniId('eni-bp1pool1'))?.ipv4).toEqual(kept);
  expect(addresses(made)).toEqual(before);
});

test('leaving: the address of a pod whose sandbox is gone is free, any other stays bound', async () => {
  const { world: made, changes, uid } = cluster('leaving');
  await made.run(5 * MINUTE_MS);
  expect(Object.fromEntries(addresses(made))).toEqual({
    [uid('web-0')]: ['10.0.1.1'],
    'uid-gone-1': ['10.0.1.3'],
  });
  expect(changes).toEqual([]);
});

test('old-daemon: without a NodeRuntime the address of a pod that goes stays bound', async () => {
  const { world: made, uid } = cluster('old-daemon');
  await made.run(5000);
  made.deletePod('default/web-0', 0);
  await made.run(10 * MINUTE_MS);
  expect(addresses(made).get(uid('web-0'))).toEqual(['10.0.1.1']);
  expect(enisOf(made)).toHaveLength(1);
});
