import { type Random, seededRandom } from '../../../src/util/random.ts';
import { type Act, NETWORKINGS, type PoolKnobs, type Step } from './acts.ts';
import { pick, pickWeighted, span, whole } from './draw.ts';
import { nodePlanOf } from './node-plan.ts';
import { PODS } from './pods.ts';
import { poolAxesOf, type Stack, WITHOUT_AXES } from './pool-axes.ts';
import { poolPlanOf } from './pool-plan.ts';
import { scenesOf } from './scenes.ts';
import { LONGEST_LAG_MS, type Surroundings, surroundingsOf } from './surroundings.ts';

/** vSwitches that PodNetworkings may name. */
const V_SWITCHES = 2;

/** What the workload throttles. */
const THROTTLED_APIS = [
  'CreateNetworkInterface',
  'AttachNetworkInterface',
  'DetachNetworkInterface',
  'DeleteNetworkInterface',
];

/** How likely each kind of fault is for each call; see {@link FAULT_KINDS}. */
export type FaultRates = Readonly<Partial<Record<FaultKind, number>>>;

/** What can go wrong with one call: to the API server, with a watch event, to the cloud, or of an agent to its disk or kernel. */
export const FAULT_KINDS = [
  'kube-slow',
  'kube-conflict',
  'kube-throttled',
  'kube-error',
  'kube-not-sent',
  'kube-lost-request',
  'kube-lost-answer',
  'watch-late',
  'watch-broken',
  'watch-doubled',
  'watch-expired',
  'cloud-slow',
  'cloud-throttled',
  'cloud-error',
  'cloud-lost-request',
  'cloud-lost-answer',
  'disk-slow',
  'disk-error',
  'kernel-slow',
  'kernel-error',
  'kube-doubled',
  'kube-invalid',
  'cloud-empty-id',
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** Everything that a run depends on. */
export interface Plan {
  seed: number;
  replicas: number;
  nodes: number;
  /** Nodes with a node agent, by number. */
  agents: readonly number[];
  /** Of calls per minute and API; undefined: the defaults. */
  rateLimit: number | undefined;
  surroundings: Surroundings;
  /** What `eni_conf` says at first of the ENIs that pods share; undefined: nothing, and there are no such pods. */
  pool: PoolKnobs | undefined;
  /** Of the addresses that pods share. */
  stack: Stack;
  deletesRecords: boolean;
  rates: FaultRates;
  steps: readonly Step[];
}

const WORKLOAD_MS = 90_000;

/** The plan of a seed: always the same. */
export function planOf(seed: number): Plan {
  const random = seededRandom(seed);
  const replicas = pick(random, [1, 2, 2, 3]);
  const nodes = pick(random, [1, 2, 2, 3]);
  const rateLimit = random.next() < 0.25 ? pick(random, [8, 30]) : undefined;
  const count = 10 + whole(random, 40);
  const steps = Array.from({ length: count }, () => ({
    atMs: whole(random, WORKLOAD_MS),
    act: actOf(random, { replicas, nodes }),
  }));
  const rates = ratesOf(random);
  const size = { replicas, nodes, pods: PODS.length, vSwitches: V_SWITCHES, workloadMs: WORKLOAD_MS };
  const onNodes = nodePlanOf(seed, size);
  const { pace, steps: around, surroundings, ...limited } = surroundingsOf(seed, size, rateLimit);
  const { agents } = onNodes;
  const shared = poolPlanOf(seed, { agents, workloadMs: WORKLOAD_MS });
  const axes = shared.pool === undefined ? WITHOUT_AXES : poolAxesOf(seed, { agents, workloadMs: WORKLOAD_MS });
  const cast = { replicas, nodes, agents, networkings: PODS.map(({ networking }) => networking) };
  const paced = [...steps, ...onNodes.steps, ...around, ...shared.steps, ...axes.steps].map(({ atMs, act }) => ({
    atMs: atMs * pace,
    act,
  }));
  const all = [...paced, ...scenesOf(seed, cast, WORKLOAD_MS * pace)].sort((a, b) => a.atMs - b.atMs);
  const { stack, deletesRecords } = axes;
  const { pool } = shared;
  return { seed, replicas, nodes, rates, steps: all, agents, surroundings, pool, stack, deletesRecords, ...limited };
}

/** What holds for the whole of a plan and is worth counting, as acts are. */
export function traitsOf({ pool, stack, deletesRecords, steps }: Plan): string[] {
  if (pool === undefined) return [];
  const isRestored = steps.some(({ act }) => act.kind === 'restore-backup');
  return [
    `(pool, ${stack})`,
    ...(isRestored ? [`(pool, restored, records ${deletesRecords ? 'deleted' : 'kept'})`] : []),
  ];
}

/** Some seeds have no faults at all, most have a few kinds, some have all of them. */
function ratesOf(random: Random): FaultRates {
  const share = pick(random, [0, 0.2, 0.2, 0.5, 1]);
  const rates: Partial<Record<FaultKind, number>> = {};
  for (const kind of FAULT_KINDS) {
    const isChosen = random.next() < share;
    const rate = 0.005 + 0.05 * random.next() ** 2;
    if (isChosen) rates[kind] = rate;
  }
  return rates;
}

type Draft = (random: Random, size: { replicas: number; nodes: number }) => Act;

/** Acts with their weights. */
const ACTS: readonly (readonly [weight: number, draft: Draft])[] = [
  [30, (random, { nodes }) => ({ kind: 'create-pod', pod: podOf(random), node: whole(random, nodes) })],
  [14, (random) => ({ kind: 'delete-pod', pod: podOf(random), isForced: random.next() < 0.4 })],
  [8, (random, { nodes }) => ({ kind: 'replace-pod', pod: podOf(random), node: whole(random, nodes) })],
  [
    6,
    (random, { nodes }) => ({
      kind: 'flash-pod',
      pod: podOf(random),
      node: whole(random, nodes),
      forMs: whole(random, 4000),
    }),
  ],
  [2, (random) => ({ kind: 'delete-podeni', pod: podOf(random) })],
  [1, (random) => ({ kind: 'strip-podeni', pod: podOf(random) })],
  [2, (random) => ({ kind: 'delete-mirror', pod: podOf(random) })],
  [2, (random) => ({ kind: 'detach-eni', pod: podOf(random) })],
  [1, (random) => ({ kind: 'delete-eni', pod: podOf(random) })],
  [1, (random, { nodes }) => ({ kind: 'delete-trunk', node: whole(random, nodes) })],
  [2, (random, { nodes }) => ({ kind: 'remove-node', node: whole(random, nodes) })],
  [3, (random, { nodes }) => ({ kind: 'add-node', node: whole(random, nodes) })],
  [
    3,
    (random) => ({
      kind: 'edit-networking',
      networking: pick(random, NETWORKINGS),
      vSwitches: pick(random, [[0], [1], [0, 1]]),
      groups: pick(random, [[0], [1], [0, 1]]),
    }),
  ],
  [
    4,
    (random, { replicas }) => ({ kind: 'kill-replica', replica: whole(random, replicas), forMs: span(random, 20_000) }),
  ],
  [
    3,
    (random, { replicas }) => ({
      kind: 'stall-replica',
      replica: whole(random, replicas),
      forMs: span(random, 40_000),
    }),
  ],
  [2, (random, { replicas }) => ({ kind: 'freeze-watches', replica: whole(random, replicas) })],
  [
    2,
    (random, { replicas }) => ({
      kind: 'late-takeover',
      replica: whole(random, replicas),
      afterMs: span(random, 30_000),
      forMs: span(random, 40_000),
    }),
  ],
  [2, (random, { replicas }) => ({ kind: 'break-watches', replica: whole(random, replicas) })],
  [
    2,
    (random) => ({
      kind: 'throttle',
      action: pick(random, THROTTLED_APIS),
      limit: whole(random, 5),
      forMs: span(random, 60_000),
    }),
  ],
  [
    2,
    (random) => ({ kind: 'fail-attachments', outcome: pick(random, ['fails', 'hangs']), count: 1 + whole(random, 3) }),
  ],
  [
    2,
    (random) => ({
      kind: 'lag-lists',
      createdMs: whole(random, LONGEST_LAG_MS),
      deletedMs: whole(random, LONGEST_LAG_MS),
      forMs: span(random, 30_000),
    }),
  ],
  [
    0.5,
    (random) => ({
      kind: 'restore-backup',
      ageMs: whole(random, 90_000),
      isBumped: random.next() < 0.5,
      forMs: span(random, 20_000),
      copiesMs: pick(random, [0, 90_000]),
    }),
  ],
];

function actOf(random: Random, size: { replicas: number; nodes: number }): Act {
  return pickWeighted(random, ACTS)(random, size);
}

function podOf(random: Random): number {
  return whole(random, PODS.length);
}
