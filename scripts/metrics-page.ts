import { createAgentMetrics } from '../src/agent/metrics.ts';
import type { MetricDefinition } from '../src/telemetry/metric-set.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { markdownTable } from '../tools/docs/markdown-table.ts';

const INTRODUCTION = `<!-- Generated from src/telemetry/metrics.ts and src/agent/metrics.ts by \`make generate\`; do not edit. -->
# Metrics

[What to scrape, dashboards and alerts](../operate-monitoring.md). Help texts begin with how far a metric can be relied on: \`STABLE\`: name,
labels and meaning stay within a major version; \`BETA\`: a change is announced one minor version before; \`ALPHA\`: may go at any time.

No label names a node or a pod. Metrics of "leader" are absent on a replica that does not lead, so that nothing old is
taken for true; counters and histograms of a replica that never led stay at zero. Gauges are read when they are scraped, from memory.
`;

const NODE = `
## Of the process

Both processes also export what prom-client tells about Node under \`process_*\` and \`nodejs_*\` (ALPHA, as the names are not ours).
Useful are \`nodejs_eventloop_lag_p99_seconds\`, \`nodejs_heap_size_used_bytes\`, \`process_resident_memory_bytes\` and \`process_cpu_seconds_total\`.
`;

/** The reference page of every metric, as Markdown. */
export function metricsPage(): string {
  const agent = createAgentMetrics({
    ready: () => false,
    waiting: () => 0,
    sandboxes: () => 0,
    held: () => ({}),
    podDeviations: () => [],
    verdicts: () => Promise.reject(new Error('there is no data path')),
  });
  return [
    INTRODUCTION,
    section('Control plane', createMetrics().definitions),
    section('Node agent', agent.definitions),
    NODE,
  ].join('');
}

function section(title: string, definitions: readonly MetricDefinition[]): string {
  const rows = definitions
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, type, help, stability, labels, leaderOnly }) => [
      `\`${name}\``,
      leaderOnly ? `${type}, leader` : type,
      stability,
      help,
      Object.entries(labels)
        .map(([label, values]) => `\`${label}\`: ${values}`)
        .join('; ') || '–',
    ]);
  return `\n## ${title}\n\n${markdownTable([['name', 'type', 'stability', 'meaning', 'labels'], ...rows])}`;
}
