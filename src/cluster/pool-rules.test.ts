import { expect, test } from 'vitest';
import { daemonSpec } from '../allocation/pool/node-spec.ts';
import { poolRules } from '../allocation/pool/rules.ts';
import { parseEniConfig } from '../config/eni-config.ts';

/** ecs.g7.xlarge */
const cap = { adapters: 4, totalAdapters: 20, ipv4PerAdapter: 15, ipv6PerAdapter: 15, memberAdapterLimit: 16 };

/** What a pool goes by on a node without Terway's daemon. */
function rules(conf: object, isExclusive = false) {
  const parsed = parseEniConfig({
    eni_conf: JSON.stringify({ vswitches: { h: ['vsw-1'] }, security_group: 'sg-1', ...conf }),
  });
  if ('error' in parsed || 'error' in parsed.config.pool) throw new Error(JSON.stringify(parsed));
  const { vSwitchesByZone, securityGroupIds, tags, pool } = parsed.config;
  const node = { cap, instanceType: 'ecs.g7.xlarge', isExclusive, hasTrunk: true };
  const network = { vSwitchIds: vSwitchesByZone['h'] ?? [], securityGroupIds, tags };
  const written = daemonSpec({ ...network, ...pool.config }, node);
  return poolRules({ nodeCap: cap, ...written.spec }, [], 'coming');
}

test('eni_conf as Terway installs it, through the Node CR', () => {
  expect(rules({ max_pool_size: 5, min_pool_size: 0, vswitch_selection_policy: 'ordered' })).toEqual({
    families: ['ipv4'],
    knobs: { mostIdle: 5, leastIdle: 0, warmUp: 0, syncPeriodMs: 120_000 },
    limits: { enis: 2, perEni: { ipv4: 15, ipv6: 15 }, attachments: 4 },
  });
});

test('idle_ip_reclaim_after alone brings the other values of the reclaim', () => {
  expect(rules({ ip_stack: 'dual', min_pool_size: 3, max_pool_size: 10, idle_ip_reclaim_after: '2m' })).toMatchObject({
    families: ['ipv4', 'ipv6'],
    knobs: { leastIdle: 3, reclaim: { afterMs: 120_000, intervalMs: 600_000, batchSize: 5, jitter: 0.1 } },
  });
});

test('a node whose pods get whole ENIs keeps nothing idle', () => {
  expect(rules({ max_pool_size: 5, min_pool_size: 2 }, true)).toMatchObject({ knobs: { mostIdle: 0, leastIdle: 0 } });
});
