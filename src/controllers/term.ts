import type { EniObserver } from '../cloud/observer.ts';
import type { Cloud } from '../cloud/port.ts';
import type { QuotaScheduler } from '../cloud/quota.ts';
import type { EniConfigs } from '../cluster/eni-configs.ts';
import type { Informers } from '../cluster/informers.ts';
import type { KubeClient } from '../kube/client.ts';
import type { EventRecorder } from '../kube/events.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Clock } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import type { AdoptionContext } from './admin/adoption.ts';
import type { Collector } from './collector/collector.ts';
import type { PendingPods } from './pending-pods.ts';
import type { PoolController } from './pool/controller.ts';
import type { Queues } from './queues.ts';

/** What a term of leadership is built from. All of it outlives the term. */
export interface TermOptions {
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
  /** Whether the degradation level lets anything be released. */
  mayRelease: () => boolean;
  /** `ip_pool_sync_period` where eni-config has none. */
  poolSyncPeriodMs: number;
  /** Whether pools of shared ENIs may ask for addresses. */
  mayGrowPools: () => boolean;
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
  pools: Pick<PoolController, 'stateOf'>;
  /** By controller. */
  queues: ReturnType<Queues['byController']>;
  wakePod: (key: string) => void;
  wakeNode: (name: string) => void;
}
