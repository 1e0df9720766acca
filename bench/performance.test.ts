import { expect, test } from 'vitest';
import { medians } from './performance.ts';

test('a measure is judged by the median of its runs and of its budgets', () => {
  const run = (value: number, budget: number) => [{ name: 'cold', value, budget, unit: 's', upstream: '–' }];
  expect(medians([run(3, 30), run(1, 10), run(2, 20)])).toEqual([
    { name: 'cold', value: 2, budget: 20, unit: 's', upstream: '–', runs: [3, 1, 2] },
  ]);
});

test('what has no budget gets none', () => {
  expect(medians([[{ name: 'told', value: 1, unit: '', upstream: '–' }]])[0]).not.toHaveProperty('budget');
});
