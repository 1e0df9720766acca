import { pino } from 'pino';
import { AlibabaCloud } from '../../src/cloud/alibaba-cloud.ts';
import { QuotaScheduler } from '../../src/cloud/quota.ts';
import { RpcContext } from '../../src/cloud/rpc.ts';
import { parseControlPlaneConfig } from '../../src/config/config-file.ts';
import { type Settings, settingsOf } from '../../src/config/settings.ts';
import { Replica } from '../../src/controllers/replica.ts';
import type { Term } from '../../src/controllers/term.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import type { LeaderState } from '../../src/telemetry/state.ts';
import type { Clock } from '../../src/util/clock.ts';
import type { Random } from '../../src/util/random.ts';
import type { CloudModel } from '../cloud/model/model.ts';
import type { FaultPlan } from '../kube/faults.ts';
import type { KubeModel } from '../kube/model/model.ts';
import { SimulatedTransport } from '../kube/transport.ts';
import { type CloudCall, type CloudFault, CloudLink } from './cloud-link.ts';

export interface WorldReplicaOptions {
  name: string;
  kube: KubeModel;
  cloud: CloudModel;
  clock: Clock;
  random: Random;
  /** Its configuration file, YAML. */
  config: string;
  clusterId: string;
  vpcId: string;
  regionId: string;
  kubeFaults?: FaultPlan | undefined;
  onCloudCall?: ((call: CloudCall) => CloudFault | undefined) | undefined;
}

/** One replica of the shipped control plane; only the bottom of its two connections is a model. */
export class WorldReplica {
  readonly name: string;
  readonly transport: SimulatedTransport;
  /** Settled when it has ended; rejects when it failed by itself. */
  readonly ended: Promise<void>;
  readonly #stop = new AbortController();
  readonly #link: CloudLink;
  readonly #metrics = createMetrics();
  readonly #client: KubeClient;
  #term: Term | undefined;
  readonly #live: LiveSettings;
  /** How far the wall clock of its machine is ahead. */
  #aheadMs = 0;

  constructor(options: WorldReplicaOptions) {
    const { name, kube, cloud, random, regionId } = options;
    const clock: Clock = {
      now: () => options.clock.now() + this.#aheadMs,
      monotonicMs: () => options.clock.monotonicMs(),
      sleep: (ms, signal) => options.clock.sleep(ms, signal),
      schedule: (ms, callback) => options.clock.schedule(ms, callback),
    };
    this.name = name;
    this.transport = new SimulatedTransport({
      model: kube,
      clock: options.clock,
      replica: name,
      userAgent: 'terway-controlplane',
      faults: options.kubeFaults,
    });
    this.#link = new CloudLink({ model: cloud, clock: options.clock, replica: name, onCall: options.onCloudCall });
    const { config } = parseControlPlaneConfig(`${name}.yaml`, options.config);
    this.#live = new LiveSettings(settingsOf(config));
    const quota = new QuotaScheduler({ clock, limits: config.rateLimit, share: config.rateLimitShare });
    const senders = { ecs: this.#link.send, vpc: this.#link.send };
    this.#client = new KubeClient({ transport: this.transport, clock, random });
    const replica = new Replica({
      client: this.#client,
      cloud: new AlibabaCloud(new RpcContext({ quota, clock, regionId }), senders),
      quota,
      config,
      live: this.#live,
      cluster: { regionID: regionId, clusterID: options.clusterId, vpcID: options.vpcId },
      instance: name,
      clock,
      random,
      log: pino({ level: 'silent' }),
      metrics: this.#metrics,
    });
    this.ended = replica.run(this.#stop.signal, {
      onTerm: (term) => {
        this.#term = term;
      },
    });
    this.ended.catch(() => undefined);
  }

  /** How often a controller has reconciled one of its keys. */
  async reconciles(controller: string): Promise<number> {
    const { values } = await this.#metrics.reconciles.get();
    return values.filter(({ labels }) => labels.controller === controller).reduce((sum, { value }) => sum + value, 0);
  }

  /** Requests to the API server so far, by verb. */
  get requests(): KubeClient['counts'] {
    return this.#client.counts;
  }

  /** What metrics show of the leader; undefined while it does not lead. */
  get leaderState(): LeaderState | undefined {
    return this.#metrics.sources.leader?.();
  }

  /** The leader's admin interface. */
  get term(): Term | undefined {
    return this.#term;
  }

  /** Its configuration file is edited: keys that take effect while it runs. */
  configure(edit: Partial<Settings>): void {
    this.#live.edit(edit);
  }

  /** The wall clock of its machine jumps by so much. */
  shiftClock(ms: number): void {
    this.#aheadMs += ms;
  }

  /** The wall clock of its machine is right again. */
  setClock(): void {
    this.#aheadMs = 0;
  }

  /** Ends it as SIGTERM does. Time must advance until {@link ended}. */
  stop(): void {
    this.#stop.abort(new Error('stopped'));
  }

  /** Ends it as SIGKILL does: what was sent arrives, and nothing more is sent. */
  kill(): void {
    this.#link.cut();
    this.transport.close();
    this.#stop.abort(new Error('killed'));
  }
}

/** What a replica reads of its configuration file while it runs. */
class LiveSettings {
  settings: Settings;
  readonly problem = undefined;
  readonly #listeners = new Set<() => void>();

  constructor(settings: Settings) {
    this.settings = settings;
  }

  onVerdict(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  edit(edit: Partial<Settings>): void {
    this.settings = { ...this.settings, ...edit };
    for (const listener of this.#listeners) listener();
  }
}
