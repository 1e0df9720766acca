import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { TerwayNode } from '../crds/node.ts';
import type { PodEni } from '../crds/pod-eni.ts';
import { Store } from '../kube/store.ts';
import { KeyedQueue } from '../util/keyed-queue.ts';
import { seededRandom } from '../util/random.ts';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { CNI_ERROR } from './cni/errors.ts';
import { NodeSync } from './node-sync.ts';
import { CniPlugin, limitOf, type PluginObserver } from './plugin.ts';
import { recordFilesIn } from './record-files.ts';
import { RecordStore } from './records.ts';
import { answerReleases } from './release-answers.ts';
import type { Pod } from './resources.ts';
import { aNode, aPod, aPodEni, aRequest, NODE_NAME } from './test-support/fixtures.ts';
import { MemoryDatapath } from './test-support/memory-datapath.ts';
import { AssignmentWaiter } from './waiter.ts';

let adding: PluginObserver['adding'];
let limit: string | undefined;
let directory: string;
let datapath: MemoryDatapath;
let view: { pods: Store<Pod>; podEnis: Store<PodEni>; node: Store<TerwayNode> };
let clock: VirtualClock;
let bench: Awaited<ReturnType<typeof start>>;
const never = new AbortController().signal;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'terway-plugin-'));
  datapath = new MemoryDatapath();
  view = { pods: new Store(), podEnis: new Store(), node: new Store() };
  clock = new VirtualClock();
  adding = async () => undefined;
  limit = undefined;
  bench = await start();
  view.node.upsert(aNode());
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** What one life of the agent's process has. */
async function start() {
  const { store: records } = await RecordStore.open(recordFilesIn(directory));
  const told: string[] = [];
  const random = seededRandom(1);
  const onUnknown = () => told.push('unknown');
  const waiter = new AssignmentWaiter({ stores: view, clock, nodeName: NODE_NAME, mtu: 1500, random, onUnknown });
  const queue = new KeyedQueue();
  const plugin = new CniPlugin({
    datapath,
    records,
    waiter,
    queue,
    observer: {
      adding: (attachment) => adding(attachment),
      added: ({ containerId }) => told.push(`added ${containerId}`),
      addFailed: ({ containerId }) => told.push(`failed ${containerId}`),
      removed: ({ attachment }) => told.push(`removed ${attachment.containerId}`),
    },
    addTimeoutMs: 100_000,
    notReady: () => undefined,
    limited: () => limit,
  });
  const gone = new Set<string>();
  const sync = new NodeSync({
    datapath,
    records,
    waiter,
    queue,
    plugin,
    onProblem: (message) => told.push(message),
    netns: { exists: async (path) => !gone.has(path), paths: async () => [] },
    pods: () => [],
    onAddressChanged: ({ name }, message) => told.push(`${name}: ${message}`),
    onRebuilt: () => undefined,
  });
  return { records, waiter, plugin, sync, told, gone, queue };
}

function run(command: 'ADD' | 'DEL' | 'CHECK', request = aRequest(), signal = never) {
  return bench.plugin.handle({ command, attachment: request }, signal);
}

function bound(name = 'web-0', podEni: PodEni = aPodEni(name)) {
  view.pods.upsert(aPod(name));
  view.podEnis.upsert(podEni);
}

test('STATUS names what another program does to an ENI, until it is gone (specification 1.1, "STATUS")', async () => {
  const status = () => bench.plugin.handle({ command: 'STATUS', config: aRequest().config }, never);
  const message = 'filter trunk_ingress at ingress of eni1 pref 20000 comes after TCX program stranger';
  expect(await status()).toBeUndefined();
  limit = limitOf({ repaired: [], removed: [], failed: [{ object: 'filter', message }] });
  await expect(status()).rejects.toMatchObject({ code: CNI_ERROR.limitedConnectivity, message });
  limit = limitOf({ repaired: [], removed: [], failed: [{ object: 'filter', pod: 'shop/web-0', message }] });
  expect(await status()).toBeUndefined();
});

test('ADD gives the pod its network; a second ADD of the sandbox answers the same and does nothing', async () => {
  bound();
  const result = await run('ADD');
  expect(result).toEqual({
    cniVersion: '1.1.0',
    interfaces: [
      { name: 'eth0', mac: '02:00:00:00:00:01', mtu: 1500, sandbox: '/run/netns/sandbox-web-0' },
      { name: 'cali0123456789a', mac: '02:00:00:00:00:02', mtu: 1500 },
    ],
    ips: [{ address: '10.10.0.7/16', gateway: '10.10.255.253', interface: 0 }],
    routes: [{ dst: '0.0.0.0/0', gw: '169.254.1.1' }],
    dns: {},
  });
  expect(await run('ADD')).toEqual(result);
  expect(datapath.calls).toEqual(['add sandbox-web-0']);
});

test('DEL removes, twice as well as before ADD, and after a restart (weak spot 7)', async () => {
  await run('DEL');
  bound();
  await run('ADD');
  bench = await start();
  await run('DEL', { ...aRequest(), netnsPath: '' });
  await run('DEL');
  expect(datapath.pods.size).toBe(0);
  expect(bench.records.all()).toEqual([]);
  expect(datapath.calls).toEqual(['add sandbox-web-0', 'remove sandbox-web-0']);
});

test('a DEL that the kernel refuses fails, is remembered and is finished by the next (weak spot 7)', async () => {
  bound();
  await run('ADD');
  datapath.beforeRemove = async () => {
    throw new Error('remove link: device is busy');
  };
  await expect(run('DEL')).rejects.toThrow('device is busy');
  expect(bench.records.all()).toMatchObject([{ phase: 'deleting' }]);
  expect(bench.told).not.toContain('removed sandbox-web-0');
  datapath.beforeRemove = async () => undefined;
  await run('DEL');
  expect(bench.records.all()).toEqual([]);
  expect(bench.told.at(-1)).toBe('removed sandbox-web-0');
});

test('DEL of a stale sandbox leaves the network of the next one alone', async () => {
  bound();
  await run('ADD');
  await run('ADD', aRequest('web-0', 'second'));
  expect(datapath.calls).toEqual(['add sandbox-web-0', 'remove sandbox-web-0', 'add second']);
  await run('DEL');
  expect([...datapath.pods.keys()]).toEqual(['second']);
});

test('a pod without PodENI and address waits, then fails with the reason; others are not held up', async () => {
  view.pods.upsert(aPod('slow'));
  const slow = run('ADD', aRequest('slow')).catch((error: unknown) => error);
  for (let at = 0; at < 100; at += 1) {
    bound(`fast-${at}`, aPodEni(`fast-${at}`, at + 1));
    await run('ADD', aRequest(`fast-${at}`));
  }
  await bench.sync.run();
  expect(datapath.pods.size).toBe(100);
  await clock.advance(100_000);
  expect(await slow).toMatchObject({
    code: 11,
    message: expect.stringMatching(/pod shop\/slow has neither a PodENI nor an address/),
  });
});

test('ADD goes on as soon as the PodENI is bound', async () => {
  view.pods.upsert(aPod());
  const adding = run('ADD');
  await clock.advance(2000);
  bound();
  expect(await adding).toMatchObject({ ips: [{ address: '10.10.0.7/16' }] });
  expect(bench.waiter.size).toBe(0);
});

test('DEL ends an ADD that waits; so does a runtime that goes away', async () => {
  view.pods.upsert(aPod());
  const waiting = run('ADD').catch((error: unknown) => error);
  await run('DEL');
  expect(await waiting).toMatchObject({ message: 'the sandbox was removed' });
  const gone = new AbortController();
  const left = run('ADD', aRequest(), gone.signal).catch((error: unknown) => error);
  gone.abort(new Error('gone'));
  expect(await left).toMatchObject({ message: 'gone' });
  expect(datapath.calls).toEqual([]);
  expect(bench.records.all()).toEqual([]);
});

test('a PodENI that begins to leave before it is the turn of ADD gives nothing any more', async () => {
  bound();
  const before = Promise.withResolvers<void>();
  const turn = bench.queue.run('shop/web-0', () => before.promise);
  const added = run('ADD').catch((error: unknown) => error);
  await setImmediate();
  const leaving = aPodEni();
  leaving.metadata.deletionTimestamp = '2026-01-01T00:00:00Z';
  view.podEnis.upsert(leaving);
  before.resolve();
  await turn;
  expect(await added).toMatchObject({ code: 11, message: 'PodENI shop/web-0 is being deleted' });
  expect(datapath.calls).toEqual([]);
  expect(bench.records.all()).toEqual([]);
});

test('what the node says of an earlier sandbox is taken back before the next one gets the network', async () => {
  bound();
  await run('ADD');
  adding = async (attachment) => {
    bench.told.push(`adding ${attachment.containerId}`);
    expect(datapath.calls.at(-1)).toBe('remove sandbox-web-0');
    throw new Error('the API server is away');
  };
  await expect(run('ADD', aRequest('web-0', 'second'))).rejects.toMatchObject({
    code: 11,
    message: 'the API server is away',
  });
  expect(bench.told).toEqual(['added sandbox-web-0', 'removed sandbox-web-0', 'adding second', 'failed second']);
  expect(bench.records.all()).toEqual([]);
});

test('of a PodENI that leaves is said that no sandbox has it, unless one does', async () => {
  const released: string[] = [];
  answerReleases({
    podEnis: view.podEnis,
    pods: view.pods,
    records: bench.records,
    queue: bench.queue,
    reporter: { released: ({ uid }) => released.push(uid), gone: () => undefined },
  });
  const leave = (name: string, phase: 'Bind' | 'Binding' | 'Detaching', deleted = true) => {
    const podEni = aPodEni(name);
    podEni.status = { ...podEni.status, phase };
    if (deleted) podEni.metadata.deletionTimestamp = '2026-01-01T00:00:00Z';
    view.podEnis.upsert(podEni);
  };
  bound();
  await run('ADD');
  leave('web-0', 'Bind');
  leave('never', 'Bind');
  leave('kept', 'Detaching', false);
  leave('unbound', 'Binding');
  bound('lives', aPodEni('lives'));
  await expect.poll(() => released).toEqual(['uid-never', 'uid-kept']);
  // After its DEL the observer speaks for it.
  await run('DEL');
  expect(bench.told.at(-1)).toBe('removed sandbox-web-0');
  expect(released).toHaveLength(2);
});

test('with the classic filters a VLAN device is not put beside members of its trunk, however close they come', async () => {
  datapath.tagProgram = 'tc';
  bound('a', aPodEni('a'));
  bound('b', aPodEni('b', 102, '10.10.0.8'));
  const device = aRequest('b');
  device.config = { ...device.config, vlan_strip_type: 'vlan' };
  const outcomes = await Promise.allSettled([run('ADD', aRequest('a')), run('ADD', device)]);
  const [refused] = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
  expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  expect(refused).toMatchObject({
    code: 11,
    message: expect.stringMatching(
      /interface eth0 of pod shop\/[ab] is a .* of trunk 00:16:3e:00:00:01, interface eth0 of pod shop\/[ab] is a .* remove the pods/,
    ),
  });
  expect(datapath.pods.size).toBe(1);
  // Once the other is gone, it has its turn.
  const served = outcomes[0]?.status === 'fulfilled' ? aRequest('a') : device;
  await run('DEL', served);
  await run('ADD', served === device ? aRequest('a') : device);
  expect(datapath.pods.size).toBe(1);
});

test('a look at the node waits for an ADD and sees what it recorded; an ADD waits for a look', async () => {
  bound();
  const held = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  datapath.beforeAdd = async () => {
    reached.resolve();
    await held.promise;
    datapath.calls.push('made');
  };
  const first = run('ADD');
  await reached.promise;
  const look = bench.sync.run({ nodeOnly: true });
  bound('web-1');
  const second = run('ADD', aRequest('web-1'));
  held.resolve();
  await Promise.all([first, look, second]);
  expect(datapath.calls).toEqual(['add sandbox-web-0', 'made', 'sync sandbox-web-0', 'add sandbox-web-1', 'made']);
});

test('a failed ADD leaves neither record nor anything to find (weak spots 2 and 15)', async () => {
  bound();
  datapath.beforeAdd = async () => {
    throw new Error('add route: no such device');
  };
  await expect(run('ADD')).rejects.toMatchObject({ code: 11, message: 'add route: no such device' });
  expect(bench.records.all()).toEqual([]);
  expect(datapath.calls).toEqual(['add sandbox-web-0', 'remove sandbox-web-0']);
  expect(bench.told).toEqual(['removed sandbox-web-0', 'failed sandbox-web-0']);
});

/** Of an ADD that had changed the kernel when its process was killed; the next process runs. */
async function crashDuringAdd(): Promise<void> {
  bound();
  // Like a process that was killed, it never goes on.
  datapath.beforeAdd = () => new Promise(() => undefined);
  void run('ADD');
  await expect.poll(() => datapath.calls).toEqual(['add sandbox-web-0']);
  datapath = new MemoryDatapath();
  bench = await start();
}

test('a crash in the middle of ADD or DEL is cleaned up by the next process', async () => {
  await crashDuringAdd();
  expect(bench.records.all()).toMatchObject([{ phase: 'deleting' }]);
  await bench.sync.recover();
  expect(datapath.calls).toEqual(['remove sandbox-web-0']);
  expect(bench.records.all()).toEqual([]);
});

test('what the start could not remove is removed by the next look', async () => {
  await crashDuringAdd();
  vi.spyOn(datapath, 'remove').mockRejectedValueOnce(new Error('kernel helper: cannot be run'));
  await bench.sync.recover();
  expect(bench.records.all()).toHaveLength(1);
  await bench.sync.run();
  expect(bench.records.all()).toEqual([]);
});

test('what a crash left is not removed when the runtime has asked again meanwhile', async () => {
  await crashDuringAdd();
  const [left] = bench.records.all();
  await run('ADD');
  if (left !== undefined) await bench.plugin.removeSandbox(left);
  expect(bench.records.all()).toMatchObject([{ phase: 'ready' }]);
});

test('a sandbox whose namespace is gone is removed without a DEL (weak spot 1)', async () => {
  bound();
  await run('ADD');
  bench.gone.add('/run/netns/sandbox-web-0');
  await bench.sync.run();
  expect(datapath.calls).toEqual(['add sandbox-web-0', 'remove sandbox-web-0', 'sync']);
  expect(bench.told.at(-1)).toBe('removed sandbox-web-0');
});

test('a pod that is not known after 20 s is told, for all sandboxes together once a minute', async () => {
  const adds = ['web-0', 'web-1'].map((name) => run('ADD', aRequest(name)).catch(() => undefined));
  await clock.advance(9000);
  expect(bench.told).toEqual([]);
  await clock.advance(50_000);
  expect(bench.told).toEqual(['unknown']);
  await clock.advance(60_000);
  await Promise.all(adds);
  const late = run('ADD', aRequest('web-2')).catch(() => undefined);
  await clock.advance(21_000);
  expect(bench.told.filter((line) => line === 'unknown')).toHaveLength(2);
  bound('web-2');
  await clock.advance(1000);
  await late;
});

test('the tag follows the PodENI; the rest stays as the runtime was told', async () => {
  bound();
  await run('ADD');
  view.podEnis.upsert(aPodEni('web-0', 202));
  await bench.sync.run();
  expect(datapath.pods.get('sandbox-web-0')?.interfaces[0]?.attachment).toMatchObject({ vlanId: 202 });
  // Another address is not followed: the pod was promised the first. It is told once.
  const before = bench.told.length;
  view.podEnis.upsert(aPodEni('web-0', 303, '10.10.0.99'));
  await bench.sync.run();
  await bench.sync.run();
  expect(bench.told.slice(before)).toEqual([
    'web-0: PodENI shop/web-0 gives eth0 the address 10.10.0.99; the pod was set up with 10.10.0.7 and cannot be reached: delete the pod',
  ]);
  expect(datapath.pods.get('sandbox-web-0')?.interfaces[0]).toMatchObject({
    ipv4: { address: '10.10.0.7' },
    attachment: { vlanId: 202 },
  });
});

test('CHECK says every difference, and that a sandbox is unknown (weak spot 8)', async () => {
  await expect(run('CHECK')).rejects.toMatchObject({ code: 3 });
  bound();
  await run('ADD');
  await run('CHECK');
  datapath.deviations = [
    { object: 'rule', message: 'rule 512 is missing' },
    { object: 'map', message: 'tag of 10.10.0.7 is missing' },
  ];
  await expect(run('CHECK')).rejects.toMatchObject({
    code: 100,
    message: 'rule 512 is missing; tag of 10.10.0.7 is missing',
  });
});

test('GC keeps what the runtime names', async () => {
  for (const name of ['web-0', 'web-1']) {
    bound(name, aPodEni(name));
    await run('ADD', aRequest(name));
  }
  await bench.plugin.handle(
    {
      command: 'GC',
      config: { cniVersion: '1.1.0', name: 'terway' },
      valid: [{ containerId: 'sandbox-web-1', ifName: 'eth0' }],
    },
    never,
  );
  expect([...datapath.pods.keys()]).toEqual(['sandbox-web-1']);
});
