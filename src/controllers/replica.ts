import { withDegradation } from '../cloud/degradation.ts';
import { withFence } from '../cloud/fence.ts';
import type { Cloud } from '../cloud/port.ts';
import type { QuotaScheduler } from '../cloud/quota.ts';
import { EniConfigs } from '../cluster/eni-configs.ts';
import type { Informers } from '../cluster/informers.ts';
import { createInformers, informersSynced, runInformers, StoreHealth } from '../cluster/informers.ts';
import type { ControlPlaneConfig } from '../config/control-plane.ts';
import type { Identity } from '../config/identity.ts';
import type { Settings } from '../config/settings.ts';
import type { KubeClient } from '../kube/client.ts';
import { EventRecorder } from '../kube/events.ts';
import { runWithLease } from '../kube/lease.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import type { Random } from '../util/random.ts';
import { runControllers } from './manager.ts';
import { replicaState } from './metrics-snapshot.ts';
import type { Term } from './term.ts';

/** The configuration, which may change while the process runs. */
export interface LiveSettings {
  /** Currently in force. */
  readonly settings: Settings;
  /** Why the configuration file is not in force, in one line; undefined when it is. */
  readonly problem: string | undefined;
  /** @param listener is called after the file was accepted or refused. @returns removes the listener. */
  onVerdict(listener: () => void): () => void;
}

export interface ReplicaOptions {
  client: KubeClient;
  cloud: Cloud;
  quota: QuotaScheduler;
  /** The configuration at startup; later changes come from `live`. */
  config: ControlPlaneConfig;
  live: LiveSettings;
  cluster: Identity;
  /** Unique to this process: its name in the lease and in events. */
  instance: string;
  clock: Clock;
  random: Random;
  log: Log;
  metrics: Metrics;
}

export interface ReplicaHooks {
  /** Serves from the stores: started once they are filled and before the first term, stopped before they end. */
  server?: { start(): Promise<void>; stop(): Promise<void> } | undefined;
  /** Called with the lease holder, `''` when there is none. */
  onHolder?: (holder: string) => void;
  /** Called with each term once it is complete, and with undefined when it ends. */
  onTerm?: (term: Term | undefined) => void;
}

/** After the signal to stop, how long pending events may take to be sent. */
const FLUSH_MS = 2000;

/**
 * One replica of the control plane: the stores that it keeps current, and the controllers while it leads. It reaches
 * the outside world only through its options: no file, socket or timer of its own.
 */
export class Replica {
  readonly informers: Informers;
  readonly eniConfigs: EniConfigs;
  readonly #options: ReplicaOptions;
  readonly #health = new StoreHealth();
  readonly #recorder: EventRecorder;

  constructor(options: ReplicaOptions) {
    const { client, config, clock, random, instance, log, metrics, quota } = options;
    this.#options = options;
    this.informers = createInformers({
      client,
      clock,
      random,
      nodeConfigMaps: config.nodeConfigMaps,
      onError: (kind, error) => {
        this.#health.note(kind, error);
        log.warn({ kind, err: errorMessage(error) }, 'watch interrupted');
      },
    });
    this.eniConfigs = new EniConfigs({
      informers: this.informers,
      allowed: config.nodeConfigMaps,
      centralizedIpam: config.centralizedIPAM,
      log,
    });
    this.#recorder = new EventRecorder({
      client,
      clock,
      instance,
      controller: 'terway-controlplane',
      onError: (error) => log.debug({ err: errorMessage(error) }, 'event not sent'),
    });
    metrics.sources.replica = () => replicaState(this.informers, quota);
  }

  /** Why the stores are unreliable, in one line; undefined when they are fine. */
  get problem(): string | undefined {
    return this.#health.problem(this.informers);
  }

  /**
   * Runs until the signal aborts. Call it once.
   *
   * @returns when everything has ended and pending events were sent or timed out.
   * @throws whatever a controller or the server throws.
   */
  async run(signal: AbortSignal, hooks: ReplicaHooks = {}): Promise<void> {
    const { log } = this.#options;
    const storesEnd = new AbortController();
    const running = runInformers(this.informers, storesEnd.signal);
    try {
      await informersSynced(this.informers, signal);
      log.info('stores synced');
      await hooks.server?.start();
      await this.#lead(signal, hooks);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      await hooks.server?.stop();
      storesEnd.abort(signal.reason);
      await running;
      await this.#recorder.close(FLUSH_MS);
    }
  }

  /**
   * Runs the controllers while this replica leads. A lost lease ends only the term; the stores stay warm for the next
   * one.
   */
  async #lead(signal: AbortSignal, hooks: ReplicaHooks): Promise<void> {
    const { client, config, instance, clock, random, log, metrics } = this.#options;
    if (!config.leaderElection) {
      metrics.leader.set(1);
      await this.#runTerm(signal, hooks);
      return;
    }
    while (!signal.aborted) {
      const outcome = await runWithLease({
        client,
        clock,
        random,
        signal,
        identity: instance,
        namespace: config.controllerNamespace,
        name: config.controllerName,
        leaseDurationMs: config.leaseDuration,
        renewDeadlineMs: config.renewDeadline,
        retryPeriodMs: config.retryPeriod,
        onHolder: (holder) => {
          log.info({ holder }, 'lease');
          hooks.onHolder?.(holder);
        },
        onError: (error) => log.warn({ err: errorMessage(error) }, 'lease request failed'),
        onLead: async (term, lease) => {
          // A watch may be late by minutes, and the previous leader has written until a moment ago.
          // A lease that is lost meanwhile ends the term, not the process.
          await Promise.all([this.informers.podEnis.relist(term), this.informers.nodes.relist(term)]).catch(() => {});
          if (term.aborted) return;
          metrics.leader.set(1);
          log.info('leading');
          await this.#runTerm(term, hooks, () => lease.assertHeld());
          metrics.leader.set(0);
        },
      });
      if (outcome !== 'lost') continue;
      log.warn('lost the lease; waiting to acquire it again');
      // What this process has sent may still arrive, so it does not lead again before another one might.
      await clock.sleep(config.leaseDuration - config.renewDeadline, signal).catch(() => {});
    }
  }

  async #runTerm(signal: AbortSignal, { onTerm }: ReplicaHooks, assertHeld?: () => void): Promise<void> {
    const { client, quota, config, live, cluster, clock, random, log, metrics } = this.#options;
    const cloud = withDegradation(this.#options.cloud, () => live.settings.degradation);
    await runControllers(
      {
        client,
        quota,
        clock,
        random,
        log,
        metrics,
        informers: this.informers,
        eniConfigs: this.eniConfigs,
        recorder: this.#recorder,
        cloud: assertHeld === undefined ? cloud : withFence(cloud, assertHeld),
        clusterId: cluster.clusterID,
        vpcId: cluster.vpcID,
        enableTrunk: config.enableTrunk,
        withIpv6: config.ipStack !== 'ipv4',
        networkingRecheckMs: config.podNetworkingRecheck,
        releaseConfirmationMs: config.releaseConfirmation,
        stableNameKinds: config.customStatefulWorkloadKinds,
        nodeLabels: config.nodeLabelWhiteList,
        configProblem: () => live.problem,
        mayRelease: () => live.settings.degradation === '',
        poolSyncPeriodMs: config.multiIPGCPeriod,
        mayGrowPools: () => live.settings.poolGrowth,
        onConfigVerdict: (listener) => live.onVerdict(listener),
        escapedPods: () => (config.webhook.enabled ? live.settings.escapedPods : 'serve'),
        workers: {
          podEni: config.podENIMaxConcurrent,
          node: config.nodeMaxConcurrent,
          networkInterface: config.eniMaxConcurrent,
          podNetworking: 1,
        },
        collector: { intervalMs: config.collector.interval, minimumAgeMs: config.collector.minimumAge },
        onTerm: (term) => onTerm?.(term),
      },
      signal,
    );
  }
}
