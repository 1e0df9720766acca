import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { WORLD_FILE, type WorldReport, worldReportSchema } from '../../../tools/docs/world.ts';
import { FAULT_KINDS } from './plan.ts';
import { quantile, ranked, type Tally } from './tally.ts';
import type { Verdict } from './workers.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');

/** What a long run found. */
export interface Found {
  /** The first seed. */
  from: number;
  seeds: Tally;
  crashes: Tally;
  verdicts: readonly Verdict[];
}

/** Writes docs/world.json, from which `make generate` makes the page. */
export async function writeReport(found: Found): Promise<void> {
  const commit = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim();
  const date = new Date().toISOString().slice(0, 10);
  const report = worldReportSchema.parse({ date, commit, cores: availableParallelism(), ...figuresOf(found) });
  await writeFile(join(ROOT, WORLD_FILE), `${JSON.stringify(report, undefined, 2)}\n`);
}

export function figuresOf({
  from,
  seeds,
  crashes,
  verdicts,
}: Found): Pick<WorldReport, 'seeds' | 'crashes' | 'mutants'> {
  return {
    seeds: {
      from,
      count: seeds.done,
      broken: seeds.broken,
      acts: Object.fromEntries(ranked(seeds.acts)),
      faults: { ...Object.fromEntries(ranked(seeds.faults)), ...neverHit(seeds.faults) },
      realMs: spreadOf(seeds.realMs, 1),
      settledS: spreadOf(seeds.settledMs, 1000),
    },
    crashes: {
      count: crashes.done,
      broken: crashes.broken,
      points: Object.fromEntries(ranked(crashes.crashPoints)),
    },
    mutants: verdicts.map(({ mutant, killer, histories }) => ({
      name: mutant.name,
      ...(killer === undefined ? {} : { seed: killer.seed, property: propertyOf(killer.problem) }),
      histories,
    })),
  };
}

/** Kinds of faults that no history had: a hole in the workload. */
function neverHit(faults: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries(FAULT_KINDS.filter((kind) => !faults.has(kind)).map((kind) => [kind, 0]));
}

/** `I3` of `I3: eni-1 was detached …`; what a replica that failed or a bound that was passed begins with. */
function propertyOf(problem: string): string {
  return problem.includes(':') ? problem.slice(0, problem.indexOf(':')) : problem.slice(0, 40);
}

function spreadOf(values: readonly number[], divisor: number): { median: number; p99: number; longest: number } {
  const at = (share: number) => Math.round(quantile(values, share) / divisor);
  return { median: at(0.5), p99: at(0.99), longest: at(1) };
}
