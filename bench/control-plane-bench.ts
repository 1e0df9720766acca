import { stringify } from 'yaml';
import * as z from 'zod';
import type { ApiClient } from '../test/cluster/api.ts';
import type { Cluster } from '../test/cluster/cluster.ts';
import { isTransient, watch } from '../test/cluster/watch.ts';
import {
  type ControlPlane,
  ControlPlaneLab,
  type LabNode,
  POD_SECURITY_GROUP,
  POD_VSWITCH,
  ZONES,
} from '../test/harness/lab.ts';
import { apiWrites, cloudCalls, isRead, isThrottled, leading } from './counts.ts';
import { Waiting } from './waiting.ts';

const NAMESPACE = 'default';
const NODES = 10;
/** Member slots of {@link NODE_TYPE}. */
export const SLOTS_PER_NODE = 112;
const PODS = `/api/v1/namespaces/${NAMESPACE}/pods`;
const POD_ENIS = `/apis/network.alibabacloud.com/v1beta1/namespaces/${NAMESPACE}/podenis`;
/** Name prefix of pods without ENIs. */
const OTHER = { bench: 'other' };
const NODE_TYPE = 'ecs.g7.16xlarge';
const WORKERS = 8;
const DELETE_ATTEMPTS = 10;

const podEniSchema = z.object({
  metadata: z.object({ name: z.string() }),
  status: z.object({ phase: z.string().optional(), instanceID: z.string().optional() }).optional(),
});

/** The load that the budgets assume: ten nodes with trunks, one PodNetworking, pods created over one connection. */
export class ControlPlaneBench implements AsyncDisposable {
  readonly lab: ControlPlaneLab;
  readonly #api: ApiClient;
  readonly #boundMs = new Map<string, number>();
  /** Instance of each PodENI in Bind, and since when the watch shows it there. */
  readonly #places = new Map<string, { instanceId: string | undefined; sinceMs: number }>();
  readonly #nodes = new Map<string, LabNode>();
  settledRecords = 0;
  #otherPods = { first: 0, next: 0 };
  readonly #present = new Set<string>();
  readonly #waiting = new Waiting();
  readonly #stop = new AbortController();
  #watching: Promise<void> = Promise.resolve();
  #serial = 0;
  controlPlane: ControlPlane | undefined;

  private constructor(lab: ControlPlaneLab) {
    this.lab = lab;
    this.#api = lab.api;
  }

  /** Starts simulator and control plane, registers the nodes and waits for their trunks. */
  static async start(cluster: Cluster): Promise<ControlPlaneBench> {
    const lab = await ControlPlaneLab.start({ cluster });
    const bench = new ControlPlaneBench(lab);
    await bench.#addNodes(NODES);
    await lab.apply(
      stringify({
        apiVersion: 'network.alibabacloud.com/v1beta1',
        kind: 'PodNetworking',
        metadata: { name: 'bench' },
        spec: { vSwitchOptions: ZONES.map((zone) => POD_VSWITCH[zone]), securityGroupIDs: [POD_SECURITY_GROUP] },
      }),
    );
    await bench.startControlPlane();
    bench.#watching = bench.#watch();
    await bench.#trunksAttached();
    return bench;
  }

  /** Adds nodes up to this number. */
  async growTo(count: number): Promise<void> {
    if (count <= this.#nodes.size) return;
    await this.#addNodes(count);
    await this.#trunksAttached();
  }

  async #addNodes(count: number): Promise<void> {
    while (this.#nodes.size < count) {
      const node = await this.lab.addNode(ZONES[this.#nodes.size % 2] ?? ZONES[0], NODE_TYPE);
      this.#nodes.set(node.name, node);
    }
  }

  async #trunksAttached(): Promise<void> {
    const { code, stderr } = await this.lab.cluster.kubectl([
      ...['wait', `--for=jsonpath={.status.allocatable.aliyun/member-eni}=${SLOTS_PER_NODE}`],
      ...['--timeout=60s', 'nodes', '--all'],
    ]);
    if (code !== 0) throw new Error(`trunks are not attached: ${stderr}`);
  }

  async startControlPlane(): Promise<void> {
    this.controlPlane = await this.lab.startControlPlane();
  }

  /** Waits until the control plane leads. */
  async leading(): Promise<void> {
    await leading(this.controlPlane);
  }

  /** Creates pods one after another; resolves with name and time of each POST's answer. */
  async createPods(count: number): Promise<Map<string, number>> {
    const answeredMs = new Map<string, number>();
    for (let at = 0; at < count; at += 1) {
      this.#serial += 1;
      const name = `pod-${this.#serial}`;
      await this.createPod(name, `node-${(this.#serial % this.#nodes.size) + 1}`);
      answeredMs.set(name, performance.now());
    }
    return answeredMs;
  }

  /**
   * Creates pods one after another and, for each, writes a PodENI three times, as the control plane does until the bind.
   * Deletes both.
   *
   * @returns the time until everything was written; milliseconds.
   */
  async requestsAlone(count: number): Promise<number> {
    const names = Array.from({ length: count }, (_, at) => `alone-${at}`);
    const startedMs = performance.now();
    const writes: Promise<void>[] = [];
    for (const [at, name] of names.entries()) {
      await this.createPod(name, `node-${(at % this.#nodes.size) + 1}`);
      writes.push(this.#writeRecord(name));
    }
    await Promise.all(writes);
    const tookMs = performance.now() - startedMs;
    await this.deletePods(names);
    for (const name of names) await this.deletePodEni(name);
    return tookMs;
  }

  async #writeRecord(name: string): Promise<void> {
    await this.#api.create(POD_ENIS, settledRecord(name));
    await this.#api.patch(`${POD_ENIS}/${name}`, 'merge', {
      metadata: { labels: { 'k8s.aliyun.com/node': 'node-2' } },
    });
    await this.#api.patch(`${POD_ENIS}/${name}/status`, 'merge', { status: { phase: 'Unbind' } });
  }

  async createPod(name: string, node: string, options: PodOptions = {}): Promise<void> {
    await this.#api.create(PODS, podManifest(name, node, options));
  }

  /** Waits until the PodENI is in Bind on that node; resolves with the time at which the watch showed it. */
  async boundOn(name: string, node: string, timeoutMs: number): Promise<number> {
    const instanceId = this.#nodes.get(node)?.instanceId;
    const isThere = () => instanceId !== undefined && this.#places.get(name)?.instanceId === instanceId;
    await this.#waiting.until(isThere, timeoutMs, () => `PodENI ${name} is not in Bind on ${node}`);
    return this.#places.get(name)?.sinceMs ?? Number.NaN;
  }

  async podEni(name: string): Promise<unknown> {
    return this.#api.get(`${POD_ENIS}/${name}`);
  }

  async deletePodEni(name: string): Promise<void> {
    await this.#api.delete(`${POD_ENIS}/${name}`);
  }

  /** Creates pods without ENIs. */
  async createOtherPods(count: number): Promise<void> {
    const end = this.#otherPods.next + count;
    const work = async () => {
      while (this.#otherPods.next < end) {
        const name = `other-${this.#otherPods.next}`;
        this.#otherPods.next += 1;
        const { spec } = podManifest(name, 'node-1');
        await this.#api.create(PODS, { apiVersion: 'v1', kind: 'Pod', metadata: { name, labels: OTHER }, spec });
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, work));
  }

  /** Replaces the oldest of them. */
  async replaceOtherPods(count: number): Promise<void> {
    const names = Array.from({ length: count }, (_, at) => `other-${this.#otherPods.first + at}`);
    this.#otherPods.first += count;
    await this.deletePods(names);
    await this.createOtherPods(count);
  }

  async deleteOtherPods(): Promise<void> {
    const labelSelector = Object.entries(OTHER).map((pair) => pair.join('='))[0] ?? '';
    for (let attempt = 1, isDone = false; !isDone; attempt += 1) {
      isDone = await this.#api.delete(PODS, { query: { labelSelector, gracePeriodSeconds: 0 } }).then(
        () => true,
        (error: unknown) => {
          // So many pods take longer than the server allows for one request: it answers 504, or ends the connection. The next request
          // goes on with the rest.
          if (isTransient(error) && attempt < DELETE_ATTEMPTS) return false;
          throw error;
        },
      );
    }
  }

  /** Deletes pods without a grace period, as a kubelet does after stopping them. */
  async deletePods(names: Iterable<string>): Promise<void> {
    for (const name of names) {
      await this.#api.delete(`${PODS}/${name}`, { query: { gracePeriodSeconds: 0 } });
    }
  }

  /** Waits until the PodENI of each is in Bind; resolves with the times at which the watch showed it. */
  async bound(names: Iterable<string>, timeoutMs: number): Promise<Map<string, number>> {
    const wanted = [...names];
    await this.#waiting.until(
      () => wanted.every((name) => this.#boundMs.has(name)),
      timeoutMs,
      () => {
        const open = wanted.filter((name) => !this.#boundMs.has(name));
        return `${open.length} of ${wanted.length} PodENIs are not in Bind, such as ${open[0]}`;
      },
    );
    return new Map(wanted.map((name) => [name, this.#boundMs.get(name) ?? 0]));
  }

  /** Waits until the PodENIs are gone. */
  async released(names: Iterable<string>, timeoutMs: number): Promise<void> {
    const wanted = [...names];
    await this.#waiting.until(
      () => !wanted.some((name) => this.#present.has(name)),
      timeoutMs,
      () => {
        const open = wanted.filter((name) => this.#present.has(name));
        return `${open.length} of ${wanted.length} PodENIs are still there, such as ${open[0]}`;
      },
    );
  }

  /** Member ENIs of pods in the simulated cloud. */
  async podEnis(): Promise<string[]> {
    const { enis } = await this.lab.cloud.state();
    return enis.filter((eni) => eni.type !== 'Primary' && eni.type !== 'Trunk').map((eni) => eni.id);
  }

  /** Calls that the simulated cloud has received. */
  async cloudCalls(): Promise<number> {
    return cloudCalls(this.lab.cloud);
  }

  /** Calls of these APIs, and how many of them the cloud throttled. */
  async outcomes(actions: readonly string[]): Promise<{ all: number; throttled: number }> {
    const { cloud } = this.lab;
    const isOne = (action: string) => actions.includes(action);
    return {
      all: await cloudCalls(cloud, isOne),
      throttled: await cloudCalls(cloud, (action, outcome) => isOne(action) && isThrottled(outcome)),
    };
  }

  /** Mutating calls among them. */
  async mutations(): Promise<number> {
    return cloudCalls(this.lab.cloud, (action) => !isRead(action));
  }

  /**
   * Writes to the API server that the control plane makes for pods: PodENIs, mirrors, nodes. Excludes leases and events, the
   * pods themselves (the harness writes them), and the status of the PodNetworking, which does not grow with the pods.
   */
  async kubeWrites(): Promise<number> {
    return apiWrites(this.#api, (resource) => ['podenis', 'networkinterfaces', 'nodes'].includes(resource));
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
    await this.lab.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #watch(): Promise<void> {
    const path = '/apis/network.alibabacloud.com/v1beta1/podenis';
    const see = (podEni: z.infer<typeof podEniSchema>) => {
      const { name } = podEni.metadata;
      this.#present.add(name);
      if (podEni.status?.phase !== 'Bind') return;
      if (!this.#boundMs.has(name)) this.#boundMs.set(name, performance.now());
      const { instanceID: instanceId } = podEni.status;
      if (this.#places.get(name)?.instanceId === instanceId) return;
      this.#places.set(name, { instanceId, sinceMs: performance.now() });
    };
    const api = await this.lab.cluster.client({ maxConnections: 1 });
    try {
      for await (const event of watch(api, path, { schema: podEniSchema, signal: this.#stop.signal })) {
        if (event.type === 'LISTED') for (const podEni of event.objects) see(podEni);
        else if (event.type === 'DELETED') this.#present.delete(event.object.metadata.name);
        else see(event.object);
        this.#waiting.wake();
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error;
    } finally {
      api.close();
    }
  }

  /** Creates settled Fixed PodENIs, as in a cluster that has run for a long time. */
  async createSettledRecords(count: number): Promise<void> {
    const end = this.settledRecords + count;
    const work = async () => {
      while (this.settledRecords < end) {
        const name = `settled-${this.settledRecords}`;
        this.settledRecords += 1;
        await this.#api.create(POD_ENIS, settledRecord(name));
        await this.#api.patch(`${POD_ENIS}/${name}/status`, 'merge', {
          status: { phase: 'Unbind', podLastSeen: new Date().toISOString() },
        });
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, work));
  }
}

interface PodOptions {
  networking?: string;
  /** Gives the pod a stable name. */
  isOfStatefulSet?: boolean;
}

/** A pod of the load: bound to its node, tolerating everything, with what the webhook would add. */
export function podManifest(
  name: string,
  nodeName: string,
  { networking = 'bench', isOfStatefulSet = false }: PodOptions = {},
) {
  const owner = { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'bench', uid: 'bench', controller: true };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      annotations: { 'k8s.aliyun.com/pod-eni': 'true', 'k8s.aliyun.com/pod-networking': networking },
      ...(isOfStatefulSet ? { ownerReferences: [owner] } : {}),
    },
    spec: {
      nodeName,
      containers: [{ name: 'main', image: 'registry.k8s.io/pause:3.10' }],
      tolerations: [{ operator: 'Exists' }],
    },
  };
}

function settledRecord(name: string) {
  return {
    apiVersion: 'network.alibabacloud.com/v1beta1',
    kind: 'PodENI',
    metadata: { name, annotations: { 'k8s.aliyun.com/pod-uid': name }, labels: { 'k8s.aliyun.com/node': 'node-1' } },
    spec: {
      zone: ZONES[0],
      allocations: [
        {
          interface: 'eth0',
          ipv4: '10.250.0.1',
          ipv4CIDR: '10.250.0.0/16',
          allocationType: { type: 'Fixed', releaseStrategy: 'Never' },
          eni: {
            id: `eni-${name}`,
            mac: '00:16:3e:00:00:01',
            zone: ZONES[0],
            vSwitchID: POD_VSWITCH[ZONES[0]],
            securityGroupIDs: [POD_SECURITY_GROUP],
          },
        },
      ],
    },
  };
}
