import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { InstanceTypeLimits } from '../ecs/instance.ts';
import { nodeCapOf } from './capacity.ts';

/** ecs.g7.xlarge as returned by DescribeInstanceTypes. */
const g7xlarge: InstanceTypeLimits = {
  instanceType: 'ecs.g7.xlarge',
  eniQuantity: 4,
  eniTotalQuantity: 20,
  trunkSupported: true,
  ipv4PerEni: 15,
  ipv6PerEni: 15,
  eriQuantity: 0,
  bandwidthRx: 3_072_000,
  bandwidthTx: 3_072_000,
  networkCardIndexes: [],
};

test('a type with a trunk', () => {
  expect(nodeCapOf(g7xlarge)).toEqual({
    adapters: 4,
    totalAdapters: 20,
    ipv4PerAdapter: 15,
    ipv6PerAdapter: 15,
    memberAdapterLimit: 16,
    maxMemberAdapterLimit: 18,
    eriQuantity: 0,
    instanceBandwidthRx: 3_072_000,
    instanceBandwidthTx: 3_072_000,
    networkCards: [],
    networkCardsCount: 0,
  });
});

test('a type without a trunk supports no members', () => {
  expect(nodeCapOf({ ...g7xlarge, trunkSupported: false })).toMatchObject({
    memberAdapterLimit: 0,
    maxMemberAdapterLimit: 0,
  });
});

test.each([
  [0, 8, 0],
  [4, 8, 2],
  [1, 8, 1],
  [4, 4, 1],
  [4, 3, 1],
  [4, 2, 0],
])('%i RDMA interfaces of a type with %i adapters: %i are published', (eriQuantity, eniQuantity, published) => {
  expect(nodeCapOf({ ...g7xlarge, eriQuantity, eniQuantity }).eriQuantity).toBe(published);
});

test('no figure is ever negative', () => {
  const figure = fc.integer({ min: -1, max: 100 });
  fc.assert(
    fc.property(figure, figure, figure, figure, fc.boolean(), (eni, total, ip, eri, trunkSupported) => {
      const cap = nodeCapOf({
        ...g7xlarge,
        eniQuantity: Math.max(0, eni),
        eniTotalQuantity: Math.max(0, total),
        ipv4PerEni: ip,
        ipv6PerEni: ip,
        eriQuantity: eri,
        trunkSupported,
      });
      for (const value of Object.values(cap)) {
        if (typeof value === 'number') expect(value).toBeGreaterThanOrEqual(0);
      }
    }),
  );
});
