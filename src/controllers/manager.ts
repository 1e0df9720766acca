import type { Capacity } from '../allocation/plan.ts';
import { SlotLedger } from '../allocation/slots.ts';
import { VSwitchPool } from '../allocation/vswitch-pool.ts';
import { EniObserver } from '../cloud/observer.ts';
import type { Cloud } from '../cloud/port.ts';
import type { QuotaScheduler } from '../cloud/quota.ts';
import { type NodePlace, networkingByName } from '../cluster/cluster-network.ts';
import type { EniConfigs } from '../cluster/eni-configs.ts';
import type { Informers } from '../cluster/informers.ts';
import type { KubeClient } from '../kube/client.ts';
import type { EventRecorder } from '../kube/events.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Clock } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import type { AdoptionContext } from './admin/adoption.ts';
import { Collector } from './collector/collector.ts';
import { EniDriver } from './eni/driver.ts';
import { EniSearch } from './eni/eni-search.ts';
import { ControllerEvents } from './events.ts';
import { leaderState } from './metrics-snapshot.ts';
import { NetworkCatalog } from './network-catalog.ts';
import { NetworkInterfaceController } from './network-interface/controller.ts';
import { NodeController } from './node/controller.ts';
import { PendingPods } from './pending-pods.ts';
import { PodEniController } from './pod-eni/controller.ts';
import { PodNetworkingController } from './pod-networking/controller.ts';
import { NetworkingNews } from './pod-networking/news.ts';
import { PodStarts } from './pod-starts.ts';
import { PoolController } from './pool/controller.ts';
import { Queues } from './queues.ts';
import { connect, type Running, runCounted } from './run-controller.ts';

/** Everything that lives as long as the process. */
export interface ManagerOptions {
  client: KubeClient;
  cloud: Cloud;
  quota: QuotaScheduler;
  informers: Informers;
  eniConfigs: EniConfigs;
  recorder: EventRecorder;
  clock: Clock;
  random: Random;
  log: Log;
  metrics: Metrics;
  clusterId: string;
  vpcId: string;
  /** Whether nodes get trunk ENIs. */
  enableTrunk: boolean | 'always';
  /** Whether pod ENIs also get an IPv6 address. */
  withIpv6: boolean;
  networkingRecheckMs: number;
  releaseConfirmationMs: number;
  stableNameKinds: readonly string[];
  nodeLabels: Readonly<Record<string, string>>;
  configProblem: () => string | undefined;
  /** Calls the listener when the configuration file was accepted or refused, until the returned function is called. */
  onConfigVerdict: (listener: () => void) => () => void;
  /** Read at each use, because it may change. */
  escapedPods: () => 'serve' | 'hold' | 'evict';
  workers: { podEni: number; node: number; networkInterface: number; podNetworking: number };
  collector: { intervalMs: number; minimumAgeMs: number };
  /** Called with the term once it is complete, and with undefined when it ends. */
  onTerm?: (term: Term | undefined) => void;
}

/** The parts of a term that others may query. */
export interface Term {
  observer: Pick<EniObserver, 'inFlight'>;
  pendingPods: Pick<PendingPods, 'places'>;
  collector: Pick<Collector, 'latest' | 'plan' | 'release'>;
  inventory: AdoptionContext;
  /** By controller. */
  queues: ReturnType<Queues['byController']>;
  wakePod: (key: string) => void;
  wakeNode: (name: string) => void;
}

/**
 * Runs every controller for one term of leadership: builds what they share, connects stores and queues, and ends when
 * the signal aborts. No state outlives the term.
 */
export async function runControllers(options: ManagerOptions, signal: AbortSignal): Promise<void> {
  const { clock, random, cloud, informers, eniConfigs, metrics, log, clusterId, withIpv6, workers } = options;
  // The previous leader may have used part of this minute.
  options.quota.takeOver();

  const queues = new Queues(options);
  const wakePod = (key: string) => queues.pods.add(key);
  const wakeNode = (name: string) => queues.nodes.add(name);
  const wakePool = (name: string) => queues.pools.add(name);
  const wake = (owner: string) => queues.wake(owner);

  const observer = new EniObserver({
    cloud,
    clock,
    wake,
    onError: (message) => log.warn({ err: message }, 'describe failed'),
  });
  const search = new EniSearch({ ...options, signal });
  const driver = new EniDriver({ ...options, observer, search, signal, wake });

  const news = new NetworkingNews({ clock, queue: queues.networkings });
  const pendingPods = new PendingPods(wakePod, (networking) => news.changed(networking));
  const slots = new SlotLedger((instanceId) => {
    for (const { metadata } of informers.nodes.store.byIndex('instance', instanceId)) {
      pendingPods.wake({ kind: 'slot', nodeName: metadata.name });
      // A leaving node waits for its last pod.
      if (metadata.deletionTimestamp !== undefined) wakeNode(metadata.name);
    }
  });
  const vSwitches = new VSwitchPool();
  const capacity: Omit<Capacity, 'nowMs'> = { slots, vSwitches, random, clusterId, withIpv6 };

  const shared = {
    ...options,
    signal,
    observer,
    search,
    driver,
    news,
    pendingPods,
    capacity,
    wakePod,
    wakeNode,
    wakePool,
    catalog: new NetworkCatalog({ cloud, clock, vpcId: options.vpcId, pool: vSwitches }),
    events: new ControllerEvents({ recorder: options.recorder, pods: informers.pods.store, clock }),
    starts: new PodStarts(clock),
    escaped: new Set<string>(),
    released: new Set<string>(),
    orphanNews: queues.orphans,
    networkingOf: (name: string, place: NodePlace) => networkingByName(informers, eniConfigs, name, place),
    wakeNetworking: (name: string, afterMs: number) => news.wantCheck(name, afterMs),
  };
  const podEnis = new PodEniController(shared);
  const nodes = new NodeController(shared);
  const mirrors = new NetworkInterfaceController(shared);
  const pools = new PoolController(shared);
  const networkings = new PodNetworkingController({
    ...shared,
    applySecurityGroups: (podEni, networking, run) => podEnis.applySecurityGroups(podEni, networking, run),
  });
  const collector = new Collector(shared, options.collector);

  const running: Running[] = [
    { name: 'pod-eni', controller: podEnis, queue: queues.pods, workers: workers.podEni },
    { name: 'node', controller: nodes, queue: queues.nodes, workers: workers.node },
    { name: 'networkinterface', controller: mirrors, queue: queues.mirrors, workers: workers.networkInterface },
    { name: 'podnetworking', controller: networkings, queue: queues.networkings, workers: workers.podNetworking },
    { name: 'pool', controller: pools, queue: queues.pools, workers: workers.node },
  ];
  const disconnects = running.map(connect);
  const byController = queues.byController();
  const holders = {
    'pod-eni': podEnis,
    node: nodes,
    podnetworking: news,
    pool: pools,
    'cloud-calls': driver,
    observer,
    search,
    slots,
    'pending-pods': pendingPods,
    'pod-starts': shared.starts,
    'escaped-pods': shared.escaped,
    'released-enis': shared.released,
    'orphan-releases': queues.orphans,
    'podeni-deletions': informers.podEnis.store.unconfirmedDeletions,
    'networkinterface-deletions': informers.networkInterfaces.store.unconfirmedDeletions,
    'node-deletions': informers.nodes.store.unconfirmedDeletions,
  };
  metrics.sources.leader = () =>
    leaderState({ ...shared, stats: news.stats, collector, queues: byController, holders });
  options.onTerm?.({
    observer,
    pendingPods,
    collector,
    wakePod,
    wakeNode,
    queues: byController,
    inventory: shared,
  });
  try {
    await Promise.all([
      observer.run(signal),
      ...running.map((controller) => runCounted(controller, options, signal)),
      collector.run(),
    ]);
  } finally {
    options.onTerm?.(undefined);
    metrics.sources.leader = undefined;
    for (const disconnect of disconnects) disconnect();
  }
}
