/**
 * Runs Terway's acceptance scenarios of shared ENIs on real kubelets, with all periods shortened: `node test/acceptance/run.ts`. Each
 * scenario has a node of its own. Exits 1 when one fails.
 *
 *   --only TEXT   runs only the scenarios with this text in their name
 */
import { SCENARIOS, type Scenario } from '../../sim/world/pool/acceptance.ts';
import { errorMessage } from '../../src/util/errors.ts';
import { ToolError } from '../../tools/errors.ts';
import { readFlags } from '../../tools/flags.ts';
import { ZONES } from '../harness/lab.ts';
import { NodeLab } from '../harness/node-lab.ts';
import { duration, FACTOR, LATENCIES, NodeRig } from './node-rig.ts';

class EndedBySignal extends Error {
  constructor(name: string) {
    super(`ended by ${name}`);
  }
}

const log = (line: string) => process.stdout.write(`${line}\n`);

async function main(): Promise<void> {
  const flags = readFlags({ only: { type: 'string', default: '' } });
  const chosen = SCENARIOS.filter(({ name }) => name.includes(flags.only));
  if (chosen.length === 0) throw new ToolError(`no scenario has --only ${flags.only} in its name`);
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort(new EndedBySignal(name)));
  await using lab = await NodeLab.start({
    // The control plane needs a node, which no scenario uses.
    nodes: [{ zone: ZONES[0] }],
    latencies: LATENCIES,
    eniConf: { ipam_type: 'crd' },
    signal: stop.signal,
    log,
  });
  await lab.install();
  log(`\nperiods are ${FACTOR} times shorter; seconds are those of the machine`);
  const failures: string[] = [];
  for (const scenario of chosen) {
    stop.signal.throwIfAborted();
    const startedMs = performance.now();
    const problem = await outcome(lab, scenario);
    if (problem !== undefined) failures.push(scenario.name);
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(0).padStart(4);
    log(`  ${problem === undefined ? '✓' : '✗'} ${seconds} s  ${scenario.name}`);
    if (problem !== undefined) log(`          ${problem.split('\n').join('\n          ')}`);
  }
  log(`${chosen.length - failures.length} passed, ${failures.length} failed`);
  process.exitCode = failures.length === 0 ? 0 : 1;
}

/** @returns what was wrong */
async function outcome(lab: NodeLab, { eniConf, run }: Scenario): Promise<string | undefined> {
  const rig = await NodeRig.start(lab, eniConf({ duration }), log);
  try {
    await run(rig);
    return undefined;
  } catch (error) {
    return errorMessage(error);
  } finally {
    await rig.end();
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof ToolError || error instanceof EndedBySignal)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
