import type { Plan } from './plan.ts';
import { SHARED_NUMBERS } from './pods.ts';
import { type Outcome, runPlan } from './run.ts';
import { ORDINARY } from './surroundings.ts';

/** One call through a port, and on which side of it the process is killed. */
export interface CrashPoint {
  /** Of the calls of all processes of the life's kind, from 1. */
  call: number;
  /** `before`: the call is not sent. `after`: it takes effect, and its answer is lost. */
  side: 'before' | 'after';
  /** Once more, so many calls later, during the recovery. */
  againAfter?: number;
}

/** A short history, and which processes are killed in it. */
export interface Life {
  plan: Plan;
  process: 'replica' | 'agent';
}

/** Nothing goes wrong but the crash. */
const UNDISTURBED = {
  seed: 1,
  replicas: 1,
  rateLimit: undefined,
  surroundings: ORDINARY,
  pool: undefined,
  stack: 'ipv4',
  deletesRecords: false,
  rates: {},
} as const;

/**
 * Everything that the control plane changes: an elastic pod comes and goes, a fixed one moves to another node, is reserved and
 * released, a PodNetworking is edited, a node comes with its trunk and goes.
 */
const CONTROL_PLANE_LIFE: Life = {
  process: 'replica',
  plan: {
    ...UNDISTURBED,
    nodes: 2,
    agents: [],
    steps: [
      { atMs: 5000, act: { kind: 'create-pod', pod: 0, node: 0 } },
      { atMs: 5000, act: { kind: 'create-pod', pod: 10, node: 0 } },
      { atMs: 12_000, act: { kind: 'replace-pod', pod: 10, node: 1 } },
      { atMs: 20_000, act: { kind: 'edit-networking', networking: 'elastic', vSwitches: [0], groups: [1] } },
      { atMs: 26_000, act: { kind: 'delete-pod', pod: 0, isForced: false } },
      { atMs: 26_000, act: { kind: 'delete-pod', pod: 10, isForced: true } },
      { atMs: 32_000, act: { kind: 'delete-podeni', pod: 10 } },
      { atMs: 32_000, act: { kind: 'remove-node', node: 0 } },
    ],
  },
};

/**
 * Everything that a node agent changes: pods come and go, one by force while its containers run, one with a fixed address is back
 * on the same node, a sandbox fails, and another whose DEL comes late; a trunk is replaced, and the agent itself.
 */
const NODE_LIFE: Life = {
  process: 'agent',
  plan: {
    ...UNDISTURBED,
    nodes: 1,
    agents: [0],
    steps: [
      { atMs: 5000, act: { kind: 'create-pod', pod: 0, node: 0 } },
      { atMs: 5000, act: { kind: 'create-pod', pod: 10, node: 0 } },
      { atMs: 12_000, act: { kind: 'fail-sandbox', pod: 0, isLate: false } },
      { atMs: 12_000, act: { kind: 'replace-pod', pod: 10, node: 0 } },
      { atMs: 22_000, act: { kind: 'fail-sandbox', pod: 0, isLate: true } },
      { atMs: 22_000, act: { kind: 'delete-trunk', node: 0 } },
      { atMs: 112_000, act: { kind: 'replace-agent', node: 0 } },
      { atMs: 116_000, act: { kind: 'delete-pod', pod: 0, isForced: false } },
      { atMs: 116_000, act: { kind: 'abandon-pod', pod: 10, forMs: 3000 } },
    ],
  },
};

const [FIRST_SHARED = 0, SECOND_SHARED = 0] = SHARED_NUMBERS;
const KNOBS = { ip_warm_up_size: 0, ip_pool_sync_period: '10s', idle_ip_reclaim_after: '' };

/**
 * Everything that the control plane does for the ENIs that pods share: addresses are kept in reserve and asked for, an ENI is made,
 * addresses are handed out, freed and given back, an ENI is given up, security groups change, the record is deleted and made
 * anew, and the node goes.
 */
const POOL_LIFE: Life = {
  process: 'replica',
  plan: {
    ...UNDISTURBED,
    nodes: 1,
    agents: [0],
    pool: { ...KNOBS, min_pool_size: 2, max_pool_size: 4 },
    steps: [
      { atMs: 5000, act: { kind: 'create-pod', pod: FIRST_SHARED, node: 0 } },
      { atMs: 10_000, act: { kind: 'crowd-pool', node: 0 } },
      { atMs: 24_000, act: { kind: 'edit-pool', knobs: { ...KNOBS, min_pool_size: 0, max_pool_size: 0 }, group: 1 } },
      { atMs: 28_000, act: { kind: 'empty-pool', node: 0, isForced: false } },
      { atMs: 60_000, act: { kind: 'create-pod', pod: FIRST_SHARED, node: 0 } },
      { atMs: 66_000, act: { kind: 'delete-node-record', node: 0 } },
      { atMs: 66_000, act: { kind: 'create-pod', pod: SECOND_SHARED, node: 0 } },
      { atMs: 80_000, act: { kind: 'remove-node', node: 0 } },
    ],
  },
};

/**
 * The same for pairs of both families: more than one call for IPv6 addresses brings, so that another follows, for an ENI that is made and for
 * one in use; pairs are handed out, freed and given back.
 */
const POOL_DUAL_LIFE: Life = {
  process: 'replica',
  plan: {
    ...UNDISTURBED,
    stack: 'dual',
    nodes: 1,
    agents: [0],
    pool: { ...KNOBS, min_pool_size: 12, max_pool_size: 12 },
    steps: [
      { atMs: 10_000, act: { kind: 'create-pod', pod: FIRST_SHARED, node: 0 } },
      { atMs: 16_000, act: { kind: 'edit-pool', knobs: { ...KNOBS, min_pool_size: 24, max_pool_size: 24 }, group: 0 } },
      { atMs: 30_000, act: { kind: 'edit-pool', knobs: { ...KNOBS, min_pool_size: 0, max_pool_size: 0 }, group: 0 } },
      { atMs: 34_000, act: { kind: 'empty-pool', node: 0, isForced: false } },
    ],
  },
};

/** What a node agent changes for pods that share ENIs: they come and go, one by force, a sandbox fails, and the agent is replaced. */
const POOL_NODE_LIFE: Life = {
  process: 'agent',
  plan: {
    ...UNDISTURBED,
    nodes: 1,
    agents: [0],
    pool: { ...KNOBS, min_pool_size: 0, max_pool_size: 2 },
    steps: [
      { atMs: 5000, act: { kind: 'create-pod', pod: FIRST_SHARED, node: 0 } },
      { atMs: 5000, act: { kind: 'create-pod', pod: SECOND_SHARED, node: 0 } },
      { atMs: 14_000, act: { kind: 'fail-sandbox', pod: FIRST_SHARED, isLate: true } },
      { atMs: 14_000, act: { kind: 'replace-pod', pod: SECOND_SHARED, node: 0 } },
      { atMs: 26_000, act: { kind: 'replace-agent', node: 0 } },
      { atMs: 30_000, act: { kind: 'delete-pod', pod: FIRST_SHARED, isForced: false } },
      { atMs: 30_000, act: { kind: 'abandon-pod', pod: SECOND_SHARED, forMs: 3000 } },
    ],
  },
};

export const LIVES = {
  'control-plane': CONTROL_PLANE_LIFE,
  node: NODE_LIFE,
  pool: POOL_LIFE,
  'pool-dual': POOL_DUAL_LIFE,
  'pool-node': POOL_NODE_LIFE,
} as const;

/** The calls that the life takes without a crash, in order; they are the crash points. */
export async function callsOf({ plan, process }: Life): Promise<string[]> {
  const calls: string[] = [];
  await runPlan(plan, (seeded) => {
    seeded.onCall = (name, by) => {
      if (by === process) calls.push(name);
      return undefined;
    };
  });
  return calls;
}

/** Runs the life and kills the process at a crash point. @returns also the call at which it was killed. */
export async function runWithCrash(
  { plan, process }: Life,
  point: CrashPoint,
): Promise<Outcome & { killedAt: readonly string[] }> {
  let calls = 0;
  const killedAt: string[] = [];
  const again = point.againAfter === undefined ? undefined : point.call + point.againAfter;
  const outcome = await runPlan(plan, (seeded) => {
    seeded.onCall = (name, by) => {
      if (by !== process) return undefined;
      calls += 1;
      if (calls !== point.call && calls !== again) return undefined;
      killedAt.push(name);
      return point.side;
    };
  });
  return { ...outcome, killedAt };
}
