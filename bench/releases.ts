import { stringify } from 'yaml';
import * as z from 'zod';
import { POD_SECURITY_GROUP, POD_VSWITCH, ZONES } from '../test/harness/lab.ts';
import { pollUntil } from '../tools/machine/poll.ts';
import { type ControlPlaneBench, SLOTS_PER_NODE } from './control-plane-bench.ts';
import { MINUTE_MS, SECONDS, settled, untilSecondOfMinute } from './pace.ts';
import { median, type Report, spread } from './report.ts';

const FIXED = 'bench-fixed';
/** Two nodes in the same zone, because a fixed address cannot leave its zone. */
const [FROM, TO] = ['node-1', 'node-3'];
const ROUNDS = 5;
const CREATIONS_PER_MINUTE = 500;
const DETACHES_PER_MINUTE = 400;

const podEniSchema = z.object({
  spec: z.object({ allocations: z.array(z.object({ eni: z.object({ id: z.string() }) })).min(1) }),
});

/** One pod deleted on an idle cluster, until its ENI is gone from the cloud. */
export async function measureRelease(bench: ControlPlaneBench, { record, say }: Report): Promise<void> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const before = (await bench.podEnis()).length;
    const created = await bench.createPods(1);
    await bench.bound(created.keys(), 20 * SECONDS);
    await settled(bench);
    await bench.deletePods(created.keys());
    const deletedMs = performance.now();
    await pollUntil(async () => ((await bench.podEnis()).length === before ? true : undefined), {
      what: 'the ENI to be gone',
      timeoutMs: 60 * SECONDS,
      intervalMs: 20,
    });
    times.push((performance.now() - deletedMs) / SECONDS);
    await bench.released(created.keys(), 20 * SECONDS);
  }
  say(`  ${spread(times)} s`);
  record({
    name: `one pod deleted when idle, its ENI gone (median of ${ROUNDS})`,
    value: median(times),
    unit: 's',
    budget: 3.6,
    upstream: '3.7 / the same',
  });
}

/** A fixed pod is deleted and recreated on another node. Measured until Bind, because there are no kubelets. */
export async function measureFixedMove(bench: ControlPlaneBench, { record, say }: Report): Promise<void> {
  const name = 'moving-0';
  await applyFixed(bench);
  await createFixed(bench, name, FROM);
  await bench.boundOn(name, FROM, 20 * SECONDS);
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    await settled(bench);
    const target = round % 2 === 0 ? TO : FROM;
    await bench.deletePods([name]);
    const deletedMs = performance.now();
    await createFixed(bench, name, target);
    times.push(((await bench.boundOn(name, target, 60 * SECONDS)) - deletedMs) / SECONDS);
  }
  await removeFixed(bench, name);
  say(`  ${spread(times)} s`);
  record({
    name: `fixed pod moves to another node, deleted → Bind there (median of ${ROUNDS})`,
    value: median(times),
    unit: 's',
    budget: 4.2,
    upstream: '–',
  });
}

/** A fixed pod moves while many pods are released: its detachment comes before those that no pod waits for. */
export async function measureWaitBehindReleases(
  bench: ControlPlaneBench,
  { record, say }: Report,
  releases: number,
): Promise<void> {
  const name = 'waiting-0';
  await bench.growTo(Math.ceil((releases + 1) / SLOTS_PER_NODE) + 1);
  await applyFixed(bench);
  await createFixed(bench, name, FROM);
  await bench.boundOn(name, FROM, 20 * SECONDS);
  const eniId = await eniOf(bench, name);
  const created = await bench.createPods(releases);
  await bench.bound(created.keys(), (Math.ceil(releases / CREATIONS_PER_MINUTE) + 2) * MINUTE_MS);
  await settled(bench);
  await untilSecondOfMinute(20, say);
  await bench.deletePods(created.keys());
  await bench.deletePods([name]);
  await createFixed(bench, name, TO);
  const waitsSinceMs = Date.now();
  const restOfMinuteMs = MINUTE_MS - (waitsSinceMs % MINUTE_MS);
  say(`  ${(await bench.podEnis()).length} ENIs of pods are left when it begins to wait`);
  await bench.boundOn(name, TO, 5 * MINUTE_MS);
  const detachedMs = await detachmentSentMs(bench, eniId);
  record({
    name: `a waiting pod behind ${releases} releases: its wait for quota (budget: rest of the minute + 1 s)`,
    value: Math.max(0, detachedMs - waitsSinceMs) / SECONDS,
    unit: 's',
    budget: restOfMinuteMs / SECONDS + 1,
    upstream: '–',
  });
  await bench.released(created.keys(), (Math.ceil(releases / DETACHES_PER_MINUTE) + 2) * MINUTE_MS);
  await removeFixed(bench, name);
}

async function applyFixed(bench: ControlPlaneBench): Promise<void> {
  await bench.lab.apply(
    stringify({
      apiVersion: 'network.alibabacloud.com/v1beta1',
      kind: 'PodNetworking',
      metadata: { name: FIXED },
      spec: {
        allocationType: { type: 'Fixed', releaseStrategy: 'Never' },
        vSwitchOptions: [POD_VSWITCH[ZONES[0]]],
        securityGroupIDs: [POD_SECURITY_GROUP],
      },
    }),
  );
  await bench.lab.networkingReady(FIXED);
}

async function createFixed(bench: ControlPlaneBench, name: string, node: string): Promise<void> {
  await bench.createPod(name, node, { networking: FIXED, isOfStatefulSet: true });
}

/** Deletes the pod, then its record, which would stay otherwise. */
async function removeFixed(bench: ControlPlaneBench, name: string): Promise<void> {
  await bench.deletePods([name]);
  await settled(bench);
  await bench.deletePodEni(name);
  await bench.released([name], 60 * SECONDS);
}

async function eniOf(bench: ControlPlaneBench, name: string): Promise<string> {
  const [allocation] = podEniSchema.parse(await bench.podEni(name)).spec.allocations;
  if (allocation === undefined) throw new Error(`PodENI ${name} has no ENI`);
  return allocation.eni.id;
}

/** When the cloud received the call that detached the ENI. */
async function detachmentSentMs(bench: ControlPlaneBench, eniId: string): Promise<number> {
  let last = 0;
  for (;;) {
    const entries = await bench.lab.cloud.journal(last);
    const found = entries.find(
      ({ kind, action, outcome, objectIds }) =>
        kind === 'call' && action === 'DetachNetworkInterface' && outcome === 'OK' && objectIds.includes(eniId),
    );
    if (found !== undefined) return found.timeMs;
    const seq = entries.at(-1)?.seq;
    if (seq === undefined) throw new Error(`the cloud got no DetachNetworkInterface for ${eniId}`);
    last = seq;
  }
}
