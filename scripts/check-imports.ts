/** Checks the directions of imports; prints a line per violation and exits 1 when there is any. */
import { join } from 'node:path';
import { importViolations } from './import-rules.ts';

const violations = await importViolations(join(import.meta.dirname, '..'));
for (const violation of violations) process.stderr.write(`${violation}\n`);
process.exitCode = violations.length === 0 ? 0 : 1;
