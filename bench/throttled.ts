import type { ControlPlaneBench } from './control-plane-bench.ts';
import { MINUTE_MS, SECONDS, settled, untilSecondOfMinute } from './pace.ts';
import { overtaken, percentOf, type Report } from './report.ts';

/** The budget of a cold pod: within it, pods that start together may finish in any order. */
const COLD_POD_MS = 2100;

/** Pods of an account that allows less than is configured. */
export async function measureThrottled(bench: ControlPlaneBench, { record, say }: Report, pods: number): Promise<void> {
  // The account allows 60 % of the limits that the control plane assumes: 500 creations and 500 attachments.
  const window = { limit: 300, windowMs: MINUTE_MS } as const;
  await bench.lab.cloud.setBehaviour({
    rateWindows: { CreateNetworkInterface: window, AttachNetworkInterface: window },
  });
  await untilSecondOfMinute(0, say);
  const created = await bench.createPods(pods);
  await untilSecondOfMinute(0, say);
  const minuteEndedMs = performance.now();
  const atMinute = await bench.outcomes(['CreateNetworkInterface', 'AttachNetworkInterface']);
  const bound = await bench.bound(created.keys(), 360 * SECONDS);
  const atEnd = await bench.outcomes(['CreateNetworkInterface', 'AttachNetworkInterface']);
  await bench.lab.cloud.setBehaviour({ rateWindows: {} });
  record({
    name: 'throttled answers after the first minute when the real limit is 60 % of the believed one',
    value: percentOf(atEnd.throttled - atMinute.throttled, atEnd.all - atMinute.all),
    unit: '%',
    budget: 2,
    upstream: '–',
  });
  // Before the limit is known, the cloud decides which of the calls under way at once it refuses.
  const others = [...created].filter(([name]) => (bound.get(name) ?? 0) > minuteEndedMs);
  const all = overtaken(created, bound, COLD_POD_MS);
  say(`  with the first minute: ${all.count} overtaken, by up to ${(all.worstMs / SECONDS).toFixed(2)} s`);
  record({
    name: 'pods overtaken then: bound later, by more than a cold pod takes, than one created after them',
    value: overtaken(others, bound, COLD_POD_MS).count,
    unit: '',
    budget: 0,
    upstream: '–',
  });
  await settled(bench);
  await bench.deletePods(created.keys());
  await bench.released(created.keys(), 300 * SECONDS);
}
