import type { MetricSet, Sample } from './metric-set.ts';
import type { LeaderState, NetworkingState, ReplicaState } from './state.ts';

/** PodNetworkings beyond this number share one series, which bounds the load on Prometheus. */
const NAMED_NETWORKINGS = 200;
const REST = '(others)';
const ACTION = 'API actions that were called, about ten';
const CONTROLLER = 'pod-eni, node, networkinterface, podnetworking, pool';
const NETWORKING = `the first ${NAMED_NETWORKINGS} PodNetworkings by name, ${REST} for the rest`;

/** Gauges of every replica. */
export function defineReplicaGauges(set: MetricSet, sources: { replica?: () => ReplicaState }): void {
  const quotaGauge = (field: 'limit' | 'left' | 'waiting', name: string, help: string) =>
    set.readGauge({
      name,
      help,
      labels: { action: ACTION },
      read: () =>
        (sources.replica?.().quota ?? []).map((row) => ({ labels: { action: row.action }, value: row[field] })),
    });
  quotaGauge('limit', 'terway_cloud_quota_limit_calls', 'Calls that may leave in one minute.');
  quotaGauge('left', 'terway_cloud_quota_left_calls', 'Calls that may still leave in this minute.');
  quotaGauge('waiting', 'terway_cloud_calls_waiting', 'Calls that wait for quota.');
  set.readGauge({
    name: 'terway_store_stale_seconds',
    help: 'Since when the API server has said nothing about a kind; beyond 180 s the replica is not ready.',
    labels: { store: 'kinds that are watched, nine' },
    read: () =>
      (sources.replica?.().stores ?? []).map(({ store, staleMs }) => ({ labels: { store }, value: staleMs / 1000 })),
  });
}

/** Gauges of the leader. A standby does not export them, because its values would be stale. */
export function defineLeaderGauges(set: MetricSet, sources: { leader?: (() => LeaderState) | undefined }): void {
  const define = <L extends string = never>(
    row: { name: string; help: string; labels?: Readonly<Record<L, string>>; stability?: 'STABLE' | 'ALPHA' },
    read: (state: LeaderState) => Iterable<Sample<L>>,
  ) =>
    set.readGauge<L>({
      ...row,
      leaderOnly: true,
      read: () => {
        const state = sources.leader?.();
        return state === undefined ? [] : read(state);
      },
    });

  define(
    { name: 'terway_queue_depth', help: 'Keys that wait for a worker.', labels: { controller: CONTROLLER } },
    ({ queues }) => queues.map(({ controller, depth }) => ({ labels: { controller }, value: depth })),
  );
  define(
    {
      name: 'terway_queue_oldest_seconds',
      help: 'How long the key that waits longest for a worker has done so.',
      labels: { controller: CONTROLLER },
    },
    ({ queues }) =>
      queues.map(({ controller, oldestWaitMs }) => ({ labels: { controller }, value: oldestWaitMs / 1000 })),
  );
  define(
    {
      name: 'terway_enis_in_flight',
      help: 'ENIs whose operation in the cloud is being awaited.',
      labels: { kind: 'attach, detach, delete, read' },
    },
    ({ inFlight }) => Object.entries(inFlight).map(([kind, value]) => ({ labels: { kind }, value })),
  );
  define(
    {
      name: 'terway_pods_waiting',
      help: 'Pods that found no room, by what they wait for.',
      labels: { for: 'node, slot, vSwitch, networking' },
      stability: 'STABLE',
    },
    ({ waiting }) => Object.entries(waiting).map(([what, value]) => ({ labels: { for: what }, value })),
  );
  define(
    {
      name: 'terway_pod_oldest_wait_seconds',
      help: 'How long the pod that waits longest for its interface has done so, as far as this leader knows; 0 when none waits.',
      stability: 'STABLE',
    },
    ({ oldestPodWaitMs }) => [{ labels: {}, value: oldestPodWaitMs / 1000 }],
  );
  define(
    { name: 'terway_escaped_pods', help: 'Pods that get no network because the webhook has not seen them.' },
    ({ escapedPods }) => [{ labels: {}, value: escapedPods }],
  );
  define(
    {
      name: 'terway_held_entries',
      help: 'Entries in memory for objects and calls in progress; what grows although the number of pods does not is a leak.',
      labels: { holder: 'parts of the control plane, about twenty' },
      stability: 'ALPHA',
    },
    ({ held }) => Object.entries(held).map(([holder, value]) => ({ labels: { holder }, value })),
  );
  defineOrphanGauges(define);
  defineNetworkingGauges(define);
  definePoolGauges(define);
}

type Define = <L extends string = never>(
  row: { name: string; help: string; labels?: Readonly<Record<L, string>>; stability?: 'STABLE' | 'ALPHA' },
  read: (state: LeaderState) => Iterable<Sample<L>>,
) => unknown;

function defineOrphanGauges(define: Define): void {
  const orphanGauge = (name: string, help: string, figure: (orphans: NonNullable<LeaderState['orphans']>) => number) =>
    define({ name, help }, ({ orphans }) => (orphans === undefined ? [] : [{ labels: {}, value: figure(orphans) }]));
  orphanGauge(
    'terway_orphaned_enis',
    'ENIs with our tags that nothing in the cluster names, as of the last look.',
    ({ found }) => found,
  );
  orphanGauge(
    'terway_orphaned_enis_held',
    'Those of them that the last look did not release: too young, too many, or refused by the cloud.',
    ({ held }) => held,
  );
  orphanGauge(
    'terway_collector_braked',
    '1 while so many ENIs look orphaned at once that none is released.',
    ({ braked }) => (braked ? 1 : 0),
  );
}

function defineNetworkingGauges(define: Define): void {
  define(
    {
      name: 'terway_podnetworking_pods',
      help: 'Pods of a PodNetworking by how far their interface is.',
      labels: { podnetworking: NETWORKING, progress: 'bound, starting, waiting, releasing, reserved, failed' },
    },
    ({ networkings }) => podsOf(networkings),
  );
  define(
    {
      name: 'terway_podnetworking_condition',
      help: '1 at the status that a condition has.',
      labels: { podnetworking: NETWORKING, condition: 'types of conditions, six', status: 'True, False, Unknown' },
    },
    ({ networkings }) =>
      networkings.slice(0, NAMED_NETWORKINGS).flatMap(({ name, conditions }) =>
        conditions.map(({ type, status }) => ({
          labels: { podnetworking: name, condition: type, status },
          value: 1,
        })),
      ),
  );
  const vSwitchGauge = (field: 'free' | 'reserved', name: string, help: string) =>
    define(
      {
        name,
        help,
        labels: { vswitch: 'vSwitches that PodNetworkings name or shared ENIs are in', zone: 'zones of the region' },
      },
      ({ vSwitches }) =>
        vSwitches.map((vSwitch) => ({ labels: { vswitch: vSwitch.id, zone: vSwitch.zone }, value: vSwitch[field] })),
    );
  vSwitchGauge(
    'free',
    'terway_vswitch_free_addresses',
    'Addresses that the cloud has left in a vSwitch, less what was promised since it said so.',
  );
  vSwitchGauge('reserved', 'terway_vswitch_reserved_addresses', 'Fixed addresses that are kept without a pod.');
}

function definePoolGauges(define: Define): void {
  define(
    {
      name: 'terway_pool_addresses',
      help: 'Addresses of shared ENIs by what they do.',
      labels: { vswitch: 'vSwitches that shared ENIs are in', state: 'idle, bound, releasing, invalid' },
      stability: 'STABLE',
    },
    ({ pools }) =>
      [...pools.addresses].flatMap(([vswitch, counts]) =>
        Object.entries(counts).map(([state, value]) => ({ labels: { vswitch, state }, value })),
      ),
  );
  define(
    {
      name: 'terway_pool_addresses_wanted',
      help: 'Addresses of shared ENIs that pods wait for, or that nodes are to keep idle, and that are not there.',
    },
    ({ pools }) => [{ labels: {}, value: pools.wanted }],
  );
  define(
    {
      name: 'terway_pool_pods_waiting',
      help: 'Pods without an address of a shared ENI, by reason.',
      labels: { reason: 'reasons of the catalogue, about ten' },
      stability: 'STABLE',
    },
    ({ pools }) => Object.entries(pools.waiting).map(([reason, value]) => ({ labels: { reason }, value })),
  );
  define(
    {
      name: 'terway_pool_pod_oldest_wait_seconds',
      help: 'How long the pod that waits longest for an address of a shared ENI has done so, as far as this leader knows; 0 when none waits.',
      stability: 'STABLE',
    },
    ({ pools }) => [{ labels: {}, value: pools.oldestWaitMs / 1000 }],
  );
  define(
    {
      name: 'terway_pool_addresses_unconfirmed',
      help: 'Addresses of shared ENIs whose pods are gone, and whose nodes have not said that no sandbox of them is left; nobody gets them.',
      stability: 'STABLE',
    },
    ({ pools }) => [{ labels: {}, value: pools.unconfirmed.count }],
  );
  define(
    {
      name: 'terway_pool_unconfirmed_oldest_seconds',
      help: 'How long the first of these addresses has waited for the word of a node that is Ready, as far as this leader knows; 0 when none waits.',
      stability: 'STABLE',
    },
    ({ pools }) => [{ labels: {}, value: pools.unconfirmed.oldestMs / 1000 }],
  );
}

function podsOf(networkings: readonly NetworkingState[]): Sample<'podnetworking' | 'progress'>[] {
  const sums = new Map<string, Map<string, number>>();
  for (const [at, { name, pods }] of networkings.entries()) {
    const shown = at < NAMED_NETWORKINGS ? name : REST;
    const sum = sums.get(shown) ?? new Map<string, number>();
    sums.set(shown, sum);
    for (const [progress, count] of Object.entries(pods)) sum.set(progress, (sum.get(progress) ?? 0) + count);
  }
  return [...sums].flatMap(([podnetworking, pods]) =>
    [...pods].map(([progress, value]) => ({ labels: { podnetworking, progress }, value })),
  );
}
