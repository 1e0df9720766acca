/** Checks import directions, import cycles and file length. Prints a line per violation, and exits with 1 if there is one. */
import { join } from 'node:path';
import { importViolations } from './import-rules.ts';
import { shapeViolations } from './shape-rules.ts';

const root = join(import.meta.dirname, '..');
const violations = [...(await importViolations(root)), ...(await shapeViolations(root))];
for (const violation of violations) process.stderr.write(`${violation}\n`);
process.exitCode = violations.length === 0 ? 0 : 1;
