import { afterEach, expect, test } from 'vitest';
import * as z from 'zod';
import { saysDeleted } from '../../../src/crds/node-runtime.ts';
import type { ApiCall } from '../../kube/faults.ts';
import { PODENIS, World } from '../world.ts';
import type { Machine } from './machine.ts';
import type { MachineCall, MachineFault } from './process.ts';
import { endedNameOf, recordNameOf, type Sandbox, sandboxOf } from './runtime.ts';

/* A control plane and a node with the shipped agent. */

const POD = { name: 'a', nodeName: 'node-1' } as const;
const KEY = 'default/a';
/** Three member slots. */
const SMALL = 'ecs.u1-c1m4.xlarge';

let world: World | undefined;

afterEach(() => world?.end());

async function cluster(
  onCall: (call: MachineCall) => MachineFault | undefined = () => undefined,
  instanceType?: string,
): Promise<{ world: World; machine: Machine }> {
  const made = new World();
  world = made;
  const machine = made.addMachine(made.addNode(instanceType), { onCall });
  made.startReplica();
  await made.until('trunk', () => made.trunkOf('node-1') !== undefined, 60_000);
  return { world: made, machine };
}

/** @returns the sandbox of the pod, and its uid */
async function running(made: World, machine: Machine): Promise<Sandbox> {
  made.createPod(POD);
  const find = () => machine.runtime.sandboxes.find(({ state }) => state === 'running');
  await made.until('a sandbox', () => find() !== undefined, 60_000);
  // Its `initial` is written, too.
  await made.run(2000);
  const sandbox = find();
  if (sandbox === undefined) throw new Error('the sandbox has ended');
  return sandbox;
}

function isWired(machine: Machine, { id }: Sandbox): boolean {
  return machine.kernel.wirings.get(id)?.isComplete === true;
}

function saysGone(made: World, { pod }: Sandbox): boolean {
  return saysDeleted(made.nodeRuntime('node-1')?.status?.pods?.[pod.uid]);
}

function detaches(made: World): number[] {
  return made.cloud.journal().flatMap(({ action, timeMs }) => (action === 'DetachNetworkInterface' ? [timeMs] : []));
}

test('a pod gets its network, and its ENI is detached as soon as its sandbox is gone', async () => {
  const { world: made, machine } = await cluster();
  const sandbox = await running(made, machine);
  expect(isWired(machine, sandbox)).toBe(true);
  expect(machine.disk.names().map(sandboxOf)).toEqual([sandbox.id]);
  machine.kubelet.linger(sandbox.pod.uid, made.clock.monotonicMs() + 10_000);
  const deletedMs = made.clock.now();
  made.deletePod(KEY, 0);
  await made.until('released', () => made.podEni(KEY) === undefined, 60_000);
  const [detachedMs = 0] = detaches(made);
  expect(detachedMs - deletedMs).toBeGreaterThan(10_000);
  expect(detachedMs - deletedMs).toBeLessThan(15_000);
  expect(saysGone(made, sandbox)).toBe(true);
  expect([machine.kernel.wirings.size, machine.disk.names().length]).toEqual([0, 0]);
});

test.each([
  ['says its addresses', true, false],
  ['has its network all the same when it cannot be told to', true, true],
  ['is told nothing without podIPsAnnotation', false, false],
])('a pod %s', async (_, podIPsAnnotation, isRefused) => {
  const isTold: unknown[] = [];
  const onRequest = ({ resource, subresource, replica }: ApiCall) => {
    if (resource !== 'pods' || subresource !== 'status' || !replica.startsWith('agent')) return undefined;
    isTold.push(replica);
    return isRefused ? ({ kind: 'refused', status: 403 } as const) : undefined;
  };
  const made = new World({ kubeFaults: { onRequest } });
  world = made;
  const machine = made.addMachine(made.addNode(), { podIPsAnnotation });
  made.startReplica();
  await made.until('trunk', () => made.trunkOf('node-1') !== undefined, 60_000);
  const sandbox = await running(made, machine);
  expect(isWired(machine, sandbox)).toBe(true);
  expect(isTold).toHaveLength(podIPsAnnotation ? 1 : 0);
  const address = made.podEni(KEY)?.spec.allocations?.[0]?.ipv4;
  expect(address).toMatch(/^10\./);
  const { metadata } = podSchema.parse(made.kube.peek('pods', { namespace: 'default', name: 'a' }));
  expect(metadata.annotations['k8s.aliyun.com/pod-ips']).toBe(podIPsAnnotation && !isRefused ? address : undefined);
});

const podSchema = z.object({ metadata: z.object({ annotations: z.record(z.string(), z.string()).default({}) }) });

test('while a record cannot be rebuilt, its sandbox keeps its network, however often the agent is restarted', async () => {
  const { world: made, machine } = await cluster();
  const sandbox = await running(made, machine);
  const trunk = made.trunkOf('node-1') ?? '';
  made.cloud.detachEniByHand(trunk, made.clock.now());
  made.cloud.deleteEniByHand(trunk, made.clock.now());
  machine.disk.damage(recordNameOf(sandbox.id));
  for (const _ of [1, 2]) {
    machine.killAgent(1000);
    await made.run(10_000);
    expect(isWired(machine, sandbox)).toBe(true);
  }
  await made.until('the next trunk', () => ![undefined, trunk].includes(made.trunkOf('node-1')), 5 * 60_000);
  await made.run(60_000);
  expect(isWired(machine, sandbox)).toBe(true);
  // It has its record again: another agent knows the sandbox, and DEL finds it.
  machine.killAgent(1000);
  await made.run(10_000);
  made.deletePod(KEY);
  await made.until('gone', () => machine.runtime.sandboxes.length === 0, 60_000);
  expect(machine.kernel.wirings.size).toBe(0);
});

test('a damaged record of a sandbox that is gone keeps nothing', async () => {
  const { world: made, machine } = await cluster();
  const sandbox = await running(made, machine);
  machine.disk.damage(recordNameOf(sandbox.id));
  made.deletePod(KEY, 0);
  machine.killAgent(1500);
  await made.run(40_000);
  expect(machine.kernel.wirings.size).toBe(0);
  expect(machine.disk.names()).toEqual([`corrupt/${recordNameOf(sandbox.id)}`]);
});

test('a damaged record of a sandbox that is gone is settled beside pods that wait for their network', async () => {
  const { world: made, machine } = await cluster(undefined, SMALL);
  const sandbox = await running(made, machine);
  for (const name of ['b', 'c']) made.createPod({ ...POD, name });
  await made.until('all slots are taken', () => made.countOf('Bind') === 3, 60_000);
  // One after another, so that one of them has a sandbox at any time.
  for (let at = 0; at < 8; at += 1) {
    made.createPod({ ...POD, name: `waits-${at}` });
    await made.run(7000);
  }
  machine.disk.damage(recordNameOf(sandbox.id));
  made.deletePod(KEY, 0);
  machine.killAgent(5000);
  machine.kubelet.resetRuntime();
  await made.run(3 * 60_000);
  expect(machine.disk.names()).not.toContain(recordNameOf(sandbox.id));
});

/** Sandboxes of which the kernel has something at some time from now on, and the disk has no record. */
function unrecorded({ kernel, disk }: Machine): ReadonlySet<string> {
  const found = new Set<string>();
  const isRecorded = (id: string) => disk.isDurable(recordNameOf(id)) || disk.isDurable(endedNameOf(id));
  const look = () => {
    for (const id of kernel.wirings.keys()) if (!isRecorded(id)) found.add(id);
  };
  kernel.subscribe(look);
  disk.subscribe(look);
  return found;
}

test('what a failed ADD cannot undo keeps its record, and is reported as gone only when it is', async () => {
  const steps = ['kernel add-rest', 'kernel add-undo', 'kernel remove', 'kernel remove-leftover'];
  const script = { isFailing: true };
  const { world: made, machine } = await cluster(({ operation }) =>
    script.isFailing && steps.includes(operation) ? { kind: 'failed' } : undefined,
  );
  const found = unrecorded(machine);
  const early: number[] = [];
  made.kube.subscribe(() => {
    const entries = Object.values(made.nodeRuntime('node-1')?.status?.pods ?? {});
    if (machine.kernel.wirings.size > 0 && entries.some(saysDeleted)) early.push(made.clock.now());
  });
  made.createPod(POD);
  await made.until('a part of the network', () => machine.kernel.wirings.size > 0, 60_000);
  made.deletePod(KEY, 0);
  await made.run(10_000);
  expect(machine.kernel.wirings.size).toBe(1);
  script.isFailing = false;
  await made.until('released', () => made.podEni(KEY) === undefined, 60_000);
  expect([[...found], early, machine.kernel.wirings.size, machine.disk.names()]).toEqual([[], [], 0, []]);
});

test.each([{ failing: ['kernel add-rest', 'disk remove'] }, { failing: ['disk rename'] }])(
  'of a sandbox that the runtime forgets while its ADD fails nothing stays: $failing',
  async ({ failing }) => {
    const left = [...failing];
    let isAdding = false;
    const { world: made, machine } = await cluster(({ operation }) => {
      isAdding ||= operation === 'kernel add';
      if (!isAdding || operation !== left[0]) return undefined;
      left.shift();
      return { kind: 'failed' };
    });
    const stop = machine.kernel.subscribe(() => {
      stop();
      made.deletePod(KEY, 0);
      machine.kubelet.resetRuntime();
    });
    made.createPod(POD);
    await made.run(60_000);
    expect([left, machine.kernel.wirings.size, machine.disk.names()]).toEqual([[], 0, []]);
  },
);

test('a record that cannot be read stays after DEL until the kernel has nothing of its sandbox', async () => {
  const script = { isFailing: false };
  const { world: made, machine } = await cluster(({ operation }) =>
    script.isFailing && operation === 'disk read' ? { kind: 'failed' } : undefined,
  );
  const sandbox = await running(made, machine);
  const found = unrecorded(machine);
  machine.kubelet.linger(sandbox.pod.uid, made.clock.monotonicMs() + 10_000);
  script.isFailing = true;
  machine.killAgent(1000);
  made.deletePod(KEY, 0);
  await made.run(9000);
  expect(isWired(machine, sandbox)).toBe(true);
  await made.run(40_000);
  expect([...found]).toEqual([]);
  expect(machine.kernel.wirings.size).toBe(0);
  expect(machine.disk.names()).toEqual([`corrupt/${recordNameOf(sandbox.id)}`]);
});

test('a damaged record of a sandbox that is gone stays until the kernel has nothing of it, however often the agent ends', async () => {
  const script = { kills: 0 };
  const { world: made, machine } = await cluster(({ operation }) => {
    if (operation !== 'kernel remove-leftover' || script.kills === 0) return undefined;
    script.kills -= 1;
    return { kind: 'killed', side: 'before' };
  });
  const sandbox = await running(made, machine);
  machine.disk.damage(recordNameOf(sandbox.id));
  made.deletePod(KEY, 0);
  machine.killAgent(5000);
  script.kills = 2;
  machine.kubelet.resetRuntime();
  const names = [recordNameOf(sandbox.id), endedNameOf(sandbox.id)];
  const isRecorded = () => machine.disk.names().some((name) => names.includes(name));
  const hasRecord: boolean[] = [];
  await made.until(
    'the end',
    () => {
      if (machine.kernel.wirings.size > 0) hasRecord.push(isRecorded());
      return machine.kernel.wirings.size === 0;
    },
    60_000,
  );
  expect(script.kills).toBe(0);
  expect(hasRecord).not.toContain(false);
  await made.run(1000);
  expect(machine.disk.names()).toEqual([`corrupt/${recordNameOf(sandbox.id)}`]);
});

test('the next agent knows that a sandbox whose record could not be read has ended, although another waits for its network', async () => {
  const { world: made, machine } = await cluster(undefined, SMALL);
  const sandbox = await running(made, machine);
  for (const name of ['b', 'c']) made.createPod({ ...POD, name });
  await made.until('all slots are taken', () => made.countOf('Bind') === 3, 60_000);
  made.createPod({ ...POD, name: 'waits' });
  machine.disk.damage(recordNameOf(sandbox.id));
  machine.kubelet.linger(sandbox.pod.uid, made.clock.monotonicMs() + 10_000);
  machine.killAgent(5000);
  made.deletePod(KEY, 0);
  await made.until('DEL', () => machine.runtime.sandbox(sandbox.id) === undefined, 20_000);
  expect([machine.kernel.wirings.has(sandbox.id), saysGone(made, sandbox)]).toEqual([true, false]);
  machine.killAgent(5000);
  await made.until('the next agent says that the sandbox is gone', () => saysGone(made, sandbox), 10_000);
  expect(machine.kernel.wirings.has(sandbox.id)).toBe(false);
  expect(machine.disk.names().filter((name) => sandboxOf(name) === sandbox.id)).toEqual([
    `corrupt/${recordNameOf(sandbox.id)}`,
  ]);
});

test('an agent that does not know its node yet reports no sandbox as gone for good', async () => {
  let isAdding = false;
  const { world: made, machine } = await cluster(({ operation }) => {
    if (!isAdding || operation !== 'kernel add-rest') return undefined;
    isAdding = false;
    return { kind: 'killed', side: 'before' };
  });
  const gone = new Set<string>();
  made.kube.subscribe(() => {
    for (const [uid, entry] of Object.entries(made.nodeRuntime('node-1')?.status?.pods ?? {}))
      if (saysDeleted(entry)) gone.add(uid);
  });
  isAdding = true;
  const sandbox = await running(made, machine);
  expect(sandbox.id).toMatch(/-2$/);
  expect([...gone]).toEqual([]);
});

test('the end of a sandbox is confirmed although the watch of pods is late', async () => {
  const { world: made, machine } = await cluster();
  const sandbox = await running(made, machine);
  for (const watch of machine.agent?.transport.watches ?? []) if (watch.call.resource === 'pods') watch.freeze();
  const deletedMs = made.clock.now();
  made.deletePod(KEY, 0);
  await made.until('detached', () => detaches(made).length > 0, 60_000);
  expect((detaches(made)[0] ?? 0) - deletedMs).toBeLessThan(5000);
  expect(saysGone(made, sandbox)).toBe(true);
});

test.each(['elastic', 'fixed'])(
  'a new leader whose store still shows the %s pod waits for its node',
  async (networking) => {
    const made = new World();
    world = made;
    const machine = made.addMachine(made.addNode());
    const first = made.startReplica();
    await made.until('trunk', () => made.trunkOf('node-1') !== undefined, 60_000);
    const second = made.startReplica();
    await made.run(1000);
    made.createPod({ ...POD, networking, ownerKind: 'StatefulSet' });
    await made.until('a sandbox', () => machine.runtime.sandboxes.some(({ state }) => state === 'running'), 60_000);
    await made.run(2000);
    for (const watch of second.transport.watches) watch.freeze();
    const [sandbox] = machine.runtime.sandboxes;
    machine.kubelet.linger(sandbox?.pod.uid ?? '', made.clock.monotonicMs() + 25_000);
    const deletedMs = made.clock.now();
    made.deletePod(KEY, 0);
    await made.run(500);
    expect(
      made.podEni(KEY)?.status?.phase === 'Detaching' || made.podEni(KEY)?.metadata.deletionTimestamp,
    ).toBeTruthy();
    first.kill();
    await made.until('detached', () => detaches(made).length > 0, 5 * 60_000);
    expect((detaches(made)[0] ?? 0) - deletedMs).toBeGreaterThan(25_000);
  },
);

test('a new leader whose stores do not know the node yet waits for it', async () => {
  const made = new World();
  world = made;
  const first = made.startReplica();
  const second = made.startReplica();
  await made.run(5000);
  const [leader, other] = first.term === undefined ? [second, first] : [first, second];
  for (const watch of other.transport.watches) watch.freeze();
  const machine = made.addMachine(made.addNode());
  const sandbox = await running(made, machine);
  machine.kubelet.linger(sandbox.pod.uid, made.clock.monotonicMs() + 25_000);
  const deletedMs = made.clock.now();
  made.deletePod(KEY, 0);
  await made.run(500);
  leader.kill();
  await made.until('detached', () => detaches(made).length > 0, 5 * 60_000);
  expect(other.term).toBeDefined();
  expect((detaches(made)[0] ?? 0) - deletedMs).toBeGreaterThan(25_000);
});

test('after a restored backup, the node says again that a sandbox is gone', async () => {
  const { world: made, machine } = await cluster();
  const sandbox = await running(made, machine);
  made.deletePod(KEY);
  await made.run(100);
  const backup = made.kube.backup();
  await made.until('released', () => made.podEni(KEY) === undefined, 60_000);
  made.restore(backup, { bumpRevision: 1_000_000 });
  expect(saysGone(made, sandbox)).toBe(false);
  await made.until('reported again', () => saysGone(made, sandbox), 30_000);
});

test('a restored backup that says that a sandbox is gone is corrected when the pod has another one', async () => {
  const { world: made, machine } = await cluster();
  const first = await running(made, machine);
  made.kube.delete(
    { resource: PODENIS, namespace: 'default', name: 'a', subresource: '' },
    {},
    { actor: 'user', nowMs: made.clock.now() },
  );
  machine.kubelet.failSandbox(first.pod.uid, false);
  await made.until('reported', () => saysGone(made, first), 60_000);
  const backup = made.kube.backup();
  await made.until('taken back', () => !saysGone(made, first), 60_000);
  await made.run(2000);
  made.restore(backup, { bumpRevision: 1_000_000 });
  expect(saysGone(made, first)).toBe(true);
  await made.until('taken back again', () => !saysGone(made, first), 30_000);
});

test('a pod is not reported as gone while its next sandbox is being made, whatever a restored backup says', async () => {
  let isSlow = false;
  const { world: made, machine } = await cluster(({ operation }) =>
    isSlow && operation.startsWith('disk') ? { kind: 'slow', ms: 20_000 } : undefined,
  );
  const first = await running(made, machine);
  machine.kubelet.pause();
  void machine.runtime.stop(first);
  await made.run(2000);
  isSlow = true;
  machine.kubelet.resume();
  await made.run(5000);
  expect(machine.kernel.wirings.size).toBe(0);
  const backup = made.kube.backup();
  made.deletePod(KEY, 0);
  await made.run(100);
  made.restore(backup, { bumpRevision: 1_000_000 });
  made.deletePod(KEY, 0);
  await made.run(10_000);
  expect(saysGone(made, first)).toBe(false);
});

test('a pod that goes after its last sandbox is reported as gone', async () => {
  const { world: made, machine } = await cluster();
  const sandbox = await running(made, machine);
  machine.kubelet.pause();
  void machine.runtime.stop(sandbox);
  await made.run(2000);
  expect([isWired(machine, sandbox), saysGone(made, sandbox)]).toEqual([false, false]);
  // Nothing waits for its report.
  made.kube.patch(
    { resource: PODENIS, namespace: 'default', name: 'a', subresource: '' },
    'application/merge-patch+json',
    { metadata: { finalizers: null } },
    { actor: 'user', nowMs: made.clock.now() },
  );
  made.deletePod(KEY, 0);
  await made.run(2000);
  expect(saysGone(made, sandbox)).toBe(true);
});
