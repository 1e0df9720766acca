import { afterEach, expect, test } from 'vitest';
import type { CloudCall } from '../cloud-link.ts';
import { FaultScript } from '../script.ts';
import type { World } from '../world.ts';
import { addresses, createShared, crowd, enisOf, ofPool, poolWorld, says } from './support.ts';

/* People restrict what the control plane may do in the cloud, while it is at it. */

let world: World | undefined;

afterEach(() => world?.end());

const RELEASES = [
  'UnassignPrivateIpAddresses',
  'UnassignIpv6Addresses',
  'DetachNetworkInterface',
  'DeleteNetworkInterface',
];
const OTHERS = [
  'CreateNetworkInterface',
  'AttachNetworkInterface',
  'AssignPrivateIpAddresses',
  'DescribeNetworkInterfaces',
  'DescribeVSwitches',
];

test.each(['l0', 'l1'] as const)(
  '%s in the middle of growing and giving back: what it forbids is not called, and all goes on afterwards',
  async (level) => {
    const script = new FaultScript();
    const eniConf = { max_pool_size: 0, ip_pool_sync_period: '1s' };
    const made = await poolWorld(eniConf, { script, instanceType: 'ecs.g7.4xlarge' });
    world = made;
    const uids = await crowd(made);
    const callsOf = (actions: readonly string[]): (readonly CloudCall[])[] =>
      actions.map((one) => script.cloudCalls(one));
    const releases = callsOf(RELEASES);
    const others = callsOf(OTHERS);
    const count = (calls: readonly (readonly CloudCall[])[]) => calls.flat().length;
    // More than the ENIs in use have room for come, and a few go.
    const goes = (at: number) => {
      made.deletePod(`default/p${at}`, 0);
      says(made, uids[at] ?? '', `default/p${at}`, 'deleted');
    };
    for (let at = 0; at < 6; at += 1) goes(at);
    await made.until('addresses are being given back', () => count(releases) > 0, 30_000);
    for (let at = 6; at < 12; at += 1) goes(at);
    const more = Array.from({ length: 40 }, (_, at) => createShared(made, `q${at}`));
    await made.until('an ENI is being made', () => enisOf(made).some(({ status }) => status === 'Attaching'), 30_000);
    for (const replica of made.replicas) replica.configure({ degradation: level });
    const before = { releases: count(releases), others: count(others) };
    await made.run(60_000);
    for (let at = 12; at < 18; at += 1) goes(at);
    await made.run(60_000);
    expect(count(releases)).toBe(before.releases);
    if (level === 'l0') expect(count(others)).toBe(before.others);
    else expect(more.every((uid) => addresses(made).has(uid))).toBe(true);

    for (const replica of made.replicas) replica.configure({ degradation: '' });
    const kept = [...uids.slice(18), ...more];
    const isSettled = () => kept.every((uid) => addresses(made).has(uid));
    await made.until('all have addresses', isSettled, 2 * 60_000);
    for (let at = 18; at < uids.length; at += 1) goes(at);
    for (const [at, uid] of more.entries()) {
      made.deletePod(`default/q${at}`, 0);
      says(made, uid, `default/q${at}`, 'deleted');
    }
    await made.until('everything is given back', () => ofPool(made).length === 0, 5 * 60_000);
    expect(made.violations()).toEqual([]);
  },
);
