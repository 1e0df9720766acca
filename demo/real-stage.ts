import { relative } from 'node:path';
import * as z from 'zod';
import type { VpcSwitch } from '../sim/vpc/vpc-switch.ts';
import type { CommandResult } from '../test/cluster/command.ts';
import { VPC, type Zone } from '../test/harness/lab.ts';
import { type LabPart, NodeLab, type WiredNode } from '../test/harness/node-lab.ts';
import { ensureCoreDns } from '../tools/programs/coredns.ts';
import { ensureHelm } from '../tools/programs/helm.ts';
import { ensureKubeBinaries } from '../tools/programs/kubernetes.ts';
import { ensureRealNodePrograms } from '../tools/programs/node-programs.ts';
import { ensureSwitchProgram } from '../tools/programs/vpc-switch.ts';
import type { Closers } from './closers.ts';
import { DemoError } from './errors.ts';
import type { Narrator } from './narrator.ts';
import { forRealNodes, GUEST, GUEST_SECURITY_GROUP, guestManifests } from './real-samples.ts';
import { readSamples } from './samples.ts';
import { ORDINARY, sharedPodSchema } from './shared-pods.ts';
import { Stage, type StageParts } from './stage.ts';
import { NEVER_MS } from './time.ts';

/** Two in the zone of the StatefulSet, so that its pods can move. */
const NODE_ZONES: readonly Zone[] = ['cn-hangzhou-h', 'cn-hangzhou-h', 'cn-hangzhou-i'];

const NAMESPACES = '/api/v1/namespaces';

const PARTS: Record<LabPart, string> = {
  cluster: 'etcd, kube-apiserver, kube-controller-manager, kube-scheduler',
  cloud: 'the simulated cloud; eni-config in the cluster',
  switch: 'the switch that carries frames between nodes, and to the API server, as the VPC would',
  nodes: `${NODE_ZONES.length} nodes, each with containerd, kubelet and kube-proxy`,
  image: 'the image of the product, given to the nodes',
};

const anyPodSchema = sharedPodSchema.extend({
  spec: sharedPodSchema.shape.spec.extend({ hostNetwork: z.boolean().default(false) }),
});
const agentStateSchema = z.object({ verdicts: z.record(z.string(), z.number()) });
const featuresSchema = z.array(z.object({ feature: z.string(), available: z.boolean() }));

/** A cluster of nodes that run pods: everything is real but the cloud and the network of the cloud. */
export class RealStage extends Stage {
  /** The API server's. */
  override readonly otherInstances = 1;
  readonly #nodeLab: NodeLab;

  private constructor(nodeLab: NodeLab, parts: Omit<StageParts, 'cluster' | 'lab'>) {
    super({ ...parts, cluster: nodeLab.cluster, lab: nodeLab.lab });
    this.#nodeLab = nodeLab;
  }

  /**
   * Starts everything but the product, and tells about it.
   *
   * @param closers gets what has to be done at the end, however far the start comes.
   * @throws MissingToolError and others whose message says what to do; the signal's reason.
   */
  static async start(narrator: Narrator, closers: Closers, stop: AbortSignal): Promise<RealStage> {
    narrator.chapter(
      'A cluster with nodes on this machine',
      'Kubernetes as processes; nodes as namespaces with kubelets that run pods; all state in one temporary folder. ' +
        'Nothing of it touches the network of this machine.',
    );
    const broken = new AbortController();
    const signal = AbortSignal.any([stop, broken.signal]);
    await narrator.step('Kubernetes, containerd, Helm, CoreDNS and a switch, built once and kept in a cache', (log) =>
      buildPrograms(signal, log),
    );
    const nodeLab = await NodeLab.start({
      nodes: NODE_ZONES.map((zone) => ({ zone })),
      eniConf: { ipam_type: 'crd', max_pool_size: 5, min_pool_size: 0 },
      installer: 'helm',
      replicas: 2,
      signal,
      part: (name, run) => narrator.step(PARTS[name], run),
    });
    closers.add(() => nodeLab.close());
    await nodeLab.lab.cloud.createSecurityGroup({ securityGroupId: GUEST_SECURITY_GROUP, vpcId: VPC });
    const { manifests, workloads, ...rest } = await readSamples(forRealNodes);
    const samples = {
      ...rest,
      manifests: [...manifests, ...guestManifests('node-1')],
      workloads: [...workloads, { name: GUEST, replicas: 1 }],
    };
    const common = { samples, nodeCount: NODE_ZONES.length, goal: 'Running' as const };
    const stage = new RealStage(nodeLab, { ...common, signal, broken, closers });
    stage.#superviseSwitch();
    return stage;
  }

  /** Folder of everything that the stage has made. */
  get stateDir(): string {
    return this.#nodeLab.stateDir;
  }

  pathBelowState(path: string): string {
    return relative(this.stateDir, path);
  }

  get vpc(): VpcSwitch {
    return this.#nodeLab.vpc;
  }

  get wiredNodes(): readonly WiredNode[] {
    return this.#nodeLab.nodes;
  }

  /** @throws RangeError */
  node(name: string): WiredNode {
    return this.#nodeLab.node(name);
  }

  /** Name of the node that has this ENI's device. */
  nodeOfDevice(eniId: string): string {
    const device = this.vpc.devices().find((each) => each.eniId === eniId);
    return this.wiredNodes.find(({ instanceId }) => instanceId === device?.instanceId)?.name ?? '?';
  }

  /** The device of a node's trunk. @throws DemoError when it has none */
  async trunkDevice(node: WiredNode): Promise<{ name: string; eniId: string; macAddress: string }> {
    const { enis } = await this.lab.cloud.state();
    const trunk = enis.find(({ type, attachment }) => type === 'Trunk' && attachment?.instanceId === node.instanceId);
    const device = this.vpc.devices().find(({ eniId }) => eniId === trunk?.id);
    if (trunk === undefined || device === undefined) throw new DemoError(`${node.name} has no device for its trunk`);
    return { name: device.name, eniId: trunk.id, macAddress: trunk.macAddress };
  }

  /** Installs the product with Helm; resolves when control plane and agents run and every node is Ready. */
  install(): Promise<void> {
    return this.#unlessStopped(async () => {
      await this.#nodeLab.install();
      // Helm has brought the custom resources along.
      this.follow();
    });
  }

  /** Installs CoreDNS, whose pods share ENIs; resolves when it answers. */
  installDns(): Promise<void> {
    return this.#unlessStopped(() => this.#nodeLab.installDns('shared'));
  }

  /** The pods that share ENIs. */
  async sharedPods() {
    const paths = [`${NAMESPACES}/kube-system/pods`, `${NAMESPACES}/${ORDINARY.namespace}/pods`];
    const lists = await Promise.all(paths.map((path) => this.#nodeLab.api.list(path)));
    const pods = lists.flatMap(({ objects }) => objects.map((object) => anyPodSchema.parse(object)));
    return pods.filter(({ spec }) => !spec.hostNetwork);
  }

  /** Runs a command in a pod of the samples. A failure of the command is a `code`. */
  inPod(name: string, ...command: string[]): Promise<CommandResult> {
    return this.exec('default', name, ...command);
  }

  /** The same in any pod. */
  exec(namespace: string, name: string, ...command: string[]): Promise<CommandResult> {
    return this.cluster.kubectl(['exec', '-n', namespace, name, '--', ...command], { signal: this.signal });
  }

  /** What the agent's tag programs have done with packets on the trunk of a node, by name, since they were loaded. */
  async tagVerdicts(node: WiredNode): Promise<Record<string, number>> {
    return agentStateSchema.parse(JSON.parse(await this.agent(node, 'show', '--json'))).verdicts;
  }

  /** Whether the nodes' kernel runs the eBPF tag programs; tc filters count nothing. */
  async hasTagPrograms(): Promise<boolean> {
    const [node] = this.wiredNodes;
    if (node === undefined) return false;
    const features = featuresSchema.parse(JSON.parse(await this.agent(node, 'probe', '--json')));
    return features.some(({ feature, available }) => feature === 'cls_bpf' && available);
  }

  /** Runs a command of the agent on a node, as an operator would. @returns what it prints @throws DemoError */
  async agent(node: WiredNode, ...command: string[]): Promise<string> {
    this.signal.throwIfAborted();
    const { code, stdout, stderr } = await this.#unlessStopped(() => this.#nodeLab.agent(node, ...command));
    if (code === 0) return stdout;
    throw new DemoError(`terway-agent ${command.join(' ')} on ${node.name}: ${(stderr || stdout).trim()}`);
  }

  /** A failure after the demo was asked to end is the end's doing. */
  async #unlessStopped<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      this.signal.throwIfAborted();
      throw error;
    }
  }

  #superviseSwitch(): void {
    this.vpc.deviceEvents
      .wait(() => false, { timeoutMs: NEVER_MS, signal: this.signal })
      .catch((error: unknown) => this.break(error));
  }
}

async function buildPrograms(signal: AbortSignal, log: (line: string) => void): Promise<void> {
  await ensureKubeBinaries({ signal, log });
  await ensureRealNodePrograms({ signal, log });
  await ensureSwitchProgram({ signal, log });
  await ensureHelm({ signal, log });
  await ensureCoreDns({ signal, log });
}
