import type { Result } from './tasks.ts';

/** Sums over the results of many tasks. */
export class Tally {
  readonly acts = new Map<string, number>();
  readonly faults = new Map<string, number>();
  readonly crashPoints = new Map<string, number>();
  /** What each task took. */
  readonly realMs: number[] = [];
  /** From the end of the faults, of tasks that kept every promise. */
  readonly settledMs: number[] = [];
  broken = 0;

  add({ problems, ms, settledMs, acts, faults, killedAt }: Result): void {
    this.realMs.push(ms);
    for (const [name, count] of Object.entries(acts)) add(this.acts, name, count);
    for (const [name, count] of Object.entries(faults)) add(this.faults, name, count);
    for (const name of killedAt) add(this.crashPoints, name, 1);
    if (problems.length === 0) this.settledMs.push(settledMs);
    else this.broken += 1;
  }

  get done(): number {
    return this.realMs.length;
  }
}

/** The value below which so much of all values is; 0 of nothing. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

/** The most frequent first. */
export function ranked(counts: ReadonlyMap<string, number>): [name: string, count: number][] {
  return [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
}

function add(sums: Map<string, number>, name: string, count: number): void {
  sums.set(name, (sums.get(name) ?? 0) + count);
}
