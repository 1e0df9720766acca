import { DEFAULT_LIMITS } from '../../../src/cloud/quota.ts';
import { Operator } from '../operator.ts';
import { type Figures, ScaleWorld } from './scale-world.ts';

/** A run with several phases, each of which begins when the one before has ended. */
export interface Scenario {
  name: string;
  run(onPhase: (figures: Figures) => void): Promise<void>;
}

export interface Size {
  nodes: number;
  pods: number;
}

const MINUTE_S = 60;
/** Of one pod: its calls, the cloud's time for them, and polls. */
const LATENCY_S = 10;
/** A new leader waits for the lease of the one that was killed. */
const LEASE_S = 17;
/** docs/design/allocation.md: an orphan is ten minutes old, and seen in two rounds. */
const ORPHAN_AGE_S = 10 * MINUTE_S;
const RELEASED_PER_ROUND = 50;
/** Pods that were replaced since the backup. */
const REPLACED = 500;

/** How long the quota makes so many calls take; a term begins with half of a minute, and ends somewhere in one. */
function quotaS(api: string, calls: number, limit = DEFAULT_LIMITS[api] ?? 0): number {
  return (Math.ceil(calls / limit) + 1) * MINUTE_S + LATENCY_S;
}

/** Nodes join, and then all pods are created at once. */
export async function fill(scale: ScaleWorld, { nodes, pods }: Size, onPhase: (figures: Figures) => void) {
  scale.addNodes(nodes);
  scale.start();
  const joined = { items: nodes, boundS: quotaS('CreateNetworkInterface', nodes) };
  const join = await scale.phase(`${count(nodes)} nodes join`, joined, async () => {
    await scale.until('all trunks are attached', () => scale.trunks === nodes);
    await scale.untilIdle();
  });
  onPhase(join);
  const created = { items: pods, boundS: quotaS('CreateNetworkInterface', pods) };
  const create = await scale.phase(`${count(pods)} pods are created`, created, async () => {
    scale.createPods('web', pods);
    await scale.until('all pods are bound', () => scale.bound === pods);
    await scale.untilIdle();
  });
  onPhase(create);
}

/** The leader is killed, and the next one has nothing to do. */
export async function restart(scale: ScaleWorld, onPhase: (figures: Figures) => void): Promise<void> {
  const items = scale.bound + scale.trunks;
  const figures = await scale.phase('the control plane restarts', { items, boundS: LEASE_S + LATENCY_S }, async () => {
    scale.kill();
    scale.start();
    await scale.untilIdle();
  });
  onPhase(figures);
}

async function joinMore(scale: ScaleWorld, nodes: number, onPhase: (figures: Figures) => void): Promise<void> {
  const wanted = scale.trunks + nodes;
  const work = { items: nodes, boundS: quotaS('CreateNetworkInterface', nodes) };
  const figures = await scale.phase(`${count(nodes)} more nodes join at once`, work, async () => {
    scale.addNodes(nodes);
    await scale.until('all trunks are attached', () => scale.trunks === wanted);
    await scale.untilIdle();
  });
  onPhase(figures);
}

/**
 * So many pods have been replaced since the backup: the old ones are back, without their ENIs, and those of the new ones are
 * orphans.
 */
export async function restore(scale: ScaleWorld, replaced: number, onPhase: (figures: Figures) => void): Promise<void> {
  const { world } = scale;
  const backup = world.kube.backup();
  const bound = scale.bound;
  scale.deletePods('web', replaced);
  await scale.until('the old pods are released', () => scale.records === bound - replaced);
  scale.createPods('new', replaced);
  await scale.until('the new pods are bound', () => scale.bound === bound);
  await scale.untilIdle();
  const enis = world.cloud.counters().eniCount;
  // Two calls for each, in rounds of a minute, give or take a tenth.
  const collectionS = 1.1 * MINUTE_S * ((2 * replaced) / RELEASED_PER_ROUND + 3);
  const work = { items: replaced, boundS: LEASE_S + ORPHAN_AGE_S + collectionS };
  const figures = await scale.phase(`a backup from before ${count(replaced)} pods is restored`, work, async () => {
    scale.kill();
    scale.restore(backup);
    scale.start();
    const operator = new Operator(world);
    // Pods whose ENI is gone are deleted, and nothing but the orphans is left to be released.
    const isOver = () => scale.records === bound - replaced && world.cloud.counters().eniCount === enis - replaced;
    while (!isOver()) {
      operator.attend();
      await scale.run(10_000);
    }
    await scale.untilIdle();
  });
  onPhase(figures);
}

/** All pods go, of which a restore has left those from `web-FROM` on. */
async function empty(scale: ScaleWorld, from: number, onPhase: (figures: Figures) => void) {
  const pods = scale.records;
  const work = { items: pods, boundS: quotaS('DetachNetworkInterface', pods) };
  const figures = await scale.phase(`${count(pods)} pods are deleted`, work, async () => {
    scale.deletePods('web', pods, from);
    await scale.until('all pods are released', () => scale.records === 0);
    await scale.untilIdle();
  });
  onPhase(figures);
}

/** An account whose quota is lower than configured, which the control plane learns. */
async function throttled(onPhase: (figures: Figures) => void): Promise<void> {
  const [nodes, pods, limit] = [100, 2000, 120];
  const window = { limit, windowMs: 60_000 as const };
  const rateWindows = { CreateNetworkInterface: window, AttachNetworkInterface: window };
  const scale = new ScaleWorld({ behaviour: { rateWindows } });
  scale.addNodes(nodes);
  scale.start();
  await scale.until('all trunks are attached', () => scale.trunks === nodes);
  await scale.untilIdle();
  const work = { items: pods, boundS: quotaS('CreateNetworkInterface', pods, limit) };
  const name = `${count(pods)} pods, ${limit} creations and attachments per minute`;
  const figures = await scale.phase(name, work, async () => {
    scale.createPods('web', pods);
    await scale.until('all pods are bound', () => scale.bound === pods);
    await scale.untilIdle();
  });
  onPhase(figures);
  scale.end();
}

function count(items: number): string {
  return items.toLocaleString('en-US');
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: '1,000 nodes, 20,000 pods',
    run: async (onPhase) => {
      const scale = new ScaleWorld();
      await fill(scale, { nodes: 1000, pods: 20_000 }, onPhase);
      await restart(scale, onPhase);
      await joinMore(scale, 500, onPhase);
      await restore(scale, REPLACED, onPhase);
      scale.end();
    },
  },
  {
    name: '5,000 nodes, 20,000 pods',
    run: async (onPhase) => {
      const scale = new ScaleWorld();
      await fill(scale, { nodes: 5000, pods: 20_000 }, onPhase);
      await restart(scale, onPhase);
      await joinMore(scale, 500, onPhase);
      await restore(scale, REPLACED, onPhase);
      await empty(scale, REPLACED, onPhase);
      scale.end();
    },
  },
  { name: 'a throttled account', run: throttled },
];
