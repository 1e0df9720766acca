/** One line of the result: a figure beside its budget and upstream's. */
export interface Measure {
  name: string;
  value: number;
  unit: string;
  budget: number;
  /** Upstream's figure with its default and tuned settings, as in budgets.md. */
  upstream: string;
}

/** True when the figure keeps its budget. */
export function isMet(measure: Measure): boolean {
  return measure.value <= measure.budget;
}

/** The table for people: figure, budget, upstream. */
export function formatTable(measures: Measure[]): string {
  const rows = [
    ['measure', 'measured', 'budget', '', 'upstream (default / tuned)'],
    ...measures.map((measure) => [
      measure.name,
      `${round(measure.value)} ${measure.unit}`.trim(),
      `≤ ${round(measure.budget)} ${measure.unit}`.trim(),
      isMet(measure) ? 'met' : 'MISSED',
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

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
}
