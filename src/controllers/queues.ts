import { WorkQueue } from '../kube/workqueue.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Clock } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import { ENI_OWNER_PREFIX, NODE_OWNER_PREFIX, ORPHAN_OWNER_PREFIX, POOL_OWNER_PREFIX } from './owners.ts';

/** The queues of a term, one per controller, and the callbacks for news of orphans. */
export class Queues {
  readonly pods: WorkQueue;
  readonly nodes: WorkQueue;
  readonly mirrors: WorkQueue;
  readonly networkings: WorkQueue;
  /** By node. */
  readonly pools: WorkQueue;
  /** By ENI id. */
  readonly orphans = new Map<string, () => void>();

  constructor(options: { clock: Clock; random: Random; metrics: Pick<Metrics, 'queueSeconds'> }) {
    const { clock, random, metrics } = options;
    const queueOf = (controller: string) =>
      new WorkQueue({
        clock,
        random,
        metrics: { onLatency: (waitedMs) => metrics.queueSeconds.observe({ controller }, waitedMs / 1000) },
      });
    this.pods = queueOf('pod-eni');
    this.nodes = queueOf('node');
    this.mirrors = queueOf('networkinterface');
    this.networkings = queueOf('podnetworking');
    this.pools = queueOf('pool');
  }

  /** Keyed by the names used in metrics and `admin status`. */
  byController(): Readonly<Record<string, WorkQueue>> {
    return {
      'pod-eni': this.pods,
      node: this.nodes,
      networkinterface: this.mirrors,
      podnetworking: this.networkings,
      pool: this.pools,
    };
  }

  /** Wakes the owner on news of an ENI or of a call for it. @param owner see owners.ts */
  wake(owner: string): void {
    if (owner.startsWith(NODE_OWNER_PREFIX)) this.nodes.add(owner.slice(NODE_OWNER_PREFIX.length));
    else if (owner.startsWith(POOL_OWNER_PREFIX)) this.pools.add(owner.slice(POOL_OWNER_PREFIX.length));
    else if (owner.startsWith(ENI_OWNER_PREFIX)) this.mirrors.add(owner.slice(ENI_OWNER_PREFIX.length));
    else if (owner.startsWith(ORPHAN_OWNER_PREFIX)) this.orphans.get(owner.slice(ORPHAN_OWNER_PREFIX.length))?.();
    else this.pods.add(owner);
  }
}
