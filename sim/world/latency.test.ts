import { afterEach, expect, test } from 'vitest';
import { World } from './world.ts';

/* Latency of the control plane itself, which is exact on virtual time, whatever the machine's load. */

const CREATE_MS = 300;
/** Of an attachment, a detachment and a deletion alike. */
const CHANGE_MS = 1500;
const MINUTE_MS = 60_000;

let world: World | undefined;
let calls = 0;

afterEach(() => world?.end());

async function cluster(nodes: number): Promise<World> {
  calls = 0;
  const made = new World({
    config: { leaderElection: false },
    latencies: { createMs: CREATE_MS, attachMs: CHANGE_MS, detachMs: CHANGE_MS, deleteMs: CHANGE_MS },
    onCloudCall: () => {
      calls += 1;
      return undefined;
    },
  });
  world = made;
  const names = Array.from({ length: nodes }, () => made.addNode().name);
  made.startReplica();
  await made.until('trunks', () => names.every((name) => made.trunkOf(name) !== undefined), MINUTE_MS);
  await untilSecondOfMinute(made, 5);
  return made;
}

/** Start of the minute after the next, so that startup calls do not count. */
async function untilSecondOfMinute(world: World, second: number): Promise<void> {
  const sinceMinuteMs = world.clock.now() % MINUTE_MS;
  await world.run(2 * MINUTE_MS - sinceMinuteMs + second * 1000);
}

/** ENIs of pods that the cloud has. */
function podEnis(world: World): number {
  const { enis } = world.cloud.snapshot(world.clock.now());
  return enis.filter(({ type }) => type === 'Member' || type === 'Secondary').length;
}

/** Polls the cloud every 10 ms. @returns the elapsed milliseconds */
async function untilNoPodEnis(world: World): Promise<number> {
  const startMs = world.clock.monotonicMs();
  while (podEnis(world) > 0) {
    if (world.clock.monotonicMs() - startMs > MINUTE_MS) throw new Error('after a minute: there are ENIs of pods');
    await world.run(10);
  }
  return world.clock.monotonicMs() - startMs;
}

test('an idle pod is bound, and its ENI is gone after its end, without delays of ours', async () => {
  const world = await cluster(1);
  for (let round = 0; round < 6; round += 1) {
    world.createPod({ name: 'a', nodeName: 'node-1' });
    const boundMs = await world.until('bound', () => world.isBound('default/a'), MINUTE_MS);
    expect(boundMs).toBeLessThan(CREATE_MS + CHANGE_MS + 300);
    await world.run(20_000);
    world.deletePod('default/a', 0);
    const goneMs = await untilNoPodEnis(world);
    expect(goneMs).toBeLessThan(2 * CHANGE_MS + 600);
    await world.until('settled', () => world.podEni('default/a') === undefined, MINUTE_MS);
    await world.run(20_000);
  }
});

test('a fixed address moves to another node without delays of ours', async () => {
  const world = await cluster(2);
  const pod = { name: 'db-0', networking: 'fixed', ownerKind: 'StatefulSet' } as const;
  const isBoundOn = (nodeName: string) =>
    world.isBound('default/db-0') && world.podEni('default/db-0')?.spec.target?.nodeName === nodeName;
  world.createPod({ ...pod, nodeName: 'node-1' });
  await world.until('bound', () => isBoundOn('node-1'), MINUTE_MS);
  for (let round = 0; round < 6; round += 1) {
    await world.run(20_000);
    const nodeName = round % 2 === 0 ? 'node-2' : 'node-1';
    world.deletePod('default/db-0', 0);
    world.createPod({ ...pod, nodeName });
    const movedMs = await world.until('moved', () => isBoundOn(nodeName), MINUTE_MS);
    expect(movedMs).toBeLessThan(2 * CHANGE_MS + 1200);
  }
});

test('200 pods at once are bound and released with few calls', async () => {
  const world = await cluster(2);
  const names = Array.from({ length: 200 }, (_, at) => `pod-${at}`);
  const before = calls;
  for (const [at, name] of names.entries()) world.createPod({ name, nodeName: `node-${(at % 2) + 1}` });
  const boundMs = await world.until('bound', () => world.countOf('Bind') === names.length, MINUTE_MS);
  expect(boundMs).toBeLessThan(4000);
  expect((calls - before) / names.length).toBeLessThan(2.1);
  await world.run(10_000);
  for (const name of names) world.deletePod(`default/${name}`, 0);
  const goneMs = await untilNoPodEnis(world);
  expect(goneMs).toBeLessThan(2 * CHANGE_MS + 2000);
  await world.until('settled', () => world.podEnis().length === 0, MINUTE_MS);
  expect((calls - before) / names.length).toBeLessThan(4.1);
});

test('1,000 pods are bound 5 s after the minute in which they came, and gone 5 s after the quota of detaches allows', async () => {
  const world = await cluster(10);
  await untilSecondOfMinute(world, 30);
  const names = Array.from({ length: 1000 }, (_, at) => `pod-${at}`);
  for (const [at, name] of names.entries()) world.createPod({ name, nodeName: `node-${(at % 10) + 1}` });
  const boundMs = await world.until('bound', () => world.countOf('Bind') === names.length, 3 * MINUTE_MS);
  expect(boundMs).toBeLessThan(30_000 + 5000);
  await untilSecondOfMinute(world, 30);
  // 400 in the rest of this minute, 400 in the next, 200 in the third.
  for (const name of names) world.deletePod(`default/${name}`, 0);
  const untilThirdMs = 30_000 + MINUTE_MS;
  await world.run(untilThirdMs);
  expect(await untilNoPodEnis(world)).toBeLessThan(5000);
});
