import type { Room } from '../allocation/plan.ts';
import type { EniObserver } from '../cloud/observer.ts';
import type { Cloud } from '../cloud/port.ts';
import type { QuotaScheduler } from '../cloud/quota.ts';
import type { NodePlace } from '../cluster/cluster-network.ts';
import type { EniConfigs } from '../cluster/eni-configs.ts';
import type { Informers } from '../cluster/informers.ts';
import type { PodNetworking } from '../crds/pod-networking.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Clock } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import type { EniDriver } from './eni/driver.ts';
import type { EniSearch } from './eni/eni-search.ts';
import type { ControllerEvents } from './events.ts';
import type { NetworkCatalog } from './network-catalog.ts';
import type { PodStarts } from './pod-starts.ts';
import type { WaitingRoom } from './waiting-room.ts';

/** What the controllers of one term of leadership share. */
export interface ControllerContext {
  client: KubeClient;
  cloud: Cloud;
  quota: QuotaScheduler;
  observer: EniObserver;
  /** Finds ENIs whose id is unknown. */
  search: EniSearch;
  /** The only one that changes the cloud. */
  driver: EniDriver;
  informers: Informers;
  /** `eni-config` as it counts for each node. */
  eniConfigs: EniConfigs;
  /** Slots and addresses; `nowMs` is set by each plan. */
  room: Omit<Room, 'nowMs'>;
  waitingRoom: WaitingRoom;
  /** Since when pods wait for their interfaces. */
  starts: PodStarts;
  /** Pods that get no network because the webhook has not seen them. */
  escaped: Set<string>;
  /** vSwitches and security groups as the cloud has them. */
  catalog: NetworkCatalog;
  /** ENIs that the cloud showed gone while their PodENI was released; their mirrors may go. */
  released: Set<string>;
  events: ControllerEvents;
  /** How often a Ready PodNetworking is looked at again. */
  networkingRecheckMs: number;
  /** How long a detachment waits for the node's word that the sandbox is gone. */
  releaseConfirmationMs: number;
  /** Kinds of owners besides StatefulSet whose pods keep their names. */
  stableNameKinds: readonly string[];
  /** Labels that a node must carry to be looked after; empty: every node. */
  nodeLabels: Readonly<Record<string, string>>;
  /** Why the configuration file on disk is not in force; undefined when it is. Asked at each use. */
  configProblem: () => string | undefined;
  /** What becomes of a pod that a PodNetworking picks and the webhook has not seen; `serve` where there is no webhook. */
  escapedPods: () => 'serve' | 'hold' | 'evict';
  clusterId: string;
  vpcId: string;
  enableTrunk: boolean | 'always';
  clock: Clock;
  random: Random;
  log: Log;
  metrics: Pick<Metrics, 'podReadySeconds' | 'podsEvicted'>;
  /** Aborts when the lease is lost or the process stops. */
  signal: AbortSignal;
  /** A PodNetworking by the name that a record has, the cluster's eni-config included. */
  networkingOf: (name: string, place: NodePlace) => PodNetworking | undefined;
  /** Queues a pod's name. */
  wakePod: (key: string) => void;
  /** Queues a node. */
  wakeNode: (name: string) => void;
  /** Queues a PodNetworking for a check after this time: who waits for an address of it is woken when there is one. */
  wakeNetworking: (name: string, afterMs: number) => void;
}
