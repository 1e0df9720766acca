import { expect, test } from 'vitest';
import { MUTANTS } from './mutants.ts';
import { FAULT_KINDS } from './plan.ts';
import { figuresOf } from './report.ts';
import { Tally } from './tally.ts';
import type { Result } from './tasks.ts';

function result(changes: Partial<Result>): Result {
  return { task: { seed: 1 }, ms: 100, settledMs: 4000, problems: [], faults: {}, acts: {}, killedAt: [], ...changes };
}

test('results are summed up: how often each thing happened, how long it took, who killed a mutant', () => {
  const [seeds, crashes] = [new Tally(), new Tally()];
  for (let seed = 1; seed <= 100; seed += 1) {
    const acts = { 'create-pod': 2, ...(seed === 1 ? { 'delete-pod': 1 } : {}) };
    seeds.add(result({ task: { seed }, ms: seed, settledMs: seed * 1000, acts, faults: { 'kube-slow': 1 } }));
  }
  seeds.add(result({ problems: ['I1: eni-1 belongs to a and b'], settledMs: 0 }));
  crashes.add(result({ killedAt: ['before create podenis', 'before list pods'] }));
  crashes.add(result({ killedAt: ['before create podenis'] }));
  const [mutant] = MUTANTS;
  if (mutant === undefined) throw new Error('there is no mutant');
  const killer = { seed: 7, problem: 'I3: eni-1 was detached while pod default/web-0 runs with it' };
  const verdicts = [
    { mutant, killer, histories: 8 },
    { mutant, killer: undefined, histories: 1000 },
  ];
  const figures = figuresOf({ from: 1, seeds, crashes, verdicts });
  expect(figures.seeds).toMatchObject({
    count: 101,
    broken: 1,
    acts: { 'create-pod': 200, 'delete-pod': 1 },
    settledS: { median: 51, p99: 100, longest: 100 },
  });
  expect(Object.keys(figures.seeds.acts)).toEqual(['create-pod', 'delete-pod']);
  // What never happened is a hole in the workload, so it is shown.
  expect(figures.seeds.faults).toEqual({
    ...Object.fromEntries(FAULT_KINDS.map((kind) => [kind, 0])),
    'kube-slow': 100,
  });
  expect(figures.crashes).toEqual({
    count: 2,
    broken: 0,
    points: { 'before create podenis': 2, 'before list pods': 1 },
  });
  expect(figures.mutants).toEqual([
    { name: mutant.name, seed: 7, property: 'I3', histories: 8 },
    { name: mutant.name, histories: 1000 },
  ]);
});
