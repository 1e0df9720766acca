import fc from 'fast-check';

/**
 * The seed of everything random in tests: property tests and the moments at which processes are killed. It is fixed, so that the
 * result of a run depends on the code and not on luck. `make soak` sets other seeds.
 */
export const TEST_SEED = Number(process.env['TERWAY_TEST_SEED'] ?? '1');
if (!Number.isSafeInteger(TEST_SEED)) {
  throw new RangeError(`TERWAY_TEST_SEED is ${process.env['TERWAY_TEST_SEED']}; a whole number is expected`);
}

fc.configureGlobal({ seed: TEST_SEED });
