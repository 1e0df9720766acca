import type { ControlPlaneBench } from './control-plane-bench.ts';
import { cpuSeconds, cpuSecondsIn, cpuSince } from './cpu.ts';
import { measureEventLoop } from './event-loop.ts';
import { MINUTE_MS, SECONDS, settled, untilSecondOfMinute } from './pace.ts';
import { measureFixedMove, measureRelease, measureWaitBehindReleases } from './releases.ts';
import { median, type Report } from './report.ts';
import { measureThrottled } from './throttled.ts';
import { reviewLatencies } from './webhook.ts';

const MEGABYTE = 1024 * 1024;

/** Covers two rounds of the collector and every periodic check. */
const SETTLED_FOR_MS = MINUTE_MS;

/** How much the large sections do. */
export interface ControlPlaneSizes {
  throttledPods: number;
  releases: number;
  pods: number;
  networkings: number;
  churnSeconds: number;
}

/** Sections of the control plane by name, in the order in which they share one cluster. */
export function controlPlaneSections(
  report: Report,
  sizes: ControlPlaneSizes,
): Record<string, (bench: ControlPlaneBench) => Promise<void>> {
  const { record, say } = report;
  return {
    async idle(bench) {
      await settled(bench);
      record({
        name: 'resident memory, idle',
        value: ((await bench.controlPlane?.process.residentBytes()) ?? Number.NaN) / MEGABYTE,
        unit: 'MB',
        budget: 150,
        upstream: '–',
      });
    },

    async cold(bench) {
      const latencies: number[] = [];
      for (let at = 0; at < 7; at += 1) {
        const created = await bench.createPods(1);
        const bound = await bench.bound(created.keys(), 20 * SECONDS);
        for (const [name, ms] of bound) latencies.push(ms - (created.get(name) ?? 0));
        await bench.deletePods(created.keys());
        await bench.released(created.keys(), 20 * SECONDS);
      }
      record({
        name: 'cold trunk pod, idle, created → Bind (median of 7)',
        value: median(latencies) / SECONDS,
        unit: 's',
        budget: 2.1,
        upstream: '3.4–4.2 / the same',
      });
    },

    async release(bench) {
      await measureRelease(bench, report);
    },

    async fixed(bench) {
      await measureFixedMove(bench, report);
    },

    async webhook(bench) {
      const sorted = (await reviewLatencies(bench.lab)).sort((a, b) => a - b);
      say(`  median ${median(sorted).toFixed(1)} ms, worst ${sorted.at(-1)?.toFixed(1)} ms`);
      record({
        name: 'webhook, p99 of 200 reviews a second',
        value: sorted[Math.ceil(sorted.length * 0.99) - 1] ?? Number.NaN,
        unit: 'ms',
        budget: 20,
        upstream: '– / –',
      });
    },

    async burst100(bench) {
      await burst(bench, report, 100, { budget: 3, upstream: '35 / –' });
    },

    async burst200(bench) {
      await settled(bench);
      const calls = await bench.cloudCalls();
      const writes = await bench.kubeWrites();
      const names = await burst(bench, report, 200, { budget: 4, upstream: '– / 8.3', keep: true });
      // NetworkInterfaces are written after the bind.
      await settled(bench);
      const callsCreated = await bench.cloudCalls();
      const writesCreated = await bench.kubeWrites();
      const per = (amount: number) => amount / names.length;
      record({
        name: 'cloud calls per pod, create',
        value: per(callsCreated - calls),
        unit: '',
        budget: 2.1,
        upstream: '3.0 / the same',
      });
      record({
        name: 'API-server writes per pod, create',
        value: per(writesCreated - writes),
        unit: '',
        budget: 5,
        upstream: '6.0 / the same',
      });
      const startedMs = performance.now();
      await bench.deletePods(names);
      await bench.released(names, 60 * SECONDS);
      say(`  200 pods deleted, all ENIs gone: ${((performance.now() - startedMs) / SECONDS).toFixed(2)} s`);
      await settled(bench);
      record({
        name: 'cloud calls per pod, life cycle',
        value: per((await bench.cloudCalls()) - calls),
        unit: '',
        budget: 4.1,
        upstream: '7.0–7.9 / the same',
      });
      record({
        name: 'API-server writes per pod, life cycle',
        value: per((await bench.kubeWrites()) - writes),
        unit: '',
        budget: 9,
        upstream: '13.2–13.9 / the same',
      });
      // Last: it starts another control plane, which has yet to learn how long the cloud takes.
      await measureRequestsAlone(bench, report, 200);
    },

    async throttled(bench) {
      await measureThrottled(bench, report, sizes.throttledPods);
    },

    async releases(bench) {
      await measureWaitBehindReleases(bench, report, sizes.releases);
    },

    async sigkill(bench) {
      await untilSecondOfMinute(5, say);
      const created = await bench.createPods(50);
      await bench.bound([...created.keys()].slice(0, 10), 20 * SECONDS);
      await bench.controlPlane?.process.stop('SIGKILL');
      await bench.startControlPlane();
      const restartedMs = performance.now();
      await bench.bound(created.keys(), 60 * SECONDS);
      await new Promise((resolve) =>
        setTimeout(resolve, Math.max(0, 30 * SECONDS - (performance.now() - restartedMs))),
      );
      const orphans = (await bench.podEnis()).length - created.size;
      record({
        name: 'ENIs orphaned by one SIGKILL in a 50-pod rollout, 30 s after the restart',
        value: orphans,
        unit: '',
        budget: 0,
        upstream: '– / 28, 0, 30',
      });
      await bench.deletePods(created.keys());
      await bench.released(created.keys(), 60 * SECONDS);
    },

    async thousand(bench) {
      await untilSecondOfMinute(30, say);
      const startedMs = performance.now();
      const restOfMinuteMs = MINUTE_MS - (Date.now() % MINUTE_MS);
      const created = await bench.createPods(1000);
      const leftMs = restOfMinuteMs - (performance.now() - startedMs);
      const [bound, cpu] = await Promise.all([bench.bound(created.keys(), 180 * SECONDS), cpuSecondsIn(leftMs)]);
      say(`  CPU time since the next minute began: ${await cpuSince(cpu)}`);
      record({
        name: '1,000 cold pods (budget: rest of the running minute + 5 s)',
        value: (Math.max(...bound.values()) - startedMs) / SECONDS,
        unit: 's',
        budget: restOfMinuteMs / SECONDS + 5,
        upstream: '~350 / 64',
      });
      await settled(bench);
      const resident = (await bench.controlPlane?.process.residentBytes()) ?? Number.NaN;
      record({
        name: 'resident memory at 1,000 pods',
        value: resident / MEGABYTE,
        unit: 'MB',
        budget: 150,
        upstream: '– / 97',
      });
      await restart(bench, report, 'restart to ready at 1,000 PodENIs', 10);

      await untilSecondOfMinute(30, say);
      const deletedMs = performance.now();
      // 400 detaches a minute: the rest of this one, one more, and 200 in the third.
      const quotaMs = MINUTE_MS - (Date.now() % MINUTE_MS) + MINUTE_MS;
      await bench.deletePods(created.keys());
      const untilThirdMs = quotaMs - (performance.now() - deletedMs);
      const [, cpuThird] = await Promise.all([
        bench.released(created.keys(), 300 * SECONDS),
        cpuSecondsIn(untilThirdMs),
      ]);
      say(`  CPU time since the third minute began: ${await cpuSince(cpuThird)}`);
      record({
        name: '1,000 pods deleted, all ENIs gone (budget: what the detach quota allows + 5 s)',
        value: (performance.now() - deletedMs) / SECONDS,
        unit: 's',
        budget: quotaMs / SECONDS + 5,
        upstream: '– / 126',
      });
      const left = await bench.podEnis();
      if (left.length > 0) throw new Error(`${left.length} ENIs are left in the cloud`);
    },

    'event-loop': (bench) =>
      measureEventLoop(bench, report, {
        pods: sizes.pods,
        networkings: sizes.networkings,
        seconds: sizes.churnSeconds,
      }),

    async restart(bench) {
      say('  creating 10,000 settled records');
      await bench.createSettledRecords(10_000);
      await restart(bench, report, 'restart to ready with 10,000 PodENIs', 3);
      await settled(bench);
      const resident = (await bench.controlPlane?.process.residentBytes()) ?? Number.NaN;
      record({
        name: 'resident memory at 10,000 PodENIs',
        value: resident / MEGABYTE,
        unit: 'MB',
        budget: 220,
        upstream: '–',
      });
      const writes = await bench.kubeWrites();
      const calls = await bench.mutations();
      await new Promise((resolve) => setTimeout(resolve, SETTLED_FOR_MS));
      record({
        name: 'writes and mutations of a settled system with 10,000 fixed pods, in a minute',
        value: (await bench.kubeWrites()) - writes + (await bench.mutations()) - calls,
        unit: '',
        budget: 0,
        upstream: '–',
      });
    },

    async large(bench) {
      say('  creating 20,000 settled records and 50,000 other pods');
      // The previous section may have created 10,000.
      await bench.createSettledRecords(20_000 - bench.settledRecords);
      await bench.createOtherPods(50_000);
      await restart(bench, report, 'restart to ready with 20,000 PodENIs and 50,000 other pods');
      await settled(bench);
      const resident = (await bench.controlPlane?.process.residentBytes()) ?? Number.NaN;
      record({
        name: 'resident memory at 20,000 PodENIs and 50,000 other pods',
        value: resident / MEGABYTE,
        unit: 'MB',
        budget: 400,
        upstream: '–',
      });
    },
  };
}

/** What of a burst is the machine's: the same requests, while no control plane runs. */
async function measureRequestsAlone(bench: ControlPlaneBench, { record }: Report, count: number): Promise<void> {
  await bench.controlPlane?.process.stop();
  record({
    name: `the API server alone: ${count} POSTs of pods, and 3 writes of a PodENI for each`,
    value: (await bench.requestsAlone(count)) / SECONDS,
    unit: 's',
    upstream: '–',
  });
  await bench.startControlPlane();
}

async function burst(
  bench: ControlPlaneBench,
  { record, say }: Report,
  count: number,
  options: { budget: number; upstream: string; keep?: boolean },
): Promise<string[]> {
  // Wait for mirrors and finalizers of the previous section.
  await settled(bench);
  await untilSecondOfMinute(2, say);
  const cpu = await cpuSeconds();
  const startedMs = performance.now();
  const created = await bench.createPods(count);
  const createdMs = performance.now();
  const bound = await bench.bound(created.keys(), 60 * SECONDS);
  const latencies = [...bound].map(([name, ms]) => ms - (created.get(name) ?? 0));
  say(
    `  all POSTs answered after ${((createdMs - startedMs) / SECONDS).toFixed(2)} s; latency of a pod: median ${(median(latencies) / SECONDS).toFixed(2)} s, worst ${(Math.max(...latencies) / SECONDS).toFixed(2)} s`,
  );
  say(`  CPU time until then: ${await cpuSince(cpu)}`);
  record({
    name: `${count} pods at once, first POST → last Bind`,
    value: (Math.max(...bound.values()) - startedMs) / SECONDS,
    unit: 's',
    ...options,
  });
  const names = [...created.keys()];
  if (options.keep !== true) {
    await settled(bench);
    await bench.deletePods(names);
    await bench.released(names, 60 * SECONDS);
  }
  return names;
}

async function restart(bench: ControlPlaneBench, { record }: Report, name: string, budget?: number): Promise<void> {
  await bench.controlPlane?.process.stop();
  const startedMs = performance.now();
  await bench.startControlPlane();
  record({
    name,
    value: (performance.now() - startedMs) / SECONDS,
    unit: 's',
    ...(budget !== undefined && { budget }),
    upstream: '–',
  });
  // Ready is not leading: until then nothing is written, which looks like a settled system.
  await bench.leading();
}
