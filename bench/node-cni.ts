import { FLOOD_KINDS } from '../src/datapath/test-support/floods.ts';
import { type Call, NodeBench, type Sandbox } from './node-bench.ts';
import { median, percentile, type Report, spread } from './report.ts';

const MEGABYTE = 1024 * 1024;
/** Sandboxes that exist during the whole run. */
const STANDING = 100;
/** Pods whose sandboxes come and go. */
const PASSING = 10;
/** Rounds of ADD for each passing pod without other load, then DEL. */
const QUIET_ROUNDS = 10;
/** Round number that no other round uses. */
const FLOODED_ROUND = 1000;
/** Rounds of ADD for one half of them during DEL of the other half. */
const BUSY_ROUNDS = 24;
const STARTS = 3;
/** Sync period, and number of syncs, while pods flood their namespaces. */
const FLOODED_SYNC_PERIOD_S = 5;
const FLOODED_SYNCS = 6;

/** ADD, DEL, memory and start of the agent, with {@link STANDING} sandboxes on the node. */
export async function measureCni({ record, say }: Report, stateDir: string): Promise<void> {
  await using bench = await NodeBench.start(stateDir);
  const standing = names('standing', STANDING);
  const passing = names('passing', PASSING);
  await bench.assignPods([...standing, ...passing]);
  await bench.startAgent();
  const first = await bench.call('ADD', sandboxes(standing, 0));
  say(`  the first ${STANDING} ADDs: ${spread(first.map(({ ms }) => ms))} ms`);
  const quiet = await quietRounds(bench, passing);
  const busy = await busyRounds(bench, passing);
  for (const [when, { adds, dels }] of Object.entries({ quiet, busy })) {
    say(`  ${when}: ADD ${spread(times(adds))} ms (${adds.length}), DEL ${spread(times(dels))} ms (${dels.length})`);
  }
  const adds = times([...quiet.adds, ...busy.adds]);
  const dels = times([...quiet.dels, ...busy.dels]);
  const name = (what: string) => `node: ${what}, ${STANDING} pods there`;
  const unit = 'ms';
  record({
    name: name('CNI ADD, address assigned, p50'),
    value: median(times(quiet.adds)),
    unit,
    budget: 20,
    upstream: '–',
  });
  record({
    name: name('CNI ADD, address assigned, half of them during DELs, p99'),
    value: percentile(adds, 99),
    unit,
    budget: 80,
    upstream: '–',
  });
  // The kernel removes links one at a time, and an ADD needs the same lock.
  record({ name: name('CNI ADD during DELs, p50'), value: median(times(busy.adds)), unit, upstream: '–' });
  record({ name: name('CNI DEL, p50'), value: median(dels), unit, upstream: '–' });
  record({ name: name('CNI DEL, p99'), value: percentile(dels, 99), unit, upstream: '–' });
  const worn = await sum(bench, 'VmRSS', say);
  const starts: number[] = [];
  const fresh: number[] = [];
  for (let round = 0; round < STARTS; round += 1) {
    await bench.stopAgent();
    starts.push(await bench.startAgent());
    fresh.push(await sum(bench, 'VmRSS', say));
  }
  record({
    name: name('resident memory of the agent, all its processes'),
    value: Math.max(worn, ...fresh),
    unit: 'MB',
    budget: 90,
    upstream: '–',
  });
  record({ name: name('agent start → ready'), value: median(starts), unit, upstream: '–' });

  await bench.stopAgent();
  await bench.startAgent({ syncPeriod: `${FLOODED_SYNC_PERIOD_S}s` });
  const flooding = passing.slice(0, FLOOD_KINDS.length);
  await bench.call('ADD', sandboxes(flooding, FLOODED_ROUND));
  for (const [at, kind] of FLOOD_KINDS.entries()) await bench.flood(flooding[at] ?? '', kind);
  await bench.synced(FLOODED_SYNCS);
  record({
    name: `node: the same, with ${FLOOD_KINDS.length} more pods that flood neighbours, routes, addresses, rules and links; its peak`,
    value: await sum(bench, 'VmHWM', say),
    unit: 'MB',
    budget: 120,
    upstream: '–',
  });
}

interface Calls {
  adds: Call[];
  dels: Call[];
}

async function quietRounds(bench: NodeBench, pods: readonly string[]): Promise<Calls> {
  const calls: Calls = { adds: [], dels: [] };
  for (let round = 0; round < QUIET_ROUNDS; round += 1) {
    calls.adds.push(...(await bench.call('ADD', sandboxes(pods, round))));
    calls.dels.push(...(await bench.call('DEL', sandboxes(pods, round))));
  }
  return calls;
}

async function busyRounds(bench: NodeBench, pods: readonly string[]): Promise<Calls> {
  const calls: Calls = { adds: [], dels: [] };
  const halves = [pods.slice(0, pods.length / 2), pods.slice(pods.length / 2)];
  let present: Sandbox[] = [];
  for (let round = 0; round < BUSY_ROUNDS; round += 1) {
    const coming = sandboxes(halves[round % 2] ?? [], QUIET_ROUNDS + round);
    const [adds, dels] = await Promise.all([
      bench.call('ADD', coming),
      present.length === 0 ? [] : bench.call('DEL', present),
    ]);
    calls.adds.push(...adds);
    calls.dels.push(...dels);
    present = coming;
  }
  calls.dels.push(...(await bench.call('DEL', present)));
  return calls;
}

/** Memory of all agent processes, in MB. */
async function sum(bench: NodeBench, what: 'VmRSS' | 'VmHWM', say: Report['say']): Promise<number> {
  const found = [...(await bench.agentMemoryBytes(what))].map(([name, bytes]) => [name, bytes / MEGABYTE] as const);
  say(`  ${what}: ${found.map(([name, megabytes]) => `${name} ${megabytes.toFixed(1)} MB`).join(', ')}`);
  return found.reduce((total, [, megabytes]) => total + megabytes, 0);
}

function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, at) => `${prefix}-${at + 1}`);
}

function sandboxes(pods: readonly string[], round: number): Sandbox[] {
  return pods.map((pod) => ({ pod, containerId: `${pod}-sandbox-${round}` }));
}

function times(calls: readonly Call[]): number[] {
  return calls.map(({ ms }) => ms);
}
