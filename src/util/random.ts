/** Source of randomness; injected wherever jitter or a shuffle is needed, so that a seed repeats a run. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
}

/** The machine's own randomness. Not for secrets. */
export const systemRandom: Random = { next: () => Math.random() };

/** Deterministic generator (mulberry32) for tests and simulation. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return {
    next: () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = state;
      mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
    },
  };
}

/** `baseMs` spread over `[baseMs × (1 − share), baseMs × (1 + share))`. */
export function jitter(random: Random, baseMs: number, share: number): number {
  return baseMs * (1 - share + 2 * share * random.next());
}
