import { expect, test } from 'vitest';
import { PoolNode } from '../test-support/pool-node.ts';
import { planPool } from './plan-pool.ts';
import { supplyOf } from './supply.ts';
import { addressesOf, FAMILIES } from './view.ts';

/* Nodes whose pods get IPv4 and IPv6. */

const LIMITS = { enis: 4, perEni: { ipv4: 30, ipv6: 30 }, attachments: 5 };
const asked = { clientToken: 't', attempt: 1, vSwitchID: 'v', securityGroupIDs: [], tags: {} };

test('one ENI serves as many pods as it has room for, although a call brings ten IPv6 addresses', () => {
  const node = new PoolNode({}, FAMILIES, LIMITS);
  for (let at = 0; at < 30; at += 1) node.add(`p-${at}`);
  expect(node.step().growth).toEqual([{ counts: { ipv4: 30, ipv6: 10 } }]);
  node.settle();
  expect(node.enis()).toHaveLength(1);
  expect(node.enis().map((eni) => [addressesOf(eni, 'ipv4').length, addressesOf(eni, 'ipv6').length])).toEqual([
    [30, 30],
  ]);
});

test('what will follow a call for IPv6 addresses is not asked for elsewhere', () => {
  const node = new PoolNode({}, FAMILIES, LIMITS);
  for (let at = 0; at < 30; at += 1) node.add(`p-${at}`);
  node.status.poolIntents = [{ ...asked, createdAt: '', eniID: '', ipv4: 30, ipv6: 10 }];
  expect(planPool(node.view).growth).toEqual([]);
});

test('pods that come while an ENI is being made do not get an ENI each', () => {
  const node = new PoolNode({}, FAMILIES, LIMITS);
  const createdAt = new Date(node.nowMs).toISOString();
  for (let at = 0; at < 12; at += 1) node.add(`p-${at}`);
  // The IPv6 addresses that follow are for as many pods as there are IPv4 addresses.
  node.status = { poolIntents: [{ ...asked, createdAt, eniID: '', ipv4: 12, ipv6: 10 }] };
  for (let at = 12; at < 30; at += 1) {
    node.add(`p-${at}`);
    expect(planPool(node.view)).toMatchObject({ growth: [], againMs: node.nowMs + 15_000 });
  }
  node.add('p-30');
  expect(planPool(node.view).growth).toEqual([{ counts: { ipv4: 1, ipv6: 1 } }]);
});

test('nor those that come while an ENI in use is being filled', () => {
  const node = new PoolNode({}, FAMILIES, LIMITS);
  for (let at = 0; at < 5; at += 1) node.add(`p-${at}`);
  node.settle();
  const [eni] = node.enis();
  const createdAt = new Date(node.nowMs).toISOString();
  node.status.poolIntents = [{ ...asked, createdAt, eniID: eni?.id ?? '', ipv4: 11, ipv6: 10 }];
  for (let at = 5; at < 30; at += 1) node.add(`p-${at}`);
  expect(planPool(node.view)).toMatchObject({ growth: [] });
  node.add('p-30');
  expect(planPool(node.view).growth).toEqual([{ counts: { ipv4: 1, ipv6: 1 } }]);
});

test('an ENI whose IPv6 subnet is not known gives no pairs', () => {
  const node = new PoolNode({ leastIdle: 2 }, FAMILIES);
  node.settle();
  for (const eni of node.enis()) delete eni.ipv6CIDR;
  const { uid } = node.add('a');
  node.step();
  expect(node.ipsOf(uid)).toEqual([]);
});

test('addresses of one family that pair with none go, as other idle ones do', () => {
  const node = new PoolNode({ leastIdle: 6, mostIdle: 6 }, FAMILIES);
  node.settle();
  const [eni] = node.enis();
  // The cloud gave fewer IPv6 addresses.
  for (const { ip } of addressesOf(eni ?? { id: '', status: '' }, 'ipv6').slice(2)) delete eni?.ipv6?.[ip];
  Object.assign(node.knobs, { leastIdle: 0, mostIdle: 3 });
  node.settle();
  node.wait(10 * 60_000);
  expect(node.enis().map((one) => [addressesOf(one, 'ipv4').length, addressesOf(one, 'ipv6').length])).toEqual([
    [3, 2],
  ]);
});

test('a node whose idle addresses are of one family has no address for another pod (#67)', () => {
  const node = new PoolNode({ leastIdle: 2, mostIdle: 6 }, FAMILIES, { ...LIMITS, enis: 1 });
  node.settle();
  const [eni] = node.enis();
  const anything = {
    ...{ hasAddresses: () => true, isRefused: () => false },
    ...{ isStopped: false, hasVSwitch: true, isCreationRefused: false, areCallsFailing: false },
  };
  const supply = () => {
    const draft = { enis: node.status.networkInterfaces ?? {}, intents: [] };
    return supplyOf(draft, FAMILIES, { ...LIMITS, enis: 1, perEni: { ipv4: 2, ipv6: 0 } }, anything);
  };
  expect(supply()).toBe('idle');
  delete eni?.ipv6;
  expect(supply()).toBe('nodeFull');
});

test('back at IPv4 alone, nothing is given back while a sandbox may have an address that nobody has told', () => {
  const node = new PoolNode({ leastIdle: 3 }, FAMILIES);
  node.settle();
  const ipv6 = (view = node.view) => {
    const { networkInterfaces = {} } = planPool({ ...view, families: ['ipv4'] }).status;
    return Object.values(networkInterfaces).flatMap((eni) => addressesOf(eni, 'ipv6').map(({ status }) => status));
  };
  node.hasStrangers = true;
  expect(new Set(ipv6())).toEqual(new Set(['Valid']));
  node.hasStrangers = false;
  expect(new Set(ipv6())).toEqual(new Set(['Deleting']));
});
