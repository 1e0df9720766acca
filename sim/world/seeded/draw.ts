import type { Random } from '../../../src/util/random.ts';

/** Draws for plans. */

/** A whole number from 0, below this one. */
export function whole(random: Random, below: number): number {
  return Math.floor(random.next() * below);
}

/** A duration of at least half a second. */
export function span(random: Random, mostMs: number): number {
  return 500 + whole(random, mostMs);
}

export function pick<T>(random: Random, from: readonly T[]): T {
  const found = from[whole(random, from.length)];
  if (found === undefined) throw new RangeError('nothing to pick from');
  return found;
}

/** One of these, by weight. */
export function pickWeighted<T>(random: Random, from: readonly (readonly [weight: number, value: T])[]): T {
  let left = random.next() * from.reduce((sum, [weight]) => sum + weight, 0);
  for (const [weight, value] of from) {
    left -= weight;
    if (left < 0) return value;
  }
  return pick(
    random,
    from.map(([, value]) => value),
  );
}
