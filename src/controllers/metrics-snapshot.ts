import type { Capacity } from '../allocation/plan.ts';
import type { PodNetworkingStats } from '../allocation/pod-networking-stats.ts';
import { CloudError } from '../cloud/errors.ts';
import type { EniObserver } from '../cloud/observer.ts';
import type { QuotaScheduler } from '../cloud/quota.ts';
import type { Informers } from '../cluster/informers.ts';
import { storeAges, unreadableObjects } from '../cluster/informers.ts';
import { KubeApiError, TransportError } from '../kube/errors.ts';
import type { LeaderState, PoolState, ReplicaState } from '../telemetry/state.ts';
import type { Collector } from './collector/collector.ts';
import type { PendingPods } from './pending-pods.ts';
import type { PodStarts } from './pod-starts.ts';
import type { Queues } from './queues.ts';

/** Metrics of every replica. Reads memory only. */
export function replicaState(informers: Informers, quota: QuotaScheduler): ReplicaState {
  return {
    stores: storeAges(informers),
    quota: quota.apis().map((action) => {
      const { limitPerMinute, usedThisMinute, waiting } = quota.status(action);
      return { action, limit: limitPerMinute, left: Math.max(0, limitPerMinute - usedThisMinute), waiting };
    }),
  };
}

/** The parts of a term that metrics read. */
export interface LeaderSources {
  informers: Informers;
  observer: Pick<EniObserver, 'inFlight'>;
  pendingPods: Pick<PendingPods, 'unserved' | 'counts'>;
  starts: Pick<PodStarts, 'oldestMs'>;
  escaped: ReadonlySet<string>;
  capacity: Pick<Capacity, 'vSwitches'>;
  news: { readonly stats: Pick<PodNetworkingStats, 'of'> };
  collector: Pick<Collector, 'latest'>;
  queues: Pick<Queues, 'byController'>;
  pools: { figures(): PoolState };
  /** Whoever keeps entries for objects and calls in progress. */
  holders: Readonly<Record<string, { readonly size: number }>>;
}

/** Metrics of a leader. Reads memory only, and does not scan the stores of pods or PodENIs. */
export function leaderState(sources: LeaderSources): LeaderState {
  const { informers, observer, pendingPods, starts, escaped, capacity, news, collector, holders } = sources;
  const queues = Object.entries(sources.queues.byController());
  const round = collector.latest;
  const networkings = informers.podNetworkings.store
    .list()
    .map((networking) => {
      const { name } = networking.metadata;
      const { pods, reserved } = news.stats.of(name);
      return {
        name,
        reserved,
        vSwitchIds: networking.spec.vSwitchOptions ?? [],
        pods: { ...pods, waiting: pods.waiting + pendingPods.unserved(name).pods },
        conditions: networking.status?.conditions ?? [],
      };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const pools = sources.pools.figures();
  const vSwitchIds = new Set([
    ...networkings.flatMap((networking) => networking.vSwitchIds),
    ...pools.addresses.keys(),
  ]);
  return {
    queues: queues.map(([controller, queue]) => ({
      controller,
      depth: queue.depth,
      oldestWaitMs: queue.oldestWaitMs(),
    })),
    inFlight: observer.inFlight(),
    waiting: pendingPods.counts(),
    oldestPodWaitMs: starts.oldestMs(),
    escapedPods: escaped.size,
    orphans:
      round === undefined
        ? undefined
        : { found: round.orphans, held: round.orphans - round.released, braked: round.braked },
    held: Object.fromEntries([
      ...Object.entries(holders).map(([holder, { size }]) => [holder, size]),
      ...queues.map(([controller, { size }]) => [`queue-${controller}`, size]),
      ['unreadable-objects', unreadableObjects(informers)],
    ]),
    networkings,
    pools,
    vSwitches: [...vSwitchIds].flatMap((id) => {
      const free = capacity.vSwitches.free(id);
      const vSwitch = capacity.vSwitches.get(id);
      if (free === undefined || vSwitch === undefined) return [];
      const reserved = networkings.reduce((sum, networking) => sum + (networking.reserved.get(id) ?? 0), 0);
      return [{ id, zone: vSwitch.zoneId, free: Math.max(0, free), reserved }];
    }),
  };
}

/** Why a reconcile failed, as a label value from a small set. */
export function failureReason(error: unknown): string {
  if (error instanceof CloudError) return `cloud_${error.kind}`;
  if (error instanceof KubeApiError) return `kube_${error.code}`;
  if (error instanceof TransportError) return `transport_${error.failure}`;
  return error instanceof Error && error.name === 'TimeoutError' ? 'timeout' : 'unexpected';
}
