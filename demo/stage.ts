import type { Cluster } from '../test/cluster/cluster.ts';
import type { ControlPlaneLab } from '../test/harness/lab.ts';
import type { Closers } from './closers.ts';
import { CloudCalls } from './cloud-calls.ts';
import { DemoError } from './errors.ts';
import { NodeBook } from './node-book.ts';
import { PodBook } from './pod-book.ts';
import type { Goal } from './pod-record.ts';
import type { Samples } from './samples.ts';

const JOURNAL_INTERVAL_MS = 250;
const SUPERVISION_INTERVAL_MS = 500;

export interface StageParts {
  cluster: Cluster;
  lab: ControlPlaneLab;
  samples: Samples;
  nodeCount: number;
  goal: Goal;
  signal: AbortSignal;
  /** Makes the signal abort. */
  broken: AbortController;
  /** Gets what has to be done at the end. */
  closers: Closers;
}

/** Everything that runs during the demo, whatever the nodes are. */
export class Stage {
  readonly cluster: Cluster;
  readonly lab: ControlPlaneLab;
  /** What is deployed on it. */
  readonly samples: Samples;
  readonly nodeCount: number;
  /** Instances of the account that are no nodes. */
  readonly otherInstances: number = 0;
  /** Until when pods are followed. */
  readonly goal: Goal;
  readonly pods: PodBook;
  readonly nodes: NodeBook;
  readonly calls: CloudCalls;
  /** Aborts when the demo is to end, or when something of the stage has ended by itself: then the reason says what. */
  readonly signal: AbortSignal;
  readonly #broken: AbortController;
  readonly #closers: Closers;

  protected constructor({ cluster, lab, samples, nodeCount, goal, signal, broken, closers }: StageParts) {
    this.cluster = cluster;
    this.lab = lab;
    this.samples = samples;
    this.nodeCount = nodeCount;
    this.goal = goal;
    this.signal = signal;
    this.#broken = broken;
    this.#closers = closers;
    this.pods = new PodBook(lab.api);
    this.nodes = new NodeBook(lab.api);
    this.calls = new CloudCalls(lab.cloud);
  }

  /** Folder with the programs, kubectl among them. */
  get binaries(): string {
    return this.cluster.binaries.directory;
  }

  /** Runs kubectl. @throws DemoError with what it wrote when it fails. */
  async kubectl(...args: string[]): Promise<string> {
    return this.#kubectl(args);
  }

  /** Applies manifests, separated by lines with three dashes. @throws DemoError */
  async apply(...manifests: readonly string[]): Promise<void> {
    await this.#kubectl(['apply', '-f', '-'], manifests.join('\n---\n'));
  }

  async #kubectl(args: readonly string[], input = ''): Promise<string> {
    const { code, stdout, stderr } = await this.cluster.kubectl(args, { input, signal: this.signal });
    if (code === 0) return stdout;
    this.signal.throwIfAborted();
    throw new DemoError(`kubectl ${args.join(' ')}: ${stderr.trim().replaceAll('\n', ' ')}`);
  }

  /** Starts what goes on in the background until the end. */
  protected follow(): void {
    const stop = new AbortController();
    const signal = AbortSignal.any([this.signal, stop.signal]);
    const following = [
      this.pods.follow(signal),
      this.nodes.follow(signal),
      this.calls.follow(JOURNAL_INTERVAL_MS, signal),
    ].map((each) => each.catch((error: unknown) => this.break(error)));
    const supervision = setInterval(() => this.#checkComponents(), SUPERVISION_INTERVAL_MS);
    this.#closers.add(async () => {
      clearInterval(supervision);
      stop.abort();
      await Promise.all(following);
    });
  }

  /** Without effect once the demo ends: then everything goes. */
  protected break(reason: unknown): void {
    if (!this.signal.aborted) this.#broken.abort(reason);
  }

  #checkComponents(): void {
    const running = Object.keys(this.cluster.pids);
    const needed = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'];
    const gone = needed.find((name) => !running.includes(name));
    if (gone !== undefined) this.break(new DemoError(`${gone} has ended`));
  }
}
