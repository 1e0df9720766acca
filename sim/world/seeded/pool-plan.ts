import { type Random, seededRandom } from '../../../src/util/random.ts';
import type { Act, PoolKnobs, Step } from './acts.ts';
import { pick, pickWeighted, span, whole } from './draw.ts';
import { SHARED_NUMBERS } from './pods.ts';

export interface PoolPlan {
  /** What `eni_conf` says at first; undefined: no pod shares ENIs. */
  pool: PoolKnobs | undefined;
  steps: readonly Step[];
}

const WITHOUT_POOL: PoolPlan = { pool: undefined, steps: [] };

/** Of the seeds that have agents. */
const SEEDS_WITH_POOLS = 0.75;
/** From few enough for one ENI to more than the smallest node has. */
const LEAST_IDLE = [0, 0, 2, 5, 12];
const SPREADS = [0, 0, 1, 4];
const WARM_UPS = [0, 0, 0, 8];
const SYNC_PERIODS = ['10s', '30s', ''];
const RECLAIMS = ['', '', '1m'];

type Draft = (random: Random, agents: readonly number[]) => Act;

const podOf = (random: Random) => pick(random, SHARED_NUMBERS);

/** Acts with their weights. */
const ACTS: readonly (readonly [weight: number, draft: Draft])[] = [
  [24, (random, agents) => ({ kind: 'create-pod', pod: podOf(random), node: pick(random, agents) })],
  [10, (random) => ({ kind: 'delete-pod', pod: podOf(random), isForced: random.next() < 0.4 })],
  [8, (random, agents) => ({ kind: 'replace-pod', pod: podOf(random), node: pick(random, agents) })],
  [
    4,
    (random, agents) => ({
      ...{ kind: 'flash-pod', pod: podOf(random) },
      ...{ node: pick(random, agents), forMs: whole(random, 4000) },
    }),
  ],
  [4, (random) => ({ kind: 'abandon-pod', pod: podOf(random), forMs: span(random, 60_000) })],
  [4, (random) => ({ kind: 'fail-sandbox', pod: podOf(random), isLate: random.next() < 0.3 })],
  [3, (random, agents) => ({ kind: 'crowd-pool', node: pick(random, agents) })],
  [2, (random, agents) => ({ kind: 'empty-pool', node: pick(random, agents), isForced: random.next() < 0.5 })],
  [4, (random) => ({ kind: 'edit-pool', knobs: knobsOf(random), group: whole(random, 2) })],
  [
    3,
    (random, agents) => ({
      ...{ kind: 'unassign-address', node: pick(random, agents), family: 'ipv4' },
      ...{ address: whole(random, 100), isBound: random.next() < 0.5 },
    }),
  ],
  [1, (random, agents) => ({ kind: 'assign-address', node: pick(random, agents), eni: whole(random, 10) })],
  [1, (random, agents) => ({ kind: 'detach-shared-eni', node: pick(random, agents), eni: whole(random, 10) })],
  [1, (random, agents) => ({ kind: 'delete-shared-eni', node: pick(random, agents), eni: whole(random, 10) })],
  [1, (random, agents) => ({ kind: 'delete-node-record', node: pick(random, agents) })],
];

/** The part of a seed's plan that is about shared ENIs: drawn apart, so that the rest stays as it is without them. */
export function poolPlanOf(seed: number, cast: { agents: readonly number[]; workloadMs: number }): PoolPlan {
  const random = seededRandom(seed ^ 0x9001);
  const { agents, workloadMs } = cast;
  if (random.next() >= SEEDS_WITH_POOLS || agents.length === 0) return WITHOUT_POOL;
  const pool = knobsOf(random);
  const steps = Array.from({ length: 8 + whole(random, 30) }, () => ({
    atMs: whole(random, workloadMs),
    act: pickWeighted(random, ACTS)(random, agents),
  }));
  return { pool, steps };
}

export function knobsOf(random: Random): PoolKnobs {
  const least = pick(random, LEAST_IDLE);
  return {
    min_pool_size: least,
    max_pool_size: least + pick(random, SPREADS),
    ip_warm_up_size: pick(random, WARM_UPS),
    ip_pool_sync_period: pick(random, SYNC_PERIODS),
    idle_ip_reclaim_after: pick(random, RECLAIMS),
  };
}
