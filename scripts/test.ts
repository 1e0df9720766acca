/**
 * Runs the checks and every test project, one after another, and closes with a line that counts the tests. Stops at the
 * first part that fails. `--only NAME[,NAME]` runs some of the parts.
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';

const root = join(import.meta.dirname, '..');
const PROJECTS = ['unit', 'cluster', 'vm', 'integration', 'e2e', 'nodes', 'faults'];

const resultSchema = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
});

const { values: flags } = parseArgs({ options: { only: { type: 'string' } } });
const parts = flags.only?.split(',') ?? ['check', ...PROJECTS];

function run(command: string, args: string[]): boolean {
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  return status === 0;
}

const directory = await mkdtemp(join(tmpdir(), 'terway-tests-'));
const counts = { passed: 0, failed: 0, skipped: 0 };
let ok = true;
try {
  for (const part of parts) {
    const startedMs = performance.now();
    process.stdout.write(`\n=== ${part}\n`);
    if (part === 'check') {
      ok = run('npm', ['run', '--silent', 'check']);
    } else {
      const report = join(directory, `${part}.json`);
      const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
      ok = run(process.execPath, [
        ...[vitest, 'run', '--project', part],
        ...['--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
      ]);
      const result = resultSchema.parse(JSON.parse(await readFile(report, 'utf8')));
      counts.passed += result.numPassedTests;
      counts.failed += result.numFailedTests;
      counts.skipped += result.numPendingTests;
    }
    process.stdout.write(
      `=== ${part}: ${ok ? 'ok' : 'FAILED'} after ${((performance.now() - startedMs) / 1000).toFixed(0)} s\n`,
    );
    if (!ok) break;
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}
process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
process.exitCode = ok && counts.failed === 0 ? 0 : 1;
