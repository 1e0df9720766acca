import fc from 'fast-check';
import { expect, test } from 'vitest';
import { jitter, seededRandom, systemRandom } from './random.ts';

test('the same seed repeats a run, another seed does not', () => {
  const run = (seed: number) => {
    const random = seededRandom(seed);
    return Array.from({ length: 20 }, () => random.next());
  };
  expect(run(7)).toEqual(run(7));
  expect(run(7)).not.toEqual(run(8));
});

test('numbers are uniform in [0, 1)', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const random = seededRandom(seed);
      const numbers = Array.from({ length: 2000 }, () => random.next());
      expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
      expect(Math.max(...numbers)).toBeLessThan(1);
      const tenths = new Array<number>(10).fill(0);
      for (const number of numbers) tenths[Math.floor(number * 10)] = (tenths[Math.floor(number * 10)] ?? 0) + 1;
      // Binomial: 200 ± 13.4; eight standard deviations practically never happen by chance.
      for (const count of tenths) expect(Math.abs(count - 200)).toBeLessThan(108);
    }),
    { numRuns: 50 },
  );
  expect(systemRandom.next()).toBeLessThan(1);
});

test('jitter is spread around its base', () => {
  fc.assert(
    fc.property(fc.integer(), fc.nat(100_000), fc.double({ min: 0, max: 1, noNaN: true }), (seed, baseMs, share) => {
      const value = jitter(seededRandom(seed), baseMs, share);
      expect(value).toBeGreaterThanOrEqual(baseMs * (1 - share) - 1e-6);
      expect(value).toBeLessThanOrEqual(baseMs * (1 + share) + 1e-6);
    }),
  );
  expect(jitter({ next: () => 0 }, 100, 0.5)).toBe(50);
  expect(jitter({ next: () => 0.5 }, 100, 0.5)).toBe(100);
});
