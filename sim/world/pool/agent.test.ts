import { afterEach, expect, test } from 'vitest';
import { nodeRuntimeSchema, saysDeleted } from '../../../src/crds/node-runtime.ts';
import { FaultScript } from '../script.ts';
import { NODERUNTIMES, type World } from '../world.ts';
import { addresses, createShared, enisOf, finishes, inConsole, NODE, poolWorld, served } from './support.ts';

/* Pods that share ENIs on a node with the shipped agent, which has the rights of its role. */

let world: World | undefined;

afterEach(() => world?.end());

async function cluster(
  script = new FaultScript(),
  podsLateMs = 0,
  eniConf: { ip_stack?: 'dual' } = {},
): Promise<World> {
  const made = await poolWorld(
    { max_pool_size: 5, ...eniConf },
    {
      isDualStack: eniConf.ip_stack === 'dual',
      hasMachine: true,
      kubeFaults: {
        ...script.kubeFaults,
        onEvent: ({ replica, resource }) =>
          replica.startsWith('agent') && resource === 'pods' && podsLateMs > 0
            ? { kind: 'late', ms: podsLateMs }
            : undefined,
      },
    },
  );
  world = made;
  return made;
}

const sandboxes = (made: World) =>
  made.machines.get(NODE)?.runtime.sandboxes.filter(({ state }) => state === 'running');

test('a pod that goes before it had a sandbox gives its address back', async () => {
  const made = await cluster();
  await made.run(5000);
  made.machines.get(NODE)?.kubelet.pause();
  const [uid = ''] = await served(made, ['a']);
  made.deletePod('default/a', 0);
  await made.until('the address is free', () => !addresses(made).has(uid), 30_000);
  expect(saysDeleted(made.nodeRuntime(NODE)?.status?.pods?.[uid])).toBe(true);
});

test('a pod that loses one of its addresses before it has a sandbox gets a new pair', async () => {
  const made = await cluster(new FaultScript(), 0, { ip_stack: 'dual' });
  await made.run(5000);
  made.machines.get(NODE)?.kubelet.pause();
  const [uid = ''] = await served(made, ['a']);
  const before = addresses(made).get(uid) ?? [];
  const [eni] = enisOf(made).filter(({ ipv6 = {} }) => before.some((ip) => ipv6[ip] !== undefined));
  const ipv6 = before.filter((ip) => ip.includes(':'));
  inConsole(made, 'UnassignIpv6Addresses', { NetworkInterfaceId: eni?.id ?? '', Ipv6Address: ipv6 });
  const now = () => addresses(made).get(uid) ?? [];
  await made.until('it has a pair again', () => now().length === 2 && !now().includes(ipv6[0] ?? ''), 20 * 60_000);
  made.machines.get(NODE)?.kubelet.resume();
  await made.until('it runs', () => sandboxes(made)?.length === 1, 60_000);
  await made.run(5000);
  expect(saysDeleted(made.nodeRuntime(NODE)?.status?.pods?.[uid])).toBe(false);
  expect(made.violations()).toEqual([]);
});

test('a pod that has finished gives its address back, although its agent saw the end of its sandbox first', async () => {
  const made = await cluster(new FaultScript(), 3000);
  await made.run(5000);
  const uid = createShared(made, 'job');
  await made.until('it runs', () => sandboxes(made)?.length === 1, 60_000);
  await made.run(10_000);
  finishes(made, 'job');
  await made.until('the address is free', () => !addresses(made).has(uid), 30_000);
  expect(made.kube.objects('pods')).toHaveLength(1);
});

/** Long enough for all to be gone before the control plane hears of the first. */
const late = { kind: 'slow', requestMs: 5000 } as const;

test('many pods that are gone are asked for once each', async () => {
  const script = new FaultScript();
  const made = await cluster(script);
  await made.run(5000);
  made.machines.get(NODE)?.kubelet.pause();
  const names = Array.from({ length: 10 }, (_, at) => `p${at}`);
  await served(made, names);
  script.kube(({ resource, verb }) => resource.startsWith('noderuntimes') && verb === 'patch', late, 10);
  const reads = script.kubeCalls(
    ({ replica, verb, resource }) => replica.startsWith('agent') && verb === 'get' && resource === 'pods',
  );
  for (const name of names) {
    made.deletePod(`default/${name}`, 0);
    await made.run(200);
  }
  await made.until('all are free', () => addresses(made).size === 0, 30_000);
  expect(reads.length).toBeLessThanOrEqual(names.length);
});

test('a pod that is back with a restored backup gets its network, although the watch of its agent has missed it', async () => {
  const made = await cluster();
  await made.run(5000);
  const [uid = ''] = await served(made, ['back']);
  await made.until('it runs', () => sandboxes(made)?.length === 1, 60_000);
  const backup = made.kube.backup();
  made.deletePod('default/back', 0);
  await made.until('it is gone', () => sandboxes(made)?.length === 0, 60_000);
  await made.run(10_000);
  for (const watch of made.machines.get(NODE)?.agent?.transport.watches ?? []) watch.freeze();
  made.restore(backup);
  // The server passes the version that the agent has seen, so that its watch goes on.
  for (let at = 0; at < 200; at += 1) {
    createShared(made, 'other');
    made.deletePod('default/other', 0);
  }
  await made.until('it runs again', () => sandboxes(made)?.some(({ pod }) => pod.uid === uid) === true, 60_000);
});

test('a NodeRuntime that somebody deletes while pods run frees nothing, and the node goes on saying what is gone', async () => {
  const made = await poolWorld({ max_pool_size: 5 }, { hasMachine: true, tellsAddresses: true });
  world = made;
  const uids = ['a', 'b', 'c'].map((name) => createShared(made, name));
  const isRunning = () => made.machines.get(NODE)?.runtime.sandboxes.filter(({ state }) => state === 'running').length;
  await made.until('all run', () => isRunning() === 3, 60_000);
  const before = addresses(made);
  made.remove(NODERUNTIMES, NODE);
  const entries = () => {
    const runtime = made.kube.objects(NODERUNTIMES)[0];
    return runtime === undefined ? {} : (nodeRuntimeSchema.parse(runtime).status?.pods ?? {});
  };
  await made.until('it is made again', () => uids.every((uid) => entries()[uid] !== undefined), 2 * 60_000);
  await made.run(2 * 60_000);
  expect(addresses(made)).toEqual(before);
  const [a = '', ...others] = uids;
  made.deletePod('default/a');
  await made.until('the address of the pod that went is free', () => !addresses(made).has(a), 60_000);
  for (const uid of others) expect(addresses(made).get(uid)).toEqual(before.get(uid));
});
