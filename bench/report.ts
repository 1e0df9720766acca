/** One line of the result: a figure with its budget and upstream's figure. */
export interface Measure {
  name: string;
  value: number;
  unit: string;
  /** Absent for figures without a budget. */
  budget?: number;
  /** Upstream's figure with its default and tuned settings. */
  upstream: string;
}

/** Callbacks for the results of sections. */
export interface Report {
  record: (measure: Measure) => void;
  /** Prints an explanation. */
  say: (line: string) => void;
}

/** True when the figure is within its budget, or has none. */
export function isMet({ value, budget }: Measure): boolean {
  return budget === undefined || value <= budget;
}

/** Formats one figure. */
export function formatMeasure({ name, value, unit, budget }: Measure): string {
  const promised = budget === undefined ? 'no budget' : `budget ${budget.toFixed(2)}`;
  return `${name}: ${value.toFixed(2)} ${unit} (${promised})`;
}

/** The table for people: figure, budget, upstream. */
export function formatTable(measures: Measure[]): string {
  const rows = [
    ['measure', 'measured', 'budget', '', 'upstream (default / tuned)'],
    ...measures.map((measure) => [
      measure.name,
      `${round(measure.value)} ${measure.unit}`.trim(),
      measure.budget === undefined ? '–' : `≤ ${round(measure.budget)} ${measure.unit}`.trim(),
      measure.budget === undefined ? '' : isMet(measure) ? 'met' : 'MISSED',
      measure.upstream,
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Share in percent; 0 when the total is 0. */
export function percentOf(part: number, whole: number): number {
  return whole === 0 ? 0 : (100 * part) / whole;
}

/** Median and range, for people. */
export function spread(values: readonly number[]): string {
  return `${round(median([...values]))} (${round(Math.min(...values))}–${round(Math.max(...values))})`;
}

/** The given percentile. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? Number.NaN;
}

/**
 * Pods that were bound more than `toleranceMs` after one that was created later, and the longest such delay.
 *
 * @param created names in the order of creation
 */
export function overtaken(
  created: Iterable<readonly [name: string, ...unknown[]]>,
  boundMs: ReadonlyMap<string, number>,
  toleranceMs: number,
): { count: number; worstMs: number } {
  const times = [...created].map(([name]) => boundMs.get(name) ?? Number.POSITIVE_INFINITY);
  let count = 0;
  let worstMs = 0;
  let earliestLaterMs = Number.POSITIVE_INFINITY;
  for (const ms of times.reverse()) {
    if (ms > earliestLaterMs) worstMs = Math.max(worstMs, ms - earliestLaterMs);
    if (ms > earliestLaterMs + toleranceMs) count += 1;
    earliestLaterMs = Math.min(earliestLaterMs, ms);
  }
  return { count, worstMs };
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
}
