import { afterEach, expect, test } from 'vitest';
import type { WiringChange } from '../node/kernel.ts';
import { NODES, type World } from '../world.ts';
import { type PoolRig, SCENARIOS } from './acceptance.ts';
import { addresses, createShared, editConfig, NODE, ofPool, poolWorld } from './support.ts';

/* Terway's acceptance tests of shared ENIs: control plane and agents of the product, on virtual time. */

const SECOND_MS = 1000;
const MINUTE_MS = 60_000;

let world: World | undefined;

afterEach(() => world?.end());

const names = (count: number) => Array.from({ length: count }, (_, at) => `p${at}`);

const duration = (seconds: number) => `${seconds}s`;

async function rigOf(eniConf: object): Promise<PoolRig> {
  const made = await poolWorld(eniConf, { hasMachine: true, tellsAddresses: true });
  world = made;
  const machine = made.machines.get(NODE);
  const changes: WiringChange[] = [];
  machine?.kernel.subscribe((change) => changes.push(change));
  const shared = () => made.state().cloud.enis.filter(({ type }) => type !== 'Primary');
  return {
    duration,
    async configure(keys) {
      editConfig(made, keys);
    },
    wait: (seconds) => made.run(seconds * SECOND_MS),
    nowSeconds: () => made.clock.monotonicMs() / SECOND_MS,
    async record() {
      return made.nodeRecord(NODE);
    },
    async follow(see) {
      const end = made.kube.subscribe(({ resource, after }) => {
        if (resource === NODES && after !== undefined) see(made.readNode(after));
      });
      return async () => end();
    },
    async secondary() {
      return shared().flatMap(({ ipv4 }) => ipv4.slice(1));
    },
    async usedEnis() {
      return shared().filter(({ ipv4 }) => ipv4.length > 1).length;
    },
    async start(count) {
      for (const name of names(count)) made.createPod({ name, nodeName: NODE, networking: 'none' });
      const running = () => machine?.runtime.sandboxes.filter(({ state }) => state === 'running') ?? [];
      await made.until('all run', () => running().length === count, 2 * MINUTE_MS);
    },
    async stop(count) {
      for (const name of names(count)) made.deletePod(`default/${name}`);
    },
    async calls(action) {
      const seen: string[] = [];
      made.cloud.subscribe((entry) => {
        if (entry.kind === 'call' && entry.action === action) seen.push(entry.action);
      });
      return async () => seen.length;
    },
    async upgrade() {
      machine?.replaceAgent();
      made.replicas[0]?.kill();
      made.startReplica();
    },
    async network() {
      return changes.map((change) => JSON.stringify(change));
    },
    limits: { startSeconds: { idle: 1, asked: 2 }, assignments: 1, lateSeconds: 0 },
  };
}

test.each(SCENARIOS.map((scenario) => [scenario.name, scenario] as const))('%s', async (_name, { eniConf, run }) => {
  await run(await rigOf(eniConf({ duration })));
});

test('100 pods that come one after another to a node without ENIs: no more ENIs than they need, within create, attach and a second and a half', async () => {
  // Of four ENIs with 30 addresses each.
  const made = await poolWorld({ enable_eni_trunking: false, max_pool_size: 5 }, { instanceType: 'ecs.g7.4xlarge' });
  world = made;
  await made.run(10 * SECOND_MS);
  const startMs = made.clock.monotonicMs();
  const uids: string[] = [];
  for (const name of names(100)) {
    uids.push(createShared(made, name));
    await made.run(3);
  }
  const isServed = () => uids.every((uid) => addresses(made).has(uid));
  await made.until('all have addresses', isServed, MINUTE_MS);
  const { createMs, attachMs } = made.state().cloud.latencies;
  expect(made.clock.monotonicMs() - startMs).toBeLessThanOrEqual(createMs + attachMs + 1500);
  expect(ofPool(made)).toHaveLength(4);
});
