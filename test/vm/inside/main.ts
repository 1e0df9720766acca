import { parseArgs } from 'node:util';
import { GROUPS } from './groups.ts';
import type { Scenario } from './scenario.ts';

/*
 * Runs in the VM: each scenario in turn. Reports each as a line of JSON on standard output. `--only TEXT` runs the scenarios
 * whose names contain TEXT.
 */

const LIMIT_MS = 120_000;

async function failureOf(scenario: Scenario): Promise<string | undefined> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`not finished after ${LIMIT_MS} ms`)), LIMIT_MS);
  try {
    await Promise.race([scenario(), late]);
    return undefined;
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  } finally {
    clearTimeout(timer);
  }
}

const { values } = parseArgs({ options: { only: { type: 'string', default: '' } } });
for (const { title, scenarios } of GROUPS) {
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (!`${title} ${name}`.includes(values.only)) continue;
    const startedMs = performance.now();
    const failure = await failureOf(scenario);
    const ms = Math.round(performance.now() - startedMs);
    process.stdout.write(`${JSON.stringify({ title, name, ms, ...(failure !== undefined && { failure }) })}\n`);
  }
}
// A scenario that timed out may still keep the process alive.
process.exit(0);
