import { copyFile, cp, mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import * as z from 'zod';
import { startVpcSwitch } from '../sim/vpc/vpc-switch.ts';
import { type FloodKind, floodCommand } from '../src/datapath/test-support/floods.ts';
import { type Cluster, startCluster } from '../test/cluster/cluster.ts';
import type { CommandResult } from '../test/cluster/command.ts';
import { type RealNode, startRealNode } from '../test/cluster/real-nodes/real-node.ts';
import {
  ControlPlaneLab,
  NODE_SECURITY_GROUP,
  NODE_VSWITCH,
  POD_SECURITY_GROUP,
  POD_VSWITCH,
  REGION,
  ZONES,
} from '../test/harness/lab.ts';
import { pollUntil } from '../tools/machine/poll.ts';
import { buildNative } from '../tools/product/native.ts';
import { podManifest } from './control-plane-bench.ts';

/** Directory on the node; the rest of its root file system is the machine's. */
const DIRECTORY = '/opt/agent-bench';
const PROGRAMS = ['terway-agent', 'terway-agent.mjs', 'terway-cni', 'terway-kernel', 'terway.bpf.o', 'frames'];
const INSTANCE_TYPE = 'ecs.g7.16xlarge';
const [ZONE] = ZONES;
const NODE_NAME = 'node-1';
const NAMESPACE = 'default';
const HEALTH = '127.0.0.1:9196';
const CONFIGURATION = JSON.stringify({ cniVersion: '1.1.0', name: 'terway', type: 'terway' });
const FOLDER = '/apis/network.alibabacloud.com/v1beta1';

const objectSchema = z.object({ metadata: z.object({ uid: z.string() }) });

/** One call of the plugin, timed from before its start until it ended. */
export interface Call {
  ms: number;
  code: number;
  output: string;
}

/** A sandbox that the runtime would make for a pod. */
export interface Sandbox {
  pod: string;
  /** Unique per sandbox. */
  containerId: string;
}

/**
 * One node with a kubelet's Node object, a simulated trunk and pods with assigned addresses, and the shipped agent. The
 * runtime does not use the plugin; the harness calls it.
 */
export class NodeBench implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;
  readonly #cluster: Cluster;
  readonly #lab: ControlPlaneLab;
  readonly #node: RealNode;
  #agent: { done: Promise<CommandResult>; stop: AbortController } | undefined;
  #healthUrl = '';

  private constructor(parts: { stack: AsyncDisposableStack; cluster: Cluster; lab: ControlPlaneLab; node: RealNode }) {
    this.#stack = parts.stack;
    this.#cluster = parts.cluster;
    this.#lab = parts.lab;
    this.#node = parts.node;
  }

  /** @param stateDir made and removed by the caller */
  static async start(stateDir: string): Promise<NodeBench> {
    await using stack = new AsyncDisposableStack();
    const cluster = stack.use(
      await startCluster({
        stateDir: join(stateDir, 'cluster'),
        realNodes: true,
        features: { scheduler: false, controllerManager: false },
      }),
    );
    const latencies = { createMs: 50, attachMs: 100, detachMs: 100 };
    const lab = stack.use(await ControlPlaneLab.start({ cluster, stateDir: join(stateDir, 'lab'), latencies }));
    const vpc = stack.use(await startVpcSwitch({ cloud: lab.cloud, stateDir: join(stateDir, 'vpc') }));
    const { instanceId } = await lab.cloud.runInstance({
      instanceType: INSTANCE_TYPE,
      vSwitchId: NODE_VSWITCH[ZONE],
      securityGroupIds: [NODE_SECURITY_GROUP],
      name: NODE_NAME,
    });
    const node = stack.use(
      await startRealNode(cluster, {
        name: NODE_NAME,
        instanceId,
        instanceType: INSTANCE_TYPE,
        zone: ZONE,
        region: REGION,
        maxPods: 250,
        plugInterfaces: (netnsPath) => vpc.addNode({ instanceId, netnsPath, configurePrimary: true }),
      }),
    );
    await lab.startControlPlane();
    const bench = new NodeBench({ stack: stack.move(), cluster, lab, node });
    try {
      await bench.#prepare(join(stateDir, 'lab', 'dist'));
      return bench;
    } catch (error) {
      await bench.close();
      throw error;
    }
  }

  /** Creates pods and their network namespaces, and waits until each pod has its address. */
  async assignPods(names: readonly string[]): Promise<void> {
    await this.#lab.apply(
      stringify({
        apiVersion: 'network.alibabacloud.com/v1beta1',
        kind: 'PodNetworking',
        metadata: { name: 'bench' },
        spec: { vSwitchOptions: [POD_VSWITCH[ZONE]], securityGroupIDs: [POD_SECURITY_GROUP] },
      }),
    );
    for (const name of names)
      await this.#lab.api.create(`/api/v1/namespaces/${NAMESPACE}/pods`, podManifest(name, NODE_NAME));
    const podEnisSchema = z.array(z.object({ status: z.object({ phase: z.string().optional() }).optional() }));
    await pollUntil(
      async () => {
        const { objects } = await this.#lab.api.list(`${FOLDER}/podenis`);
        const bound = podEnisSchema.parse(objects).filter(({ status }) => status?.phase === 'Bind');
        return bound.length === names.length ? true : undefined;
      },
      { what: `${names.length} PodENIs to be in Bind`, timeoutMs: 90_000, intervalMs: 200 },
    );
    await this.#run('sh', ['-c', names.map((name) => `ip netns add ${name}`).join(' && ')]);
    // The kubelet would retry every second to start the pods, which it cannot.
    await this.#run('sh', ['-c', 'kill -STOP $(cat /run/units/kubelet.pid)']);
  }

  /** Runs the plugin for the sandboxes in sequence, as the runtime does. Several calls may run concurrently. */
  async call(command: 'ADD' | 'DEL', sandboxes: readonly Sandbox[]): Promise<Call[]> {
    const lines = sandboxes.map(({ pod, containerId }) => {
      const args = `K8S_POD_NAMESPACE=${NAMESPACE};K8S_POD_NAME=${pod}`;
      return `${command} ${containerId} /run/netns/${pod} eth0 ${args}\n`;
    });
    const frames = join(DIRECTORY, 'frames');
    const answers = await this.#run(frames, ['call', `${DIRECTORY}/bin/terway`, CONFIGURATION], lines.join(''));
    const calls = answers
      .trimEnd()
      .split('\n')
      .map((line) => {
        const [microseconds, code, ...output] = line.split(' ');
        return { ms: Number(microseconds) / 1000, code: Number(code), output: output.join(' ') };
      });
    const failed = calls.find(({ code }) => code !== 0);
    if (failed !== undefined || calls.length !== sandboxes.length) {
      throw new Error(
        `${command} failed: ${failed?.output ?? `${calls.length} answers for ${sandboxes.length} calls`}`,
      );
    }
    return calls;
  }

  /** Starts the agent. @returns milliseconds until it says that it is ready */
  async startAgent({ syncPeriod = '30s' } = {}): Promise<number> {
    const paths = { cniBin: `${DIRECTORY}/bin`, cniConf: `${DIRECTORY}/net.d` };
    await writeFile(this.#path('agent.yaml'), stringify({ healthzBindAddress: HEALTH, paths, syncPeriod }));
    const stop = new AbortController();
    const startedMs = performance.now();
    const done = this.#node.exec(
      'env',
      [
        ...[`NODE_NAME=${NODE_NAME}`, `NODE_IP=${this.#node.internalIp}`, `PATH=${DIRECTORY}:/bin`],
        ...[join(DIRECTORY, 'terway-agent'), '--config', join(DIRECTORY, 'agent.yaml')],
        ...['--kubeconfig', join(DIRECTORY, 'kubeconfig')],
      ],
      { signal: stop.signal },
    );
    let ended: CommandResult | undefined;
    done.then(
      (result) => {
        ended = result;
      },
      () => undefined,
    );
    this.#agent = { done, stop };
    await pollUntil(
      async () => {
        if (ended !== undefined) throw new Error(`the agent ended with ${ended.code}: ${ended.stdout}${ended.stderr}`);
        const response = await fetch(`${this.#healthUrl}/readyz`).catch(() => undefined);
        return response?.ok === true ? true : undefined;
      },
      { what: 'the agent to be ready', timeoutMs: 60_000, intervalMs: 10 },
    );
    return performance.now() - startedMs;
  }

  async stopAgent(): Promise<void> {
    const agent = this.#agent;
    if (agent === undefined) return;
    this.#agent = undefined;
    for (const pid of (await this.#agentPids()).keys()) process.kill(pid, 'SIGTERM');
    await agent.done.catch(() => undefined);
  }

  /** Resident memory of each process of the agent, now or at its peak, in bytes, by the name of its program. */
  async agentMemoryBytes(what: 'VmRSS' | 'VmHWM'): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    for (const [pid, name] of await this.#agentPids()) {
      const status = await readFile(`/proc/${pid}/status`, 'utf8');
      found.set(name, Number(new RegExp(`${what}:\\s+(\\d+) kB`).exec(status)?.[1] ?? Number.NaN) * 1024);
    }
    return found;
  }

  /** Floods the namespace of a pod after its ADD. */
  async flood(pod: string, kind: FloodKind): Promise<void> {
    const { command, args, input } = floodCommand(kind, pod);
    await this.#run(command, args, input);
  }

  /** Waits for this many more full syncs of the agent. */
  async synced(times: number): Promise<void> {
    const count = async () => {
      const text = await (await fetch(`${this.#healthUrl}/metrics`)).text();
      const counts = [...text.matchAll(/^terway_agent_syncs_total\S* (\d+)$/gm)].map(([, value]) => Number(value));
      return counts.reduce((total, value) => total + value, 0);
    };
    const before = await count();
    await pollUntil(async () => ((await count()) >= before + times ? true : undefined), {
      what: `${times} syncs of the agent`,
      timeoutMs: 300_000,
      intervalMs: 500,
    });
  }

  async close(): Promise<void> {
    await this.#node.exec('sh', ['-c', 'kill -CONT $(cat /run/units/kubelet.pid)']).catch(() => undefined);
    await this.stopAgent();
    await this.#stack.disposeAsync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #prepare(distDir: string): Promise<void> {
    await buildNative(distDir, { tests: true });
    await mkdir(this.#path('.'), { recursive: true });
    for (const file of PROGRAMS) {
      await copyFile(join(distDir, file), this.#path(file));
    }
    await cp(join(distDir, 'chunks'), this.#path('chunks'), { recursive: true });
    // The launcher finds it on the PATH; nodes may not see this checkout.
    await copyFile(process.execPath, this.#path('node'));
    // Like a token from the kubelet: the agent may only write objects of the node that its token names.
    const node = objectSchema.parse(await this.#lab.api.get(`/api/v1/nodes/${NODE_NAME}`));
    const kubeconfigPath = await this.#cluster.writeKubeconfig({
      serviceAccount: { namespace: 'kube-system', name: 'terway-agent' },
      boundTo: { apiVersion: 'v1', kind: 'Node', name: NODE_NAME, uid: node.metadata.uid },
    });
    const kubeconfig = await readFile(kubeconfigPath, 'utf8');
    const { hub } = this.#cluster;
    if (hub === undefined) throw new Error('the cluster has no hub');
    await writeFile(this.#path('kubeconfig'), kubeconfig.replace(/https:\/\/127\.0\.0\.1:\d+/, hub.serverUrl));
    const { address } = await hub.exposeToMachine(this.#node.netnsPath, HEALTH);
    this.#healthUrl = `http://${address}`;
  }

  /** Path of a file in {@link DIRECTORY} on the machine. */
  #path(name: string): string {
    return join(`/proc/${this.#node.pid}/root`, DIRECTORY, name);
  }

  async #run(command: string, args: readonly string[], input = ''): Promise<string> {
    const { code, stdout, stderr } = await this.#node.exec(command, args, { input });
    if (code !== 0) throw new Error(`${command} ${args.join(' ').slice(0, 100)}: ${stderr || stdout}`);
    return stdout;
  }

  /** Pids of the agent and its helper on the machine, with their program names. */
  async #agentPids(): Promise<Map<number, string>> {
    const found = new Map<number, string>();
    const namespace = await readlink(`/proc/${this.#node.pid}/ns/pid`);
    for (const entry of await readdir('/proc')) {
      if (!/^\d+$/.test(entry)) continue;
      // The process may have ended.
      if ((await readlink(`/proc/${entry}/ns/pid`).catch(() => '')) !== namespace) continue;
      const words = (await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '')).split('\0');
      const program = words.find((word) => /\/terway-(agent\.mjs|kernel)$/.test(word));
      if (program !== undefined) found.set(Number(entry), program.slice(DIRECTORY.length + 1));
    }
    return found;
  }
}
