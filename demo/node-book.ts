import * as z from 'zod';
import { type TerwayNode, nodeSchema as terwayNodeSchema } from '../src/crds/node.ts';
import type { ApiClient } from '../test/cluster/api.ts';
import { watch } from '../test/cluster/watch.ts';
import { Changes, type WaitOptions } from './changes.ts';

const MEMBER_RESOURCE = 'aliyun/member-eni';

const nodeSchema = z.object({
  metadata: z.object({ name: z.string(), labels: z.record(z.string(), z.string()).default({}) }),
  status: z.object({ allocatable: z.record(z.string(), z.string()).default({}) }).prefault({}),
});
type KubernetesNode = z.infer<typeof nodeSchema>;

/** What there is to say about a node. */
export interface NodeRow {
  name: string;
  zone: string;
  instanceType: string;
  instanceId: string;
  /** Empty until the node has one. */
  trunkId: string;
  /** Member ENIs that the node says it can carry; empty until it does. */
  members: string;
}

/** Keeps the nodes of the cluster with what the control plane has written about them. */
export class NodeBook {
  readonly changes = new Changes();
  readonly #api: ApiClient;
  readonly #nodes = new Map<string, KubernetesNode>();
  readonly #terwayNodes = new Map<string, TerwayNode>();

  constructor(api: ApiClient) {
    this.#api = api;
  }

  /** Follows the cluster until the signal aborts. @throws what the watch throws */
  async follow(signal: AbortSignal): Promise<void> {
    await Promise.all([
      this.#read('/api/v1/nodes', nodeSchema, this.#nodes, signal),
      this.#read('/apis/network.alibabacloud.com/v1beta1/nodes', terwayNodeSchema, this.#terwayNodes, signal),
    ]);
  }

  rows(): NodeRow[] {
    return [...this.#nodes.values()].map((node) => this.#row(node)).sort((a, b) => a.name.localeCompare(b.name));
  }

  /** Node CRs, as they are now. */
  records(): TerwayNode[] {
    return [...this.#terwayNodes.values()];
  }

  /** Resolves with the nodes when `count` of them have a trunk and say how many member ENIs it carries. */
  untilTrunks(count: number, options: WaitOptions): Promise<NodeRow[]> {
    return this.changes.until(() => {
      const ready = this.rows().filter((row) => row.trunkId !== '' && row.members !== '');
      return ready.length === count ? ready : undefined;
    }, options);
  }

  async #read<T extends { metadata: { name: string } }>(
    path: string,
    schema: z.ZodType<T>,
    into: Map<string, T>,
    signal: AbortSignal,
  ): Promise<void> {
    for await (const event of watch(this.#api, path, { schema, signal })) {
      if (event.type === 'LISTED') {
        into.clear();
        for (const object of event.objects) into.set(object.metadata.name, object);
      } else if (event.type === 'DELETED') into.delete(event.object.metadata.name);
      else into.set(event.object.metadata.name, event.object);
      this.changes.notify();
    }
  }

  #row({ metadata, status }: KubernetesNode): NodeRow {
    const terway = this.#terwayNodes.get(metadata.name);
    const interfaces = Object.values(terway?.status?.networkInterfaces ?? {});
    const trunk = interfaces.find((each) => each.networkInterfaceType === 'Trunk' && each.status === 'InUse');
    return {
      name: metadata.name,
      zone: metadata.labels['topology.kubernetes.io/zone'] ?? '',
      instanceType: metadata.labels['node.kubernetes.io/instance-type'] ?? '',
      instanceId: terway?.spec.nodeMetadata?.instanceID ?? '',
      trunkId: trunk?.id ?? '',
      members: status.allocatable[MEMBER_RESOURCE] ?? '',
    };
  }
}
