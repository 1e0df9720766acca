import { PODNETWORKINGS } from '../world.ts';
import { ScaleWorld } from './scale-world.ts';
import { totalOf, type Work, type WorkCounter } from './work.ts';

/** What one event cost while so many pods were settled. */
export interface EventCost {
  event: string;
  settled: number;
  reconciles: number;
  /** Requests to the API server, leases and events included. */
  requests: number;
  calls: number;
  work: Work;
}

/** Pods of a node. */
const PER_NODE = 20;
/** Long enough for everything that follows an event, status written at intervals included. */
const WINDOW_MS = 30_000;
const MINUTE_MS = 60_000;
/** Windows begin here in a minute, so that the same timers fire in each of them. */
const SECOND_MS = 5000;
const MERGE_PATCH = 'application/merge-patch+json';

/** No quota, and nothing that happens at intervals without an event. */
const CONFIG = {
  leaderElection: false,
  podNetworkingRecheck: '12h',
  collector: { interval: '12h' },
  rateLimit: Object.fromEntries(
    ['default', 'CreateNetworkInterface', 'AttachNetworkInterface', 'DescribeNetworkInterfaces'].map((api) => [
      api,
      1_000_000,
    ]),
  ),
};

/** Measures each kind of event with each number of settled pods. @param sizes ascending */
export async function eventCosts(sizes: readonly number[], counter: WorkCounter): Promise<EventCost[]> {
  const scale = new ScaleWorld({ config: CONFIG });
  const costs: EventCost[] = [];
  scale.start();
  let settled = 0;
  for (const size of sizes) {
    scale.addNodes(Math.ceil(size / PER_NODE) - scale.trunks);
    await scale.until('all trunks are attached', () => scale.trunks === Math.ceil(size / PER_NODE));
    scale.createPods(`web-${size}`, size - settled);
    settled = size;
    await scale.until('all pods are bound', () => scale.bound === size);
    await scale.untilIdle();
    costs.push(...(await costsAt(scale, size, counter)));
  }
  scale.end();
  return costs;
}

async function costsAt(scale: ScaleWorld, settled: number, counter: WorkCounter): Promise<EventCost[]> {
  const { kube, clock } = scale.world;
  const user = () => ({ actor: 'user', nowMs: clock.now() });
  const patch = (resource: string, name: string, body: object) =>
    kube.patch({ resource, namespace: undefined, name, subresource: '' }, MERGE_PATCH, body, user());
  const events: [string, () => void][] = [
    ['nothing happens', () => undefined],
    ['a pod is created', () => scale.world.createPod({ name: 'one', nodeName: 'node-1' })],
    ['a pod is deleted', () => scale.world.deletePod('default/one', 0)],
    ['a node is labelled', () => patch('nodes', 'node-1', { metadata: { labels: { size: String(settled) } } })],
    ['a PodNetworking is edited', () => patch(PODNETWORKINGS, 'fixed', { spec: { priority: settled % 1000 } })],
  ];
  const costs: EventCost[] = [];
  for (const [event, happen] of events) {
    await scale.run(2 * MINUTE_MS - (clock.now() % MINUTE_MS) + SECOND_MS);
    const before = await scale.totals();
    await counter.take();
    happen();
    await scale.run(WINDOW_MS);
    const work = await counter.take();
    const after = await scale.totals();
    costs.push({
      event,
      settled,
      reconciles: after.reconciles - before.reconciles,
      requests: after.requests - before.requests,
      calls: after.calls + after.describes - before.calls - before.describes,
      work,
    });
  }
  return costs;
}

/**
 * Twice as much and so much more than with few settled pods is growth. A watch that ends in a window is a request more, whatever
 * the number of pods.
 */
const GROWTH = { factor: 2, executions: 50, counts: 2 };

/** What grows with the number of settled pods, one line for each event and function; empty when nothing does. */
export function growthOf(costs: readonly EventCost[]): string[] {
  return [...Map.groupBy(costs, ({ event }) => event).values()].flatMap((same) => {
    const [few, many] = [same[0], same.at(-1)];
    if (few === undefined || many === undefined) return [];
    const what = `${few.event}, ${few.settled} → ${many.settled} settled`;
    const counts = (['reconciles', 'requests', 'calls'] as const).flatMap((key) =>
      many[key] > few[key] * GROWTH.factor + GROWTH.counts ? [`${what}: ${few[key]} → ${many[key]} ${key}`] : [],
    );
    const functions = [...many.work].flatMap(([name, count]) => {
      const before = few.work.get(name) ?? 0;
      return count > before * GROWTH.factor + GROWTH.executions ? [`${what}: ${name} ${before} → ${count} times`] : [];
    });
    return [...counts, ...functions];
  });
}

/** For a table. */
export function shownCost({ event, settled, reconciles, requests, calls, work }: EventCost): string[] {
  return [event, String(settled), String(reconciles), String(requests), String(calls), String(totalOf(work))];
}
