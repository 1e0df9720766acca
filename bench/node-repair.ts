import { setTimeout as delay } from 'node:timers/promises';
import { LookLoop } from '../src/agent/look-loop.ts';
import { buildTools, type DatapathLab } from '../src/datapath/test-support/datapath-lab.ts';
import { systemClock } from '../src/util/clock.ts';
import { pollUntil } from '../tools/machine/poll.ts';
import { type Report, spread } from './report.ts';
import { TrunkPodFleet } from './trunk-pod-fleet.ts';

const PODS = 100;
const ROUNDS = 3;
/** Syncs after disturbances are rate-limited to one every 5 s after the first few, and a repair may cost two. */
const BETWEEN_MS = 12_000;

const DISTURBANCES: readonly [what: string, disturb: (lab: DatapathLab) => void][] = [
  ['rules', (lab) => lab.ip('rule', 'flush', 'proto', '84')],
  ['routes', (lab) => lab.ip('route', 'flush', 'table', '911')],
];

/** Repair after another program removes rules or routes, with the real data path and the agent's loop only. */
export async function measureRepair({ record, say }: Report): Promise<void> {
  await buildTools();
  await using fleet = await TrunkPodFleet.make(PODS, 'marks', 'own');
  const { lab, datapath, pods } = fleet;
  const stop = new AbortController();
  let looks = 0;
  const loop = new LookLoop({
    clock: systemClock,
    periodMs: 3_600_000,
    look: async (scope) => {
      await datapath.sync(() => pods, { nodeOnly: scope === 'node' });
      looks += 1;
    },
  });
  const running = loop.run(stop.signal);
  try {
    await datapath.watch((kind) => loop.wake(kind === 'node' ? 'node' : 'all'));
    await pollUntil(async () => (looks > 0 ? true : undefined), { what: 'the first look', timeoutMs: 30_000 });
    const worst: number[] = [];
    for (const [what, disturb] of DISTURBANCES) {
      const times: number[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        await delay(BETWEEN_MS);
        times.push(await backAfterMs(lab, disturb));
      }
      say(`  ${what}: back after ${spread(times)} ms; ${looks} looks so far`);
      worst.push(Math.max(...times));
    }
    record({
      name: `node: rules or routes removed by another program → back, ${PODS} pods there (worst of ${2 * ROUNDS})`,
      value: Math.max(...worst) / 1000,
      unit: 's',
      budget: 1,
      upstream: '–',
    });
  } finally {
    stop.abort();
    await running;
  }
}

async function backAfterMs(lab: DatapathLab, disturb: (lab: DatapathLab) => void): Promise<number> {
  const state = () => lab.ip('rule') + lab.ip('route', 'show', 'table', '911');
  const before = state();
  disturb(lab);
  const disturbedMs = performance.now();
  if (state() === before) throw new Error('nothing was removed, or it was restored at once');
  await pollUntil(async () => (state() === before ? true : undefined), {
    what: 'the removed objects to be restored',
    timeoutMs: 30_000,
    intervalMs: 10,
  });
  return performance.now() - disturbedMs;
}
