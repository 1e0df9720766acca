/**
 * Runs histories of the world on all processors: `--seeds N` from `--from S`; with `--crashes` a short life with a crash on both
 * sides of every call, and again during the recovery; with `--mutants` seeds against the product with one mistake each, until one
 * finds it, or `--mutant TEXT` only those whose name contains it; with `--long` all of these, written to docs/world.json, and a run that
 * was interrupted goes on where it was; or one seed with `--seed S`, which is shrunk and told if it breaks a promise. Exits with 1 when
 * one did.
 */
import { parseArgs } from 'node:util';
import { KeptResults, placeOfResults } from './kept-results.ts';
import type { Mutant } from './mutant.ts';
import { MUTANTS } from './mutants.ts';
import { type Plan, planOf } from './plan.ts';
import { writeReport } from './report.ts';
import { runPlan } from './run.ts';
import { shrink } from './shrink.ts';
import { quantile, ranked, Tally } from './tally.ts';
import { everyCrash, type Task } from './tasks.ts';
import { traceOf } from './trace.ts';
import { judge, runAll, type Verdict } from './workers.ts';

const { values: flags } = parseArgs({
  options: {
    seeds: { type: 'string' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    crashes: { type: 'boolean', default: false },
    mutants: { type: 'boolean', default: false },
    mutant: { type: 'string' },
    long: { type: 'boolean', default: false },
  },
});

const DEFAULT_SEEDS = 200;
const LONG_SEEDS = 20_000;
/** A mutant must be found by then. */
const MUTANT_SEEDS = 1000;

const say = (line: string) => process.stdout.write(`${line}\n`);

/** @param kept what is known already, and where the rest is noted */
async function many(tasks: readonly Task[], kept?: KeptResults): Promise<Tally> {
  const tally = new Tally();
  const left = tasks.filter((task) => {
    const known = kept?.result(task);
    if (known !== undefined) tally.add(known);
    return known === undefined;
  });
  if (left.length < tasks.length) say(`${tasks.length - left.length} histories are known from an earlier run`);
  await runAll(left, (result) => {
    tally.add(result);
    kept?.keep(result);
    if (result.problems.length === 0) return true;
    say(`${JSON.stringify(result.task)}: ${result.problems.slice(0, 3).join('; ')}`);
    if ('seed' in result.task) say(`  make world SEED=${result.task.seed}`);
    return true;
  });
  const list = (counts: ReadonlyMap<string, number>) => ranked(counts).map(([name, count]) => `${name} ${count}`);
  for (const what of ['acts', 'faults', 'crashPoints'] as const)
    if (tally[what].size > 0) say(`${what}: ${list(tally[what]).join(', ')}`);
  say(`longest until settled: ${(quantile(tally.settledMs, 1) / 1000).toFixed(0)} s of virtual time`);
  say(`${tally.done} histories, ${quantile(tally.realMs, 0.5).toFixed(0)} ms each, ${tally.broken} broke a promise`);
  return tally;
}

/** Runs each mutant until a seed kills it. */
async function mutants(seeds: readonly number[], chosen: readonly Mutant[], kept?: KeptResults): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  for (const mutant of chosen) {
    const known = kept?.verdict(mutant, seeds.length);
    const verdict = known ?? (await judge(mutant, seeds, runAll));
    if (known === undefined) kept?.keepVerdict(verdict);
    verdicts.push(verdict);
    const { killer, histories } = verdict;
    const how = killer === undefined ? 'SURVIVED' : `killed by seed ${killer.seed}: ${killer.problem}`;
    say(`${mutant.name}: ${how} (${histories} histories)`);
  }
  const killed = verdicts.filter(({ killer }) => killer !== undefined).length;
  say(`${killed} of ${chosen.length} mutants killed`);
  return verdicts;
}

/** Writes what it has after each part. */
async function long(): Promise<boolean> {
  const kept = await KeptResults.open(placeOfResults());
  const from = number('from') ?? 1;
  const seeds = await many(seedTasks(LONG_SEEDS), kept);
  await writeReport({ from, seeds, crashes: new Tally(), verdicts: [] });
  const crashes = await many(await everyCrash(), kept);
  await writeReport({ from, seeds, crashes, verdicts: [] });
  const verdicts = await mutants(seedsFrom(MUTANT_SEEDS).slice(0, MUTANT_SEEDS), MUTANTS, kept);
  await writeReport({ from, seeds, crashes, verdicts });
  return seeds.broken === 0 && crashes.broken === 0 && verdicts.every(({ killer }) => killer !== undefined);
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

function mutantsCalled(text: string): Mutant[] {
  const chosen = MUTANTS.filter(({ name }) => name.includes(text));
  if (chosen.length === 0) throw new RangeError(`--mutant: no mutant is called anything with '${text}'`);
  return chosen;
}

function seedsFrom(defaultCount: number): number[] {
  return Array.from({ length: number('seeds') ?? defaultCount }, (_, at) => (number('from') ?? 1) + at);
}

function seedTasks(defaultCount: number): Task[] {
  return seedsFrom(defaultCount).map((seed) => ({ seed }));
}

function number(name: 'seeds' | 'from' | 'seed'): number | undefined {
  const text = flags[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`--${name}: expected a whole number, got ${text}`);
  return value;
}

async function isFine(): Promise<boolean> {
  const seed = number('seed');
  if (seed !== undefined) return one(seed);
  if (flags.long) return long();
  if (flags.mutants || flags.mutant !== undefined) {
    const verdicts = await mutants(seedsFrom(MUTANT_SEEDS), mutantsCalled(flags.mutant ?? ''));
    return verdicts.every(({ killer }) => killer !== undefined);
  }
  return (await many(flags.crashes ? await everyCrash() : seedTasks(DEFAULT_SEEDS))).broken === 0;
}

process.exitCode = (await isFine()) ? 0 : 1;
