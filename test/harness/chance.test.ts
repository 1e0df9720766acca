import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TEST_SEED } from './chance.ts';

test('property tests see the same values in every run', () => {
  const seen = () => {
    const values: number[] = [];
    fc.assert(fc.property(fc.integer(), (value) => void values.push(value)));
    return values;
  };
  const values = seen();
  expect(seen()).toEqual(values);
  expect(fc.sample(fc.integer(), { numRuns: 3, seed: TEST_SEED })).toEqual(fc.sample(fc.integer(), 3));
});
