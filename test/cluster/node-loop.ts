import * as z from 'zod';
import { pauseQuietly } from '../../tools/machine/poll.ts';
import type { ClusterAccess } from './access.ts';
import type { ApiClient } from './api.ts';
import { ApiStatusError } from './errors.ts';
import { HOLLOW_NODE_LABEL, renewNodeLease, reportNodeReady } from './nodes.ts';
import { type HollowPod, hollowPodSchema, PodDriver, type PodHooks } from './pod-driver.ts';
import { isTransient, watch } from './watch.ts';

export interface NodeLoopOptions extends PodHooks {
  signal?: AbortSignal;
  /** Called for each error. Errors do not end the loop. */
  log?: (line: string) => void;
  /** Default 10 s, the kubelet's. The node controller gives up on a node after 50 s. */
  leaseIntervalMs?: number;
  /** How many requests may be in flight at once; others wait. Default: 8. */
  maxConnections?: number;
}

/** Acts as the kubelet of every node from `createNode`. */
export interface NodeLoop extends AsyncDisposable {
  /** The nodes that it manages now. */
  readonly nodes: ReadonlySet<string>;
  /** Makes a node fall silent, like an instance that crashed: no lease, no pods. */
  silence(node: string): void;
  /** Makes a silenced node work again. */
  resume(node: string): void;
  /** Resolves when nothing runs any more. Nodes and pods stay as they are. */
  stop(): Promise<void>;
}

const nodeSchema = z.object({
  metadata: z.object({ name: z.string(), uid: z.string() }),
  status: z
    .object({
      conditions: z.array(z.object({ type: z.string(), status: z.string() })).optional(),
      addresses: z.array(z.object({ type: z.string(), address: z.string() })).optional(),
    })
    .optional(),
});
type HollowNode = z.infer<typeof nodeSchema>;

const LEASES_AT_ONCE = 4;

/**
 * Acts as the kubelet of every node from `createNode`, including nodes that others create later. It does what the API server
 * sees of a kubelet: renews the lease, runs the pods bound to the node, and ends pods that are being deleted.
 *
 * Uses two watches and a few connections for any number of nodes. Run one loop per cluster.
 *
 * @param cluster may be run by another process.
 */
export async function startNodeLoop(cluster: ClusterAccess, options: NodeLoopOptions = {}): Promise<NodeLoop> {
  const client = await cluster.client({ maxConnections: options.maxConnections ?? 8 });
  const loop = new HollowKubelets(client, options);
  const done = loop.run();
  const stop = async () => {
    loop.abort();
    await done;
    client.close();
  };
  return {
    get nodes() {
      return loop.names();
    },
    silence: (node) => loop.silence(node),
    resume: (node) => loop.resume(node),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

class HollowKubelets {
  readonly #client: ApiClient;
  readonly #options: NodeLoopOptions;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #log: (line: string) => void;
  readonly #nodes = new Map<string, HollowNode>();
  readonly #silent = new Set<string>();
  readonly #pods = new Map<string, PodDriver>();

  constructor(client: ApiClient, options: NodeLoopOptions) {
    this.#client = client;
    this.#options = options;
    this.#signal = options.signal ? AbortSignal.any([options.signal, this.#stop.signal]) : this.#stop.signal;
    this.#log = options.log ?? (() => undefined);
  }

  async run(): Promise<void> {
    await Promise.all([
      this.#forever('watch of nodes', () => this.#watchNodes()),
      this.#forever('watch of pods', () => this.#watchPods()),
      this.#renewLeases(),
    ]);
    await Promise.all([...this.#pods.values()].map((driver) => driver.stop()));
  }

  abort(): void {
    this.#stop.abort();
  }

  names(): ReadonlySet<string> {
    return new Set(this.#nodes.keys());
  }

  silence(name: string): void {
    this.#silent.add(name);
    this.#wakePods(name);
  }

  resume(name: string): void {
    this.#silent.delete(name);
    const node = this.#nodes.get(name);
    if (!node) return;
    void this.#heartbeat(node);
    this.#wakePods(name);
  }

  /** A watch ends only with an error that an immediate retry would not change. */
  async #forever(what: string, run: () => Promise<void>): Promise<void> {
    while (!this.#signal.aborted) {
      try {
        await run();
      } catch (error) {
        if (!this.#signal.aborted) this.#log(`${what}: ${String(error)}`);
      }
      await pauseQuietly(1000, this.#signal);
    }
  }

  async #watchNodes(): Promise<void> {
    const events = watch(this.#client, '/api/v1/nodes', {
      schema: nodeSchema,
      query: { labelSelector: `${HOLLOW_NODE_LABEL}=true` },
      signal: this.#signal,
    });
    for await (const event of events) {
      switch (event.type) {
        case 'LISTED': {
          const listed = new Set(event.objects.map((node) => node.metadata.name));
          for (const name of this.#nodes.keys()) if (!listed.has(name)) this.#nodes.delete(name);
          for (const node of event.objects) this.#observeNode(node);
          break;
        }
        case 'DELETED':
          this.#nodes.delete(event.object.metadata.name);
          break;
        default:
          this.#observeNode(event.object);
      }
    }
  }

  #observeNode(node: HollowNode): void {
    const { name, uid } = node.metadata;
    const known = this.#nodes.get(name);
    this.#nodes.set(name, node);
    if (known?.metadata.uid !== uid) {
      void this.#heartbeat(node);
      this.#wakePods(name);
    } else if (isUnknown(node) && !isUnknown(known)) {
      void this.#heartbeat(node);
    }
  }

  async #renewLeases(): Promise<void> {
    const intervalMs = this.#options.leaseIntervalMs ?? 10_000;
    while (!this.#signal.aborted) {
      const startMs = performance.now();
      const due = [...this.#nodes.keys()].values();
      // A few at a time, so that a round over many nodes does not delay requests for pods.
      await Promise.all(Array.from({ length: LEASES_AT_ONCE }, () => this.#renewEach(due)));
      await pauseQuietly(Math.max(0, intervalMs - (performance.now() - startMs)), this.#signal);
    }
  }

  async #renewEach(names: Iterator<string>): Promise<void> {
    for (let next = names.next(); !next.done && !this.#signal.aborted; next = names.next()) {
      const node = this.#nodes.get(next.value);
      if (node) await this.#heartbeat(node);
    }
  }

  async #heartbeat(node: HollowNode): Promise<void> {
    const { name, uid } = node.metadata;
    if (this.#silent.has(name)) return;
    try {
      await renewNodeLease(this.#client, { name, uid }, this.#signal);
      // The node controller sets Unknown when leases are late, and leaves it to the kubelet to reset that. If Ready is False, a
      // test has set it.
      if (isUnknown(node)) await reportNodeReady(this.#client, name, this.#signal);
    } catch (error) {
      const raced = error instanceof ApiStatusError && error.reason === 'AlreadyExists';
      if (!this.#signal.aborted && !raced) this.#log(`heartbeat of ${name}: ${String(error)}`);
    }
  }

  async #watchPods(): Promise<void> {
    const events = watch(this.#client, '/api/v1/pods', {
      schema: hollowPodSchema,
      query: { fieldSelector: 'spec.nodeName!=' },
      signal: this.#signal,
    });
    for await (const event of events) {
      switch (event.type) {
        case 'LISTED': {
          const listed = new Set(event.objects.map((pod) => pod.metadata.uid));
          for (const uid of this.#pods.keys()) if (!listed.has(uid)) this.#forget(uid);
          for (const pod of event.objects) this.#observePod(pod);
          break;
        }
        case 'DELETED':
          this.#forget(event.object.metadata.uid);
          break;
        default:
          this.#observePod(event.object);
      }
    }
  }

  #observePod(pod: HollowPod): void {
    const { uid } = pod.metadata;
    const known = this.#pods.get(uid);
    if (known) {
      known.observe(pod);
      return;
    }
    const driver = new PodDriver(pod, {
      client: this.#client,
      hooks: this.#options,
      signal: this.#signal,
      log: this.#log,
      isTransient,
      nodeIp: (name) => {
        const node = this.#silent.has(name) ? undefined : this.#nodes.get(name);
        return node?.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address ?? (node && '198.19.0.1');
      },
    });
    this.#pods.set(uid, driver);
    driver.wake();
  }

  #forget(uid: string): void {
    const driver = this.#pods.get(uid);
    this.#pods.delete(uid);
    void driver?.stop();
  }

  #wakePods(node: string): void {
    for (const driver of this.#pods.values()) if (driver.nodeName === node) driver.wake();
  }
}

function isUnknown(node: HollowNode | undefined): boolean {
  return node?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'Unknown') ?? false;
}
