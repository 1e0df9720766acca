import { expect, test } from 'vitest';
import { type Plan, planOf } from './plan.ts';
import { runPlan } from './run.ts';
import { shrink } from './shrink.ts';
import { ORDINARY } from './surroundings.ts';
import { traceOf } from './trace.ts';

/* `make world` runs any number of seeds; these are fixed. */

const SEEDS = 40;

test.each(Array.from({ length: SEEDS }, (_, at) => at + 1))('seed %i keeps every promise', async (seed) => {
  const { problems } = await runPlan(planOf(seed));
  expect(problems, `make world SEED=${seed} tells the story`).toEqual([]);
});

test('creations that the network holds back until the next minute are no breach of the quota', async () => {
  const crowd = [0, 1, 2].map((pod) => ({ atMs: 50_000, act: { kind: 'create-pod', pod, node: 0 } as const }));
  const { problems } = await runPlan({
    seed: 1,
    replicas: 1,
    nodes: 1,
    agents: [],
    rateLimit: 4,
    surroundings: ORDINARY,
    pool: undefined,
    stack: 'ipv4' as const,
    deletesRecords: false,
    rates: {},
    steps: [{ atMs: 49_000, act: { kind: 'delay-creations', byMs: 15_000, forMs: 5000 } }, ...crowd],
  });
  expect(problems).toEqual([]);
});

test('the same seed gives the same run', async () => {
  const plan = planOf(7);
  expect(planOf(7)).toEqual(plan);
  expect(await traceOf(plan)).toEqual(await traceOf(plan));
});

test('a trace tells every act', async () => {
  const plan = planOf(3);
  const acts = (await traceOf(plan)).filter((line) => line.includes(' ACT '));
  expect(acts).toHaveLength(plan.steps.length);
});

test('a plan shrinks to what breaks the promise', async () => {
  const plan = planOf(3);
  const [first, last] = [plan.steps[4], plan.steps.at(-3)];
  const problemsOf = async ({ steps, rates }: Plan) =>
    [first, last].every((step) => step !== undefined && steps.includes(step)) && rates['kube-slow'] !== undefined
      ? ['L1: eni-1 was lost']
      : [];
  const small = await shrink({ ...plan, replicas: 3, rates: { 'kube-slow': 0.1, 'cloud-slow': 0.1 } }, problemsOf);
  expect(small.steps).toEqual([first, last]);
  expect(small.replicas).toBe(1);
  expect(Object.keys(small.rates)).toEqual(['kube-slow']);
});
