import { execFileSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type MeasuredFigure, PERFORMANCE_FILE, performanceSchema } from '../tools/docs/performance.ts';
import { isMet, type Measure, median } from './report.ts';

const root = join(import.meta.dirname, '..');

/** The median of a measure over several runs, compared with the median of its budgets, which may vary between runs. */
export function medians(runs: readonly (readonly Measure[])[]): (Measure & { runs: number[] })[] {
  const byName = Map.groupBy(runs.flat(), ({ name }) => name);
  return [...byName].flatMap(([, same]) => {
    const [first] = same;
    if (first === undefined) return [];
    const budgets = same.flatMap(({ budget }) => budget ?? []);
    return {
      ...first,
      ...(budgets.length === 0 ? {} : { budget: median(budgets) }),
      value: median(same.map(({ value }) => value)),
      runs: same.map(({ value }) => rounded(value)),
    };
  });
}

/** Writes the results to docs/performance.json; measures that were not run keep their values. */
export async function writePerformance(measured: ReturnType<typeof medians>): Promise<void> {
  const path = join(root, PERFORMANCE_FILE);
  const before = performanceSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  const commit = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim();
  const date = new Date().toISOString().slice(0, 10);
  const figures = new Map(before.measures.map((figure): [string, MeasuredFigure] => [figure.name, figure]));
  for (const measure of measured) {
    const { name, unit, value, runs, budget, upstream } = measure;
    const verdict = budget === undefined ? 'none' : isMet(measure) ? 'met' : 'missed';
    const promised = budget === undefined ? {} : { budget: rounded(budget) };
    const origin = { upstream, commit, date, cores: availableParallelism() };
    figures.set(name, { name, unit, runs, median: rounded(value), ...promised, verdict, ...origin });
  }
  await writeFile(path, `${JSON.stringify({ measures: [...figures.values()] }, undefined, 2)}\n`);
}

function rounded(value: number): number {
  return Number(value.toFixed(3));
}
