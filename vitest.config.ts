import { defineConfig } from 'vitest/config';

/** One file after another, in one process that loads modules once. */
const inTurn = { fileParallelism: false, isolate: false };
const cluster = { globalSetup: ['test/cluster/global-setup.ts'], ...inTurn };

/** One project per kind of test, in the order in which `make test` runs them: what fails fast comes first. */
export default defineConfig({
  test: {
    // A machine that others use, too, may take its time; what never comes is all that these end.
    testTimeout: 180_000,
    hookTimeout: 300_000,
    setupFiles: ['test/harness/chance.ts'],
    expect: { poll: { timeout: 20_000 } },
    // As Node itself imports CommonJS, which the official SDKs are: tests must not run on other rules than the product.
    deps: { interopDefault: false },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['{src,sim,tools,scripts,demo,bench,test/harness,test/sdk}/**/*.test.ts'],
          exclude: ['**/*.netns.test.ts'],
          // Modules are loaded once for all files of a worker: that is half of what these tests cost.
          isolate: false,
        },
      },
      // The kernel is waited for in these, so they run beside the others.
      { extends: true, test: { name: 'netns', include: ['src/**/*.netns.test.ts'] } },
      {
        extends: true,
        test: {
          name: 'cluster',
          include: ['test/{cluster,chart}/**/*.test.ts'],
          ...inTurn,
        },
      },
      {
        extends: true,
        test: { name: 'vm', include: ['test/vm/**/*.test.ts'], ...inTurn, testTimeout: 600_000 },
      },
      { extends: true, test: { name: 'integration', include: ['test/integration/**/*.test.ts'], ...cluster } },
      {
        extends: true,
        test: { name: 'e2e', include: ['test/e2e/**/*.test.ts'], exclude: ['test/e2e/nodes/**'], ...cluster },
      },
      // Each file starts a cluster with nodes of its own.
      {
        extends: true,
        test: {
          name: 'nodes',
          include: ['test/{e2e,faults}/nodes/**/*.test.ts', 'test/conformance/**/*.test.ts'],
          ...{ ...inTurn, testTimeout: 300_000 },
        },
      },
      {
        extends: true,
        test: {
          ...{ name: 'faults', include: ['test/faults/**/*.test.ts'], exclude: ['test/faults/nodes/**'] },
          ...{ ...cluster, testTimeout: 900_000 },
        },
      },
    ],
  },
});
