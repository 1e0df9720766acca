import * as z from 'zod';
import { ANNOTATION_REPORTS_RELEASE } from '../src/crds/names.ts';
import { nodeSchema, type TerwayNode } from '../src/crds/node.ts';
import type { ApiClient } from '../test/cluster/api.ts';
import type { Cluster } from '../test/cluster/cluster.ts';
import { watch } from '../test/cluster/watch.ts';
import { type ControlPlane, ControlPlaneLab, type LabNode, POD_VSWITCH, ZONES } from '../test/harness/lab.ts';
import { apiWrites, leading } from './counts.ts';
import { SECONDS } from './pace.ts';
import { Waiting } from './waiting.ts';

const PODS = '/api/v1/namespaces/default/pods';
const TERWAY = '/apis/network.alibabacloud.com/v1beta1';
export const TERWAY_NODES = `${TERWAY}/nodes`;
const NODE_RUNTIMES = `${TERWAY}/noderuntimes`;
/** ENIs with 30 addresses each, of which an instance takes seven beside its primary one. */
const NODE_TYPE = 'ecs.g7.4xlarge';
export const PER_ENI = 30;
const CONNECTIONS = 16;
const WORKERS = 16;
/** Nothing is grouped for longer. */
const QUIET_MS = 3 * SECONDS;

const podSchema = z.object({ metadata: z.object({ name: z.string(), uid: z.string() }) });

/** A pod that shares the ENIs of its node. */
export interface SharedPod {
  name: string;
  uid: string;
  node: string;
  /** When its POST was answered. */
  answeredMs: number;
}

/** The addresses of a pod, and when the watch first showed them. */
interface Served {
  ips: string[];
  sinceMs: number;
}

/** Nodes without kubelets whose pods share ENIs. The bench plays their kubelets and agents. */
export class PoolBench implements AsyncDisposable {
  readonly lab: ControlPlaneLab;
  readonly nodes: LabNode[] = [];
  readonly #api: ApiClient;
  readonly #served = new Map<string, Served>();
  readonly #records = new Map<string, TerwayNode>();
  readonly #waiting = new Waiting();
  readonly #stop = new AbortController();
  #watching: Promise<void> = Promise.resolve();
  #serial = 0;
  controlPlane: ControlPlane | undefined;

  private constructor(lab: ControlPlaneLab, api: ApiClient) {
    this.lab = lab;
    this.#api = api;
  }

  /** Starts the simulator. No control plane runs yet. */
  static async start(cluster: Cluster, eniConf: Readonly<Record<string, unknown>>): Promise<PoolBench> {
    const vswitches = Object.fromEntries(ZONES.map((zone) => [zone, [POD_VSWITCH[zone]]]));
    const lab = await ControlPlaneLab.start({ cluster, eniConf: { ipam_type: 'crd', vswitches, ...eniConf } });
    const bench = new PoolBench(lab, await cluster.client({ maxConnections: CONNECTIONS }));
    bench.#watching = bench.#watch();
    return bench;
  }

  async startControlPlane(): Promise<void> {
    this.controlPlane = await this.lab.startControlPlane();
  }

  /** Waits until the control plane leads. */
  async leading(): Promise<void> {
    await leading(this.controlPlane);
  }

  /** Registers nodes whose agents tell of their sandboxes. */
  async addNodes(count: number): Promise<LabNode[]> {
    const added = await inParallel(Array.from({ length: count }), async () => {
      const node = await this.lab.addNode(ZONES[this.nodes.length % 2] ?? ZONES[0], NODE_TYPE);
      this.nodes.push(node);
      await this.#api.create(NODE_RUNTIMES, {
        apiVersion: 'network.alibabacloud.com/v1beta1',
        kind: 'NodeRuntime',
        metadata: { name: node.name, annotations: { [ANNOTATION_REPORTS_RELEASE]: 'true' } },
        spec: {},
      });
      return node;
    });
    return added;
  }

  /** Waits until the record of each node holds what its instance has, and none waits for a call. */
  async compared(nodes: readonly LabNode[], timeoutMs: number): Promise<void> {
    const isDone = ({ name }: LabNode) => {
      const { status } = this.#records.get(name) ?? {};
      const enis = Object.values(status?.networkInterfaces ?? {});
      if (enis.some((eni) => eni.status !== 'InUse') || (status?.poolIntents ?? []).length > 0) return false;
      return status?.lastSyncOpenAPITime !== undefined;
    };
    await this.#waiting.until(
      () => nodes.every(isDone),
      timeoutMs,
      () => `the records of ${nodes.filter((node) => !isDone(node)).length} nodes are not complete`,
    );
  }

  /** Waits until the control plane has said of each node that it has a pool. */
  async told(nodes: readonly LabNode[], timeoutMs: number): Promise<void> {
    const isTold = ({ name }: LabNode) =>
      this.#records.get(name)?.status?.conditions?.some(({ type }) => type === 'PoolReady') === true;
    await this.#waiting.until(
      () => nodes.every(isTold),
      timeoutMs,
      () => `nothing is said of ${nodes.filter((node) => !isTold(node)).length} nodes`,
    );
  }

  /** Creates a pod on a node, as the scheduler would have placed it. */
  async createPod(node: string): Promise<SharedPod> {
    this.#serial += 1;
    const name = `shared-${this.#serial}`;
    const answer = await this.#api.create(PODS, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: {
        nodeName: node,
        containers: [{ name: 'main', image: 'registry.k8s.io/pause:3.10' }],
        tolerations: [{ operator: 'Exists' }],
      },
    });
    return { name, node, uid: podSchema.parse(answer).metadata.uid, answeredMs: performance.now() };
  }

  /** Waits until each has addresses in the Node CR; resolves with the times at which the watch showed them, in the order of the pods. */
  async served(pods: readonly SharedPod[], timeoutMs: number): Promise<number[]> {
    await this.#waiting.until(
      () => pods.every(({ uid }) => this.#served.has(uid)),
      timeoutMs,
      () => {
        const open = pods.filter(({ uid }) => !this.#served.has(uid));
        return `${open.length} of ${pods.length} pods have no address, such as ${open[0]?.name} on ${open[0]?.node}`;
      },
    );
    return pods.map(({ uid }) => this.#served.get(uid)?.sinceMs ?? Number.NaN);
  }

  /** The sandbox of a pod has its network: the agent says so, and the kubelet tells the addresses. */
  async run({ name, uid, node }: SharedPod): Promise<void> {
    await this.#report(node, {
      [uid]: { podID: `default/${name}`, status: { initial: { lastUpdateTime: rfc3339() } } },
    });
    const podIPs = (this.#served.get(uid)?.ips ?? []).map((ip) => ({ ip }));
    await this.#api.patch(`${PODS}/${name}/status`, 'merge', {
      status: { phase: 'Running', podIP: podIPs[0]?.ip, podIPs },
    });
  }

  /** A pod goes with its sandbox: the agent says so, and the kubelet removes the object. */
  async remove({ name, uid, node }: SharedPod): Promise<void> {
    await this.#api.delete(`${PODS}/${name}`, { query: { gracePeriodSeconds: 0 } });
    const status = { initial: null, deleted: { lastUpdateTime: rfc3339() } };
    await this.#report(node, { [uid]: { podID: `default/${name}`, status } });
  }

  async #report(node: string, pods: object): Promise<void> {
    await this.#api.patch(`${NODE_RUNTIMES}/${node}/status`, 'merge', { status: { pods } });
  }

  /** Waits until no Node CR gives these pods an address. */
  async freed(pods: readonly SharedPod[], timeoutMs: number): Promise<void> {
    await this.#waiting.until(
      () => !pods.some(({ uid }) => this.#served.has(uid)),
      timeoutMs,
      () => `${pods.filter(({ uid }) => this.#served.has(uid)).length} of ${pods.length} pods still have addresses`,
    );
  }

  /** Writes of Node CRs; only the control plane makes any. */
  async nodeWrites(): Promise<number> {
    return apiWrites(this.#api, (resource, group) => resource === 'nodes' && group === 'network.alibabacloud.com');
  }

  /** Waits until no Node CR has been written for a while. */
  async settled(): Promise<void> {
    for (let before = -1, now = 0; now !== before; ) {
      before = now;
      now = await this.nodeWrites();
      if (now !== before) await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    }
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
    this.#api.close();
    await this.lab.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #watch(): Promise<void> {
    const see = (node: TerwayNode) => {
      const { name } = node.metadata;
      const before = addressesIn(this.#records.get(name));
      const now = addressesIn(node);
      this.#records.set(name, node);
      for (const uid of before.keys()) if (!now.has(uid)) this.#served.delete(uid);
      for (const [uid, ips] of now) if (!before.has(uid)) this.#served.set(uid, { ips, sinceMs: performance.now() });
    };
    const api = await this.lab.cluster.client({ maxConnections: 1 });
    try {
      for await (const event of watch(api, TERWAY_NODES, { schema: nodeSchema, signal: this.#stop.signal })) {
        if (event.type === 'LISTED') for (const node of event.objects) see(node);
        else if (event.type !== 'DELETED') see(event.object);
        this.#waiting.wake();
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error;
    } finally {
      api.close();
    }
  }
}

/** The addresses of each pod in a record, by uid. */
function addressesIn(node: TerwayNode | undefined): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const { ipv4 = {}, ipv6 = {} } of Object.values(node?.status?.networkInterfaces ?? {})) {
    for (const { ip, podUID = '' } of [...Object.values(ipv4), ...Object.values(ipv6)]) {
      if (podUID !== '') found.set(podUID, [...(found.get(podUID) ?? []), ip]);
    }
  }
  return found;
}

function rfc3339(): string {
  return new Date().toISOString().replace(/\.\d{3}Z$/, 'Z');
}

/** Works on all of them, a few at a time; results are in their order. */
export async function inParallel<T, R>(items: readonly T[], work: (item: T, at: number) => Promise<R>): Promise<R[]> {
  const queue = [...items.entries()];
  const results: R[] = [];
  const one = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [at, item] = next;
      results[at] = await work(item, at);
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, one));
  return results;
}
