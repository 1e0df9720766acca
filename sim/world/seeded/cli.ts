/**
 * Runs seeds of the world on all processors: `--seeds N` from `--from S`, or one with `--seed S`, which is then shrunk and told
 * if it breaks a promise. Exits with 1 when one did.
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import * as z from 'zod';
import { type Plan, planOf } from './plan.ts';
import { runPlan } from './run.ts';
import { shrink } from './shrink.ts';
import { traceOf } from './trace.ts';

const { values: flags } = parseArgs({
  options: {
    seeds: { type: 'string', default: '200' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    worker: { type: 'boolean', default: false },
  },
});

/** What a worker says of each seed, a line each. */
const resultSchema = z.object({
  seed: z.number(),
  ms: z.number(),
  settledMs: z.number(),
  problems: z.array(z.string()),
  faults: z.record(z.string(), z.number()),
  acts: z.record(z.string(), z.number()),
});
type Result = z.output<typeof resultSchema>;

const say = (line: string) => process.stdout.write(`${line}\n`);

async function resultOf(seed: number): Promise<Result> {
  const startedMs = performance.now();
  const { problems, settledMs, faults, acts } = await runPlan(planOf(seed)).catch((error: unknown) => ({
    problems: [`the run failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`],
    settledMs: 0,
    faults: new Map<string, number>(),
    acts: new Map<string, number>(),
  }));
  return {
    seed,
    ms: performance.now() - startedMs,
    settledMs,
    problems: [...problems],
    faults: Object.fromEntries(faults),
    acts: Object.fromEntries(acts),
  };
}

/** Takes seeds from standard input until that ends. */
async function work(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) say(JSON.stringify(await resultOf(Number(line))));
}

/** Hands seeds to as many processes as there are processors. */
async function runAll(seeds: readonly number[], onResult: (result: Result) => void): Promise<void> {
  const left = seeds[Symbol.iterator]();
  const processes = Array.from({ length: Math.min(seeds.length, availableParallelism()) }, async () => {
    const child = spawn(process.execPath, [import.meta.filename, '--worker'], { stdio: ['pipe', 'pipe', 'inherit'] });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    const next = () => {
      const { value, done } = left.next();
      if (done === true) child.stdin.end();
      else child.stdin.write(`${value}\n`);
    };
    next();
    for await (const line of createInterface({ input: child.stdout })) {
      onResult(resultSchema.parse(JSON.parse(line)));
      next();
    }
    const code = await ended;
    if (code !== 0) throw new Error(`a worker ended with code ${code}`);
  });
  await Promise.all(processes);
}

async function many(seeds: readonly number[]): Promise<boolean> {
  const totals = { ms: 0, done: 0, bad: 0 };
  const faults = new Map<string, number>();
  const acts = new Map<string, number>();
  const settledMs: number[] = [];
  const add = (sums: Map<string, number>, counts: Readonly<Record<string, number>>) => {
    for (const [name, count] of Object.entries(counts)) sums.set(name, (sums.get(name) ?? 0) + count);
  };
  await runAll(seeds, (result) => {
    totals.done += 1;
    totals.ms += result.ms;
    add(faults, result.faults);
    add(acts, result.acts);
    if (result.problems.length === 0) {
      settledMs.push(result.settledMs);
      return;
    }
    totals.bad += 1;
    say(`seed ${result.seed}: ${result.problems.slice(0, 3).join('; ')}`);
    say(`  make world SEED=${result.seed}`);
  });
  const lines = (counts: ReadonlyMap<string, number>) =>
    [...counts].sort(([, a], [, b]) => b - a).map(([name, count]) => `${name} ${count}`);
  say(`acts: ${lines(acts).join(', ')}`);
  say(`faults: ${lines(faults).join(', ')}`);
  const longestMs = settledMs.reduce((longest, ms) => Math.max(longest, ms), 0);
  say(`longest until settled: ${(longestMs / 1000).toFixed(0)} s of virtual time`);
  say(`${totals.done} seeds, ${(totals.ms / totals.done).toFixed(0)} ms each, ${totals.bad} broke a promise`);
  return totals.bad === 0;
}

async function one(seed: number): Promise<boolean> {
  const problemsOf = async (plan: Plan) => (await runPlan(plan)).problems;
  const plan = planOf(seed);
  const problems = await problemsOf(plan);
  if (problems.length === 0) {
    say(`seed ${seed} keeps every promise`);
    return true;
  }
  say(`seed ${seed} breaks a promise: ${problems[0]}; looking for a shorter story`);
  const small = await shrink(plan, problemsOf, ({ steps, replicas, rates }) => {
    const kinds = Object.keys(rates).length;
    process.stderr.write(`  ${steps.length} steps, ${replicas} replicas, ${kinds} kinds of faults\n`);
  });
  for (const line of await traceOf(small)) say(line);
  return false;
}

function number(name: 'seeds' | 'from' | 'seed'): number {
  const value = Number(flags[name]);
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`--${name}: expected a whole number, got ${flags[name]}`);
  return value;
}

if (flags.worker) {
  await work();
} else if (flags.seed !== undefined) {
  process.exitCode = (await one(number('seed'))) ? 0 : 1;
} else {
  const seeds = Array.from({ length: number('seeds') }, (_, at) => number('from') + at);
  process.exitCode = (await many(seeds)) ? 0 : 1;
}
