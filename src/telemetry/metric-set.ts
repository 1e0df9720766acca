import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/**
 * Stability promise. STABLE: name, labels and meaning do not change within a major version. BETA: changes are announced one
 * minor version ahead. ALPHA: may change or disappear at any time.
 */
export type Stability = 'STABLE' | 'BETA' | 'ALPHA';

/** One row of the metrics reference. */
export interface MetricDefinition {
  name: string;
  type: 'counter' | 'gauge' | 'histogram';
  help: string;
  stability: Stability;
  /** Each label with what bounds its values. */
  labels: Readonly<Record<string, string>>;
  /** True when only the leader exports it. */
  leaderOnly: boolean;
}

interface Row<L extends string> {
  name: string;
  help: string;
  /** Each label with what bounds its values. None by default. */
  labels?: Readonly<Record<L, string>>;
  /** Default BETA. */
  stability?: Stability;
}

/** One series of a gauge that is read at each scrape. */
export interface Sample<L extends string> {
  labels: Readonly<Record<L, string>>;
  value: number;
}

/**
 * Adds Node's process metrics: memory, CPU, event loop and garbage collection. This monitors the event loop and the garbage
 * collector until the process exits, so only an executable may call it, once.
 */
export function addProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry });
}

/** The metrics of one process. The reference is generated from the definitions. */
export class MetricSet {
  readonly registry = new Registry();
  readonly definitions: MetricDefinition[] = [];

  counter<L extends string = never>(row: Row<L> & { collect?: (counter: Counter<L>) => Promise<void> }): Counter<L> {
    const { collect } = row;
    const counter: Counter<L> = new Counter({
      ...this.#define('counter', row),
      ...(collect === undefined ? {} : { collect: () => collect(counter) }),
    });
    return counter;
  }

  gauge<L extends string = never>(row: Row<L>): Gauge<L> {
    return new Gauge(this.#define('gauge', row));
  }

  /** A gauge with exactly the series that `read` returns at each scrape. @param row.leaderOnly for the reference */
  readGauge<L extends string = never>(
    row: Row<L> & { leaderOnly?: boolean; read: () => Iterable<Sample<L>> },
  ): Gauge<L> {
    const gauge: Gauge<L> = new Gauge({
      ...this.#define('gauge', row, row.leaderOnly),
      collect: () => {
        gauge.reset();
        // Without labels, reset leaves a zero, which would be a false value.
        if (row.labels === undefined) gauge.remove();
        for (const { labels, value } of row.read()) gauge.set(labels, value);
      },
    });
    return gauge;
  }

  /** @param row.buckets upper bounds in the unit of the name. */
  histogram<L extends string = never>(row: Row<L> & { buckets: readonly number[] }): Histogram<L> {
    return new Histogram({ ...this.#define('histogram', row), buckets: [...row.buckets] });
  }

  #define<L extends string>(type: MetricDefinition['type'], row: Row<L>, leaderOnly = false) {
    const { name, help, labels, stability = 'BETA' } = row;
    this.definitions.push({ name, type, help, stability, labels: labels ?? {}, leaderOnly });
    return { name, help: `[${stability}] ${help}`, labelNames: keysOf(labels), registers: [this.registry] };
  }
}

function keysOf<L extends string>(labels: Readonly<Record<L, string>> | undefined): L[] {
  if (labels === undefined) return [];
  return Object.keys(labels).filter((key): key is L => key in labels);
}
