import { expect, test } from 'vitest';
import { addProcessMetrics } from './metric-set.ts';
import { createMetrics } from './metrics.ts';
import type { LeaderState } from './state.ts';

const LEADER: LeaderState = {
  queues: [{ controller: 'node', depth: 2, oldestWaitMs: 1500 }],
  inFlight: { attach: 3 },
  waiting: { slot: 4 },
  oldestPodWaitMs: 61_000,
  escapedPods: 0,
  orphans: undefined,
  held: { observer: 5 },
  networkings: [],
  vSwitches: [{ id: 'vsw-1', zone: 'z', free: 7, reserved: 1 }],
  pools: {
    addresses: new Map([['vsw-1', { idle: 3, bound: 20 }]]),
    wanted: 2,
    waiting: { NodeFull: 2 },
    oldestWaitMs: 12_000,
    unconfirmed: { count: 1, oldestMs: 90_000 },
  },
};

async function linesOf(metrics: ReturnType<typeof createMetrics>, name: string): Promise<string[]> {
  return (await metrics.registry.metrics()).split('\n').filter((line) => new RegExp(`^${name}[ {]`).test(line));
}

test('the process is watched only when an executable asks for it', async () => {
  const metrics = createMetrics();
  const watched = async () => (await metrics.registry.metrics()).includes('# TYPE nodejs_gc_duration_seconds');
  expect(await watched()).toBe(false);
  addProcessMetrics(metrics.registry);
  expect(await watched()).toBe(true);
});

test('leader metrics exist only while the replica leads', async () => {
  const metrics = createMetrics();
  const leaderOnly = metrics.definitions.filter((row) => row.leaderOnly).map(({ name }) => name);
  const shown = async () => (await Promise.all(leaderOnly.map((name) => linesOf(metrics, name)))).flat();
  expect(leaderOnly).toContain('terway_pod_oldest_wait_seconds');
  expect(await shown()).toEqual([]);
  metrics.sources.leader = () => LEADER;
  expect(await linesOf(metrics, 'terway_pod_oldest_wait_seconds')).toEqual(['terway_pod_oldest_wait_seconds 61']);
  expect(await linesOf(metrics, 'terway_queue_oldest_seconds')).toEqual([
    'terway_queue_oldest_seconds{controller="node"} 1.5',
  ]);
  expect(await linesOf(metrics, 'terway_pool_addresses')).toEqual([
    'terway_pool_addresses{vswitch="vsw-1",state="idle"} 3',
    'terway_pool_addresses{vswitch="vsw-1",state="bound"} 20',
  ]);
  expect(await linesOf(metrics, 'terway_pool_pods_waiting')).toEqual(['terway_pool_pods_waiting{reason="NodeFull"} 2']);
  expect(await linesOf(metrics, 'terway_pool_unconfirmed_oldest_seconds')).toEqual([
    'terway_pool_unconfirmed_oldest_seconds 90',
  ]);
  // The collector has not run yet, so there is no value.
  expect(await linesOf(metrics, 'terway_orphaned_enis')).toEqual([]);
  metrics.sources.leader = undefined;
  expect(await shown()).toEqual([]);
  expect(await linesOf(metrics, 'terway_leader')).toEqual(['terway_leader 0']);
});

test('a removed vSwitch no longer has a series', async () => {
  const metrics = createMetrics();
  metrics.sources.leader = () => LEADER;
  expect(await linesOf(metrics, 'terway_vswitch_free_addresses')).toHaveLength(1);
  metrics.sources.leader = () => ({ ...LEADER, vSwitches: [] });
  expect(await linesOf(metrics, 'terway_vswitch_free_addresses')).toEqual([]);
});

test('any number of PodNetworkings gives a bounded number of series that count every pod', async () => {
  const metrics = createMetrics();
  const networkings = Array.from({ length: 1000 }, (_, at) => ({
    name: `n-${at}`,
    pods: { bound: 2, waiting: 1 },
    conditions: [{ type: 'Ready', status: 'True' }],
  }));
  metrics.sources.leader = () => ({ ...LEADER, networkings });
  const pods = await linesOf(metrics, 'terway_podnetworking_pods');
  expect(pods).toHaveLength(201 * 2);
  expect(pods).toContain('terway_podnetworking_pods{podnetworking="(others)",progress="bound"} 1600');
  expect(await linesOf(metrics, 'terway_podnetworking_condition')).toHaveLength(200);
});

test('every name ends with its unit, and counters with _total', () => {
  for (const { name, type } of createMetrics().definitions) {
    expect(name).toMatch(/^terway_[a-z_]+$/);
    expect(name.endsWith('_total'), name).toBe(type === 'counter');
    if (type === 'histogram') expect(name).toMatch(/_seconds$/);
  }
});
