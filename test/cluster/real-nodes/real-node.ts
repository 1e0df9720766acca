import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { ComponentFailedError } from '../../../tools/errors.ts';
import { cgroupName } from '../../../tools/machine/cgroups.ts';
import { parseJson } from '../../../tools/machine/lock.ts';
import { pollUntil } from '../../../tools/machine/poll.ts';
import type { ApiClient } from '../api.ts';
import type { Cluster } from '../cluster.ts';
import type { CommandResult } from '../command.ts';
import { type CommandOptions, runCommand } from '../command.ts';
import { ApiStatusError, TestClusterError } from '../errors.ts';
import { loadAuthority } from '../pki.ts';
import { isTransient } from '../watch.ts';
import { Helper } from './helper.ts';
import type { Hub } from './hub.ts';
import { ensureSandboxImage } from './images.ts';
import { waitForInotify } from './inotify.ts';
import { splitLabels } from './labels.ts';
import {
  BRIDGE_INTERFACE,
  CONTAINERD_SOCKET,
  IMAGES_MARKER,
  type KubeProxyMode,
  machineConfig,
  NODE_PATH,
  type NodeUnit,
} from './machine-config.ts';

/** A node with a kubelet, as Alibaba Cloud's cloud provider would describe it. */
export interface RealNodeSpec {
  name: string;
  /** ID of the ECS instance, such as `i-2ze0001`. The provider ID is `<region>.<instanceId>`. */
  instanceId: string;
  /** Such as `ecs.g7.2xlarge`. */
  instanceType: string;
  zone: string;
  region: string;
  labels?: Readonly<Record<string, string>>;
  /** Default: 110. */
  maxPods?: number;
  /** Default: nftables. */
  kubeProxyMode?: KubeProxyMode;
  /**
   * Puts the instance's network interfaces into the network namespace. Called at each start, before anything runs in the node. The
   * namespace is new each time, like hardware after a reset.
   */
  plugInterfaces?: (netnsPath: string) => Promise<void>;
  /**
   * The node's InternalIPs: addresses of these interfaces, one of each family. They must be able to reach the hub. Without them,
   * the node gets an interface on the hub's bridge.
   */
  internalIps?: readonly [string, ...string[]];
  /** Aborts the start. */
  signal?: AbortSignal;
}

/** A running node with containerd, kubelet and kube-proxy, in its own namespaces. */
export interface RealNode extends AsyncDisposable {
  readonly name: string;
  /** Path of its network namespace: a symbolic link that is updated by a restart. */
  readonly netnsPath: string;
  /** The first InternalIP. */
  readonly internalIp: string;
  /** Pid of the node's process 1 on the machine. Changes with a restart. */
  readonly pid: number;
  /** Log file of each program. Logs survive restarts. */
  readonly logPaths: Readonly<Record<NodeUnit, string>>;
  /**
   * Runs a program in the node's namespaces for network, mounts, processes and host name. The program ends with the signal or with
   * the node. A failure is a `code`, not an exception.
   */
  exec(command: string, args?: readonly string[], options?: Omit<CommandOptions, 'env'>): Promise<CommandResult>;
  /** Imports the images of an archive (OCI layout or docker-archive). @throws TestClusterError */
  importImage(path: string): Promise<void>;
  /**
   * Switches the node off and on again without warning. It keeps its disk and address; everything else is new. Resolves when the
   * kubelet has registered with the API server; pods may take longer.
   */
  restart(): Promise<void>;
  /** Kills one of its programs. Resolves when process 1 has restarted it. */
  kill9(unit: NodeUnit): Promise<void>;
  /** Switches the node off for good. The Node object stays. May be called any number of times. */
  stop(): Promise<void>;
}

const START_TIMEOUT_MS = 60_000;

const nodeSchema = z.object({ status: z.object({ nodeInfo: z.object({ bootID: z.string() }) }) });

/**
 * Starts a node of a cluster with `realNodes`. Any number of nodes may start at once.
 *
 * @returns when the node has registered with the API server and has its labels. It is Ready once it has a CNI configuration.
 * @throws ComponentFailedError with the end of the log of the component that failed; TestClusterError; the signal's reason.
 */
export async function startRealNode(cluster: Cluster, spec: RealNodeSpec): Promise<RealNode> {
  const { hub } = cluster;
  if (hub === undefined) throw new TestClusterError('real nodes need a cluster with the option realNodes');
  const client = await cluster.client();
  const node = new Machine(cluster, hub, client, spec);
  try {
    await node.start();
    return node;
  } catch (error) {
    await node.stop();
    spec.signal?.throwIfAborted();
    throw error;
  }
}

class Machine implements RealNode {
  readonly name: string;
  readonly netnsPath: string;
  readonly internalIp: string;
  readonly #internalIps: readonly [string, ...string[]];
  readonly logPaths: Readonly<Record<NodeUnit, string>>;
  readonly #cluster: Cluster;
  readonly #hub: Hub;
  readonly #client: ApiClient;
  readonly #spec: RealNodeSpec;
  readonly #directory: string;
  readonly #release: () => void;
  #helper: Helper | undefined;
  #pid = 0;
  #stopped: Promise<void> | undefined;

  constructor(cluster: Cluster, hub: Hub, client: ApiClient, spec: RealNodeSpec) {
    this.#cluster = cluster;
    this.#hub = hub;
    this.#client = client;
    this.#spec = spec;
    this.name = spec.name;
    this.#internalIps = spec.internalIps ?? [hub.allocateAddress()];
    [this.internalIp] = this.#internalIps;
    this.#directory = join(hub.stateDir, 'nodes', spec.name);
    this.netnsPath = join(this.#directory, 'netns');
    const log = (name: string) => join(hub.stateDir, 'logs', `${spec.name}.${name}.log`);
    this.logPaths = { containerd: log('containerd'), kubelet: log('kubelet'), 'kube-proxy': log('kube-proxy') };
    this.#release = hub.adopt(this);
  }

  get pid(): number {
    return this.#pid;
  }

  async start(): Promise<void> {
    await mkdir(join(this.#directory, 'disk'), { recursive: true, mode: 0o700 });
    const bootId = await this.#configure();
    await waitForInotify(this.#spec.signal);
    const helper = await Helper.start({
      name: this.name,
      command: 'unshare',
      args: [
        ...['--mount', '--propagation', 'private', '--', this.#hub.programs.nodeMachine],
        ...['machine', this.#configPath],
      ],
      logPath: join(this.#hub.stateDir, 'logs', `${this.name}.machine.log`),
    });
    this.#helper = helper;
    // `stop` may have been called before the helper existed.
    if (this.#stopped !== undefined) {
      await helper.stop();
      throw new TestClusterError(`node ${this.name} was stopped while it started`);
    }
    await this.#boot(helper, bootId, true);
    const { byOthers } = splitLabels(this.#labels);
    await this.#client.patch(`/api/v1/nodes/${this.name}`, 'merge', { metadata: { labels: byOthers } });
  }

  async restart(): Promise<void> {
    const helper = this.#running();
    await helper.request('off');
    await this.#boot(helper, await this.#configure(), false);
  }

  exec(
    command: string,
    args: readonly string[] = [],
    options: Omit<CommandOptions, 'env'> = {},
  ): Promise<CommandResult> {
    this.#running();
    const target = String(this.#pid);
    return runCommand(
      'nsenter',
      [
        ...['--target', target, '--mount', '--uts', '--ipc', '--net', '--pid'],
        // nsenter stays outside the PID namespace and waits. The program must not outlive it.
        ...['--', 'setpriv', '--pdeathsig', 'KILL', '--', command, ...args],
      ],
      { ...options, env: { PATH: NODE_PATH, HOME: '/root' } },
    );
  }

  async importImage(path: string): Promise<void> {
    const { code, stderr } = await this.exec('ctr', ['--namespace', 'k8s.io', 'images', 'import', '--local', '-'], {
      input: createReadStream(path),
    });
    if (code !== 0) throw new TestClusterError(`${this.name}: import of ${path} failed: ${stderr.trim()}`);
  }

  async kill9(unit: NodeUnit): Promise<void> {
    const before = await this.#unitPid(unit);
    const { code, stderr } = await this.exec('kill', ['-9', String(before)]);
    if (code !== 0) throw new TestClusterError(`${this.name}: ${unit} could not be killed: ${stderr.trim()}`);
    await pollUntil(async () => ((await this.#unitPid(unit)) === before ? undefined : true), {
      what: `${unit} of ${this.name} to be started again`,
      timeoutMs: START_TIMEOUT_MS,
    });
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #stop(): Promise<void> {
    this.#release();
    this.#client.close();
    await this.#helper?.stop();
    await rm(this.#directory, { recursive: true, force: true });
  }

  get #configPath(): string {
    return join(this.#directory, 'machine.json');
  }

  get #labels(): Record<string, string> {
    const { region, zone, instanceType, labels } = this.#spec;
    return {
      'topology.kubernetes.io/region': region,
      'topology.kubernetes.io/zone': zone,
      'node.kubernetes.io/instance-type': instanceType,
      ...labels,
    };
  }

  /** Writes the configuration for the next start. @returns its boot id, which the Node object will show. */
  async #configure(): Promise<string> {
    const { name, instanceId, region, maxPods, kubeProxyMode } = this.#spec;
    const bootId = randomUUID();
    const config = machineConfig({
      name,
      instanceId,
      region,
      internalIps: this.#internalIps,
      isOnBridge: this.#spec.internalIps === undefined,
      labels: splitLabels(this.#labels).byKubelet,
      maxPods: maxPods ?? 110,
      kubeProxyMode: kubeProxyMode ?? 'nftables',
      serverUrl: this.#hub.serverUrl,
      authority: await loadAuthority(this.#hub.stateDir),
      folders: {
        disk: join(this.#directory, 'disk'),
        kubernetes: this.#cluster.binaries.directory,
        containerd: this.#hub.programs.directory,
      },
      cgroup: await cgroupName(name),
      bootId,
      logPath: (unit) => this.logPaths[unit],
    });
    await writeFile(this.#configPath, JSON.stringify(config), { mode: 0o600 });
    return bootId;
  }

  async #boot(helper: Helper, bootId: string, isNew: boolean): Promise<void> {
    this.#pid = Number((await helper.request('on')).replace(/^on /, ''));
    await rm(this.netnsPath, { force: true });
    await symlink(`/proc/${this.#pid}/ns/net`, this.netnsPath);
    await Promise.all([
      this.#spec.internalIps === undefined ? this.#hub.plug(this.#pid, BRIDGE_INTERFACE) : undefined,
      this.#spec.plugInterfaces?.(this.netnsPath),
      isNew ? ensureSandboxImage(this.#hub.stateDir) : undefined,
    ]);
    await helper.request('boot');
    if (isNew) {
      await this.#until('containerd', 'containerd to listen', () => this.#exists(CONTAINERD_SOCKET));
      await this.importImage(await ensureSandboxImage(this.#hub.stateDir));
      await writeFile(this.#path(IMAGES_MARKER), '');
    }
    await this.#until('kubelet', `node ${this.name} to register`, () => this.#isRegistered(bootId));
  }

  /** Waits for a condition that a program of the node brings about. @throws ComponentFailedError with the end of its log. */
  async #until(unit: NodeUnit, what: string, condition: () => Promise<true | undefined>): Promise<void> {
    const { signal } = this.#spec;
    const ended = this.#helper?.exited.then(() => false);
    let over = false;
    void ended?.then(() => {
      over = true;
    });
    try {
      await pollUntil(
        async () => {
          if (over) throw new TestClusterError('the node has been switched off');
          return condition();
        },
        { what, timeoutMs: START_TIMEOUT_MS, intervalMs: 20, signal },
      );
    } catch (error) {
      signal?.throwIfAborted();
      const text = await readFile(this.logPaths[unit], 'utf8').catch(() => '');
      const log = [...((await this.#helper?.logTail()) ?? []), ...text.trimEnd().split('\n').slice(-3)];
      throw new ComponentFailedError(`${unit} of ${this.name}`, String(error), log, { cause: error });
    }
  }

  async #isRegistered(bootId: string): Promise<true | undefined> {
    try {
      const node = nodeSchema.safeParse(await this.#client.get(`/api/v1/nodes/${this.name}`));
      return node.success && node.data.status.nodeInfo.bootID === bootId ? true : undefined;
    } catch (error) {
      if (isTransient(error) || (error instanceof ApiStatusError && error.status === 404)) return undefined;
      throw error;
    }
  }

  async #unitPid(unit: NodeUnit): Promise<number> {
    const text = await readFile(this.#path(`/run/units/${unit}.pid`), 'utf8').catch(() => '');
    return z.number().catch(0).parse(parseJson(text));
  }

  async #exists(path: string): Promise<true | undefined> {
    return access(this.#path(path)).then(
      () => true as const,
      () => undefined,
    );
  }

  /** Where a path of the node is on this machine. */
  #path(path: string): string {
    return `/proc/${this.#pid}/root${path}`;
  }

  #running(): Helper {
    if (this.#helper?.isRunning !== true) throw new TestClusterError(`node ${this.name} does not run`);
    return this.#helper;
  }
}
