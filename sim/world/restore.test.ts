import { afterEach, expect, test } from 'vitest';
import { ANNOTATION_POD_UID } from '../../src/crds/names.ts';
import type { Backup } from '../kube/model/cluster.ts';
import { Operator, recreate, savedReservations } from './operator.ts';
import { PODENIS, World, type WorldOptions } from './world.ts';

/* etcd is restored from a backup, and the control plane started again (docs/operate.md). */

const MINUTE_MS = 60_000;
const FIXED = { networking: 'fixed', ownerKind: 'StatefulSet' } as const;

let world: World | undefined;

afterEach(() => world?.end());

async function cluster(nodes: number, options: WorldOptions = {}): Promise<World> {
  const made = new World({ ...options, config: { leaderElection: false, ...options.config } });
  world = made;
  const names = Array.from({ length: nodes }, () => made.addNode().name);
  made.startReplica();
  await made.until('trunks', () => names.every((name) => made.trunkOf(name) !== undefined), MINUTE_MS);
  return made;
}

async function bound(world: World, names: readonly string[], nodes: number): Promise<void> {
  for (const [at, name] of names.entries()) world.createPod({ name, nodeName: `node-${(at % nodes) + 1}` });
  await world.until('bound', () => names.every((name) => world.isBound(`default/${name}`)), 5 * MINUTE_MS);
}

async function gone(world: World, names: readonly string[]): Promise<void> {
  for (const name of names) world.deletePod(`default/${name}`, 0);
  await world.until('gone', () => names.every((name) => world.podEni(`default/${name}`) === undefined), 5 * MINUTE_MS);
}

/** Stops the control plane, restores the backup, and starts it again. */
function restore(world: World, backup: Backup, options: { bumpRevision?: number } = {}): void {
  for (const replica of world.replicas) replica.kill();
  world.restore(backup, options);
  world.startReplica();
}

/** Lets time pass while an operator does what the control plane asks for, until a condition holds. */
async function attended(world: World, holds: () => boolean, withinMs: number): Promise<void> {
  const operator = new Operator(world);
  const untilMs = world.clock.monotonicMs() + withinMs;
  while (!holds()) {
    expect(world.clock.monotonicMs(), 'it takes too long').toBeLessThan(untilMs);
    operator.attend();
    await world.run(10_000);
  }
}

const names = (prefix: string, count: number) => Array.from({ length: count }, (_, at) => `${prefix}-${at}`);

function reasonOf(world: World, key: string): string | undefined {
  return world.podEni(key)?.status?.conditions?.find(({ type }) => type === 'Ready')?.reason;
}

test.each([{}, { bumpRevision: 1_000_000 }])(
  'a backup that lacks most ENIs: nothing is released until a person overrides the brake (%j)',
  async (options) => {
    const world = await cluster(3);
    await bound(world, names('old', 30), 3);
    const backup = world.kube.backup();
    await gone(world, names('old', 30));
    await bound(world, names('new', 40), 3);
    await world.run(MINUTE_MS);
    const before = world.cloud.counters();
    restore(world, backup, options);
    await world.run(20 * MINUTE_MS);
    expect(world.cloud.counters()).toMatchObject({ eniCount: before.eniCount, eniDetached: before.eniDetached });
    for (const name of names('old', 30)) expect(reasonOf(world, `default/${name}`)).toBe('EniLost');
    // Three instances with their trunks, and the pods' ENIs are gone.
    await attended(world, () => world.podEnis().length === 0 && world.cloud.enis().length === 6, 20 * MINUTE_MS);
    await bound(world, names('old', 5), 3);
    await world.run(MINUTE_MS);
    expect(world.unsettled()).toEqual([]);
  },
);

test('after a few changes everything agrees again: lost ENIs are reported, orphans collected, moved addresses brought back', async () => {
  const world = await cluster(2);
  world.createPod({ name: 'db-0', nodeName: 'node-1', ...FIXED });
  await bound(world, names('web', 40), 2);
  await world.until('bound', () => world.isBound('default/db-0'), MINUTE_MS);
  const { ipv4, eni } = world.podEni('default/db-0')?.spec.allocations?.[0] ?? {};
  const backup = world.kube.backup();
  world.deletePod('default/db-0', 0);
  await world.run(1000);
  world.createPod({ name: 'db-0', nodeName: 'node-2', ...FIXED });
  await gone(world, names('web', 4));
  await bound(world, names('new', 4), 2);
  const isMoved = () => world.cloud.eni(eni?.id ?? '')?.attachment?.trunk?.eniId === world.trunkOf('node-2');
  await world.until('moved', () => isMoved() && world.isBound('default/db-0'), 2 * MINUTE_MS);
  await world.run(MINUTE_MS);
  restore(world, backup);
  // Back are db-0 on node-1 and four pods of web; the four new ones and the move are forgotten.
  await attended(world, () => world.podEnis().length === 37 && world.unsettled().length === 0, 20 * MINUTE_MS);
  const record = world.podEni('default/db-0');
  expect(record?.spec.allocations?.[0]).toMatchObject({ ipv4, eni: { id: eni?.id } });
  expect(record?.status?.trunkENIID).toBe(world.trunkOf('node-1'));
});

test('a reservation that a pod took since the backup is detached and kept', async () => {
  const world = await cluster(2);
  world.createPod({ name: 'db-0', nodeName: 'node-1', ...FIXED });
  await world.until('bound', () => world.isBound('default/db-0'), MINUTE_MS);
  world.deletePod('default/db-0', 0);
  const isReserved = () => world.podEni('default/db-0')?.status?.phase === 'Unbind';
  await world.until('reserved', isReserved, MINUTE_MS);
  const backup = world.kube.backup();
  world.createPod({ name: 'db-0', nodeName: 'node-2', ...FIXED });
  await world.until('bound', () => world.isBound('default/db-0'), MINUTE_MS);
  restore(world, backup);
  await world.run(3 * MINUTE_MS);
  expect(isReserved()).toBe(true);
  expect(world.unsettled()).toEqual([]);
});

test('a reservation that a pod took since the backup is detached, although its present pod waits for a slot elsewhere', async () => {
  const world = new World({ config: { leaderElection: false } });
  // Three slots, which other pods have.
  world.addNode('ecs.u1-c1m4.xlarge');
  world.addNode();
  world.startReplica();
  await world.until('trunks', () => ['node-1', 'node-2'].every((name) => world.trunkOf(name) !== undefined), MINUTE_MS);
  await bound(world, names('web', 3), 1);
  world.createPod({ name: 'db-0', nodeName: 'node-2', ...FIXED });
  await world.until('bound', () => world.isBound('default/db-0'), MINUTE_MS);
  const eniId = world.podEni('default/db-0')?.spec.allocations?.[0]?.eni.id ?? '';
  world.deletePod('default/db-0', 0);
  await world.until('reserved', () => world.podEni('default/db-0')?.status?.phase === 'Unbind', MINUTE_MS);
  world.createPod({ name: 'db-0', nodeName: 'node-1', ...FIXED });
  await world.run(10_000);
  const backup = world.kube.backup();
  world.deletePod('default/db-0', 0);
  world.createPod({ name: 'db-0', nodeName: 'node-2', ...FIXED });
  await world.until('bound', () => world.isBound('default/db-0'), MINUTE_MS);
  restore(world, backup);
  await world.run(5 * MINUTE_MS);
  expect(world.podEni('default/db-0')?.status?.phase).toBe('Unbind');
  expect(world.cloud.eni(eniId)?.status).toBe('Available');
  world.deletePod('default/web-0', 0);
  await world.until('bound', () => world.isBound('default/db-0'), 2 * MINUTE_MS);
  expect(world.unsettled()).toEqual([]);
  world.end();
});

/** A node whose three slots other pods have since the pod went that had the fixed address. @returns its PodENI from before, too */
async function reservedAndFull() {
  const world = new World({ config: { leaderElection: false } });
  // Three slots.
  world.addNode('ecs.u1-c1m4.xlarge');
  world.startReplica();
  await world.until('trunk', () => world.trunkOf('node-1') !== undefined, MINUTE_MS);
  world.createPod({ name: 'db-0', nodeName: 'node-1', ...FIXED });
  await world.until('bound', () => world.isBound('default/db-0'), MINUTE_MS);
  const reserved = world.podEni('default/db-0');
  world.deletePod('default/db-0', 0);
  await world.until('reserved', () => world.podEni('default/db-0')?.status?.phase === 'Unbind', MINUTE_MS);
  await bound(world, names('web', 3), 1);
  return { world, reserved };
}

test('a reservation that its pod took since the backup is detached, as the backup gives the slot to another pod', async () => {
  const { world, reserved } = await reservedAndFull();
  const eniId = reserved?.spec.allocations?.[0]?.eni.id ?? '';
  world.createPod({ name: 'db-0', nodeName: 'node-1', ...FIXED });
  await world.run(10_000);
  const backup = world.kube.backup();
  world.deletePod('default/web-2', 0);
  await world.until('bound', () => world.isBound('default/db-0'), MINUTE_MS);
  restore(world, backup);
  await world.run(10 * MINUTE_MS);
  expect(world.podEni('default/db-0')?.status?.phase).toBe('Unbind');
  expect(world.cloud.eni(eniId)?.status).toBe('Available');
  world.end();
});

test('a late write that gives a reservation to its next pod makes no member too many', async () => {
  const { world, reserved } = await reservedAndFull();
  const { metadata } = world.createPod({ name: 'db-0', nodeName: 'node-1', ...FIXED });
  await world.run(10_000);
  // As an earlier leader has sent it before it gave the slot to another pod.
  world.kube.patch(
    { resource: PODENIS, namespace: 'default', name: 'db-0', subresource: '' },
    'application/merge-patch+json',
    { metadata: { annotations: { [ANNOTATION_POD_UID]: metadata.uid } }, spec: { target: reserved?.spec.target } },
    { actor: 'replica-0', nowMs: world.clock.now() },
  );
  for (let at = 0; at < 60; at += 1) {
    await world.run(1000);
    expect(world.violations()).toEqual([]);
  }
  expect(world.podEni('default/db-0')?.status?.phase).toBe('Unbind');
  world.deletePod('default/web-0', 0);
  await world.until('bound', () => world.isBound('default/db-0'), 2 * MINUTE_MS);
  world.end();
});

test('a fixed address that the backup lacks is restored from a newer copy of its PodENI', async () => {
  const world = await cluster(2);
  const backup = world.kube.backup();
  world.createPod({ name: 'db-0', nodeName: 'node-1', ...FIXED });
  await world.until('bound', () => world.isBound('default/db-0'), MINUTE_MS);
  const address = world.podEni('default/db-0')?.spec.allocations?.[0]?.ipv4;
  const saved = savedReservations(world);
  for (const replica of world.replicas) replica.kill();
  world.restore(backup);
  recreate(world, saved);
  world.createPod({ name: 'db-0', nodeName: 'node-2', ...FIXED });
  world.startReplica();
  await world.until('bound', () => world.isBound('default/db-0'), 3 * MINUTE_MS);
  await world.run(MINUTE_MS);
  const record = world.podEni('default/db-0');
  expect(record?.spec.allocations?.[0]?.ipv4).toBe(address);
  expect(record?.spec.target?.nodeName).toBe('node-2');
  expect(world.unsettled()).toEqual([]);
});

test('a fixed address that the backup has only planned is found again with the token of its plan', async () => {
  const world = await cluster(1);
  world.createPod({ name: 'db-0', nodeName: 'node-1', ...FIXED });
  await world.until('planned', () => world.podEni('default/db-0') !== undefined, MINUTE_MS);
  const backup = world.kube.backup();
  await world.until('bound', () => world.isBound('default/db-0'), MINUTE_MS);
  const { ipv4, eni } = world.podEni('default/db-0')?.spec.allocations?.[0] ?? {};
  restore(world, backup);
  expect(world.podEni('default/db-0')?.spec.allocations?.[0]?.eni.id).toBe('');
  await world.until('bound again', () => world.isBound('default/db-0'), 3 * MINUTE_MS);
  expect(world.podEni('default/db-0')?.spec.allocations?.[0]).toMatchObject({ ipv4, eni: { id: eni?.id } });
  await world.run(MINUTE_MS);
  expect(world.unsettled()).toEqual([]);
});

test('a VLAN id that has changed since the backup is corrected in the record', async () => {
  const world = await cluster(1);
  await bound(world, ['a'], 1);
  await bound(world, ['b'], 1);
  const vlan = () => Object.values(world.podEni('default/b')?.status?.eniInfos ?? {})[0]?.vid;
  const backup = world.kube.backup();
  const before = vlan();
  await gone(world, ['a']);
  world.cloud.detachEniByHand(world.podEni('default/b')?.spec.allocations?.[0]?.eni.id ?? '', world.clock.now());
  await world.until('attached again', () => vlan() !== before && world.isBound('default/b'), 3 * MINUTE_MS);
  const after = vlan();
  await world.run(MINUTE_MS);
  restore(world, backup);
  expect(vlan()).toBe(before);
  await attended(world, () => world.unsettled().length === 0, 3 * MINUTE_MS);
  expect(vlan()).toBe(after);
});

test('an intent of days ago makes no second ENI, though the cloud has forgotten its token', async () => {
  // Rounds that change nothing would take most of the test's time.
  const world = await cluster(1, { config: { collector: { interval: '6h' }, podNetworkingRecheck: '6h' } });
  world.createPod({ name: 'a', nodeName: 'node-1' });
  const eniId = () => world.podEni('default/a')?.spec.allocations?.[0]?.eni.id;
  await world.until('planned', () => eniId() === '', MINUTE_MS);
  const backup = world.kube.backup();
  await world.until('bound', () => world.isBound('default/a'), MINUTE_MS);
  const before = eniId();
  const { eniCreated } = world.cloud.counters();
  await world.run(25 * 60 * MINUTE_MS);
  restore(world, backup);
  await world.until('bound again', () => world.isBound('default/a'), 3 * MINUTE_MS);
  expect(eniId()).toBe(before);
  expect(world.cloud.counters().eniCreated).toBe(eniCreated);
});
