import { join } from 'node:path';
import { ensureKubeBinaries } from '../cluster/build.ts';
import { type Cluster, startCluster } from '../cluster/cluster.ts';
import { startNodeLoop } from '../cluster/node-loop.ts';
import { createStateDir, removeStateDir } from '../cluster/shared.ts';
import { type ControlPlane, Lab, type Zone } from '../lab/lab.ts';
import type { Closers } from './closers.ts';
import { CloudCalls } from './cloud-calls.ts';
import { DemoError } from './errors.ts';
import { readableLog } from './log-tail.ts';
import type { Narrator } from './narrator.ts';
import { NodeBook } from './node-book.ts';
import { PodBook } from './pod-book.ts';

const NODE_ZONES: readonly Zone[] = [
  ...(['cn-hangzhou-h', 'cn-hangzhou-h', 'cn-hangzhou-h'] as const),
  ...(['cn-hangzhou-i', 'cn-hangzhou-i'] as const),
];
const INSTANCE_TYPE = 'ecs.g7.4xlarge';

const JOURNAL_INTERVAL_MS = 250;
/** More than are shown: a stack trace may be the end of it. */
const LOG_TAIL_LINES = 60;
const SUPERVISION_INTERVAL_MS = 500;

/** Everything that runs during the demo. */
export class Stage {
  readonly cluster: Cluster;
  readonly lab: Lab;
  readonly pods: PodBook;
  readonly nodes: NodeBook;
  readonly calls: CloudCalls;
  /** Folder with the programs, kubectl among them. */
  readonly binaries: string;
  /** Aborts when the demo is to end, or when something of the stage has ended by itself: then the reason says what. */
  readonly signal: AbortSignal;
  readonly #broken: AbortController;
  readonly #closers: Closers;
  #controlPlane: ControlPlane | undefined;

  private constructor(fields: {
    cluster: Cluster;
    lab: Lab;
    binaries: string;
    signal: AbortSignal;
    broken: AbortController;
    closers: Closers;
  }) {
    this.cluster = fields.cluster;
    this.lab = fields.lab;
    this.binaries = fields.binaries;
    this.signal = fields.signal;
    this.#broken = fields.broken;
    this.#closers = fields.closers;
    this.pods = new PodBook(fields.lab.api);
    this.nodes = new NodeBook(fields.lab.api);
    this.calls = new CloudCalls(fields.lab.cloud);
  }

  /**
   * Starts cluster, simulator, nodes and control plane, in this order, and tells about it.
   *
   * @param closers gets what has to be done at the end, however far the start comes.
   * @throws MissingToolError and others whose message says what to do; the signal's reason.
   */
  static async start(narrator: Narrator, closers: Closers, stop: AbortSignal): Promise<Stage> {
    const broken = new AbortController();
    const signal = AbortSignal.any([stop, broken.signal]);
    const stateDir = await createStateDir();
    closers.add(() => removeStateDir(stateDir));
    const binaries = await narrator.step('Kubernetes and etcd, built from source once and kept in a cache', (log) =>
      ensureKubeBinaries({ signal, log }),
    );
    const cluster = await narrator.step('etcd, kube-apiserver, kube-controller-manager, kube-scheduler', (log) =>
      startStoppable(stateDir, signal, log),
    );
    closers.add(() => cluster.stop());
    const lab = await narrator.step('the simulated cloud; CRDs, RBAC and eni-config in the cluster', (log) =>
      Lab.start({ cluster, signal, log, stateDir: join(stateDir, 'lab') }),
    );
    closers.add(() => lab.close());
    const stage = new Stage({ cluster, lab, binaries: binaries.directory, signal, broken, closers });
    stage.#follow();
    await stage.#addNodes(narrator);
    await narrator.step('the control plane, with the rights of config/rbac and no others', () =>
      stage.#startControlPlane(),
    );
    return stage;
  }

  /** Base URL of the control plane's /readyz and /metrics. */
  get telemetryUrl(): string {
    return this.#controlPlane?.telemetryUrl ?? '';
  }

  get nodeCount(): number {
    return NODE_ZONES.length;
  }

  /** Runs kubectl. @throws DemoError with what it wrote when it fails. */
  async kubectl(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.cluster.kubectl(args, { signal: this.signal });
    if (code === 0) return stdout;
    this.signal.throwIfAborted();
    throw new DemoError(`kubectl ${args.join(' ')}: ${stderr.trim().replaceAll('\n', ' ')}`);
  }

  /** Starts what goes on in the background until the end. */
  #follow(): void {
    const stop = new AbortController();
    const signal = AbortSignal.any([this.signal, stop.signal]);
    const following = [
      this.pods.follow(signal),
      this.nodes.follow(signal),
      this.calls.follow(JOURNAL_INTERVAL_MS, signal),
    ].map((each) => each.catch((error: unknown) => this.#break(error)));
    const supervision = setInterval(() => this.#checkComponents(), SUPERVISION_INTERVAL_MS);
    this.#closers.add(async () => {
      clearInterval(supervision);
      stop.abort();
      await Promise.all(following);
    });
  }

  async #addNodes(narrator: Narrator): Promise<void> {
    const zones = [...new Set(NODE_ZONES)].map(
      (zone) => `${NODE_ZONES.filter((each) => each === zone).length} in ${zone}`,
    );
    await narrator.step(`${NODE_ZONES.length} nodes ${INSTANCE_TYPE}: ${zones.join(', ')}`, async (log) => {
      const loop = await startNodeLoop(this.cluster, {
        log,
        // What the CNI plugin of a real node does: the pod has no network before its PodENI is in Bind.
        podReady: async ({ metadata }, signal) => ({
          ip: await this.pods.untilAddress(metadata.name, metadata.uid, signal),
        }),
      });
      this.#closers.add(() => loop.stop());
      for (const zone of NODE_ZONES) {
        this.signal.throwIfAborted();
        await this.lab.addNode(zone, INSTANCE_TYPE);
      }
    });
  }

  async #startControlPlane(): Promise<void> {
    const controlPlane = await this.lab.startControlPlane();
    this.#controlPlane = controlPlane;
    void controlPlane.process.exited().then(async (how) => {
      const log = readableLog(await controlPlane.process.tail(LOG_TAIL_LINES));
      this.#break(new DemoError(`the control plane has ended (${how}); the last lines of its log:`, log));
    });
  }

  #checkComponents(): void {
    const running = Object.keys(this.cluster.pids);
    const needed = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'];
    const gone = needed.find((name) => !running.includes(name));
    if (gone !== undefined) this.#break(new DemoError(`${gone} has ended`));
  }

  /** Without effect once the demo ends: then everything goes. */
  #break(reason: unknown): void {
    if (!this.signal.aborted) this.#broken.abort(reason);
  }
}

/** The signal must end the start, but not the running cluster: the control plane has to go before it. */
async function startStoppable(stateDir: string, signal: AbortSignal, log: (line: string) => void): Promise<Cluster> {
  const starting = new AbortController();
  const onAbort = () => starting.abort(signal.reason);
  signal.throwIfAborted();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await startCluster({
      stateDir,
      signal: starting.signal,
      log,
      features: { scheduler: true, controllerManager: true },
    });
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
