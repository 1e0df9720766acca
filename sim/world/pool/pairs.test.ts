import { afterEach, expect, test } from 'vitest';
import { addressesOf, isBound } from '../../../src/allocation/pool/view.ts';
import { FaultScript } from '../script.ts';
import type { World } from '../world.ts';
import { addresses, createShared, enisOf, ofPool, poolWorld, served } from './support.ts';

/* Pairs of an IPv4 and an IPv6 address that the cloud gives one after the other. */

let world: World | undefined;

afterEach(() => world?.end());

const counts = (made: World) => ofPool(made).map(({ ipv4, ipv6 }) => [ipv4.length, ipv6.length]);

test('a vSwitch that has no IPv6 address left in the middle of a pair: nobody gets the half, it goes, and the next pod is served', async () => {
  const script = new FaultScript();
  const eniConf = { ip_stack: 'dual', enable_eni_trunking: false, max_pool_size: 0, ip_pool_sync_period: '10s' };
  const made = await poolWorld(eniConf, { script, isDualStack: true });
  world = made;
  const [first = ''] = await served(made, ['first']);
  const before = addresses(made).get(first);
  let isFull = true;
  const exhausted = { kind: 'refused', code: 'InvalidVSwitchId.IpNotEnough', status: 403 } as const;
  script.cloud('AssignIpv6Addresses', exhausted, 1e6, () => isFull);
  script.cloud('CreateNetworkInterface', exhausted, 1e6, () => isFull);
  const half = createShared(made, 'half');
  await made.until('the first half is there', () => counts(made).some(([ipv4]) => ipv4 === 2), 60_000);
  for (let at = 0; at < 60; at += 1) {
    await made.run(1000);
    expect(addresses(made).has(half)).toBe(false);
    const bound = enisOf(made).flatMap((eni) => addressesOf(eni).filter(isBound));
    expect(bound.map(({ ip }) => ip).sort()).toEqual(before?.toSorted());
  }
  made.deletePod('default/half', 0);
  await made.until('it goes', () => counts(made).every(([ipv4, ipv6]) => ipv4 === 1 && ipv6 === 1), 2 * 60_000);
  const next = createShared(made, 'next');
  await made.run(30_000);
  expect(addresses(made).has(next)).toBe(false);
  isFull = false;
  await made.until('it has a pair', () => addresses(made).get(next)?.length === 2, 5 * 60_000);
  expect(addresses(made).get(first)).toEqual(before);
  expect(made.violations()).toEqual([]);
});
