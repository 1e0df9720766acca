import type { Counter, Histogram, Registry } from 'prom-client';
import type { TagVerdicts } from '../datapath/types.ts';
import { type MetricDefinition, MetricSet } from '../telemetry/metric-set.ts';

/** Every metric of the agent that somebody counts, with its unit in the name and bounded labels. */
export interface AgentMetrics {
  registry: Registry;
  definitions: readonly MetricDefinition[];
  cniRequests: Counter<'command' | 'code'>;
  cniSeconds: Histogram<'command'>;
  syncs: Counter<'result'>;
  syncSeconds: Histogram;
  repairs: Counter<'object' | 'kind'>;
  disturbances: Counter<'kind'>;
}

/** What gauges ask when they are scraped. */
export interface AgentSources {
  /** Whether ADD is served. */
  ready: () => boolean;
  waiting: () => number;
  sandboxes: () => number;
  held: () => Readonly<Record<string, number>>;
  podDeviations: () => Iterable<{ labels: { object: string }; value: number }>;
  verdicts: () => Promise<TagVerdicts>;
}

const CNI_BUCKETS_S = [0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100];
const SYNC_BUCKETS_S = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
const COMMAND = 'ADD, DEL, CHECK, GC, STATUS, VERSION';

/** The table of the agent's metrics: a registry with every metric at zero, and their definitions. */
export function createAgentMetrics(sources: AgentSources): AgentMetrics {
  const set = new MetricSet();
  const single = (name: string, help: string, value: () => number) =>
    set.readGauge({ name, help, stability: 'STABLE', read: () => [{ labels: {}, value: value() }] });
  single('terway_agent_ready', '1 while pods of this node can be served.', () => (sources.ready() ? 1 : 0));
  single('terway_agent_waiting_sandboxes', 'Sandboxes whose ADD waits for an assignment.', sources.waiting);
  single('terway_agent_sandboxes', 'Sandboxes that have a record on this node.', sources.sandboxes);
  set.readGauge({
    name: 'terway_agent_held_entries',
    help: 'Entries in memory for sandboxes, pods and work in progress; what grows although the number of pods does not is a leak.',
    labels: { holder: 'parts of the agent, six' },
    stability: 'ALPHA',
    read: () => Object.entries(sources.held()).map(([holder, value]) => ({ labels: { holder }, value })),
  });
  set.readGauge({
    name: 'terway_agent_pod_deviations',
    help: 'What differs inside pods from what ADD made, at the last look at the whole node. It is left as it is.',
    labels: { object: 'kinds of kernel objects' },
    read: sources.podDeviations,
  });
  set.counter({
    name: 'terway_agent_trunk_packets_total',
    help: 'Packets by what the tag programs did with them.',
    labels: {
      verdict:
        'tagged, untagged, passed, droppedNoEntry, droppedWrongVlan, droppedDoubleTag, droppedMissingTag, droppedSpoofedSource',
    },
    async collect(verdicts) {
      const counts = await sources.verdicts().catch(() => undefined);
      if (counts === undefined) return;
      verdicts.reset();
      for (const [verdict, count] of Object.entries(counts)) verdicts.inc({ verdict }, count);
    },
  });
  return {
    registry: set.registry,
    definitions: set.definitions,
    cniRequests: set.counter({
      name: 'terway_agent_cni_requests_total',
      help: 'CNI requests by command and error code; 0 is success.',
      labels: { command: COMMAND, code: 'error codes of CNI and of the plugin, about fifteen' },
      stability: 'STABLE',
    }),
    cniSeconds: set.histogram({
      name: 'terway_agent_cni_duration_seconds',
      help: 'Time from a CNI request to its answer, waiting for the assignment included.',
      labels: { command: COMMAND },
      buckets: CNI_BUCKETS_S,
      stability: 'STABLE',
    }),
    syncs: set.counter({
      name: 'terway_agent_syncs_total',
      help: 'Comparisons of the whole node by result.',
      labels: { result: 'success, incomplete, error' },
    }),
    syncSeconds: set.histogram({
      name: 'terway_agent_sync_duration_seconds',
      help: 'Time of one comparison of the whole node.',
      buckets: SYNC_BUCKETS_S,
    }),
    disturbances: set.counter({
      name: 'terway_agent_disturbances_total',
      help: 'Changes by others that may have taken from the node what the agent made; each is followed by a comparison.',
      labels: { kind: 'node, lost (more changes than could be read)' },
    }),
    repairs: set.counter({
      name: 'terway_agent_repairs_total',
      help: 'Kernel objects that were missing or wrong (repaired), left over (removed) or could not be mended (failed).',
      labels: { object: 'kinds of kernel objects', kind: 'repaired, removed, failed' },
    }),
  };
}
