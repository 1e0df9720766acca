/**
 * Runs the shipped control plane with thousands of nodes and pods on virtual time, and shows what each phase took and cost. Then
 * it measures whether the work for one event grows with the number of settled pods. Exits with 1 when something took longer than
 * quota and cloud explain, or grows. `--scenario N` runs one scenario, without the events; `--events` only the events.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { readFlags } from '../../../tools/flags.ts';
import type { Figures } from './scale-world.ts';
import { SCENARIOS } from './scenarios.ts';

const flags = readFlags({ scenario: { type: 'string' }, events: { type: 'boolean', default: false } });

const SETTLED = ['1000', '5000', '20000'];

const COLUMNS: readonly [head: string, cell: (figures: Figures) => string][] = [
  ['virtual s', ({ virtualS }) => virtualS.toFixed(0)],
  ['bound s', ({ boundS }) => boundS?.toFixed(0) ?? ''],
  ['calls/item', ({ calls, items }) => (calls / items).toFixed(2)],
  ['reads/item', ({ describes, items }) => (describes / items).toFixed(2)],
  ['writes/item', ({ writes, items }) => (writes / items).toFixed(2)],
  ['reconciles/item', ({ reconciles, items }) => (reconciles / items).toFixed(1)],
  ['watched MB', ({ watchedMillions }) => watchedMillions.toFixed(1)],
  ['real s', ({ realS }) => realS.toFixed(1)],
  ['longest turn ms', ({ longestTurnMs }) => longestTurnMs.toFixed(0)],
  ['memory MB', ({ peakMemoryMb }) => peakMemoryMb.toFixed(0)],
];
const PHASE_WIDTH = 46;

const say = (line: string) => process.stdout.write(`${line}\n`);

/** @returns whether every phase kept to its bound */
async function runOne(at: number): Promise<boolean> {
  const scenario = SCENARIOS[at];
  if (scenario === undefined) throw new RangeError(`--scenario: expected 0 to ${SCENARIOS.length - 1}, got ${at}`);
  say(`\n${scenario.name}`);
  say([''.padEnd(PHASE_WIDTH), ...COLUMNS.map(([head]) => head)].join('  '));
  let isFine = true;
  await scenario.run((figures) => {
    const isLate = figures.boundS !== undefined && figures.virtualS > figures.boundS;
    if (isLate) isFine = false;
    const cells = COLUMNS.map(([head, cell]) => cell(figures).padStart(head.length));
    say([figures.phase.padEnd(PHASE_WIDTH), ...cells, ...(isLate ? ['LATE'] : [])].join('  '));
  });
  return isFine;
}

/** In a process of its own, so that its memory is its own. @returns whether it exited with 0 */
async function inProcess(file: string, args: readonly string[]): Promise<boolean> {
  const child = spawn(process.execPath, [file, ...args], { stdio: 'inherit' });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return code === 0;
}

async function all(): Promise<boolean> {
  let isFine = true;
  if (!flags.events) {
    for (const at of SCENARIOS.keys())
      if (!(await inProcess(import.meta.filename, ['--scenario', String(at)]))) isFine = false;
  }
  say('');
  if (!(await inProcess(join(import.meta.dirname, 'flatness.ts'), SETTLED))) isFine = false;
  return isFine;
}

const isFine = flags.scenario === undefined ? await all() : await runOne(Number(flags.scenario));
process.exitCode = isFine ? 0 : 1;
