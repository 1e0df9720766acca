import { setTimeout as delay } from 'node:timers/promises';
import type { JournalEntry } from '../sim/cloud/model/journal.ts';
import { DEFAULT_LIMITS } from '../src/cloud/quota.ts';
import type { Cluster } from '../test/cluster/cluster.ts';
import { cloudCalls, isThrottled } from './counts.ts';
import { MINUTE_MS, SECONDS } from './pace.ts';
import { inParallel, PER_ENI, PoolBench, type SharedPod } from './pool-bench.ts';
import { makeRecords } from './pool-records.ts';
import { median, percentile, type Report, spread } from './report.ts';

/** Pods that share ENIs. Each section has a cluster of its own. */

const MEGABYTE = 1024 * 1024;
const PODS_AT_ONCE = 100;
const PODS_PER_NODE = 20;
/** Their addresses are idle afterwards. */
const GONE_PER_NODE = 4;
const COLD_ROUNDS = 3;
/** Of the simulator; see docs/design/performance.md. */
const CREATE_AND_ATTACH_MS = 300 + 1500;

/** A pod comes to a node with idle addresses, again and again. */
export async function measureIdleAddress(cluster: Cluster, { record, say }: Report, rounds: number): Promise<void> {
  await using bench = await PoolBench.start(cluster, { max_pool_size: 5, min_pool_size: 0 });
  const nodes = await bench.addNodes(10);
  await bench.startControlPlane();
  await fillNodes(
    bench,
    nodes.map(({ name }) => name),
  );
  const latencies: number[] = [];
  const spans: { fromMs: number; toMs: number }[] = [];
  let seq = (await bench.lab.cloud.journal()).at(-1)?.seq ?? 0;
  for (let round = 0; round < rounds; round += 1) {
    const fromMs = Date.now();
    const pod = await bench.createPod(nodes[round % nodes.length]?.name ?? '');
    const [servedMs = Number.NaN] = await bench.served([pod], 20 * SECONDS);
    spans.push({ fromMs, toMs: Date.now() });
    latencies.push(servedMs - pod.answeredMs);
    await bench.run(pod);
    await bench.remove(pod);
    await bench.freed([pod], 20 * SECONDS);
  }
  const calls: JournalEntry[] = [];
  for (let page = await bench.lab.cloud.journal(seq); page.length > 0; page = await bench.lab.cloud.journal(seq)) {
    calls.push(...page.filter(({ kind }) => kind === 'call'));
    seq = page.at(-1)?.seq ?? seq;
  }
  const onTheWay = calls.filter(({ timeMs }) => spans.some(({ fromMs, toMs }) => fromMs <= timeMs && timeMs <= toMs));
  say(`  ${spread(latencies)} ms; calls: ${counted(calls.map(({ action }) => action))}`);
  record({
    name: `ordinary pod, an address is idle: bound → in the Node CR, p99 of ${rounds}`,
    value: percentile(latencies, 99),
    unit: 'ms',
    budget: 150,
    upstream: '–',
  });
  record({
    name: 'ordinary pod, an address is idle: cloud calls on the way',
    value: onTheWay.length,
    unit: '',
    budget: 0,
    upstream: '–',
  });
}

/** Many pods on a node that has no ENI besides its primary one. */
export async function measureColdNode(cluster: Cluster, { record, say }: Report): Promise<void> {
  await using bench = await PoolBench.start(cluster, {
    enable_eni_trunking: false,
    max_pool_size: 5,
    min_pool_size: 0,
  });
  await bench.startControlPlane();
  const times: number[] = [];
  for (let round = 0; round < COLD_ROUNDS; round += 1) {
    const nodes = await bench.addNodes(1);
    await bench.compared(nodes, MINUTE_MS);
    await bench.settled();
    const before = await cloudCalls(bench.lab.cloud);
    const startedMs = performance.now();
    const pods: SharedPod[] = [];
    for (let at = 0; at < PODS_AT_ONCE; at += 1) pods.push(await bench.createPod(nodes[0]?.name ?? ''));
    const servedMs = await bench.served(pods, MINUTE_MS);
    times.push((Math.max(...servedMs) - startedMs) / SECONDS);
    const createdMs = (pods.at(-1)?.answeredMs ?? 0) - startedMs;
    const calls = (await cloudCalls(bench.lab.cloud)) - before;
    say(`  all POSTs answered after ${(createdMs / SECONDS).toFixed(2)} s; ${calls} calls`);
  }
  say(`  ${spread(times)} s`);
  record({
    name: `cold node, ${PODS_AT_ONCE} ordinary pods at once, ${PER_ENI} addresses per ENI, first POST → last address (median of ${COLD_ROUNDS})`,
    value: median(times),
    unit: 's',
    budget: CREATE_AND_ATTACH_MS / SECONDS + 1.5,
    upstream: '≥ 20 by its timers',
  });
}

/** Pods of many nodes are replaced at a steady rate, as by rollouts. */
export async function measureReplacements(
  cluster: Cluster,
  { record, say }: Report,
  sizes: { nodes: number; pods: number; perSecond: number },
): Promise<void> {
  await using bench = await PoolBench.start(cluster, { max_pool_size: 5, min_pool_size: 0 });
  const { cloud } = bench.lab;
  const limits = Object.entries(DEFAULT_LIMITS).filter(([api]) => api !== 'default');
  const rateWindows = Object.fromEntries(limits.map(([api, limit]) => [api, { limit, windowMs: MINUTE_MS } as const]));
  await cloud.setBehaviour({ rateWindows });
  say(`  ${sizes.nodes} nodes with ${PODS_PER_NODE} pods each`);
  const nodes = await bench.addNodes(sizes.nodes);
  await bench.startControlPlane();
  const pods = await fillNodes(
    bench,
    nodes.map(({ name }) => name),
  );
  const writes = await bench.nodeWrites();
  const calls = await cloudCalls(cloud);
  const startedMs = performance.now();
  const work: Promise<SharedPod>[] = [];
  for (let at = 0; at < sizes.pods; at += 1) {
    const old = pods[at % pods.length];
    if (old !== undefined) work.push(replace(bench, old));
    const dueMs = startedMs + ((at + 1) * SECONDS) / sizes.perSecond;
    if (dueMs > performance.now()) await delay(dueMs - performance.now());
  }
  const created = await Promise.all(work);
  const servedMs = await bench.served(created, MINUTE_MS);
  const latencies = created.map(({ answeredMs }, at) => (servedMs[at] ?? Number.NaN) - answeredMs);
  await bench.settled();
  const lastMs = Math.max(...created.map(({ answeredMs }) => answeredMs));
  say(`  bound → in the Node CR: p99 ${percentile(latencies, 99).toFixed(0)} ms`);
  const name = `${sizes.nodes} nodes with ${PODS_PER_NODE} ordinary pods, ${sizes.pods} of them replaced at ${sizes.perSecond}/s`;
  record({
    name: `${name}: pods created a second, as the machine allowed`,
    value: (sizes.pods * SECONDS) / (lastMs - startedMs),
    unit: '/s',
    upstream: '–',
  });
  record({
    name: `${name}: writes of Node CRs per replaced pod`,
    value: ((await bench.nodeWrites()) - writes) / sizes.pods,
    unit: '',
    budget: 2,
    upstream: '–',
  });
  record({
    name: `${name}: cloud calls per replaced pod`,
    value: ((await cloudCalls(cloud)) - calls) / sizes.pods,
    unit: '',
    budget: 0.1,
    upstream: '–',
  });
  record({
    name: `${name}: calls beyond the quota, from the first node on`,
    value: await cloudCalls(cloud, (_action, outcome) => isThrottled(outcome)),
    unit: '',
    budget: 0,
    upstream: '–',
  });
}

/** A control plane starts where the pools of many nodes are settled. */
export async function measurePoolRestart(cluster: Cluster, { record, say }: Report, records: number): Promise<void> {
  const eniConf = { enable_eni_trunking: false, max_pool_size: PODS_PER_NODE, min_pool_size: 0 };
  await using bench = await PoolBench.start(cluster, eniConf);
  const { cloud } = bench.lab;
  say(`  creating ${records} nodes with ${PODS_PER_NODE} addresses each`);
  const enis = await makeRecords(bench, records, PODS_PER_NODE);
  await bench.startControlPlane();
  await bench.told(bench.nodes, 10 * MINUTE_MS);
  await delay(FIRST_ROUND_MS);
  await bench.settled();
  await bench.controlPlane?.process.stop();
  const writes = await bench.nodeWrites();
  const calls = await cloudCalls(cloud, isDescribeOfEnis);
  const startedMs = performance.now();
  await bench.startControlPlane();
  record({
    name: `restart to ready with ${records} Node CRs of ${PODS_PER_NODE} addresses`,
    value: (performance.now() - startedMs) / SECONDS,
    unit: 's',
    budget: 10,
    upstream: '–',
  });
  await bench.leading();
  await delay(FIRST_ROUND_MS);
  await bench.settled();
  record({
    name: 'describes of ENIs after that restart, with the first round of the collector (budget: one paged listing)',
    value: (await cloudCalls(cloud, isDescribeOfEnis)) - calls,
    unit: '',
    budget: Math.ceil(enis / ENIS_PER_PAGE),
    upstream: '–',
  });
  record({
    name: 'writes of Node CRs after that restart',
    value: (await bench.nodeWrites()) - writes,
    unit: '',
    budget: 0,
    upstream: '–',
  });
  record({
    name: `resident memory with ${records} Node CRs of ${PODS_PER_NODE} addresses`,
    value: ((await bench.controlPlane?.process.residentBytes()) ?? Number.NaN) / MEGABYTE,
    unit: 'MB',
    budget: 400,
    upstream: '–',
  });
}

/** The collector's first round is over, and its second has not begun. */
const FIRST_ROUND_MS = 45 * SECONDS;
/** The most that the API lists at once. */
const ENIS_PER_PAGE = 500;

function isDescribeOfEnis(action: string): boolean {
  return action === 'DescribeNetworkInterfaces';
}

/**
 * Gives each node its pods, all running, and a few idle addresses, as after some have gone.
 *
 * @returns pods of different nodes one after the other
 */
async function fillNodes(bench: PoolBench, nodes: readonly string[]): Promise<SharedPod[]> {
  await bench.compared(bench.nodes, 10 * MINUTE_MS);
  const places = Array.from({ length: PODS_PER_NODE + GONE_PER_NODE }, () => nodes).flat();
  const pods = await inParallel(places, (node) => bench.createPod(node));
  await bench.served(pods, 10 * MINUTE_MS);
  await inParallel(pods, (pod) => bench.run(pod));
  const gone = pods.slice(PODS_PER_NODE * nodes.length);
  await inParallel(gone, (pod) => bench.remove(pod));
  await bench.freed(gone, MINUTE_MS);
  await bench.settled();
  return pods.slice(0, PODS_PER_NODE * nodes.length);
}

/** The next pod comes while the one before goes. */
async function replace(bench: PoolBench, old: SharedPod): Promise<SharedPod> {
  const pod = await bench.createPod(old.node);
  await bench.remove(old);
  await bench.served([pod], MINUTE_MS);
  await bench.run(pod);
  return pod;
}

/** `DescribeNetworkInterfaces 3, DescribeVSwitches 1` */
function counted(actions: readonly string[]): string {
  const groups = Map.groupBy(actions, (action) => action);
  return [...groups].map(([action, all]) => `${action} ${all.length}`).join(', ') || 'none';
}
