import type { Plan } from './plan.ts';
import { type Outcome, runPlan } from './run.ts';

/** One call through a port, and on which side of it the replica is killed. */
export interface CrashPoint {
  /** Of the calls of all replicas, from 1. */
  call: number;
  /** `before`: the call is not sent. `after`: it takes effect, and its answer is lost. */
  side: 'before' | 'after';
  /** Once more, so many calls later, during the recovery. */
  againAfter?: number;
}

/**
 * A short life of everything that the control plane changes: an elastic pod comes and goes, a fixed one moves to another node,
 * is reserved and released, a PodNetworking is edited, a node comes with its trunk and goes.
 */
export const LIFE: Plan = {
  seed: 1,
  replicas: 1,
  nodes: 2,
  rateLimit: undefined,
  rates: {},
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
};

/** How many calls the plan takes without a crash; they are the crash points. */
export async function callsOf(plan: Plan): Promise<number> {
  let calls = 0;
  await runPlan(plan, (seeded) => {
    seeded.onCall = () => {
      calls += 1;
      return undefined;
    };
  });
  return calls;
}

/** Runs the plan and kills the replica at a crash point. @returns also the call at which it was killed. */
export async function runWithCrash(plan: Plan, point: CrashPoint): Promise<Outcome & { killedAt: readonly string[] }> {
  let calls = 0;
  const killedAt: string[] = [];
  const again = point.againAfter === undefined ? undefined : point.call + point.againAfter;
  const outcome = await runPlan(plan, (seeded) => {
    seeded.onCall = (name) => {
      calls += 1;
      if (calls !== point.call && calls !== again) return undefined;
      killedAt.push(name);
      return point.side;
    };
  });
  return { ...outcome, killedAt };
}
