import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { TagVerdicts } from '../datapath/types.ts';

/** Every metric of the agent, with its unit in the name and bounded labels. */
export interface AgentMetrics {
  registry: Registry;
  cniRequests: Counter<'command' | 'code'>;
  cniSeconds: Histogram<'command'>;
  waiting: Gauge;
  sandboxes: Gauge;
  syncs: Counter<'result'>;
  syncSeconds: Histogram;
  repairs: Counter<'object' | 'kind'>;
}

const CNI_BUCKETS_S = [0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100];

/**
 * A registry with every metric at zero.
 *
 * @param sources read when the metrics are
 */
export function createAgentMetrics(sources: {
  waiting: () => number;
  sandboxes: () => number;
  verdicts: () => Promise<TagVerdicts>;
}): AgentMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const verdicts: Counter<'verdict'> = new Counter({
    name: 'terway_agent_trunk_packets_total',
    help: 'Packets by what the tag programs did with them.',
    labelNames: ['verdict'],
    registers,
    async collect() {
      const counts = await sources.verdicts().catch(() => undefined);
      if (counts === undefined) return;
      verdicts.reset();
      for (const [verdict, count] of Object.entries(counts)) verdicts.inc({ verdict }, count);
    },
  });
  return {
    registry,
    cniRequests: new Counter({
      name: 'terway_agent_cni_requests_total',
      help: 'CNI requests by command and error code; 0 is success.',
      labelNames: ['command', 'code'],
      registers,
    }),
    cniSeconds: new Histogram({
      name: 'terway_agent_cni_duration_seconds',
      help: 'Time from a CNI request to its answer, waiting for the assignment included.',
      labelNames: ['command'],
      buckets: CNI_BUCKETS_S,
      registers,
    }),
    waiting: new Gauge({
      name: 'terway_agent_waiting_sandboxes',
      help: 'Sandboxes whose ADD waits for an assignment.',
      registers,
      collect() {
        this.set(sources.waiting());
      },
    }),
    sandboxes: new Gauge({
      name: 'terway_agent_sandboxes',
      help: 'Sandboxes that have a record on this node.',
      registers,
      collect() {
        this.set(sources.sandboxes());
      },
    }),
    syncs: new Counter({
      name: 'terway_agent_syncs_total',
      help: 'Comparisons of the whole node by result.',
      labelNames: ['result'],
      registers,
    }),
    syncSeconds: new Histogram({
      name: 'terway_agent_sync_duration_seconds',
      help: 'Time of one comparison of the whole node.',
      buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
      registers,
    }),
    repairs: new Counter({
      name: 'terway_agent_repairs_total',
      help: 'Kernel objects that were missing or wrong (repaired), left over (removed) or could not be mended (failed).',
      labelNames: ['object', 'kind'],
      registers,
    }),
  };
}
