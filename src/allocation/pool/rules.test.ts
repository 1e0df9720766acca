import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { NodeEni, TerwayNode } from '../../crds/node.ts';
import { seededRandom } from '../../util/random.ts';
import type { TrunkOutlook } from '../trunk.ts';
import { planPool } from './plan-pool.ts';
import { maxAvailableIp, type PoolRules, poolRules, smallNodeHint } from './rules.ts';

type NodeSpec = TerwayNode['spec'];
type Flavor = NonNullable<NodeSpec['flavor']>[number];

const ENI = { vSwitchOptions: ['vsw-1'], securityGroupIDs: ['sg-1'], vSwitchSelectPolicy: 'most' } as const;
/** ecs.g7.xlarge */
const CAP = { adapters: 4, totalAdapters: 20, ipv4PerAdapter: 15, ipv6PerAdapter: 15, memberAdapterLimit: 16 };
const SECONDARY: Flavor = { networkInterfaceType: 'Secondary', networkInterfaceTrafficMode: 'Standard', count: 2 };
const TRUNK: Flavor = { networkInterfaceType: 'Trunk', networkInterfaceTrafficMode: 'Standard', count: 1 };
const RDMA: Flavor = { networkInterfaceType: 'Secondary', networkInterfaceTrafficMode: 'HighPerformance', count: 1 };

const spec = (changes: Partial<NodeSpec> = {}): NodeSpec => ({
  nodeCap: CAP,
  eni: { ...ENI, vSwitchOptions: ['vsw-1'], securityGroupIDs: ['sg-1'], enableIPv4: true },
  pool: { maxPoolSize: 5, minPoolSize: 0 },
  flavor: [TRUNK, SECONDARY],
  ...changes,
});
const eni = (families: { enableIPv4?: boolean; enableIPv6?: boolean; enableIPPrefix?: boolean }) =>
  spec({ eni: { ...ENI, vSwitchOptions: ['vsw-1'], securityGroupIDs: ['sg-1'], ...families } });

function rulesOf(of: NodeSpec, enis: readonly NodeEni[] = [], trunk: TrunkOutlook = 'coming'): PoolRules {
  const rules = poolRules(of, enis, trunk);
  if ('reason' in rules) throw new Error(rules.reason);
  return rules;
}
const knobs = (pool: NonNullable<NodeSpec['pool']>) => rulesOf(spec({ pool })).knobs;

describe('the pool of a node', () => {
  test.each<[NodeSpec, RegExp]>([
    [spec({ eni: undefined }), /spec\.eni .* not written/],
    [spec({ pool: undefined }), /spec\.pool .* not written/],
    [spec({ nodeCap: undefined }), /nodeCap .* not written/],
    [spec({ nodeCap: { adapters: 0 } }), /nodeCap .* not written/],
    [eni({ enableIPv4: true, enableIPPrefix: true }), /enableIPPrefix/],
  ])('does not exist before its rules do, nor with prefixes: %#', (without, reason) => {
    expect(poolRules(without, [], 'none')).toEqual({ reason: expect.stringMatching(reason) });
  });

  test('as its daemon wrote it', () => {
    const reclaim = { after: '30m0s', interval: '10m0s', batchSize: 3, jitterFactor: '0.2' };
    expect(knobs({ maxPoolSize: 25, minPoolSize: 10, warmUpSize: 20, poolSyncPeriod: '30s', reclaim })).toEqual({
      mostIdle: 25,
      leastIdle: 10,
      warmUp: 20,
      syncPeriodMs: 30_000,
      reclaim: { afterMs: 1_800_000, intervalMs: 600_000, batchSize: 3, jitter: 0.2 },
    });
  });

  test('without values has the defaults', () => {
    expect(knobs({})).toEqual({ mostIdle: 0, leastIdle: 0, warmUp: 0, syncPeriodMs: 120_000 });
    expect(knobs({ reclaim: { after: '1h', batchSize: 5 } }).reclaim).toEqual({
      afterMs: 3_600_000,
      intervalMs: 600_000,
      batchSize: 5,
      jitter: 0.1,
    });
  });

  test.each(['', 'soon', '-1m', '30', '9999999999h'])('a period %j that cannot be read means the default', (text) => {
    expect(knobs({ poolSyncPeriod: text }).syncPeriodMs).toBe(120_000);
    const given = poolRules(spec({ pool: { poolSyncPeriod: text } }), [], 'none', 30_000);
    expect(given).toMatchObject({ knobs: { syncPeriodMs: 30_000 } });
    expect(knobs({ reclaim: { after: '1h', interval: text, batchSize: 1 } }).reclaim?.intervalMs).toBe(600_000);
    expect(knobs({ reclaim: { after: text, batchSize: 1 } }).reclaim).toBeUndefined();
  });

  test.each<[string | undefined, number]>([
    ['0.5', 0.5],
    ['1', 1],
    ['7', 1],
    ['Infinity', 1],
    ['1e999', 1],
    ['0', 0.1],
    ['-1', 0.1],
    ['much', 0.1],
    [undefined, 0.1],
  ])('the jitter %j is %f', (jitterFactor, jitter) => {
    expect(knobs({ reclaim: { after: '1h', batchSize: 1, jitterFactor } }).reclaim?.jitter).toBe(jitter);
  });

  test('gives up nothing by age without a batch, or without an age (#21)', () => {
    expect(knobs({ reclaim: { after: '1h' } }).reclaim).toBeUndefined();
    expect(knobs({ reclaim: { after: '1h', batchSize: -1 } }).reclaim).toBeUndefined();
    expect(knobs({ reclaim: { interval: '1h', batchSize: 1 } }).reclaim).toBeUndefined();
  });

  test('gives up addresses by age at most once per sync period, and once a second', () => {
    const reclaim = { after: '0', interval: '1s', batchSize: 1 };
    expect(knobs({ poolSyncPeriod: '1m', reclaim }).reclaim?.intervalMs).toBe(60_000);
    expect(knobs({ poolSyncPeriod: '0s', reclaim: { ...reclaim, interval: '0s' } }).reclaim?.intervalMs).toBe(1000);
  });

  test('does not give up what it asks for when the minimum is above the maximum', () => {
    expect(knobs({ maxPoolSize: 5, minPoolSize: 10 })).toMatchObject({ leastIdle: 10, mostIdle: 10 });
  });

  test.each([
    [{ enableIPv4: true }, ['ipv4']],
    [{ enableIPv4: true, enableIPv6: true }, ['ipv4', 'ipv6']],
    [{ enableIPv6: true }, ['ipv6']],
    [{}, ['ipv4']],
  ])('pods get the families of %j', (enabled, families) => {
    expect(rulesOf(eni(enabled)).families).toEqual(families);
  });

  test('whatever its texts hold, it can be planned', () => {
    const text = fc.oneof(fc.string(), fc.constantFrom('0', '1ns', '2562047h', '99999999999h', 'Infinity', '1e999'));
    const reclaim = fc.record({ after: text, interval: text, batchSize: fc.integer(), jitterFactor: text });
    const pool = fc.record({ maxPoolSize: fc.nat(), minPoolSize: fc.nat(), poolSyncPeriod: text, reclaim });
    fc.assert(
      fc.property(pool, (given) => {
        const nowMs = Date.parse('2026-01-01T12:00:00Z');
        const status = { lastModifiedTime: '2025-01-01T12:00:00Z', warmUpCompleted: true };
        const world = {
          pods: [],
          isGone: () => false,
          hasSandbox: () => false,
          hasStrangers: false,
          mayGrow: () => true,
          mayMake: true,
          hasVSwitch: true,
          mayRelease: true,
          isNew: false,
          freedMs: () => undefined,
        };
        const plan = planPool({ ...rulesOf(spec({ pool: given })), ...world, status, random: seededRandom(1), nowMs });
        expect(plan.againMs ?? nowMs + 1).toBeGreaterThan(nowMs);
      }),
    );
  });
});

describe('the ENIs of a pool', () => {
  const recorded = (id: string, kind: Partial<NodeEni>): NodeEni => ({ id, status: 'InUse', ...kind });
  const trunk = recorded('eni-t', { networkInterfaceType: 'Trunk', networkInterfaceTrafficMode: 'Standard' });
  const rdma = recorded('eni-r', { networkInterfaceType: 'Secondary', networkInterfaceTrafficMode: 'HighPerformance' });
  const plain = recorded('eni-s', { networkInterfaceType: 'Secondary' });

  test.each<[string, NodeSpec['flavor'], NodeEni[], number]>([
    ['leave the place of the trunk', [TRUNK, SECONDARY], [], 2],
    ['count the trunk that is there', [TRUNK, SECONDARY], [trunk, plain], 3],
    ['leave the place of an ENI for RDMA', [RDMA, SECONDARY], [plain], 2],
    ['count an ENI for RDMA that is there', [RDMA, SECONDARY], [rdma], 3],
    ['count an ENI for RDMA that should not be there', [SECONDARY], [rdma], 2],
    ['are all that the instance supports without a flavor', undefined, [], 3],
    ['are no more than the instance supports', [{ ...SECONDARY, count: 9 }], [], 3],
    ['are none with an empty flavor', [], [], 0],
  ])('%s', (_, flavor, enis, count) => {
    expect(rulesOf(spec({ flavor }), enis).limits).toMatchObject({ enis: count, perEni: { ipv4: 15, ipv6: 15 } });
  });
});

test('five ENIs are attached at a time, the trunk among them', () => {
  const attachments = (flavor: NodeSpec['flavor'], trunk: TrunkOutlook) =>
    rulesOf(spec({ flavor }), [], trunk).limits.attachments;
  expect(attachments([SECONDARY], 'none')).toBe(5);
  expect(attachments([TRUNK, SECONDARY], 'none')).toBe(5);
  expect(attachments([TRUNK, SECONDARY], 'attached')).toBe(5);
  expect(attachments([TRUNK, SECONDARY], 'undecided')).toBe(4);
  expect(attachments([TRUNK, SECONDARY], 'coming')).toBe(4);
});

test('an ENI makes room for a trunk that is planned, and for no other', () => {
  const places = (flavor: NodeSpec['flavor'], trunk: TrunkOutlook) => {
    const { limits } = rulesOf(spec({ flavor }), [], trunk);
    return [limits.enis, limits.places ?? limits.enis];
  };
  expect(places([TRUNK, SECONDARY], 'coming')).toEqual([2, 2]);
  expect(places([TRUNK, SECONDARY], 'none')).toEqual([2, 3]);
  expect(places([TRUNK, SECONDARY], 'undecided')).toEqual([2, 3]);
  expect(places([SECONDARY], 'none')).toEqual([2, 2]);
});

describe('pods that a node has room for', () => {
  test('on shared ENIs: the addresses of all ENIs but the primary one', () => {
    expect(maxAvailableIp(spec(), false, true)).toBe(45);
    expect(maxAvailableIp(spec(), false, false)).toBe(30);
    expect(maxAvailableIp(spec({ flavor: [RDMA, SECONDARY] }), false, true)).toBe(30);
    expect(maxAvailableIp(spec({ nodeCap: undefined }), false, true)).toBe(0);
    // ecs.g7.4xlarge: (8 - 1) × 30
    const nodeCap = { adapters: 8, ipv4PerAdapter: 30, ipv6PerAdapter: 30 };
    expect(maxAvailableIp(spec({ nodeCap, flavor: [{ ...SECONDARY, count: 7 }] }), false, true)).toBe(210);
  });

  test('on ENIs of their own: the plain ENIs', () => {
    expect(maxAvailableIp(spec({ flavor: [{ ...SECONDARY, count: 7 }] }), true, true)).toBe(7);
  });

  test('with prefixes: 16 for each address besides the primary one', () => {
    expect(maxAvailableIp(eni({ enableIPv4: true, enableIPPrefix: true }), false, true)).toBe(672);
    expect(maxAvailableIp(eni({ enableIPv6: true, enableIPPrefix: true }), false, true)).toBe(65_536);
  });

  test.each([
    [11, false, true],
    [12, false, false],
    [6, true, true],
    [7, true, false],
  ])('%i, on ENIs of their own: %s, are too few: %s', (pods, isExclusive, isSmall) => {
    const hint = smallNodeHint(pods, isExclusive, 'ecs.g7.large');
    if (isSmall) expect(hint).toMatch(new RegExp(`ecs\\.g7\\.large has room for ${pods} pods`));
    else expect(hint).toBeUndefined();
  });
});
