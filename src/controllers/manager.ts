import { networkingByName } from '../cluster/cluster-network.ts';
import { Collector } from './collector/collector.ts';
import { leaderState } from './metrics-snapshot.ts';
import { NetworkInterfaceController } from './network-interface/controller.ts';
import { NodeController } from './node/controller.ts';
import { PodEniController } from './pod-eni/controller.ts';
import { PodNetworkingController } from './pod-networking/controller.ts';
import { PoolController } from './pool/controller.ts';
import { Queues } from './queues.ts';
import { connect, type Running, runCounted } from './run-controller.ts';
import type { TermOptions } from './term.ts';
import { termParts } from './term-parts.ts';

/**
 * Runs every controller for one term of leadership: builds what they share, connects stores and queues, and ends when
 * the signal aborts. No state outlives the term.
 */
export async function runControllers(options: TermOptions, signal: AbortSignal): Promise<void> {
  const { client, cloud, quota, informers, eniConfigs, clock, random, log, metrics, clusterId, workers } = options;
  // The previous leader may have used part of this minute.
  quota.takeOver();
  const queues = new Queues({ clock, random, metrics });
  const wakePod = (key: string) => queues.pods.add(key);
  const wakeNode = (name: string) => queues.nodes.add(name);
  const parts = termParts(options, { queues, wakePod, wakeNode }, signal);
  const { observer, search, driver, news, pendingPods, slots, capacity, catalog, events, starts } = parts;
  const escaped = new Set<string>();
  const released = new Set<string>();

  const podEnis = new PodEniController({
    capacity,
    catalog,
    client,
    clock,
    clusterId,
    driver,
    eniConfigs,
    escaped,
    escapedPods: options.escapedPods,
    events,
    informers,
    log,
    metrics,
    networkingOf: (name, place) => networkingByName(informers, eniConfigs, name, place),
    observer,
    pendingPods,
    quota,
    releaseConfirmationMs: options.releaseConfirmationMs,
    released,
    signal,
    stableNameKinds: options.stableNameKinds,
    starts,
    wakeNetworking: (name, afterMs) => news.wantCheck(name, afterMs),
    wakePod,
  });
  const nodes = new NodeController({
    capacity,
    catalog,
    client,
    clock,
    cloud,
    clusterId,
    driver,
    enableTrunk: options.enableTrunk,
    eniConfigs,
    events,
    informers,
    log,
    nodeLabels: options.nodeLabels,
    observer,
    pendingPods,
    random,
    search,
    signal,
    wakeNode,
  });
  const mirrors = new NetworkInterfaceController({
    client,
    clock,
    clusterId,
    driver,
    informers,
    log,
    observer,
    released,
  });
  const pools = new PoolController({
    capacity,
    catalog,
    client,
    clock,
    clusterId,
    driver,
    eniConfigs,
    events,
    informers,
    log,
    metrics,
    mayGrow: options.mayGrowPools,
    syncPeriodMs: options.poolSyncPeriodMs,
    mayRelease: options.mayRelease,
    nodeLabels: options.nodeLabels,
    observer,
    onConfigVerdict: options.onConfigVerdict,
    search,
    signal,
    stableNameKinds: options.stableNameKinds,
    wakeNode,
    wakePool: (name) => queues.pools.add(name),
  });
  const networkings = new PodNetworkingController({
    applySecurityGroups: (podEni, networking, run) => podEnis.applySecurityGroups(podEni, networking, run),
    capacity,
    catalog,
    client,
    clock,
    configProblem: options.configProblem,
    events,
    informers,
    log,
    networkingRecheckMs: options.networkingRecheckMs,
    news,
    onConfigVerdict: options.onConfigVerdict,
    pendingPods,
    quota,
    random,
    stableNameKinds: options.stableNameKinds,
    vpcId: options.vpcId,
  });
  const orphanNews = queues.orphans;
  const collector = new Collector(
    {
      client,
      clock,
      clusterId,
      driver,
      eniConfigs,
      informers,
      log,
      metrics,
      observer,
      onUnrecorded: (name) => pools.compare(name),
      orphanNews,
      random,
      search,
      signal,
    },
    options.collector,
  );

  const running: Running[] = [
    { name: 'pod-eni', controller: podEnis, queue: queues.pods, workers: workers.podEni },
    { name: 'node', controller: nodes, queue: queues.nodes, workers: workers.node },
    { name: 'networkinterface', controller: mirrors, queue: queues.mirrors, workers: workers.networkInterface },
    { name: 'podnetworking', controller: networkings, queue: queues.networkings, workers: workers.podNetworking },
    { name: 'pool', controller: pools, queue: queues.pools, workers: workers.node },
  ];
  const disconnects = running.map(connect);
  const holders = {
    'pod-eni': podEnis,
    node: nodes,
    podnetworking: networkings,
    pool: pools,
    collector,
    'cloud-calls': driver,
    observer,
    search,
    quota,
    'network-lookups': catalog,
    slots,
    'pending-pods': pendingPods,
    'pod-starts': starts,
    'escaped-pods': escaped,
    'released-enis': released,
    'orphan-releases': queues.orphans,
    'podeni-deletions': informers.podEnis.store.unconfirmedDeletions,
    'networkinterface-deletions': informers.networkInterfaces.store.unconfirmedDeletions,
    'node-deletions': informers.nodes.store.unconfirmedDeletions,
  };
  const sources = { ...parts, collector, escaped, holders, informers, pools, queues };
  metrics.sources.leader = () => leaderState(sources);
  const inventory = { client, cloud, clusterId, informers, search, signal };
  const term = { observer, pendingPods, collector, inventory, pools, wakePod, wakeNode };
  options.onTerm?.({ ...term, queues: queues.byController() });
  try {
    await Promise.all([
      observer.run(signal),
      ...running.map((controller) => runCounted(controller, { clock, log, metrics }, signal)),
      collector.run(),
    ]);
  } finally {
    options.onTerm?.(undefined);
    metrics.sources.leader = undefined;
    for (const disconnect of disconnects) disconnect();
  }
}
