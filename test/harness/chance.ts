import fc from 'fast-check';

/**
 * The seed of all chance in tests: property tests and the moments at which processes are killed. It is fixed, so that a run of
 * the tests says something about the code and nothing about luck; `make soak` sets others.
 */
export const TEST_SEED = Number(process.env['TERWAY_TEST_SEED'] ?? '1');
if (!Number.isSafeInteger(TEST_SEED)) {
  throw new RangeError(`TERWAY_TEST_SEED is ${process.env['TERWAY_TEST_SEED']}; a whole number is expected`);
}

fc.configureGlobal({ seed: TEST_SEED });
