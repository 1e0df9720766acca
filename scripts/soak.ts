/**
 * Runs the randomised tests with new seeds: `node scripts/soak.ts [--minutes 10] [--project unit|integration|faults]`.
 * `unit`: every property test; `integration`: random requests to the simulated and the real API server; `faults`: kills at
 * random moments. Stops at the first failure, and says how to repeat it.
 */
import { spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readFlags } from '../tools/flags.ts';

const root = join(import.meta.dirname, '..');
const PROJECTS = ['unit', 'integration', 'faults'];

const flags = readFlags({ minutes: { type: 'string', default: '10' }, project: { type: 'string', default: 'unit' } });
const minutes = Number(flags.minutes);
const { project } = flags;
if (!(minutes > 0) || !PROJECTS.includes(project)) {
  process.stderr.write(`usage: soak [--minutes NUMBER] [--project ${PROJECTS.join('|')}]\n`);
  process.exit(2);
}

const files =
  project === 'unit'
    ? globSync('{src,sim,test,scripts,bench}/**/*.test.ts', { cwd: root })
        .filter((file) => !file.includes('.netns.') && readFileSync(join(root, file), 'utf8').includes("'fast-check'"))
        .sort()
    : [project === 'faults' ? 'test/faults/crash.test.ts' : 'test/integration/kube-differential.test.ts'];
// Not `node`, which may be an older version outside make.
const command = ['node_modules/.bin/node', 'node_modules/vitest/vitest.mjs', 'run', '--project', project, ...files];

const endMs = performance.now() + minutes * 60_000;
let rounds = 0;
while (performance.now() < endMs) {
  const seed = randomInt(2 ** 31);
  const { status, stdout, stderr, signal } = spawnSync(process.execPath, [...command.slice(1), '--reporter=dot'], {
    cwd: root,
    env: { ...process.env, TERWAY_TEST_SEED: String(seed) },
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (signal !== null) process.exit(130);
  rounds += 1;
  if (status !== 0) {
    process.stdout.write(`${stdout}${stderr}\nround ${rounds} failed; to repeat it:\n`);
    process.stdout.write(`  TERWAY_TEST_SEED=${seed} ${command.join(' ')}\n`);
    process.exit(1);
  }
  process.stdout.write(`round ${rounds}: seed ${seed} passed\n`);
}
process.stdout.write(`${rounds} rounds of ${files.length} files passed\n`);
