/** Checks the directions of imports, circles and the length of files; prints a line per violation and exits 1 when there is any. */
import { join } from 'node:path';
import { importViolations } from './import-rules.ts';
import { shapeViolations } from './shape-rules.ts';

const root = join(import.meta.dirname, '..');
const violations = [...(await importViolations(root)), ...(await shapeViolations(root))];
for (const violation of violations) process.stderr.write(`${violation}\n`);
process.exitCode = violations.length === 0 ? 0 : 1;
