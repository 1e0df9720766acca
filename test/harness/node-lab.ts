import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as z from 'zod';
import { rpcV1 } from '../../sim/cloud/http/raw-clients.ts';
import { startVpcSwitch, type VpcSwitch } from '../../sim/vpc/vpc-switch.ts';
import { parseJson } from '../../tools/machine/lock.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import type { ApiClient } from '../cluster/api.ts';
import { type Cluster, startCluster } from '../cluster/cluster.ts';
import type { CommandResult } from '../cluster/command.ts';
import type { KubeProxyMode } from '../cluster/real-nodes/machine-config.ts';
import { type RealNode, startRealNode } from '../cluster/real-nodes/real-node.ts';
import { type DnsNetwork, dnsManifests, writeDnsImage } from './cluster-dns.ts';
import {
  ACCESS_KEY,
  ControlPlaneLab,
  type LabOptions,
  NODE_SECURITY_GROUP,
  NODE_VSWITCH,
  POD_SECURITY_GROUP,
  REGION,
  ZONES,
  type Zone,
} from './lab.ts';
import { Product, type ProductOptions, SERVICE_CIDRS } from './product.ts';
import { primaryAddresses, VpcHost } from './vpc-host.ts';

const INSTANCE_TYPE = 'ecs.g7.4xlarge';
/** Address of the API server in the VPC. ACK, too, gives its managed control plane an address there. */
const API_SERVER_ADDRESS = '10.0.15.200';

/** The parts of a start, in order. */
export type LabPart = 'cluster' | 'cloud' | 'switch' | 'nodes' | 'image';

/** A node with a kubelet, on an instance of the simulator. */
export interface WiredNode {
  name: string;
  zone: Zone;
  instanceId: string;
  real: RealNode;
}

export interface NodeOptions {
  zone: Zone;
  labels?: Readonly<Record<string, string>>;
  instanceType?: string;
  kubeProxyMode?: KubeProxyMode;
}

export interface NodeLabOptions extends Omit<LabOptions, 'cluster' | 'stateDir'>, ProductOptions {
  nodes: readonly NodeOptions[];
  /** Runs each part of the start, for callers that show progress. `log` takes the progress lines of that part. */
  part?: <T>(name: LabPart, run: (log: (line: string) => void) => Promise<T>) => Promise<T>;
}

/**
 * A cluster with kubelets, the simulated cloud with its data plane between the nodes, and the product, installed from its image
 * and its manifests. Only the cloud is simulated. One folder holds the state; `close` ends everything and removes the folder.
 */
export class NodeLab implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly lab: ControlPlaneLab;
  readonly vpc: VpcSwitch;
  readonly nodes: WiredNode[] = [];
  readonly product: Product;
  readonly stateDir: string;
  readonly #hosts: VpcHost[] = [];
  readonly #options: NodeLabOptions;
  #booting = 0;

  private constructor(
    parts: { cluster: Cluster; lab: ControlPlaneLab; vpc: VpcSwitch; stateDir: string },
    options: NodeLabOptions,
  ) {
    this.cluster = parts.cluster;
    this.lab = parts.lab;
    this.vpc = parts.vpc;
    this.stateDir = parts.stateDir;
    this.product = new Product(parts, options);
    this.#options = options;
  }

  /** @throws RangeError */
  node(name: string): WiredNode {
    const node = this.nodes.find((known) => known.name === name);
    if (node === undefined) throw new RangeError(`there is no ${name}`);
    return node;
  }

  get api(): ApiClient {
    return this.lab.api;
  }

  /**
   * Starts the cluster, the cloud, the switch and the nodes, builds the image and imports it on the nodes. Does not install the
   * product.
   *
   * @throws the signal's reason. A start that fails leaves nothing behind.
   */
  static async start(options: NodeLabOptions): Promise<NodeLab> {
    const { signal, log: ownLog = () => undefined, part = (_name, run) => run(ownLog) } = options;
    const stateDir = await mkdtemp(join(tmpdir(), 'terway-nodes-'));
    const closers: (() => Promise<void>)[] = [() => rm(stateDir, { recursive: true, force: true })];
    try {
      const common = signal === undefined ? {} : { signal };
      const cluster = await part('cluster', (log) =>
        startCluster({
          stateDir: join(stateDir, 'cluster'),
          realNodes: { apiServerAddress: API_SERVER_ADDRESS },
          ...(options.dualStack === true
            ? { extraFlags: { 'kube-apiserver': [`--service-cluster-ip-range=${SERVICE_CIDRS}`] } }
            : {}),
          log,
          ...common,
        }),
      );
      closers.push(() => cluster.stop());
      const { latencies, eniConf } = options;
      const lab = await part('cloud', (log) =>
        ControlPlaneLab.start({
          cluster,
          stateDir: join(stateDir, 'lab'),
          log,
          manifests: options.installer !== 'helm',
          ...common,
          ...(latencies === undefined ? {} : { latencies }),
          ...(eniConf === undefined ? {} : { eniConf }),
        }),
      );
      closers.push(() => lab.close());
      const vpc = await part('switch', (log) =>
        startVpcSwitch({
          cloud: lab.cloud,
          metadata: { backend: lab.metadataEndpoint },
          stateDir: join(stateDir, 'vpc'),
          signal,
          log,
        }),
      );
      closers.push(() => vpc.close());
      const nodeLab = new NodeLab({ cluster, lab, vpc, stateDir }, options);
      await nodeLab.#connectApiServer();
      const [path] = await part('nodes', (log) => {
        log('starting nodes');
        return allOf([nodeLab.product.writeImage(), ...options.nodes.map((node) => nodeLab.addNode(node))]);
      });
      await part('image', (log) => {
        log('importing the image on the nodes');
        return allOf(nodeLab.nodes.map(({ real }) => real.importImage(path)));
      });
      return nodeLab;
    } catch (error) {
      for (const close of closers.reverse()) await close();
      throw error;
    }
  }

  /** Starts an instance and boots its node. */
  async addNode({
    zone,
    labels = {},
    instanceType = INSTANCE_TYPE,
    kubeProxyMode = 'nftables',
  }: NodeOptions): Promise<WiredNode> {
    this.#booting += 1;
    const name = `node-${this.#booting}`;
    const { instanceId } = await this.lab.cloud.runInstance({
      instanceType,
      vSwitchId: NODE_VSWITCH[zone],
      securityGroupIds: [NODE_SECURITY_GROUP],
      ...(this.#options.dualStack === true ? { ipv6AddressCount: 1 } : {}),
      name,
    });
    const real = await startRealNode(this.cluster, {
      name,
      instanceId,
      instanceType,
      zone,
      region: REGION,
      labels,
      kubeProxyMode,
      internalIps: await primaryAddresses(this.lab.cloud, instanceId),
      plugInterfaces: async (netnsPath) => {
        await this.vpc.removeNode(instanceId);
        await this.vpc.addNode({ instanceId, netnsPath, configurePrimary: true });
      },
      ...(this.#options.signal === undefined ? {} : { signal: this.#options.signal }),
    });
    const booted = { name, zone, instanceId, real };
    this.nodes.push(booted);
    this.nodes.sort((a, b) => a.name.localeCompare(b.name));
    if (this.product.imagePath !== undefined) await real.importImage(this.product.imagePath);
    return booted;
  }

  /** Switches a node off for good and releases its instance, as when a cluster shrinks. */
  async removeNode(node: WiredNode): Promise<void> {
    this.nodes.splice(this.nodes.indexOf(node), 1);
    await node.real.stop();
    await this.vpc.removeNode(node.instanceId);
    await this.lab.cloud.releaseInstance(node.instanceId);
    await this.api.delete(`/api/v1/nodes/${node.name}`);
    const pods = { query: { fieldSelector: `spec.nodeName=${node.name}`, gracePeriodSeconds: 0 } };
    for (const namespace of ['default', 'kube-system'])
      await this.api.delete(`/api/v1/namespaces/${namespace}/pods`, pods);
  }

  /**
   * Puts the API server into the VPC: the primary ENI of its instance is the hub's interface. The security groups let pods reach
   * the API server and their nodes, and let both of them reach the pods. Every cluster needs that.
   */
  async #connectApiServer(): Promise<void> {
    const { hub } = this.cluster;
    if (hub === undefined) throw new Error('the cluster has no hub');
    const { instanceId } = await this.lab.cloud.runInstance({
      instanceType: 'ecs.g7.xlarge',
      vSwitchId: NODE_VSWITCH[ZONES[0]],
      securityGroupIds: [NODE_SECURITY_GROUP],
      primaryIpAddress: hub.address,
      name: 'api-server',
    });
    await this.vpc.addNode({ instanceId, netnsPath: hub.netnsPath, configurePrimary: true });
    await this.allow({ into: POD_SECURITY_GROUP, from: NODE_SECURITY_GROUP });
    await this.allow({ into: NODE_SECURITY_GROUP, from: POD_SECURITY_GROUP });
  }

  /** Lets the members of one security group reach those of another. `ports`, such as `80/80`, limits this to TCP. */
  async allow({ into, from, ports }: { into: string; from: string; ports?: string }): Promise<void> {
    const response = await rpcV1(this.lab.endpoint, ACCESS_KEY, {
      method: 'POST',
      params: {
        Action: 'AuthorizeSecurityGroup',
        RegionId: REGION,
        SecurityGroupId: into,
        SourceGroupId: from,
        ...(ports === undefined ? { IpProtocol: 'all', PortRange: '-1/-1' } : { IpProtocol: 'tcp', PortRange: ports }),
        Policy: 'accept',
        Priority: '1',
      },
    });
    if (!response.ok) throw new Error(`AuthorizeSecurityGroup: ${response.status} ${await response.text()}`);
    await this.vpc.settled();
  }

  /** Installs CoreDNS and waits until it answers. The product must be installed. */
  async installDns(network?: DnsNetwork): Promise<void> {
    const path = join(this.stateDir, 'coredns.tar');
    const { signal, log } = this.#options;
    await writeDnsImage(path, { signal, log });
    await allOf(this.nodes.map(({ real }) => real.importImage(path)));
    // Without Helm there is no webhook, so pods have to name their PodNetworking.
    await this.lab.apply(dnsManifests(network ?? (this.#options.installer === 'helm' ? 'selected' : 'named')));
    await this.product.rolledOut('deployment/coredns');
  }

  /** Starts a machine in the VPC that is not a node. It ends with the lab at the latest. */
  async startHost(name: string): Promise<VpcHost> {
    const host = await VpcHost.start({
      vpc: this.vpc,
      cloud: this.lab.cloud,
      logDirectory: this.stateDir,
      name,
      zone: ZONES[0],
    });
    this.#hosts.push(host);
    return host;
  }

  /** Installs the product and waits until every node is Ready. */
  async install(): Promise<void> {
    await this.product.install();
    await this.nodesReady();
  }

  async nodesReady(): Promise<void> {
    for (const { name } of this.nodes) await this.#ready(`/api/v1/nodes/${name}`);
  }

  /** Waits until a pod is Ready. */
  async podReady(namespace: string, name: string): Promise<void> {
    await this.#ready(`/api/v1/namespaces/${namespace}/pods/${name}`).catch(async (error: unknown) => {
      const { stdout } = await this.cluster.kubectl(['describe', 'pod', '-n', namespace, name]);
      throw new Error(stdout.slice(-1500), { cause: error });
    });
  }

  /** Waits until an object has the condition Ready. */
  async #ready(path: string): Promise<void> {
    await pollUntil(async () => (isReady(await this.api.find(path)) ? true : undefined), {
      what: `${path} to be Ready`,
      timeoutMs: 60_000,
      signal: this.#options.signal,
    });
  }

  /** Runs a command in a pod, as an operator would. A command that fails is a `code`, not an exception. */
  inPod(namespace: string, name: string, ...command: string[]): Promise<CommandResult> {
    return this.cluster.kubectl(['exec', '-n', namespace, name, '--', ...command]);
  }

  /**
   * Runs a command of the node in the network namespace of a pod that the agent has set up. Its packets are those of a
   * `kubectl exec`, which takes twenty times as long.
   */
  async inPodNetwork(namespace: string, name: string, ...command: string[]): Promise<CommandResult> {
    const pod = z
      .object({ spec: z.object({ nodeName: z.string() }) })
      .parse(await this.api.get(`/api/v1/namespaces/${namespace}/pods/${name}`));
    const { real } = this.node(pod.spec.nodeName);
    const { stdout } = await real.exec('sh', ['-c', `for file in ${RECORDS}/*.json; do cat "$file"; echo; done`]);
    const record = stdout
      .split('\n')
      .map((line) => recordSchema.safeParse(parseJson(line)).data?.attachment)
      .find((found) => found?.namespace === namespace && found.name === name);
    if (record === undefined) return { code: 1, stdout: '', stderr: `the agent has no record of ${namespace}/${name}` };
    return real.exec('nsenter', [`--net=${record.netnsPath}`, '--', ...command]);
  }

  /** Runs a command of the agent in the agent's container. */
  async agent({ real }: WiredNode, ...command: string[]): Promise<CommandResult> {
    const script = `pid=$(pgrep -o -f terway-agent.mjs)
      node=$(tr '\\0' '\\n' <"/proc/$pid/environ" | grep -E '^NODE_(IP|NAME)=')
      exec nsenter --target "$pid" --mount --pid --root -- env PATH=/usr/local/bin:/bin $node terway-agent "$@"`;
    return real.exec('sh', ['-c', script, 'sh', ...command]);
  }

  /** The agent's running pod on a node. */
  async agentPod(node: WiredNode): Promise<string> {
    const podsSchema = z.array(
      z.object({ metadata: z.object({ name: z.string() }), status: z.object({ phase: z.string() }) }),
    );
    return pollUntil(
      async () => {
        const { objects } = await this.api.list('/api/v1/namespaces/kube-system/pods', {
          query: {
            labelSelector: 'app.kubernetes.io/name=terway-agent',
            fieldSelector: `spec.nodeName=${node.name}`,
          },
        });
        return podsSchema.parse(objects).find(({ status }) => status.phase === 'Running')?.metadata.name;
      },
      { what: `the agent's pod on ${node.name}`, timeoutMs: 30_000 },
    );
  }

  async close(): Promise<void> {
    await Promise.all([...this.nodes.map(({ real }) => real.stop()), ...this.#hosts.map((host) => host.stop())]);
    await this.vpc.close();
    await this.lab.close();
    await this.cluster.stop();
    await rm(this.stateDir, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Like Promise.all, but rejects only after all have settled, so that none still runs during the cleanup. */
async function allOf<T extends readonly unknown[] | []>(
  promises: T,
): Promise<{ -readonly [I in keyof T]: Awaited<T[I]> }> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

/** Where the agent keeps its records, and the fields that are needed here (src/agent/records.ts). */
const RECORDS = '/var/lib/terway-agent/pods';
const recordSchema = z.object({
  attachment: z.object({ namespace: z.string(), name: z.string(), netnsPath: z.string() }),
});

const readySchema = z.object({
  status: z.object({ conditions: z.array(z.object({ type: z.string(), status: z.string() })) }),
});

function isReady(object: unknown): boolean {
  const { conditions = [] } = readySchema.safeParse(object).data?.status ?? {};
  return conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
}
