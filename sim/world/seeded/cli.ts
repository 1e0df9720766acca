/**
 * Runs histories of the world on all processors: `--seeds N` from `--from S`; with `--crashes` a short life with a crash on both
 * sides of every call, and again during the recovery; with `--mutants` seeds against the product with one mistake each, until one
 * finds it; or one seed with `--seed S`, which is shrunk and told if it breaks a
 * promise. Exits with 1 when one did.
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import * as z from 'zod';
import { callsOf, LIFE, runWithCrash } from './crash-points.ts';
import { MUTANTS, type Mutant } from './mutants.ts';
import { type Plan, planOf } from './plan.ts';
import { type Outcome, runPlan } from './run.ts';
import { shrink } from './shrink.ts';
import { traceOf } from './trace.ts';

const { values: flags } = parseArgs({
  options: {
    seeds: { type: 'string', default: '200' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    crashes: { type: 'boolean', default: false },
    mutants: { type: 'boolean', default: false },
    worker: { type: 'boolean', default: false },
  },
});

/** What a worker is given, a line each. */
const taskSchema = z.union([
  z.object({ seed: z.number() }),
  z.object({ call: z.number(), side: z.enum(['before', 'after']), againAfter: z.number().optional() }),
]);
type Task = z.output<typeof taskSchema>;

/** What it says of each. */
const resultSchema = z.object({
  task: taskSchema,
  ms: z.number(),
  settledMs: z.number(),
  problems: z.array(z.string()),
  faults: z.record(z.string(), z.number()),
  acts: z.record(z.string(), z.number()),
});
type Result = z.output<typeof resultSchema>;

/** After a restart, the calls at which it is killed once more. */
const RECOVERY_CALLS = 12;

const say = (line: string) => process.stdout.write(`${line}\n`);

function outcomeOf(task: Task): Promise<Outcome> {
  if ('seed' in task) return runPlan(planOf(task.seed));
  const { call, side, againAfter } = task;
  return runWithCrash(LIFE, { call, side, ...(againAfter === undefined ? {} : { againAfter }) });
}

async function resultOf(task: Task): Promise<Result> {
  const startedMs = performance.now();
  const { problems, settledMs, faults, acts } = await outcomeOf(task).catch((error: unknown) => ({
    problems: [`the run failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`],
    settledMs: 0,
    faults: new Map<string, number>(),
    acts: new Map<string, number>(),
  }));
  return {
    task,
    ms: performance.now() - startedMs,
    settledMs,
    problems: [...problems],
    faults: Object.fromEntries(faults),
    acts: Object.fromEntries(acts),
  };
}

/** Takes tasks from standard input until that ends. */
async function work(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    say(JSON.stringify(await resultOf(taskSchema.parse(JSON.parse(line)))));
  }
}

/**
 * Hands tasks to as many processes as there are processors.
 *
 * @param onResult returns whether to go on.
 * @param mutant runs the product with this mistake.
 */
async function runAll(tasks: readonly Task[], onResult: (result: Result) => boolean, mutant?: Mutant): Promise<void> {
  let isOver = false;
  const left = tasks[Symbol.iterator]();
  const processes = Array.from({ length: Math.min(tasks.length, availableParallelism()) }, async () => {
    const hook = mutant === undefined ? [] : ['--import', join(import.meta.dirname, 'mutate.ts')];
    const child = spawn(process.execPath, [...hook, import.meta.filename, '--worker'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, TERWAY_MUTANT: mutant?.name },
    });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    const next = () => {
      const { value, done } = left.next();
      if (done === true || isOver) child.stdin.end();
      else child.stdin.write(`${JSON.stringify(value)}\n`);
    };
    next();
    for await (const line of createInterface({ input: child.stdout })) {
      if (!onResult(resultSchema.parse(JSON.parse(line)))) isOver = true;
      next();
    }
    const code = await ended;
    if (code !== 0) throw new Error(`a worker ended with code ${code}`);
  });
  await Promise.all(processes);
}

async function many(tasks: readonly Task[]): Promise<boolean> {
  const totals = { ms: 0, done: 0, bad: 0 };
  const faults = new Map<string, number>();
  const acts = new Map<string, number>();
  const settledMs: number[] = [];
  const add = (sums: Map<string, number>, counts: Readonly<Record<string, number>>) => {
    for (const [name, count] of Object.entries(counts)) sums.set(name, (sums.get(name) ?? 0) + count);
  };
  await runAll(tasks, (result) => {
    totals.done += 1;
    totals.ms += result.ms;
    add(faults, result.faults);
    add(acts, result.acts);
    if (result.problems.length === 0) {
      settledMs.push(result.settledMs);
      return true;
    }
    totals.bad += 1;
    say(`${JSON.stringify(result.task)}: ${result.problems.slice(0, 3).join('; ')}`);
    if ('seed' in result.task) say(`  make world SEED=${result.task.seed}`);
    return true;
  });
  const lines = (counts: ReadonlyMap<string, number>) =>
    [...counts].sort(([, a], [, b]) => b - a).map(([name, count]) => `${name} ${count}`);
  if (acts.size > 0) say(`acts: ${lines(acts).join(', ')}`);
  if (faults.size > 0) say(`faults: ${lines(faults).join(', ')}`);
  const longestMs = settledMs.reduce((longest, ms) => Math.max(longest, ms), 0);
  say(`longest until settled: ${(longestMs / 1000).toFixed(0)} s of virtual time`);
  say(`${totals.done} histories, ${(totals.ms / totals.done).toFixed(0)} ms each, ${totals.bad} broke a promise`);
  return totals.bad === 0;
}

/** Runs every mutant until a seed kills it. @returns whether none survived */
async function mutants(seeds: readonly Task[]): Promise<boolean> {
  let survivors = 0;
  for (const mutant of MUTANTS) {
    let done = 0;
    let killer: Result | undefined;
    await runAll(
      seeds,
      (result) => {
        done += 1;
        if (result.problems.length > 0) killer ??= result;
        return killer === undefined;
      },
      mutant,
    );
    if (killer === undefined) survivors += 1;
    const how = killer === undefined ? 'SURVIVED' : `killed by ${JSON.stringify(killer.task)}: ${killer.problems[0]}`;
    say(`${mutant.name}: ${how} (${done} histories)`);
  }
  say(`${MUTANTS.length - survivors} of ${MUTANTS.length} mutants killed`);
  return survivors === 0;
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

async function everyCrash(): Promise<Task[]> {
  const calls = await callsOf(LIFE);
  const sides = ['before', 'after'] as const;
  return Array.from({ length: calls }, (_, at) => at + 1).flatMap((call) =>
    sides.flatMap((side) => [
      { call, side },
      ...Array.from({ length: RECOVERY_CALLS }, (_, at) => ({ call, side, againAfter: at + 1 })),
    ]),
  );
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
  const seeds = Array.from({ length: number('seeds') }, (_, at) => ({ seed: number('from') + at }));
  const isFine = flags.mutants ? await mutants(seeds) : await many(flags.crashes ? await everyCrash() : seeds);
  process.exitCode = isFine ? 0 : 1;
}
