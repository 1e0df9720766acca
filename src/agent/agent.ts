import type { AgentConfig } from '../config/agent.ts';
import type { Reason } from '../crds/reasons/catalogue.ts';
import type { Datapath, Deviation, PodAttachment, SyncOptions, SyncReport } from '../datapath/types.ts';
import type { KubeClient } from '../kube/client.ts';
import { isNotFound } from '../kube/errors.ts';
import type { EventSink } from '../kube/events.ts';
import type { Log } from '../telemetry/log.ts';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { KeyedQueue } from '../util/keyed-queue.ts';
import type { Random } from '../util/random.ts';
import type { AgentState } from '../wire/agent-socket.ts';
import { CniError } from './cni/errors.ts';
import type { AgentHandlers, AgentHost } from './host.ts';
import {
  createNodeView,
  type NodeView,
  nodeViewSynced,
  onNewDevices,
  onNewRecord,
  relistNodeView,
  runNodeView,
} from './informers.ts';
import { LookLoop, type LookScope } from './look-loop.ts';
import { type AgentMetrics, createAgentMetrics } from './metrics.ts';
import { NodeSync } from './node-sync.ts';
import { CniPlugin, limitOf, type PluginObserver } from './plugin.ts';
import { PodDeviations } from './pod-deviations.ts';
import { annotatePodIps } from './pod-ips.ts';
import { RecordStore } from './records.ts';
import { answerAddresses, answerReleases, holders } from './release-answers.ts';
import { hasFinished, podResource } from './resources.ts';
import { type ReportedPod, RuntimeReporter } from './runtime-reporter.ts';
import { AssignmentWaiter } from './waiter.ts';

export interface AgentOptions {
  nodeName: string;
  config: Pick<AgentConfig, 'addTimeout' | 'mtu' | 'podIPsAnnotation' | 'syncPeriod'>;
  client: KubeClient;
  datapath: Datapath;
  host: AgentHost;
  recorder: EventSink;
  clock: Clock;
  random: Random;
  log: Log;
}

/**
 * The node agent: serves CNI requests and keeps the kernel of its node as it should be (docs/design/node.md). It reaches cluster,
 * kernel and machine only by what it is given, so it also runs in a simulation.
 */
export class Agent {
  readonly #options: AgentOptions;
  readonly #view: NodeView;
  readonly #records: RecordStore;
  readonly #waiter: AssignmentWaiter;
  readonly #plugin: CniPlugin;
  readonly #sync: NodeSync;
  readonly #reporter: RuntimeReporter;
  readonly #queue: KeyedQueue;
  readonly #podDeviations = new PodDeviations();
  readonly metrics: AgentMetrics;
  #synced = false;
  /** See {@link answerReleases}; set once it is known which sandboxes there are, so that the others can be reported as gone. */
  #answerRelease: ((key: string) => void) | undefined;
  /** Problems with the programs of ENIs that the last look found and could not repair. */
  #limit: string | undefined;
  #problem: string | undefined = 'the node has not been looked at yet';

  private constructor(options: AgentOptions, records: RecordStore) {
    const { client, nodeName, clock, random, log, datapath, host, config } = options;
    this.#options = options;
    this.#records = records;
    this.#view = createNodeView({
      client,
      nodeName,
      clock,
      random,
      onError: (kind, error) => log.warn({ kind, err: errorMessage(error) }, 'watch interrupted'),
      onPodsListed: () => {
        // etcd may have been restored from a backup, and the NodeRuntime with it.
        if (this.#answerRelease !== undefined) this.#reporter.start();
      },
    });
    this.#waiter = new AssignmentWaiter({
      stores: { pods: this.#view.pods.store, podEnis: this.#view.podEnis.store, node: this.#view.node.store },
      clock,
      nodeName,
      mtu: config.mtu,
      random,
      onUnknown: () => relistNodeView(this.#view),
    });
    const queue = new KeyedQueue();
    this.#queue = queue;
    this.#reporter = new RuntimeReporter({
      client,
      nodeName,
      clock,
      view: this.#view,
      isUsed: (pod) => this.#isUsed(pod),
      hasSandbox: (uid) => this.#hasSandbox(uid),
      withSandbox: () => this.#withSandbox(),
      recordUid: () =>
        this.#answerRelease === undefined ? undefined : this.#view.node.store.get(nodeName)?.metadata.uid,
      hasAddress: (uid) => this.#view.node.store.list().some((node) => holders(node).some((pod) => pod.uid === uid)),
      onError: (error) => log.warn({ err: errorMessage(error) }, 'report delayed'),
    });
    this.#plugin = new CniPlugin({
      datapath,
      records,
      queue,
      waiter: this.#waiter,
      observer: this.#observer(),
      addTimeoutMs: config.addTimeout,
      notReady: () => this.problem(),
      limited: () => this.#limit,
    });
    this.#sync = new NodeSync({
      datapath,
      records,
      queue,
      waiter: this.#waiter,
      plugin: this.#plugin,
      netns: host.netns,
      pods: () => this.#view.pods.store.list().map(({ metadata: { namespace = '', name } }) => ({ namespace, name })),
      onAddressChanged: (pod, message) => {
        log.warn({ pod: `${pod.namespace}/${pod.name}` }, message);
        this.#event(pod, 'Warning', 'AddressChanged', message);
      },
      onRebuilt: ({ key, pod }) =>
        log.info(
          { record: key, pod },
          pod === undefined
            ? 'a record that could not be read was about a sandbox that is gone'
            : 'a record was rebuilt from kernel and API server',
        ),
      onProblem: (message, error) => log.warn(error === undefined ? {} : { err: errorMessage(error) }, message),
    });
    this.metrics = createAgentMetrics({
      ready: () => this.problem() === undefined,
      waiting: () => this.#waiter.size,
      sandboxes: () => records.all().length,
      held: () => this.held(),
      podDeviations: () => this.#podDeviations.counts(),
      verdicts: () => datapath.verdicts(),
    });
  }

  /** Reads the records of an earlier run. Nothing runs yet. */
  static async create(options: AgentOptions): Promise<Agent> {
    const { store, unreadable } = await RecordStore.open(options.host.records);
    for (const { key, keptAs, message } of unreadable) {
      options.log.error({ record: key, keptAs }, `a record could not be read, and will be rebuilt: ${message}`);
    }
    return new Agent(options, store);
  }

  /** Entries in memory for sandboxes, pods and work in progress, by who holds them. */
  held(): Readonly<Record<string, number>> {
    return {
      records: this.#records.all().length,
      'unreadable-records': this.#records.unreadable.size,
      'waiting-sandboxes': this.#waiter.size,
      plugin: this.#plugin.size,
      'pod-queues': this.#queue.size,
      reports: this.#reporter.size,
    };
  }

  /** Why pods cannot be served; undefined when they can. */
  problem(): string | undefined {
    if (!this.#synced) return 'the objects of this node have not been read from the API server yet';
    return this.#problem;
  }

  /**
   * Runs until the signal aborts. DEL is served as soon as the records are read, without the API server; ADD waits until the
   * node's objects are known.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { host, log } = this.#options;
    await this.#sync.recover();
    const service = await host.serve(this.#handlers(signal));
    const view = runNodeView(this.#view, signal);
    try {
      await nodeViewSynced(this.#view, signal);
      this.#synced = true;
      log.info({ sandboxes: this.#records.all().length }, 'the objects of this node are known');
      this.#startReporting();
      await this.#lookRepeatedly(signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      await service[Symbol.asyncDispose]();
      await view;
      await this.#reporter.close();
    }
  }

  /** Once the node is known and every sandbox has its record. */
  #startReporting(): void {
    if (this.#answerRelease !== undefined || this.#records.unreadable.size > 0) return;
    this.#reporter.start();
    // One that was made anew lacks addresses that sandboxes have; its pods wait for what this node reports.
    onNewRecord(this.#view.node, () => this.#reporter.start());
    this.#answerRelease = answerReleases({
      podEnis: this.#view.podEnis.store,
      pods: this.#view.pods.store,
      records: this.#records,
      queue: this.#queue,
      reporter: this.#reporter,
    });
    answerAddresses({
      nodes: this.#view.node.store,
      pods: this.#view.pods.store,
      records: this.#records,
      queue: this.#queue,
      reporter: this.#reporter,
      isGone: (pod) => this.#isGone(pod),
      onError: (error) => this.#options.log.warn({ err: errorMessage(error) }, 'report delayed'),
    });
  }

  /** Whether the API server has another pod of the name, or none. */
  async #isGone({ namespace, name, uid }: ReportedPod): Promise<boolean> {
    try {
      const pod = await this.#options.client.get(podResource, { namespace, name });
      return pod.metadata.uid !== uid;
    } catch (error) {
      if (isNotFound(error)) return true;
      throw error;
    }
  }

  #handlers(signal: AbortSignal): AgentHandlers {
    const { log } = this.#options;
    return {
      cni: (request, gone) => this.#plugin.handle(request, AbortSignal.any([gone, signal])),
      onCniAnswer: ({ command, code, durationMs, message }) => {
        this.metrics.cniRequests.inc({ command, code: String(code) });
        this.metrics.cniSeconds.observe({ command }, durationMs / 1000);
        log[code === 0 ? 'debug' : 'warn'](
          { command, code, durationMs: Math.round(durationMs) },
          `CNI ${message || 'ok'}`,
        );
      },
      state: () => this.#state(),
      sync: (repair) => this.#look({ dryRun: !repair }),
    };
  }

  /** Whether the pod is neither leaving nor finished, as far as the watch shows, so that it may get a sandbox. */
  #isAlive({ namespace, name, uid }: ReportedPod): boolean {
    const pod = this.#view.pods.store.get(`${namespace}/${name}`);
    return pod?.metadata.uid === uid && pod.metadata.deletionTimestamp === undefined && !hasFinished(pod);
  }

  #withSandbox(): readonly PodAttachment[] {
    return [...this.#records.all().map(({ attachment }) => attachment), ...this.#plugin.adding];
  }

  #hasSandbox(uid: string): boolean {
    return this.#records.hasSandboxOf(uid) || this.#plugin.adding.some((pod) => pod.uid === uid);
  }

  /** Whether the pod has a sandbox, or may have or get one. What is not reported before everything is known is so after. */
  #isUsed(pod: ReportedPod): boolean {
    return this.#answerRelease === undefined || this.#hasSandbox(pod.uid) || this.#isAlive(pod);
  }

  async #lookRepeatedly(signal: AbortSignal): Promise<void> {
    const { clock, config, datapath, log } = this.#options;
    const loop = new LookLoop({ clock, periodMs: config.syncPeriod, look: (scope) => this.#lookOnce(scope) });
    const wake = () => loop.wake('all');
    this.#view.podEnis.addHandler({ onUpdate: wake });
    onNewDevices(this.#view.node, wake);
    await datapath
      .watch((kind) => {
        this.metrics.disturbances.inc({ kind });
        loop.wake(kind === 'node' ? 'node' : 'all');
      })
      .catch((error: unknown) =>
        log.error({ err: errorMessage(error) }, 'changes by others are seen every syncPeriod only'),
      );
    await loop.run(signal);
  }

  async #lookOnce(scope: LookScope): Promise<void> {
    const { host, log } = this.#options;
    try {
      await this.#look({ dryRun: false, nodeOnly: scope === 'node' });
      if (scope === 'node') return;
      this.#problem = undefined;
      this.#startReporting();
      if (await host.openForPods()) log.info('the node is open for pods: the CNI configuration was written');
    } catch (error) {
      this.#problem = `the last look at the node failed: ${errorMessage(error)}`;
      log.error({ err: errorMessage(error) }, 'the look at the node failed');
    }
  }

  async #look(options: SyncOptions): Promise<SyncReport> {
    const { clock, log } = this.#options;
    const startedMs = clock.monotonicMs();
    try {
      const report = await this.#sync.run(options);
      const { inPods = [], ...onNode } = report;
      if (options.nodeOnly !== true) this.#tellOfPods(inPods);
      if (options.dryRun !== true) this.#limit = limitOf(report);
      for (const [kind, deviations] of Object.entries(onNode)) {
        for (const { object, pod, message } of deviations) {
          if (options.dryRun !== true) this.metrics.repairs.inc({ object, kind });
          log[kind === 'failed' ? 'error' : 'info']({ kind, pod }, message);
        }
      }
      this.metrics.syncs.inc({ result: report.failed.length === 0 ? 'success' : 'incomplete' });
      return report;
    } catch (error) {
      this.metrics.syncs.inc({ result: 'error' });
      throw error;
    } finally {
      this.metrics.syncSeconds.observe((clock.monotonicMs() - startedMs) / 1000);
    }
  }

  #tellOfPods(deviations: readonly Deviation[]): void {
    for (const { pod, message } of this.#podDeviations.update(deviations)) {
      this.#options.log.warn({ pod }, `the pod's network was changed in the pod, and is left so: ${message}`);
      const sandbox = this.#records
        .all()
        .find(({ attachment }) => `${attachment.namespace}/${attachment.name}` === pod);
      if (sandbox === undefined) continue;
      const { namespace, name, uid } = sandbox.attachment;
      this.#event({ namespace, name, uid }, 'Warning', 'NetworkChangedInPod', message);
    }
  }

  async #state(): Promise<AgentState> {
    const problem = this.problem();
    return {
      node: this.#options.nodeName,
      ...(problem === undefined ? {} : { problem }),
      sandboxes: this.#records.all(),
      waiting: this.#waiter.size,
      verdicts: { ...(await this.#options.datapath.verdicts()) },
    };
  }

  #event(
    { namespace, name, uid }: { namespace: string; name: string; uid: string },
    type: 'Normal' | 'Warning',
    reason: Reason,
    note: string,
  ): void {
    this.#options.recorder.event(
      { apiVersion: 'v1', kind: podResource.kind, metadata: { namespace, name, uid } },
      { type, reason, action: 'AttachNetwork', note, noteKey: reason },
    );
  }

  /** Nobody waits for it: without the annotation, its readers wait for the pod's status. */
  async #annotate(attachment: PodAttachment): Promise<void> {
    const { client, log } = this.#options;
    await annotatePodIps(client, this.#view.pods.store, attachment).catch((error: unknown) =>
      log.warn(
        { pod: `${attachment.namespace}/${attachment.name}`, err: errorMessage(error) },
        'the addresses of a pod could not be written on it',
      ),
    );
  }

  #observer(): PluginObserver {
    const { log } = this.#options;
    return {
      adding: (attachment) => this.#reporter.takeBack(attachment),
      added: (attachment, problems) => {
        const addresses = attachment.interfaces
          .flatMap(({ ipv4, ipv6 }) => [ipv4?.address, ipv6?.address])
          .filter(Boolean);
        log.info({ pod: `${attachment.namespace}/${attachment.name}`, addresses }, 'network attached');
        for (const problem of problems) this.#event(attachment, 'Warning', 'ParseFailed', `${problem}; it is ignored`);
        this.#reporter.report(attachment, 'initial');
        if (this.#options.config.podIPsAnnotation) void this.#annotate(attachment);
      },
      addFailed: (request, error) => {
        if (error instanceof CniError && error.message === 'the runtime gave up') return;
        const { namespace, name } = request.pod;
        const uid = request.pod.uid ?? this.#view.pods.store.get(`${namespace}/${name}`)?.metadata.uid ?? '';
        this.#event({ namespace, name, uid }, 'Warning', 'AllocIPFailed', errorMessage(error));
      },
      removed: ({ attachment }) => {
        log.info({ pod: `${attachment.namespace}/${attachment.name}` }, 'network removed');
        // A pod that lives on gets another sandbox, unless its PodENI leaves.
        if (this.#isUsed(attachment)) this.#answerRelease?.(`${attachment.namespace}/${attachment.name}`);
        else this.#reporter.report(attachment, 'deleted');
      },
    };
  }
}
