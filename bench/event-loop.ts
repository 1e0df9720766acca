import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';
import { POD_SECURITY_GROUP, POD_VSWITCH, ZONES } from '../test/harness/lab.ts';
import type { ControlPlaneBench } from './control-plane-bench.ts';
import { SECONDS, settled } from './pace.ts';
import type { Report } from './report.ts';

/** Churn: other pods are replaced and PodNetworkings are edited. */
const PER_TICK = 2;
const TICK_MS = 100;
const TICKS_PER_LOOK = 50;
const TICKS_PER_EDIT = 10;
const LABEL = 'bench=event-loop';

const FOLDER = '/apis/network.alibabacloud.com/v1beta1/podnetworkings';

/** The longest turn of the control plane's event loop, from its own metrics, in a large cluster under churn. */
export async function measureEventLoop(
  bench: ControlPlaneBench,
  { record, say }: Report,
  sizes: { pods: number; networkings: number; seconds: number },
): Promise<void> {
  const { pods, networkings, seconds } = sizes;
  say(`  creating ${pods} pods and ${networkings} PodNetworkings`);
  await bench.lab.apply(Array.from({ length: networkings }, (_, at) => networking(at)).join('---\n'));
  await bench.createOtherPods(pods);
  await settled(bench);
  // The metric covers the time since the last scrape.
  say(`  before, all of it created: ${(await longestTurnMs(bench)).toFixed(1)} ms`);
  const turns: number[] = [];
  const ticks = (seconds * SECONDS) / TICK_MS;
  for (let tick = 1; tick <= ticks; tick += 1) {
    await Promise.all([bench.replaceOtherPods(PER_TICK), delay(TICK_MS)]);
    if (tick % TICKS_PER_EDIT === 0) {
      const path = `${FOLDER}/loop-${tick % networkings}`;
      await bench.lab.api.patch(path, 'merge', { metadata: { annotations: { edited: String(tick) } } });
      const created = await bench.createPods(1);
      await bench.deletePods(created.keys());
    }
    if (tick % TICKS_PER_LOOK === 0) turns.push(await longestTurnMs(bench));
  }
  say(`  longest in each of ${turns.length} looks: ${turns.map((ms) => ms.toFixed(0)).join(', ')} ms`);
  record({
    name: `event-loop turn, longest, ${pods} pods and ${networkings} PodNetworkings under churn`,
    value: Math.max(...turns),
    unit: 'ms',
    budget: 50,
    upstream: '–',
  });
  await bench.deleteOtherPods();
  await bench.lab.api.delete(FOLDER, { query: { labelSelector: LABEL } });
}

/** Since the last call. The metric samples every 10 ms and includes that interval. */
async function longestTurnMs(bench: ControlPlaneBench): Promise<number> {
  const text = await (await fetch(`${bench.controlPlane?.telemetryUrl}/metrics`)).text();
  const value = /^nodejs_eventloop_lag_max_seconds (\S+)$/m.exec(text)?.[1];
  if (value === undefined) throw new Error('the control plane does not export nodejs_eventloop_lag_max_seconds');
  return Number(value) * 1000;
}

function networking(at: number): string {
  const [key, value] = LABEL.split('=');
  return stringify({
    apiVersion: 'network.alibabacloud.com/v1beta1',
    kind: 'PodNetworking',
    metadata: { name: `loop-${at}`, labels: { [key ?? '']: value } },
    spec: {
      selector: { podSelector: { matchLabels: { app: `app-${at}` } } },
      vSwitchOptions: ZONES.map((zone) => POD_VSWITCH[zone]),
      securityGroupIDs: [POD_SECURITY_GROUP],
    },
  });
}
