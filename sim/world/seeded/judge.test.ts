import { expect, test } from 'vitest';
import type { Mutant } from './mutant.ts';
import { MUTANTS } from './mutants.ts';
import type { Task } from './tasks.ts';
import { judge, runAll } from './workers.ts';

/* `make world MUTANTS=1` judges all mutants. */

function mutantIn(folder: string, name: string): Mutant {
  const mutant = MUTANTS.find((each) => each.name === name);
  if (mutant?.file.startsWith(folder) !== true) throw new Error(`${folder} has no mutant '${name}'`);
  return mutant;
}

const CHOSEN = [
  mutantIn('src/cloud/', 'every creation has a new token'),
  mutantIn('src/controllers/', 'slots of records are not counted when a term starts'),
  mutantIn('src/agent/', 'a record is written when the kernel is changed already'),
];

test.each(CHOSEN)(
  '$name: a seed finds it, and passes without it',
  async (mutant) => {
    const { killer } = await judge(mutant, [1], runAll);
    expect(killer).toBeDefined();
  },
  60_000,
);

test('a seed that breaks a promise without the mistake, too, finds none', async () => {
  const [mutant] = CHOSEN;
  if (mutant === undefined) throw new Error('none was chosen');
  const brokenBy = { product: new Set([2]), mutant: new Set([2, 4, 5]) };
  const run: typeof runAll = async (tasks, onResult, planted) => {
    for (const task of tasks)
      if (!onResult(resultOf(task, planted === undefined ? brokenBy.product : brokenBy.mutant))) return;
  };
  const { killer, histories } = await judge(mutant, [1, 2, 3, 4, 5], run);
  expect(killer?.seed).toBe(4);
  expect(histories).toBe(4);
});

function resultOf(task: Task, broken: ReadonlySet<number>): Parameters<Parameters<typeof runAll>[1]>[0] {
  const problems = 'seed' in task && broken.has(task.seed) ? ['L1: a pod waits'] : [];
  return { task, ms: 1, settledMs: 1, problems, faults: {}, acts: {}, killedAt: [] };
}
