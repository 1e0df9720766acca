import { expect, test } from 'vitest';
import type { PoolStatus } from '../allocation/pool/pool-view.ts';
import type { PoolRules } from '../allocation/pool/rules.ts';
import type { NodeAddress, NodeEni } from '../crds/node.ts';
import { shrinkPlan, shrinkTexts } from './pool-shrink.ts';

const NOW_MS = Date.parse('2026-03-01T10:00:00Z');

/** An ENI whose addresses are 1, 2, … of a subnet, the first one primary and, where `bound`, of a pod. */
function eniOf(id: string, subnet: number, ipv4: number, options: { bound?: boolean; ipv6?: number } = {}): NodeEni {
  const address = (ip: string, primary: boolean): [string, NodeAddress] => [
    ip,
    { ip, primary, status: 'Valid', ...(primary && options.bound === true ? { podID: 'shop/a', podUID: 'u' } : {}) },
  ];
  const some = (count: number, prefix: string) =>
    Array.from({ length: count }, (_, at) => address(`${prefix}${at + 1}`, at === 0 && !prefix.includes(':')));
  return {
    ...{ id, status: 'InUse', macAddress: 'm', vSwitchID: 'vsw-1', ipv4CIDR: '10.0.0.0/8', ipv6CIDR: 'fd00::/64' },
    ...{ networkInterfaceType: 'Secondary', networkInterfaceTrafficMode: 'Standard' },
    ipv4: Object.fromEntries(some(ipv4, `10.0.${subnet}.`)),
    ipv6: Object.fromEntries(some(options.ipv6 ?? 0, `fd00:${subnet}::`)),
  };
}

const statusOf = (...enis: NodeEni[]): PoolStatus => ({
  networkInterfaces: Object.fromEntries(enis.map((eni) => [eni.id, eni])),
});

function rulesOf(knobs: Partial<PoolRules['knobs']>, more: Partial<PoolRules> = {}): PoolRules {
  return {
    families: ['ipv4'],
    knobs: { mostIdle: 10, leastIdle: 0, warmUp: 0, syncPeriodMs: 120_000, ...knobs },
    limits: { enis: 3, perEni: { ipv4: 10, ipv6: 10 }, attachments: 5 },
    ...more,
  };
}

const textsOf = (status: PoolStatus, rules: PoolRules, since?: string) =>
  shrinkTexts(shrinkPlan(status, rules, since), rules.knobs.syncPeriodMs, NOW_MS);

const RECLAIM = { afterMs: 60_000, intervalMs: 600_000, batchSize: 2, jitter: 0 };

test('what is idle beyond the maximum, and when', () => {
  const status = statusOf(eniOf('eni-1', 1, 4, { bound: true }), eniOf('eni-2', 2, 2));
  const rules = rulesOf({ mostIdle: 2 });
  expect(textsOf(status, rules, '2026-03-01T09:59:00Z')).toEqual(['beyond the maximum, in 60s: eni-2, 10.0.1.4']);
  expect(textsOf(status, rules)).toEqual(['beyond the maximum, when it has lasted 2m: eni-2, 10.0.1.4']);
});

test('the next batch by age: at its time, or an interval after nothing has been handed out for long enough', () => {
  const status = statusOf(eniOf('eni-1', 1, 5, { bound: true }));
  const rules = rulesOf({ leastIdle: 1, reclaim: RECLAIM });
  const timed = { ...status, nextIdleIPReclaimTime: '2026-03-01T10:00:30Z' };
  expect(textsOf(timed, rules)).toEqual(['by age, in 30s if nothing is handed out until then: 10.0.1.4, 10.0.1.5']);
  const recent = { ...status, lastModifiedTime: '2026-03-01T09:59:30Z' };
  expect(shrinkPlan(recent, rules, undefined).reclaim?.at).toBe('2026-03-01T10:10:30Z');
  expect(shrinkPlan(timed, rulesOf({ leastIdle: 4, reclaim: RECLAIM }), undefined)).toEqual({});
});

test('a batch by age comes after what is beyond the maximum', () => {
  const status = { ...statusOf(eniOf('eni-1', 1, 7, { bound: true })), nextIdleIPReclaimTime: '2026-03-01T10:00:30Z' };
  const plan = shrinkPlan(status, rulesOf({ mostIdle: 3, reclaim: RECLAIM }), undefined);
  expect(plan.surplus?.addresses).toHaveLength(3);
  expect(plan.reclaim?.addresses).toHaveLength(2);
  const all = [...(plan.surplus?.addresses ?? []), ...(plan.reclaim?.addresses ?? [])];
  expect(new Set(all).size).toBe(5);
});

test('addresses without a partner of the other family', () => {
  const status = statusOf(eniOf('eni-1', 1, 6, { bound: true, ipv6: 2 }));
  const rules = rulesOf({ mostIdle: 2 }, { families: ['ipv4', 'ipv6'] });
  const plan = shrinkPlan(status, rules, undefined);
  expect(plan.surplus).toMatchObject({ unpaired: 3, addresses: ['10.0.1.4', '10.0.1.5', '10.0.1.6'] });
  expect(textsOf(status, rules)[0]).toContain('of which 3 have no partner of the other family');
});

test('an ENI whose place another kind needs', () => {
  const status = statusOf(eniOf('eni-1', 1, 1, { bound: true }), eniOf('eni-2', 2, 3, { bound: true }));
  const rules = rulesOf({}, { limits: { enis: 1, perEni: { ipv4: 10, ipv6: 10 }, attachments: 5 } });
  expect(shrinkPlan(status, rules, undefined)).toEqual({ draining: 'eni-1' });
  expect(textsOf(status, rules)).toEqual([expect.stringMatching(/^eni-1 gives way: .* goes after its last one$/)]);
});

test('nothing goes', () => {
  expect(textsOf(statusOf(eniOf('eni-1', 1, 3, { bound: true })), rulesOf({}))).toEqual(['nothing goes as it is']);
});
