import { inspect } from 'node:util';
import * as z from 'zod';
import { unsettled, type WorldState } from '../../sim/world/invariants.ts';
import { type NetworkInterface, networkInterfaceSchema } from '../../src/crds/network-interface.ts';
import { nodeSchema, type TerwayNode } from '../../src/crds/node.ts';
import { type PodEni, podEniSchema } from '../../src/crds/pod-eni.ts';
import { type PodNetworking, podNetworkingSchema } from '../../src/crds/pod-networking.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import { renderChart } from '../../tools/product/render-chart.ts';
import type { ClusterAccess } from '../cluster/access.ts';
import { ApiStatusError } from '../cluster/errors.ts';
import { ignoreMissing } from '../cluster/nodes.ts';
import { isTransient } from '../cluster/watch.ts';
import {
  CLUSTER_ID,
  type ControlPlane,
  ControlPlaneLab,
  type ControlPlaneOptions,
  type LabNode,
  POD_SECURITY_GROUP,
  POD_VSWITCH,
  ZONES,
  type Zone,
} from '../harness/lab.ts';

export const API = '/apis/network.alibabacloud.com/v1beta1';
export const [ZONE_H, ZONE_I] = ZONES;
/** Three member slots: the smallest instance type of the simulator that takes a trunk. */
export const SMALL_TYPE = 'ecs.u1-c1m4.xlarge';
/** No trunk at all. */
export const TRUNKLESS_TYPE = 'ecs.g6.large';

/** An asynchronous change takes long enough to be seen, and short enough for many tests. */
export const LATENCIES = { createMs: 300, attachMs: 600, detachMs: 600, deleteMs: 200, answerMs: 5 };
/** What waits for a round of something is served within seconds. */
export const QUICK = {
  collector: { interval: '2s', minimumAge: '1s' },
  podNetworkingRecheck: '3s',
  logLevel: 'debug',
  leaseDuration: '4s',
  renewDeadline: '3s',
  retryPeriod: '500ms',
};
/** Enough for one life cycle with a slow machine around it. */
const WAIT_MS = 30_000;

/** Of a log in a message about a failure. A summary shows only the first lines of it. */
const LINES_ON_FAILURE = 6;
const LINE_LENGTH = 300;
/** Warnings and worse, and what happened to the lease. */
const COMPLAINT = /"level":"(warn|error|fatal)"|"msg":"(lease|leading)"/;
const ONE_LINE = { depth: 10, breakLength: Number.POSITIVE_INFINITY, compact: true };

const eventSchema = z.object({
  type: z.string(),
  reason: z.string(),
  note: z.string().default(''),
  regarding: z.object({ kind: z.string(), namespace: z.string().optional(), name: z.string() }),
  series: z.object({ count: z.number() }).nullish(),
});

/** One event as `kubectl describe` shows it. */
export interface SeenEvent {
  type: string;
  reason: string;
  note: string;
  count: number;
}

export interface PodOptions {
  node?: string;
  networking?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: readonly Record<string, unknown>[];
}

/**
 * Rights of a control plane whose configuration has these `nodeConfigMaps`, as the chart gives them: config/rbac, and a rule for
 * the ConfigMaps.
 */
export async function chartRights(nodeConfigMaps: readonly string[]): Promise<string> {
  const values = { 'controlPlane.config.clusterID': CLUSTER_ID, 'controlPlane.config.nodeConfigMaps': nodeConfigMaps };
  return renderChart(values, ['--show-only', 'templates/control-plane/rbac.yaml']);
}

/** A laboratory with one control plane, and the words that the tests are written in. */
export class OperatorLab implements AsyncDisposable {
  readonly lab: ControlPlaneLab;
  #controlPlane: ControlPlane | undefined;
  readonly #config: Record<string, unknown>;

  private constructor(lab: ControlPlaneLab, config: Record<string, unknown>) {
    this.lab = lab;
    this.#config = config;
  }

  /** @param config is merged over {@link QUICK}. */
  static async start(cluster: ClusterAccess, config: Record<string, unknown> = {}): Promise<OperatorLab> {
    return new OperatorLab(await ControlPlaneLab.start({ cluster, latencies: LATENCIES }), { ...QUICK, ...config });
  }

  get controlPlane(): ControlPlane {
    if (this.#controlPlane === undefined) throw new Error('no control plane runs');
    return this.#controlPlane;
  }

  async startControlPlane(
    config: Record<string, unknown> = {},
    options: Pick<ControlPlaneOptions, 'waitReady'> = {},
  ): Promise<void> {
    this.#controlPlane = await this.lab.startControlPlane({ ...options, config: { ...this.#config, ...config } });
  }

  async stopControlPlane(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.controlPlane.process.stop(signal);
    this.#controlPlane = undefined;
  }

  /** A node whose trunk is attached. */
  async addNode(zone: Zone = ZONE_H, instanceType?: string): Promise<LabNode> {
    const node = await this.lab.addNode(zone, instanceType);
    await this.trunkOf(node.name);
    return node;
  }

  /** Waits for the trunk that the Kubernetes node shows, with its member slots. */
  async trunkOf(name: string, other?: string): Promise<string> {
    const shown = z.object({
      metadata: z.object({ annotations: z.record(z.string(), z.string()).default({}) }),
      status: z.object({ allocatable: z.record(z.string(), z.string()) }),
    });
    return pollUntil(
      async () => {
        const { metadata, status } = shown.parse(await this.lab.api.get(`/api/v1/nodes/${name}`));
        const trunk = metadata.annotations['k8s.aliyun.com/trunk-on'];
        return (status.allocatable['aliyun/member-eni'] ?? '0') === '0' || trunk === other ? undefined : trunk;
      },
      { what: `the trunk of ${name}`, timeoutMs: WAIT_MS },
    );
  }

  /** Creates a PodNetworking; it serves both zones unless the spec says otherwise. */
  async createNetworking(name: string, spec: Record<string, unknown> = {}): Promise<void> {
    await this.lab.api.create(`${API}/podnetworkings`, {
      apiVersion: 'network.alibabacloud.com/v1beta1',
      kind: 'PodNetworking',
      metadata: { name },
      spec: {
        vSwitchOptions: ZONES.map((zone) => POD_VSWITCH[zone]),
        securityGroupIDs: [POD_SECURITY_GROUP],
        ...spec,
      },
    });
  }

  /** {@link createNetworking} that waits until pods are served. */
  async readyNetworking(name: string, spec: Record<string, unknown> = {}): Promise<void> {
    await this.createNetworking(name, spec);
    await this.networking(name, ({ status }) => status?.status === 'Ready');
  }

  async createPod(namespace: string, name: string, options: PodOptions): Promise<string> {
    const { node, networking, labels, annotations, finalizers, ownerReferences } = options;
    const created = await this.lab.api.create(`/api/v1/namespaces/${namespace}/pods`, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name,
        ...(labels === undefined ? {} : { labels }),
        ...(finalizers === undefined ? {} : { finalizers }),
        ...(ownerReferences === undefined ? {} : { ownerReferences }),
        annotations: {
          ...(networking === undefined
            ? {}
            : { 'k8s.aliyun.com/pod-eni': 'true', 'k8s.aliyun.com/pod-networking': networking }),
          ...annotations,
        },
      },
      spec: {
        ...(node === undefined ? {} : { nodeName: node }),
        containers: [{ name: 'main', image: 'registry.k8s.io/pause:3.10' }],
        tolerations: [{ operator: 'Exists' }],
      },
    });
    return z.object({ metadata: z.object({ uid: z.string() }) }).parse(created).metadata.uid;
  }

  /** Deletes a pod as a node that has stopped it would; with a grace period it stays until somebody does. */
  async deletePod(namespace: string, name: string, gracePeriodSeconds = 0): Promise<void> {
    await this.lab.api.delete(`/api/v1/namespaces/${namespace}/pods/${name}`, { query: { gracePeriodSeconds } });
  }

  async finishPod(namespace: string, name: string, phase: 'Succeeded' | 'Failed'): Promise<void> {
    await this.lab.api.patch(`/api/v1/namespaces/${namespace}/pods/${name}/status`, 'merge', { status: { phase } });
  }

  async findPodEni(namespace: string, name: string): Promise<PodEni | undefined> {
    return this.#find(`${API}/namespaces/${namespace}/podenis/${name}`, podEniSchema);
  }

  /** Waits until the PodENI is as wanted. */
  async podEni(
    namespace: string,
    name: string,
    wanted: (podEni: PodEni) => boolean,
    timeoutMs = WAIT_MS,
  ): Promise<PodEni> {
    return this.#until(`PodENI ${namespace}/${name}`, () => this.findPodEni(namespace, name), wanted, timeoutMs);
  }

  async bound(namespace: string, name: string, uid?: string): Promise<PodEni> {
    return this.podEni(
      namespace,
      name,
      ({ status, metadata }) =>
        status?.phase === 'Bind' &&
        status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true &&
        (uid === undefined || metadata.annotations?.['k8s.aliyun.com/pod-uid'] === uid),
    );
  }

  /** Waits until neither PodENI nor the NetworkInterface nor the ENI is there. */
  async released(podEni: PodEni): Promise<void> {
    const { namespace = '', name, uid } = podEni.metadata;
    const eniId = idOf(podEni);
    await pollUntil(
      async () => {
        const left = await this.findPodEni(namespace, name);
        if (left !== undefined && left.metadata.uid === uid) return undefined;
        if ((await this.networkInterface(eniId)) !== undefined) return undefined;
        return (await this.eni(eniId)) === undefined ? true : undefined;
      },
      { what: `${eniId} of PodENI ${namespace}/${name} to be released`, timeoutMs: WAIT_MS },
    );
  }

  async networking(name: string, wanted: (networking: PodNetworking) => boolean): Promise<PodNetworking> {
    const find = () => this.#find(`${API}/podnetworkings/${name}`, podNetworkingSchema);
    return this.#until(`PodNetworking ${name}`, find, wanted, WAIT_MS);
  }

  async networkInterface(id: string): Promise<NetworkInterface | undefined> {
    return this.#find(`${API}/networkinterfaces/${id}`, networkInterfaceSchema);
  }

  async terwayNode(name: string): Promise<TerwayNode | undefined> {
    return this.#find(`${API}/nodes/${name}`, nodeSchema);
  }

  /** The ENI as the cloud has it. */
  async eni(id: string) {
    const { enis } = await this.lab.cloud.state();
    return enis.find((eni) => eni.id === id);
  }

  async events(kind: string, namespace: string, name: string): Promise<SeenEvent[]> {
    const { objects } = await this.lab.api.list(`/apis/events.k8s.io/v1/namespaces/${namespace}/events`);
    return objects
      .map((object) => eventSchema.parse(object))
      .filter(({ regarding }) => regarding.kind === kind && regarding.name === name)
      .map(({ type, reason, note, series }) => ({ type, reason, note, count: series?.count ?? 1 }));
  }

  /** Waits for an event about a pod. */
  async podEvent(namespace: string, name: string, reason: string): Promise<SeenEvent> {
    return pollUntil(async () => (await this.events('Pod', namespace, name)).find((event) => event.reason === reason), {
      what: `event ${reason} of pod ${namespace}/${name}`,
      timeoutMs: WAIT_MS,
    });
  }

  /** Cluster and cloud now; the cluster is read after the cloud. */
  async world(): Promise<WorldState> {
    const [cloud, counters] = [await this.lab.cloud.state(), await this.lab.cloud.counters()];
    const list = async <T>(plural: string, schema: z.ZodType<T>): Promise<T[]> => {
      const { objects } = await this.lab.api.list(`${API}/${plural}`);
      return objects.map((object) => schema.parse(object));
    };
    return {
      clusterId: CLUSTER_ID,
      cloud,
      counters,
      podEnis: await list('podenis', podEniSchema),
      networkInterfaces: await list('networkinterfaces', networkInterfaceSchema),
      nodes: await list('nodes', nodeSchema),
    };
  }

  /**
   * Waits until every record agrees with the cloud and nothing moves. Just after a change the system may not have noticed
   * it yet: what must have happened by then is said by `wanted`.
   */
  async settled(wanted: (world: WorldState) => boolean = () => true, timeoutMs = WAIT_MS): Promise<WorldState> {
    let problems: string[] = [];
    try {
      return await pollUntil(
        async () => {
          const world = await this.world();
          problems = unsettled(world);
          if (problems.length === 0 && !wanted(world)) problems = ['not yet as expected'];
          return problems.length === 0 ? world : undefined;
        },
        { what: 'the system to settle', timeoutMs, intervalMs: 200 },
      );
    } catch (error) {
      throw new Error(`not settled after ${timeoutMs} ms:\n${problems.join('\n')}`, { cause: error });
    }
  }

  /** Calls that change something in the cloud, by action, since the simulator started. */
  async mutations(): Promise<Record<string, unknown>> {
    const { calls } = await this.lab.cloud.counters();
    return Object.fromEntries(Object.entries(calls).filter(([action]) => !action.startsWith('Describe')));
  }

  /** Removes everything that the tests left in the cluster, then ends the processes. */
  async close(): Promise<void> {
    const { api } = this.lab;
    if (this.#controlPlane !== undefined) await this.stopControlPlane();
    const pods = await api.list('/api/v1/pods');
    for (const pod of pods.objects.map((object) => ownSchema.parse(object))) {
      await this.#remove(`/api/v1/namespaces/${pod.metadata.namespace}/pods/${pod.metadata.name}`);
    }
    for (const plural of ['podenis', 'networkinterfaces', 'nodes', 'podnetworkings']) {
      const { objects } = await api.list(`${API}/${plural}`);
      for (const { metadata } of objects.map((object) => ownSchema.parse(object))) {
        const scope = metadata.namespace === undefined ? '' : `/namespaces/${metadata.namespace}`;
        await this.#remove(`${API}${scope}/${plural}/${metadata.name}`);
      }
    }
    await api.delete('/api/v1/nodes');
    await this.lab.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Deletes an object and whatever holds it, as an administrator with `kubectl edit` can. */
  async strip(path: string): Promise<void> {
    await this.#remove(path);
  }

  async #remove(path: string): Promise<void> {
    const { api } = this.lab;
    await ignoreMissing(api.delete(path, { query: { gracePeriodSeconds: 0 } }));
    await ignoreMissing(api.patch(path, 'merge', { metadata: { finalizers: null } }));
  }

  async #find<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
    try {
      return schema.parse(await this.lab.api.get(path));
    } catch (error) {
      if (error instanceof ApiStatusError && error.status === 404) return undefined;
      throw error;
    }
  }

  async #until<T>(
    what: string,
    find: () => Promise<T | undefined>,
    wanted: (object: T) => boolean,
    timeoutMs: number,
  ): Promise<T> {
    let last: T | undefined;
    try {
      return await pollUntil(
        async () => {
          last = await find().catch((error: unknown) => {
            if (!isTransient(error)) throw error;
            return undefined;
          });
          return last !== undefined && wanted(last) ? last : undefined;
        },
        { what: `${what} to be as expected`, timeoutMs },
      );
    } catch (error) {
      const log = await this.#logAbout(what.slice(what.indexOf(' ') + 1));
      throw new Error(`${what} is not as expected: ${inspect(last, ONE_LINE)}\n${log}`, { cause: error });
    }
  }

  /** The control plane's last lines about an object, and its last complaints. */
  async #logAbout(name: string): Promise<string> {
    const lines = ((await this.#controlPlane?.process.output()) ?? '').split('\n');
    return lines
      .filter((line) => line.includes(`"${name}"`) || COMPLAINT.test(line))
      .slice(-LINES_ON_FAILURE)
      .map((line) => line.slice(0, LINE_LENGTH))
      .join('\n');
  }
}

const ownSchema = z.object({ metadata: z.object({ name: z.string(), namespace: z.string().optional() }) });

/** No pod has or had an interface. */
export function isEmpty({ podEnis, networkInterfaces }: WorldState): boolean {
  return podEnis.length === 0 && networkInterfaces.length === 0;
}

/** The ENI of a record that has one interface. */
export function idOf(podEni: PodEni): string {
  return podEni.spec.allocations?.[0]?.eni.id ?? '';
}

/** The address of a record that has one interface. */
export function addressOf(podEni: PodEni): string {
  return podEni.spec.allocations?.[0]?.ipv4 ?? '';
}

/** A condition in the words of its reader: `Ready=False Reason: message`. */
export function conditionOf(
  object: {
    status?:
      | { conditions?: { type: string; status: string; reason: string; message: string }[] | undefined }
      | undefined;
  },
  type = 'Ready',
): string {
  const found = object.status?.conditions?.find((condition) => condition.type === type);
  return found === undefined ? 'absent' : `${type}=${found.status} ${found.reason}: ${found.message}`;
}
