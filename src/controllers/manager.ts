import { inlineNetworking, inlineOwner, parsePodNetworks } from '../allocation/network-request.ts';
import { NetworkingTally } from '../allocation/networking-tally.ts';
import { SlotLedger } from '../allocation/slots.ts';
import { VSwitchPool } from '../allocation/vswitch-pool.ts';
import { EniObserver } from '../cloud/observer.ts';
import type { Cloud } from '../cloud/port.ts';
import type { QuotaScheduler } from '../cloud/quota.ts';
import { ANNOTATION_POD_NETWORKS } from '../crds/names.ts';
import type { PodEni } from '../crds/pod-eni.ts';
import type { PodNetworking } from '../crds/pod-networking.ts';
import type { KubeClient } from '../kube/client.ts';
import { runController } from '../kube/controller.ts';
import type { EventRecorder } from '../kube/events.ts';
import { keyOf } from '../kube/types.ts';
import { WorkQueue } from '../kube/workqueue.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { LeaderState } from '../telemetry/state.ts';
import type { Clock } from '../util/clock.ts';
import { Coalesced } from '../util/coalesced.ts';
import { errorMessage } from '../util/errors.ts';
import type { Random } from '../util/random.ts';
import { CLUSTER_NETWORKING, clusterNetworking } from './cluster-network.ts';
import { Collector } from './collector/collector.ts';
import type { ControllerContext, Informers } from './context.ts';
import { EniDriver } from './eni/driver.ts';
import { EniSearch } from './eni/eni-search.ts';
import type { EniConfigs } from './eni-configs.ts';
import { ControllerEvents } from './events.ts';
import { NetworkCatalog } from './network-catalog.ts';
import { NetworkInterfaceController } from './network-interface/controller.ts';
import { NodeController } from './node/controller.ts';
import { ENI_OWNER_PREFIX, NODE_OWNER_PREFIX, ORPHAN_OWNER_PREFIX } from './owners.ts';
import { PodEniController } from './pod-eni/controller.ts';
import { PodNetworkingController } from './pod-networking/controller.ts';
import { PodStarts } from './pod-starts.ts';
import { newlyDeleted } from './sandbox-reports.ts';
import { failureReason, leaderState } from './states.ts';
import { WaitingRoom } from './waiting-room.ts';

/** What lives as long as the process. */
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
  /** Whether ENIs of pods get an IPv6 address, too. */
  withIpv6: boolean;
  networkingRecheckMs: number;
  releaseConfirmationMs: number;
  stableNameKinds: readonly string[];
  nodeLabels: Readonly<Record<string, string>>;
  configProblem: () => string | undefined;
  /** Calls back whenever the configuration file was taken over or refused, until what it returns is called. */
  onConfigVerdict: (listener: () => void) => () => void;
  /** Asked at each use, as it may change. */
  escapedPods: () => 'serve' | 'hold' | 'evict';
  workers: { podEni: number; node: number; networkInterface: number; podNetworking: number };
  collector: { intervalMs: number; minimumAgeMs: number };
  /** Told of the term when everything of it is there, and undefined when it ends. */
  onTerm?: (term: Term | undefined) => void;
}

/** What of a term of leadership can be asked from outside. */
export interface Term {
  context: ControllerContext;
  collector: Collector;
  /** By controller. */
  queues: Readonly<Record<string, Pick<WorkQueue, 'depth' | 'processingCount' | 'delayedCount'>>>;
}

/**
 * Runs every controller for one term of leadership: builds what they share from the stores, connects stores and queues, and
 * ends when the signal aborts. Nothing of a term survives it.
 */
export async function runControllers(options: ManagerOptions, signal: AbortSignal): Promise<void> {
  const { clock, informers, metrics, log } = options;
  const queueOf = (controller: string) =>
    new WorkQueue({
      clock,
      random: options.random,
      metrics: {
        onLatency: (waitedMs) => metrics.queueSeconds.observe({ controller }, waitedMs / 1000),
      },
    });
  const queues = {
    pods: queueOf('pod-eni'),
    nodes: queueOf('node'),
    mirrors: queueOf('networkinterface'),
    networkings: queueOf('podnetworking'),
  };
  const wake = (owner: string) => {
    if (owner.startsWith(NODE_OWNER_PREFIX)) queues.nodes.add(owner.slice(NODE_OWNER_PREFIX.length));
    else if (owner.startsWith(ENI_OWNER_PREFIX)) queues.mirrors.add(owner.slice(ENI_OWNER_PREFIX.length));
    else if (owner.startsWith(ORPHAN_OWNER_PREFIX)) collector.wakeOrphan(owner.slice(ORPHAN_OWNER_PREFIX.length));
    else queues.pods.add(owner);
  };
  // The leader before may have used a part of this minute.
  options.quota.takeOver();
  const observer = new EniObserver({
    ...{ cloud: options.cloud, clock, wake },
    onError: (message) => log.warn({ err: message }, 'describe failed'),
  });
  const search = new EniSearch({ ...options, signal });
  const slotsFreed = (instanceId: string) => {
    for (const { metadata } of informers.nodes.store.byIndex('instance', instanceId)) {
      context.waitingRoom.wake({ kind: 'slot', nodeName: metadata.name });
      // One that is leaving waits for its last pod.
      if (metadata.deletionTimestamp !== undefined) queues.nodes.add(metadata.name);
    }
  };
  const vSwitches = new VSwitchPool();
  const context: ControllerContext = {
    ...options,
    room: {
      slots: new SlotLedger((instanceId) => slotsFreed(instanceId)),
      vSwitches,
      random: options.random,
      clusterId: options.clusterId,
      withIpv6: options.withIpv6,
    },
    observer,
    search,
    driver: new EniDriver({ ...options, observer, search, signal, wake }),
    waitingRoom: new WaitingRoom(
      (key) => queues.pods.add(key),
      (networking) => servicesChanged(networking),
    ),
    catalog: new NetworkCatalog({ cloud: options.cloud, clock, vpcId: options.vpcId, pool: vSwitches }),
    starts: new PodStarts(clock),
    escaped: new Set(),
    released: new Set(),
    events: new ControllerEvents({ recorder: options.recorder, pods: informers.pods.store, clock }),
    signal,
    networkingOf: (name, place) => {
      const inline = inlineOwner(name);
      if (inline !== undefined) return inlineNetworkingOf(informers, inline);
      if (name !== CLUSTER_NETWORKING) return informers.podNetworkings.store.get(name);
      const networking = clusterNetworking(options.eniConfigs, place);
      return 'message' in networking ? undefined : networking;
    },
    wakePod: (key) => queues.pods.add(key),
    wakeNode: (name) => queues.nodes.add(name),
    wakeNetworking: (name, afterMs) => {
      networkings.wantCheck(name, clock.now() + afterMs);
      queues.networkings.addAfter(name, afterMs);
    },
  };
  const podEnis = new PodEniController(context);
  const nodes = new NodeController(context);
  const mirrors = new NetworkInterfaceController(context);
  const servicesChanged = (networking: string) => {
    queues.networkings.addAfter(networking, networkings.delayOfNews(networking));
  };
  const tally = new NetworkingTally(servicesChanged);
  const networkings: PodNetworkingController = new PodNetworkingController(context, {
    tally,
    retarget: (podEni, networking, run) => podEnis.retarget(podEni, networking, run),
  });
  let lastRound: LeaderState['orphans'];
  const collector: Collector = new Collector(context, {
    ...options.collector,
    report: ({ orphans, released, suspected, braked }) => {
      lastRound = { found: orphans, held: orphans - released, braked };
      metrics.collected.inc({ kind: 'orphan' }, released);
      metrics.collected.inc({ kind: 'suspect' }, suspected);
    },
  });

  for (const podEni of informers.podEnis.store.values()) podEnis.claim(podEni);
  const byController = new Map(
    Object.entries({
      'pod-eni': queues.pods,
      node: queues.nodes,
      networkinterface: queues.mirrors,
      podnetworking: queues.networkings,
    }),
  );
  metrics.sources.leader = () => leaderState(context, byController, tally, lastRound);
  const disconnect = connect(context, queues, podEnis, tally);
  const unfollow = options.onConfigVerdict(() => addAll(queues.networkings, informers.podNetworkings.store.keys()));
  const controller = (
    name: string,
    queue: WorkQueue,
    workers: number,
    reconcile: (key: string, signal: AbortSignal) => Promise<{ requeueAfterMs?: number }>,
  ) =>
    runController({
      name,
      queue,
      workers,
      reconcile,
      signal,
      clock,
      reconcileTimeoutMs: RECONCILE_TIMEOUT_MS,
      onReconcile: ({ key, outcome, durationMs }) => {
        const result = outcome.kind === 'failed' ? 'error' : outcome.kind === 'conflict' ? 'conflict' : 'success';
        metrics.reconciles.inc({ controller: name, result });
        metrics.reconcileSeconds.observe({ controller: name }, durationMs / 1000);
        if (outcome.kind === 'failed') {
          metrics.reconcileErrors.inc({ controller: name, reason: failureReason(outcome.error) });
          log.warn(
            { controller: name, key, err: errorMessage(outcome.error), failures: outcome.failures },
            'reconcile failed',
          );
        }
      },
    });
  options.onTerm?.({
    ...{ context, collector },
    queues: {
      'pod-eni': queues.pods,
      node: queues.nodes,
      networkinterface: queues.mirrors,
      podnetworking: queues.networkings,
    },
  });
  try {
    await Promise.all([
      context.observer.run(signal),
      controller('pod-eni', queues.pods, options.workers.podEni, (key, run) => podEnis.reconcile(key, run)),
      controller('node', queues.nodes, options.workers.node, (name, run) => nodes.reconcile(name, run)),
      controller('networkinterface', queues.mirrors, options.workers.networkInterface, (id, run) =>
        mirrors.reconcile(id, run),
      ),
      controller('podnetworking', queues.networkings, options.workers.podNetworking, (name, run) =>
        networkings.reconcile(name, run),
      ),
      collector.run(),
    ]);
  } finally {
    options.onTerm?.(undefined);
    metrics.sources.leader = undefined;
    unfollow();
    disconnect();
  }
}

const RECONCILE_TIMEOUT_MS = 120_000;

/** As the annotation of the pod describes it now; undefined when the pod is gone. */
function inlineNetworkingOf(
  { pods }: Pick<Informers, 'pods'>,
  { podKey, interfaceName }: { podKey: string; interfaceName: string },
): PodNetworking | undefined {
  const annotations = pods.store.get(podKey)?.metadata.annotations;
  const described = parsePodNetworks(annotations?.[ANNOTATION_POD_NETWORKS] || '{}');
  if ('error' in described) return undefined;
  const entry = described.entries.find((candidate) => candidate.interface === interfaceName);
  return entry === undefined ? undefined : inlineNetworking(podKey, entry);
}

interface Queues {
  pods: WorkQueue;
  nodes: WorkQueue;
  mirrors: WorkQueue;
  networkings: WorkQueue;
}

/** Connects stores and queues, and queues everything that the stores hold already. @returns undoes the connection. */
function connect(
  context: ControllerContext,
  queues: Queues,
  podEnis: PodEniController,
  tally: NetworkingTally,
): () => void {
  const { informers, waitingRoom } = context;
  const addMirrors = (podEni: PodEni) => {
    for (const { eni } of podEni.spec.allocations ?? []) if (eni.id !== '') queues.mirrors.add(eni.id);
  };
  // A networking that appears or changes may pick pods that nobody waits with. Hundreds appear at once when a term begins.
  const unservedPods = new Coalesced(context.clock, () => {
    for (const pod of informers.pods.store.values()) {
      const key = keyOf(pod.metadata);
      if (informers.podEnis.store.get(key) === undefined) queues.pods.add(key);
    }
  });
  const addUnboundPodEnis = (networking: string) => {
    // Their creation may have been refused for what has been corrected now.
    for (const podEni of informers.podEnis.store.byIndex('networking', networking)) {
      if (podEni.status?.phase !== 'Bind') queues.pods.add(keyOf(podEni.metadata));
    }
  };
  const disconnects = [
    informers.pods.addHandler({
      onAdd: (pod) => queues.pods.add(keyOf(pod.metadata)),
      onUpdate: (_, pod) => queues.pods.add(keyOf(pod.metadata)),
      onDelete: (pod) => queues.pods.add(keyOf(pod.metadata)),
    }),
    informers.podEnis.addHandler({
      onAdd: (podEni, origin) => {
        tally.put(podEni);
        podEnis.claim(podEni);
        if (origin !== 'write') queues.pods.add(keyOf(podEni.metadata));
      },
      onUpdate: (before, podEni, origin) => {
        tally.put(podEni);
        podEnis.claim(podEni);
        // Our own write comes from a reconcile that goes on anyway.
        if (origin !== 'write') queues.pods.add(keyOf(podEni.metadata));
        if (mirroredPart(before) !== mirroredPart(podEni)) addMirrors(podEni);
      },
      onDelete: (podEni) => {
        tally.remove(podEni);
        podEnis.podEniGone(podEni);
        addMirrors(podEni);
      },
    }),
    informers.networkInterfaces.addHandler({
      onUpdate: (_, mirror, origin) => {
        if (origin !== 'write') queues.mirrors.add(mirror.metadata.name);
      },
      onDelete: (mirror) => queues.mirrors.add(mirror.metadata.name),
    }),
    informers.podNetworkings.addHandler({
      onAdd: (networking) => {
        const { name } = networking.metadata;
        queues.networkings.add(name);
        waitingRoom.wake({ kind: 'networking', name });
        unservedPods.want();
      },
      onUpdate: (before, networking, origin) => {
        if (origin !== 'write') queues.networkings.add(networking.metadata.name);
        if (before.status?.status !== networking.status?.status) {
          waitingRoom.wake({ kind: 'networking', name: networking.metadata.name });
          addUnboundPodEnis(networking.metadata.name);
        }
        if (before.metadata.generation !== networking.metadata.generation) unservedPods.want();
      },
      onDelete: (networking) => waitingRoom.wake({ kind: 'networking', name: networking.metadata.name }),
    }),
    informers.coreNodes.addHandler({
      onAdd: (node) => queues.nodes.add(node.metadata.name),
      onUpdate: (before, node) => {
        if (nodeMatters(before) !== nodeMatters(node)) queues.nodes.add(node.metadata.name);
      },
      onDelete: (node) => queues.nodes.add(node.metadata.name),
    }),
    informers.nodes.addHandler({
      onAdd: (node) => queues.nodes.add(node.metadata.name),
      onUpdate: (_, node, origin) => {
        if (origin !== 'write') queues.nodes.add(node.metadata.name);
      },
      onDelete: (node) => queues.nodes.add(node.metadata.name),
    }),
    informers.nodeRuntimes.addHandler({
      onUpdate: (before, runtime) => addAll(queues.pods, newlyDeleted(before, runtime)),
    }),
    informers.configMaps.addHandler({
      onAdd: () => addAll(queues.nodes, informers.coreNodes.store.keys()),
      onUpdate: () => addAll(queues.nodes, informers.coreNodes.store.keys()),
      onDelete: () => addAll(queues.nodes, informers.coreNodes.store.keys()),
    }),
    informers.namespaces.addHandler({
      onUpdate: (before, namespace) => {
        if (JSON.stringify(before.metadata.labels) !== JSON.stringify(namespace.metadata.labels)) unservedPods.want();
      },
    }),
  ];
  addAll(queues.networkings, informers.podNetworkings.store.keys());
  addAll(queues.nodes, [...informers.coreNodes.store.keys(), ...informers.nodes.store.keys()]);
  addAll(queues.pods, [...informers.podEnis.store.keys(), ...informers.pods.store.keys()]);
  addAll(queues.mirrors, informers.networkInterfaces.store.keys());
  for (const podEni of informers.podEnis.store.values()) addMirrors(podEni);
  return () => {
    for (const disconnect of disconnects) disconnect();
    unservedPods.cancel();
  };
}

function addAll(queue: WorkQueue, keys: string[]): void {
  for (const key of keys) queue.add(key);
}

/** What of a PodENI its mirrors repeat. */
function mirroredPart({ spec, status }: PodEni): string {
  const { phase, instanceID, trunkENIID, eniInfos } = status ?? {};
  const groups = spec.allocations?.map(({ eni }) => eni.securityGroupIDs);
  return JSON.stringify([spec.target?.nodeName, phase, instanceID, trunkENIID, eniInfos, groups]);
}

/** What of a Kubernetes node is looked at; its heartbeats are not. */
function nodeMatters(node: { metadata: object; spec: object; status: object }): string {
  const { resourceVersion: _version, ...metadata } = { resourceVersion: '', ...node.metadata };
  return JSON.stringify([metadata, node.spec, node.status]);
}
