import { afterEach, expect, test } from 'vitest';
import { addressesOf, isBound, isIdle } from '../../../src/allocation/pool/view.ts';
import type { NodeAddress } from '../../../src/crds/node.ts';
import type { WiringChange } from '../node/kernel.ts';
import type { World } from '../world.ts';
import { editConfig, enisOf, NODE, poolWorld } from './support.ts';

/*
 * What Terway's own acceptance tests demand of shared ENIs, with their figures: control plane and agents of the product, on
 * virtual time. What is not here is in docs/design/pool.md.
 */

const MINUTE_MS = 60_000;

let world: World | undefined;

afterEach(() => world?.end());

/** A node with an agent, of a cluster with this `eni_conf`. */
async function cluster(eniConf: object): Promise<World> {
  const made = await poolWorld(eniConf, { hasMachine: true, tellsAddresses: true });
  world = made;
  return made;
}

function addresses(made: World): NodeAddress[] {
  return enisOf(made).flatMap((eni) => addressesOf(eni));
}

const idle = (made: World) => addresses(made).filter(isIdle);

/** Secondary addresses that the cloud has on the shared ENIs of the node. */
const secondary = (made: World) =>
  made.state().cloud.enis.flatMap(({ type, ipv4 }) => (type === 'Primary' ? [] : ipv4.slice(1)));

const names = (count: number) => Array.from({ length: count }, (_, at) => `p${at}`);

/** Creates pods and waits until the sandbox of each has its network. @returns how long that took */
async function start(made: World, count: number): Promise<number> {
  for (const name of names(count)) made.createPod({ name, nodeName: NODE, networking: 'none' });
  const running = () => made.machines.get(NODE)?.runtime.sandboxes.filter(({ state }) => state === 'running') ?? [];
  return made.until('all run', () => running().length === count, 2 * MINUTE_MS);
}

async function stop(made: World, count: number): Promise<void> {
  for (const name of names(count)) made.deletePod(`default/${name}`);
  await made.until('all are free', () => !addresses(made).some(isBound), MINUTE_MS);
}

/** The number of idle addresses, each second. */
async function counts(made: World, ms: number): Promise<number[]> {
  const found: number[] = [];
  for (let at = 0; at < ms; at += 1000) {
    await made.run(1000);
    found.push(idle(made).length);
  }
  return found;
}

test('max_pool_size 0 and min_pool_size 0: every idle secondary address is gone within five minutes', async () => {
  const made = await cluster({ max_pool_size: 10, min_pool_size: 10 });
  await made.until('the pool is filled', () => idle(made).length >= 10, MINUTE_MS);
  editConfig(made, { max_pool_size: 0, min_pool_size: 0, ip_pool_sync_period: '30s' });
  await made.run(5 * MINUTE_MS);
  expect(idle(made).filter(({ primary }) => !primary)).toEqual([]);
  expect(secondary(made)).toEqual([]);
});

test('max_pool_size 5 and min_pool_size 5: five addresses are idle within five minutes', async () => {
  const made = await cluster({ max_pool_size: 5, min_pool_size: 5 });
  await made.run(5 * MINUTE_MS);
  expect(idle(made)).toHaveLength(5);
});

test('ip_pool_sync_period 5m: nothing is released in the first four minutes', async () => {
  const made = await cluster({ max_pool_size: 0, min_pool_size: 0, ip_pool_sync_period: '5m' });
  await start(made, 5);
  await stop(made, 5);
  const before = secondary(made).length;
  await made.run(4 * MINUTE_MS);
  expect(secondary(made)).toHaveLength(before);
  await made.run(2 * MINUTE_MS);
  expect(secondary(made)).toEqual([]);
});

test('idle_ip_reclaim: a pool of ten falls to its minimum of three, and never below', async () => {
  const made = await cluster({ max_pool_size: 10, min_pool_size: 10, ip_pool_sync_period: '30s' });
  await made.until('the pool is filled', () => idle(made).length === 10, MINUTE_MS);
  editConfig(made, {
    ...{ min_pool_size: 3, idle_ip_reclaim_after: '2m' },
    ...{ idle_ip_reclaim_interval: '30s', idle_ip_reclaim_batch_size: 3 },
  });
  const found = await counts(made, 10 * MINUTE_MS);
  expect(found[0]).toBe(10);
  expect(Math.min(...found)).toBe(3);
  expect(found.at(-1)).toBe(3);
  // The timer leaves the record with the last address that goes.
  expect(made.nodeRecord(NODE)?.status?.nextIdleIPReclaimTime).toBeUndefined();
});

test('idle_ip_reclaim_batch_size 2 and an interval of a minute: at most two go in each', async () => {
  const made = await cluster({ max_pool_size: 10, min_pool_size: 10, ip_pool_sync_period: '30s' });
  await made.until('the pool is filled', () => idle(made).length === 10, MINUTE_MS);
  editConfig(made, {
    ...{ min_pool_size: 0, idle_ip_reclaim_after: '1m' },
    ...{ idle_ip_reclaim_interval: '1m', idle_ip_reclaim_batch_size: 2 },
  });
  const found = await counts(made, 10 * MINUTE_MS);
  const falls = found.slice(60).map((count, at) => (found[at] ?? 0) - count);
  expect(Math.max(...falls)).toBe(2);
  expect(found.at(-1)).toBeLessThanOrEqual(1);
});

test('ip_warm_up_size 10 with a pool of 1 to 20: ten addresses, once', async () => {
  const made = await cluster({ ip_warm_up_size: 10, max_pool_size: 20, min_pool_size: 1 });
  await made.run(MINUTE_MS);
  expect(made.nodeRecord(NODE)?.status).toMatchObject({ warmUpTarget: 10, warmUpCompleted: true });
  expect(addresses(made).length).toBeGreaterThanOrEqual(10);
});

test('ip_warm_up_size 10 with max_pool_size 5: ten are asked for all the same, and the surplus goes', async () => {
  const made = await cluster({ ip_warm_up_size: 10, max_pool_size: 5, min_pool_size: 0, ip_pool_sync_period: '30s' });
  await made.run(5 * MINUTE_MS);
  const { status } = made.nodeRecord(NODE) ?? {};
  expect(status?.warmUpAllocatedCount).toBeGreaterThanOrEqual(10);
  expect(status).toMatchObject({ warmUpTarget: 10, warmUpCompleted: true });
  expect(idle(made)).toHaveLength(5);
});

test('30 pods at once, with a pool of 0 to 5: one call for addresses, no new ENI, and all run within two seconds', async () => {
  const made = await cluster({ max_pool_size: 5, min_pool_size: 0 });
  const calls: string[] = [];
  made.cloud.subscribe(({ action }) => calls.push(action));
  expect(await start(made, 30)).toBeLessThan(2000);
  expect(calls.filter((action) => action === 'AssignPrivateIpAddresses')).toHaveLength(1);
  expect(calls).not.toContain('CreateNetworkInterface');
});

test('30 pods at once, with a pool of 30: all run within a second', async () => {
  const made = await cluster({ max_pool_size: 30, min_pool_size: 30 });
  await made.until('the pool is filled', () => idle(made).length >= 30, MINUTE_MS);
  expect(await start(made, 30)).toBeLessThan(1000);
});

test('pods beyond one ENI get the addresses of a second one', async () => {
  const made = await cluster({ max_pool_size: 0, min_pool_size: 0 });
  await start(made, 35);
  const used = made.state().cloud.enis.filter(({ type, ipv4 }) => type !== 'Primary' && ipv4.length > 1);
  expect(used.length).toBeGreaterThanOrEqual(2);
});

test('a rolling upgrade leaves the network of running pods alone', async () => {
  const made = await cluster({ max_pool_size: 5, min_pool_size: 0 });
  await start(made, 10);
  const machine = made.machines.get(NODE);
  const changes: WiringChange[] = [];
  machine?.kernel.subscribe((change) => changes.push(change));
  const before = addresses(made).filter(isBound);
  machine?.replaceAgent();
  made.replicas[0]?.kill();
  made.startReplica();
  await made.run(5 * MINUTE_MS);
  expect(changes).toEqual([]);
  expect(addresses(made).filter(isBound)).toEqual(before);
});
