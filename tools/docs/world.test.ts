import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WORLD_FILE, type WorldReport, worldPage } from './world.ts';

const REPORT: WorldReport = {
  date: '2026-01-02',
  commit: '0123456789abcdef0123456789abcdef01234567',
  cores: 2,
  seeds: {
    from: 1,
    count: 20_000,
    broken: 0,
    acts: { 'create-pod': 123_456 },
    faults: { 'kube-slow': 7 },
    realMs: { median: 150, p99: 900, longest: 2000 },
    settledS: { median: 4, p99: 700, longest: 1500 },
  },
  crashes: { count: 300, broken: 1, points: { 'before create podenis': 26 } },
  mutants: [
    { name: 'the quota is not charged', seed: 3, property: 'I6', histories: 4 },
    { name: 'a rare one', histories: 1000 },
  ],
};

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'terway-docs-'));
});

afterEach(() => rm(root, { recursive: true }));

test('without figures the page says that there are none', async () => {
  const [path, text] = await worldPage(root);
  expect(path).toBe('docs/reference/world.md');
  expect(text).toContain('No run is recorded yet.');
});

test('the page has every figure of the report', async () => {
  await mkdir(join(root, 'docs'));
  await writeFile(join(root, WORLD_FILE), JSON.stringify(REPORT));
  const [, text] = await worldPage(root);
  const rows = text.split('\n').map((line) => line.replaceAll(/ +/g, ' '));
  for (const row of [
    '| histories of seeds 1 to 20000 | 20,000 | 0 |',
    '| crashes at every call, and again during the recovery | 300 | 1 |',
    '| settled after the faults, virtual seconds | 4 | 700 | 1,500 |',
    '| processor time, milliseconds | 150 | 900 | 2,000 |',
    '| create-pod | 123,456 |',
    '| kube-slow | 7 |',
    '| before create podenis | 26 |',
    '| the quota is not charged | 3 | I6 |',
    '| a rare one | survived 1,000 | |',
  ])
    expect(rows).toContain(row);
  expect(text).toContain('Commit 01234567 of 2026-01-02, on 2 cores.');
  expect(text).toContain('1 of 2 mistakes');
});

test('figures of another form are refused', async () => {
  await mkdir(join(root, 'docs'));
  await writeFile(join(root, WORLD_FILE), JSON.stringify({ ...REPORT, seeds: undefined }));
  await expect(worldPage(root)).rejects.toThrow('seeds');
});
