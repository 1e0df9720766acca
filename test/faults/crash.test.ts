import { afterAll, beforeAll, expect, test } from 'vitest';
import { violations } from '../../sim/world/invariants.ts';
import { seededRandom } from '../../src/util/random.ts';
import { sharedCluster, withNamespace } from '../cluster/shared.ts';
import { TEST_SEED } from '../harness/chance.ts';
import { type ControlPlane, ControlPlaneLab } from '../harness/lab.ts';
import { fixedReservations, Rollout, type WindowName, windowsOf } from '../harness/rollout.ts';

/** Short terms, so that a successor of a killed leader need not wait for long. */
const LEASE = { leaseDuration: '3s', renewDeadline: '2s', retryPeriod: '500ms' };
const ELASTIC = Array.from({ length: 38 }, (_, at) => `elastic-${at}`);
const FIXED = Array.from({ length: 12 }, (_, at) => `fixed-${at}`);
/** Fixed and elastic in turn, so that every moment of a rollout has both. */
const PODS = [...ELASTIC, ...FIXED].sort((a, b) => Number(a.split('-')[1]) - Number(b.split('-')[1]));
const SEEDS = 10;
const MORE_SEEDS = 20;
/** From the first POST or DELETE; the whole of a rollout and of its deletion. */
const KILL_WITHIN_MS = { rollout: 2800, deletion: 4500 };
const SETTLE_MS = 60_000;
const ALL_WINDOWS: WindowName[] = ['intentWritten', 'createdNotRecorded', 'attaching', 'detaching', 'deleting'];

let lab: ControlPlaneLab;
let namespace: Awaited<ReturnType<typeof withNamespace>>;
let rollout: Rollout;
let controlPlane: ControlPlane;

beforeAll(async () => {
  const cluster = await sharedCluster();
  lab = await ControlPlaneLab.start({ cluster });
  namespace = await withNamespace(cluster, 'sigkill');
  const nodes = [];
  for (let count = 0; count < 2; count += 1) nodes.push((await lab.addNode('cn-hangzhou-h', 'ecs.g7.16xlarge')).name);
  controlPlane = await lab.startControlPlane({ config: LEASE });
  rollout = new Rollout(lab, namespace.name, nodes);
  await rollout.prepare();
});

afterAll(async () => {
  await namespace?.[Symbol.asyncDispose]();
  await lab?.close();
});

test('a control plane that is killed at a random moment loses, duplicates and forgets nothing', async () => {
  const hits = new Map<WindowName, number>();
  let reservations = new Map<string, string>();
  const isEnough = (rounds: number) => rounds >= MORE_SEEDS || (rounds >= SEEDS && hits.size === ALL_WINDOWS.length);
  // What was rolled out is deleted at the end.
  for (let round = 1; round % 2 === 0 || !isEnough(round - 1); round += 1) {
    const seed = TEST_SEED + round - 1;
    const phase = round % 2 === 1 ? 'rollout' : 'deletion';
    const killAtMs = seededRandom(seed).next() * KILL_WITHIN_MS[phase];
    const work = phase === 'rollout' ? rollout.create(PODS) : rollout.delete(PODS);
    await new Promise((resolve) => setTimeout(resolve, killAtMs));
    await controlPlane.process.stop('SIGKILL');
    const caught = await rollout.world();
    const windows = windowsOf(caught);
    for (const [name, count] of Object.entries(windows)) {
      const known = ALL_WINDOWS.find((window) => window === name);
      if (known !== undefined) hits.set(known, (hits.get(known) ?? 0) + count);
    }
    await work;
    expect(violations(caught), `seed ${seed}, at the kill`).toEqual([]);
    controlPlane = await lab.startControlPlane({ config: LEASE });

    const expected = phase === 'rollout' ? PODS.length : FIXED.length;
    const world = await rollout.settled(({ podEnis }) => {
      const bound = podEnis.filter(({ status }) => status?.phase === (phase === 'rollout' ? 'Bind' : 'Unbind'));
      return podEnis.length === expected && bound.length === expected;
    }, SETTLE_MS);
    process.stdout.write(
      `seed ${seed}: ${phase} killed after ${killAtMs.toFixed(0)} ms in ${JSON.stringify(windows)}\n`,
    );

    // I4: a fixed reservation never changes while it is reserved.
    const now = fixedReservations(world.podEnis);
    for (const [name, reservation] of reservations) expect(now.get(name), `seed ${seed}, ${name}`).toBe(reservation);
    reservations = now;
  }
  expect([...hits.keys()].sort()).toEqual([...ALL_WINDOWS].sort());
});

test('a second look at the settled system writes and changes nothing (L2)', async () => {
  const before = await rollout.world();
  const versions = versionsOf(before);
  await controlPlane.process.stop('SIGTERM');
  // A new process looks at everything anew.
  controlPlane = await lab.startControlPlane({ config: LEASE });
  await expectLeading();
  const after = await rollout.world();
  expect(versionsOf(after)).toEqual(versions);
  expect(mutations(after)).toEqual(mutations(before));
});

const LEADS = /^terway_leader 1$/m;

async function metricsOf({ telemetryUrl }: ControlPlane): Promise<string> {
  return (await fetch(`${telemetryUrl}/metrics`)).text();
}

/** The new leader has reconciled what it found: its queues have been worked off. */
async function expectLeading(): Promise<void> {
  await expect
    .poll(
      async () => {
        const metrics = await metricsOf(controlPlane);
        const leads = LEADS.test(metrics);
        const done = /^terway_reconciles_total\{controller="networkinterface",result="success"\} ([1-9]\d*)$/m.test(
          metrics,
        );
        const waiting = [...metrics.matchAll(/^terway_queue_depth\{[^}]*\} (\d+)$/gm)].some(
          ([, depth]) => depth !== '0',
        );
        return leads && done && !waiting;
      },
      { timeout: 20_000, interval: 100 },
    )
    .toBe(true);
}

type WorldState = Awaited<ReturnType<Rollout['world']>>;

function versionsOf(world: WorldState): string[] {
  return [...world.podEnis, ...world.networkInterfaces, ...world.nodes].map(
    ({ metadata }) => `${metadata.name} ${metadata.resourceVersion}`,
  );
}

function mutations({ counters }: WorldState): Record<string, unknown> {
  return Object.fromEntries(Object.entries(counters.calls).filter(([action]) => !action.startsWith('Describe')));
}

test('two replicas with one lease: killing the leader under load loses and duplicates nothing', async () => {
  let standby = await lab.startControlPlane({ config: LEASE });
  for (const phase of ['rollout', 'deletion'] as const) {
    await expectLeading();
    const work = phase === 'rollout' ? rollout.create(PODS) : rollout.delete(PODS);
    await new Promise((resolve) => setTimeout(resolve, KILL_WITHIN_MS[phase] / 2));
    await controlPlane.process.stop('SIGKILL');
    const caught = await rollout.world();
    await work;
    expect(violations(caught), phase).toEqual([]);
    const expected = phase === 'rollout' ? PODS.length : FIXED.length;
    await rollout.settled(({ podEnis }) => {
      const bound = podEnis.filter(({ status }) => status?.phase === (phase === 'rollout' ? 'Bind' : 'Unbind'));
      return podEnis.length === expected && bound.length === expected;
    }, SETTLE_MS);
    controlPlane = standby;
    standby = await lab.startControlPlane({ config: LEASE });
  }
});

test('a leader that stands still for longer than its lease changes nothing when it goes on', async () => {
  const stopped = controlPlane;
  await expectLeading();
  const work = rollout.create(PODS);
  await new Promise((resolve) => setTimeout(resolve, KILL_WITHIN_MS.rollout / 2));
  process.kill(stopped.process.pid, 'SIGSTOP');
  let before: WorldState;
  try {
    await work;
    // Its successor binds every pod, also those that it was working on.
    before = await rollout.settled(
      ({ podEnis }) => podEnis.length === PODS.length && podEnis.every(({ status }) => status?.phase === 'Bind'),
      SETTLE_MS,
    );
  } finally {
    process.kill(stopped.process.pid, 'SIGCONT');
  }
  await expect.poll(async () => LEADS.test(await metricsOf(stopped)), { timeout: 20_000, interval: 100 }).toBe(false);
  const after = await rollout.world();
  expect(mutations(after)).toEqual(mutations(before));
  expect(violations(after)).toEqual([]);
  expect(stopped.process.isRunning).toBe(true);
});
