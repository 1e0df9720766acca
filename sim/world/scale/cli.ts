/**
 * Runs the shipped control plane with thousands of nodes and pods on virtual time, and shows what each phase took and cost. Then
 * it measures whether the work for one event grows with the number of settled pods. Exits with 1 when something took longer than
 * quota and cloud explain, or grows. `--scenario N` runs one scenario, without the events; `--events` only the events; `--record`
 * writes docs/reference/world-scale.md from the whole run.
 */
import { execFileSync, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { readFlags } from '../../../tools/flags.ts';
import type { Figures } from './scale-world.ts';
import { SCENARIOS } from './scenarios.ts';

const flags = readFlags({
  scenario: { type: 'string' },
  events: { type: 'boolean', default: false },
  record: { type: 'boolean', default: false },
});

const ROOT = join(import.meta.dirname, '..', '..', '..');
const PAGE = join(ROOT, 'docs', 'reference', 'world-scale.md');

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

interface Ended {
  isFine: boolean;
  output: string;
}

/** In a process of its own, so that its memory is its own. What it prints is passed on. */
async function inProcess(file: string, args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, [file, ...args], { stdio: ['inherit', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    process.stdout.write(text);
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { isFine: code === 0, output };
}

async function all(): Promise<boolean> {
  const phases: Ended[] = [];
  if (!flags.events) {
    for (const at of SCENARIOS.keys()) phases.push(await inProcess(import.meta.filename, ['--scenario', String(at)]));
  }
  say('');
  const events = await inProcess(join(import.meta.dirname, 'flatness.ts'), SETTLED);
  if (flags.record && !flags.events) await record(phases, events);
  return [...phases, events].every(({ isFine }) => isFine);
}

async function record(phases: readonly Ended[], events: Ended): Promise<void> {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim();
  const date = new Date().toISOString().slice(0, 10);
  const tables = phases.map(({ output }) => `\`\`\`\n${output.trim()}\n\`\`\``).join('\n\n');
  const text = `# Thousands of nodes: the last run

Written by \`make world-scale RECORD=1\` on ${date} at commit ${commit}, on ${availableParallelism()} cores.
[What the world is](../design/world.md#thousands-of-nodes).

## Phases

Virtual time, and what quota and cloud allow for it; what one pod, node or record costs in calls that change the cloud, reads of
it, writes to the API server and reconciles; what came through watches. Time, longest turn of the event loop and memory are those
of this machine, with the models of API server and cloud in the same process.

${tables}

## The work for one event

How often the blocks of the product ran within 30 s of an event, while so many pods were settled.

${events.output.trim()}
`;
  await writeFile(PAGE, text);
}

const isFine = flags.scenario === undefined ? await all() : await runOne(Number(flags.scenario));
process.exitCode = isFine ? 0 : 1;
