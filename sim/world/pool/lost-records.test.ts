import { afterEach, expect, test } from 'vitest';
import { addressOf } from '../node/kernel.ts';
import type { World } from '../world.ts';
import { addresses, createShared, deleteRecord, editRecord, enisOf, NODE, poolWorld, tells } from './support.ts';

/* The record of a node is lost, or older than what its pods have. */

let world: World | undefined;

afterEach(() => world?.end());

async function cluster(): Promise<World> {
  const made = await poolWorld({ max_pool_size: 5 }, { hasMachine: true });
  world = made;
  await made.run(5000);
  return made;
}

/** A pod with a sandbox, and its address. */
async function running(made: World, name: string): Promise<{ uid: string; ip: string }> {
  const uid = createShared(made, name);
  const sandbox = () =>
    made.machines
      .get(NODE)
      ?.runtime.sandboxesOf(uid)
      .find(({ state }) => state === 'running');
  await made.until(`${name} runs`, () => sandbox() !== undefined, 60_000);
  const [ip = ''] = addresses(made).get(uid) ?? [];
  await made.run(2000);
  return { uid, ip };
}

test('a pod that is ending keeps its address to itself, although its record was deleted', async () => {
  const made = await cluster();
  const { uid, ip } = await running(made, 'ending');
  tells(made, 'ending', [ip]);
  made.machines.get(NODE)?.kubelet.linger(uid, made.clock.monotonicMs() + 20 * 60_000);
  made.deletePod('default/ending', 1200);
  const before = made.state().nodes[0]?.metadata.uid;
  deleteRecord(made);
  const isNew = () => ![undefined, before].includes(made.state().nodes[0]?.metadata.uid) && enisOf(made).length > 0;
  await made.until('there is a new record', isNew, 60_000);
  await made.run(6 * 60_000);
  const others = await Promise.all(['a', 'b', 'c'].map((name) => running(made, name)));
  expect(others.map((other) => other.ip)).not.toContain(ip);
  expect(addresses(made).get(uid)).toEqual([ip]);
});

test('of a sandbox that its agent could not report, the address goes to nobody, although record and pod were deleted', async () => {
  const made = await cluster();
  const machine = made.machines.get(NODE);
  const uid = createShared(made, 'unreported');
  const wired = () => [...(machine?.kernel.wirings.values() ?? [])].some(({ isComplete }) => isComplete);
  for (let at = 0; !wired() && at < 600; at += 1) await made.run(100);
  machine?.killAgent(2 * 60_000);
  machine?.kubelet.pause();
  expect(made.nodeRuntime(NODE)?.status?.pods?.[uid]).toBeUndefined();
  made.deletePod('default/unreported', 0);
  deleteRecord(made);
  const others = ['a', 'b', 'c'].map((name) => createShared(made, name));
  await made.run(60_000);
  expect(enisOf(made).length).toBeGreaterThan(0);
  expect(addresses(made).size).toBe(0);
  // The agent is back, and says that the sandbox is there.
  await made.run(2 * 60_000);
  expect(addresses(made).size).toBe(0);
  machine?.kubelet.resume();
  await made.until('the others have addresses', () => others.every((one) => addresses(made).has(one)), 60_000);
  expect(made.violations()).toEqual([]);
});

test('after a restored backup a node says again which pods have sandboxes', async () => {
  const made = await cluster();
  const uid = createShared(made, 'a');
  await made.until('it is there', () => made.kube.objects('pods').length === 1, 1000);
  const backup = made.kube.backup();
  await made.until('it runs', () => made.nodeRuntime(NODE)?.status?.pods?.[uid] !== undefined, 60_000);
  // So that the agent has seen more of the pods than the backup, and lists them again.
  createShared(made, 'b');
  await made.run(10_000);
  made.restore(backup);
  expect(made.nodeRuntime(NODE)?.status?.pods?.[uid]).toBeUndefined();
  await made.until('it is said', () => made.nodeRuntime(NODE)?.status?.pods?.[uid] !== undefined, 60_000);
});

test('an agent gives no pod an address that the sandbox of another has, whatever the record says', async () => {
  const made = await cluster();
  const first = await running(made, 'first');
  const machine = made.machines.get(NODE);
  machine?.kubelet.pause();
  const uid = createShared(made, 'second');
  await made.until('it has an address', () => addresses(made).has(uid), 20_000);
  const [own = ''] = addresses(made).get(uid) ?? [];
  const eniId = enisOf(made)[0]?.id ?? '';
  const ipv4 = { [first.ip]: { podID: 'default/second', podUID: uid }, [own]: { podID: null, podUID: null } };
  editRecord(made, { networkInterfaces: { [eniId]: { ipv4 } } });
  machine?.kubelet.resume();
  const isRunning = () => machine?.runtime.sandboxesOf(uid).some(({ state }) => state === 'running') === true;
  await made.run(60_000);
  expect(addresses(made).get(uid)).toEqual([first.ip]);
  expect(isRunning()).toBe(false);
  made.deletePod('default/first', 0);
  await made.until('the second runs', isRunning, 60_000);
});

/** Address of each pod that has one in its sandbox, by uid. */
function wired(made: World): Map<string, string[]> {
  const wirings = [...(made.machines.get(NODE)?.kernel.wirings.values() ?? [])].filter(({ isComplete }) => isComplete);
  return new Map(wirings.map(({ attachment }) => [attachment.uid, [addressOf(attachment)]]));
}

test('while the stores of pods and sandboxes are late, nobody gets an address, and none is given back', async () => {
  const eniConf = { max_pool_size: 0, ip_pool_sync_period: '10s' };
  const made = await poolWorld(eniConf, { hasMachine: true, tellsAddresses: true });
  world = made;
  for (const name of ['a', 'b']) createShared(made, name);
  await made.until('both run', () => wired(made).size === 2, 60_000);
  made.deletePod('default/a');
  await made.until('its address is free', () => addresses(made).size === 1, 60_000);
  // It gets another one than that, which rests.
  const uid = createShared(made, 'c');
  await made.until('it has an address', () => addresses(made).has(uid), 60_000);
  for (const watch of made.replicas[0]?.transport.watches ?? [])
    if (watch.call.resource === 'pods' || watch.call.resource.startsWith('noderuntimes.')) watch.freeze();
  await made.until('it runs', () => wired(made).size === 2, 60_000);
  await made.run(5000);
  const before = wired(made);
  deleteRecord(made);
  // Silent watches are replaced by then.
  for (let seconds = 0; seconds < 240; seconds += 1) {
    await made.run(1000);
    for (const [pod, ips] of addresses(made)) expect({ pod, ips }).toEqual({ pod, ips: wired(made).get(pod) });
  }
  expect(addresses(made)).toEqual(before);
});

test('what a leader with late stores gives to a pod that is gone comes free, also beside what the pod had', async () => {
  const made = await poolWorld({ max_pool_size: 5 }, { hasMachine: true, config: { leaderElection: true } });
  world = made;
  const [first] = made.replicas;
  const second = made.startReplica();
  await made.run(5000);
  // So that the first idle address is not the one that the pod had.
  const other = await running(made, 'other');
  const { uid, ip } = await running(made, 'a');
  made.deletePod('default/other');
  await made.until('its address is free', () => addresses(made).get(other.uid) === undefined, 60_000);
  // A record that is new gives nothing to a pod with a sandbox.
  await made.run(5 * 60_000);
  for (const watch of second.transport.watches) watch.freeze();
  tells(made, 'a', [ip]);
  await made.run(1000);
  made.deletePod('default/a');
  await made.until('both are free', () => addresses(made).size === 0, 60_000);
  first?.kill();
  const most: string[] = [];
  made.kube.subscribe(() => {
    const ips = addresses(made).get(uid) ?? [];
    if (ips.length > most.length) most.splice(0, most.length, ...ips);
  });
  await made.run(5 * 60_000);
  expect(most).toEqual(expect.arrayContaining([ip]));
  expect(most).toHaveLength(2);
  expect(addresses(made)).toEqual(new Map());
});
