import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SAMPLE } from './selections.ts';
import { ConformanceCluster } from './suite.ts';

/** A few of Kubernetes' own specs, one of each kind of path; `make conformance` runs all that apply. */

let cluster: ConformanceCluster;
let reportDir: string;

beforeAll(async () => {
  reportDir = await mkdtemp(join(tmpdir(), 'terway-conformance-'));
  cluster = await ConformanceCluster.start();
}, 900_000);

afterAll(async () => {
  await cluster?.close();
  await rm(reportDir, { recursive: true, force: true });
}, 60_000);

test('specs of Kubernetes’ e2e suite pass on our nodes', async () => {
  const results = await cluster.run(SAMPLE, reportDir);
  expect(results.filter(({ state }) => state !== 'passed')).toEqual([]);
  // Each pattern matches at least one spec.
  expect(results.length).toBeGreaterThanOrEqual(SAMPLE.focus.length);
}, 600_000);
