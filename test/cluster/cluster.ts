import { isAbsolute, resolve } from 'node:path';
import { MissingToolError } from '../../tools/errors.ts';
import { removeAbandonedCgroups } from '../../tools/machine/cgroups.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import { chooseFreePorts } from '../../tools/machine/ports.ts';
import { Component, describeExit } from '../../tools/machine/process.ts';
import { type ComponentName, ensureKubeBinaries, type KubeBinaries } from '../../tools/programs/kubernetes.ts';
import { ensureRealNodePrograms, type RealNodePrograms } from '../../tools/programs/node-programs.ts';
import { adminKubeconfigPath, type ClusterAccess, createAccess } from './access.ts';
import { ApiClient } from './api.ts';
import {
  type ControlPlaneComponent,
  type ControlPlaneSettings,
  componentSpec,
  serverUrl,
  writeComponentFiles,
} from './components.ts';
import { ApiStatusError, TestClusterError } from './errors.ts';
import { formatKubeconfig, readKubeconfig } from './kubeconfig.ts';
import { createPki, issueUser, writeSecret } from './pki.ts';
import { apiServerFlagsForNodes, writeFilesForNodes } from './real-nodes/api-server.ts';
import { BRIDGE_ADDRESS, Hub } from './real-nodes/hub.ts';
import { type ClusterRecord, claimStateDir, removeState, writeRecord } from './state.ts';
import { isTransient } from './watch.ts';

export interface ClusterOptions {
  /** Created by the start and removed by the stop. May exist if it is empty or was left by a cluster that died. */
  stateDir: string;
  /** If it aborts during the start, the start fails with its reason. If it aborts later, the cluster stops. */
  signal?: AbortSignal;
  /** Called with each line of progress. Default: standard error during the build, nothing afterwards. */
  log?: (line: string) => void;
  /** Default: both, if KUBEBUILDER_ASSETS has them. */
  features?: { scheduler?: boolean; controllerManager?: boolean };
  /** Requests per second of controller-manager and scheduler, each. Their own defaults (20 and 50) throttle rollouts. */
  kubeApiQps?: number;
  kubeApiBurst?: number;
  /** Further DNS names and IPv4 addresses for the API server's certificate. */
  serverHosts?: readonly string[];
  /** Appended to our flags, so these take precedence. */
  extraFlags?: Partial<Record<ControlPlaneComponent, readonly string[]>>;
  /**
   * Whether `startRealNode` (real-nodes/real-node.ts) can start nodes. Needs root; see real-nodes/support.ts. With an address,
   * nodes and pods reach the API server there, and the caller connects the hub's network namespace with those of the nodes.
   * Without one, a bridge connects them.
   */
  realNodes?: boolean | { apiServerAddress: string };
  /** Whether `stop` keeps the state directory, with logs and data. */
  keepState?: boolean;
}

/** A cluster that this process runs. It ends with this process at the latest. */
export interface Cluster extends ClusterAccess, AsyncDisposable {
  /** Pids of the running components. */
  readonly pids: Readonly<Partial<Record<ControlPlaneComponent, number>>>;
  readonly binaries: KubeBinaries;
  /** The network of the real nodes, with the option `realNodes`. */
  readonly hub: Hub | undefined;
  /** Stops all components in order and removes the state directory. May be called any number of times; each call waits for the end. */
  stop(): Promise<void>;
  /** Kills the API server without warning, like a crash. */
  killApiServer(): Promise<void>;
  /** Stops the API server cleanly if it runs, and starts it at the same address. Resolves when it is ready. */
  restartApiServer(): Promise<void>;
}

/** Order in which components stop, after the nodes: dependencies last. The API server would hang if etcd stopped first. */
const STOP_ORDER = ['kube-scheduler', 'kube-controller-manager', 'kube-apiserver', 'etcd'] as const;
const STOP_GRACE_MS = { 'kube-scheduler': 3000, 'kube-controller-manager': 5000, 'kube-apiserver': 10_000, etcd: 5000 };

// Long enough for a busy machine. A component that fails exits, which is noticed at once.
const START_TIMEOUT_MS = 90_000;

/**
 * Starts etcd, kube-apiserver, kube-controller-manager and kube-scheduler on free ports of 127.0.0.1, with their own keys, RBAC
 * and the default admission plugins. Builds the programs first if they are not cached.
 *
 * @returns when the API server is ready and namespace `default` has the service account that pods need.
 * @throws MissingToolError, BuildFailedError, StateDirInUseError; ComponentFailedError with the end of the log of the
 *   component that failed. A start that fails leaves nothing behind, except with `keepState`.
 */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const binaries = await ensureKubeBinaries({ signal: options.signal, log: options.log });
  const components = selectComponents(binaries, options.features ?? {});
  const nodePrograms = (options.realNodes ?? false) !== false ? await programsForNodes(binaries, options) : undefined;
  const stateDir = isAbsolute(options.stateDir) ? options.stateDir : resolve(options.stateDir);
  const record = await claimStateDir(stateDir, binaries.directory);
  const cluster = new ControlPlane({ ...options, stateDir }, binaries, nodePrograms, record);
  try {
    await cluster.start(components);
    return cluster.handle();
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

async function programsForNodes(binaries: KubeBinaries, options: ClusterOptions): Promise<RealNodePrograms> {
  const missing = (['kubelet', 'kube-proxy'] as const).filter((name) => !binaries.available.has(name));
  if (missing.length > 0) {
    throw new MissingToolError(
      `${binaries.directory} has no ${missing.join(', ')}, which real nodes need: unset KUBEBUILDER_ASSETS`,
    );
  }
  await removeAbandonedCgroups();
  return ensureRealNodePrograms({ signal: options.signal, log: options.log });
}

function selectComponents(
  binaries: KubeBinaries,
  features: NonNullable<ClusterOptions['features']>,
): ReadonlySet<ControlPlaneComponent> {
  const selected = new Set<ControlPlaneComponent>(['etcd', 'kube-apiserver']);
  const optional: [ComponentName & ControlPlaneComponent, boolean | undefined][] = [
    ['kube-controller-manager', features.controllerManager],
    ['kube-scheduler', features.scheduler],
  ];
  for (const [component, wanted] of optional) {
    const available = binaries.available.has(component);
    if (wanted === true && !available) throw new MissingToolError(`${binaries.directory} has no ${component}`);
    if (wanted ?? available) selected.add(component);
  }
  return selected;
}

class ControlPlane {
  readonly #options: ClusterOptions;
  readonly #stateDir: string;
  readonly #binaries: KubeBinaries;
  readonly #nodePrograms: RealNodePrograms | undefined;
  readonly #running = new Map<ControlPlaneComponent, Component>();
  /** Components that are being stopped on purpose. */
  readonly #stopping = new Set<Component>();
  #record: ClusterRecord;
  #settings: ControlPlaneSettings | undefined;
  #hub: Hub | undefined;
  #stopped: Promise<void> | undefined;
  readonly #onAbort = () => void this.stop().catch((error: unknown) => this.#log(`stop failed: ${String(error)}`));

  constructor(
    options: ClusterOptions,
    binaries: KubeBinaries,
    nodePrograms: RealNodePrograms | undefined,
    record: ClusterRecord,
  ) {
    this.#options = options;
    this.#stateDir = options.stateDir;
    this.#binaries = binaries;
    this.#nodePrograms = nodePrograms;
    this.#record = record;
  }

  async start(components: ReadonlySet<ControlPlaneComponent>): Promise<void> {
    const { signal } = this.#options;
    const settings = await this.#prepare();
    if (this.#nodePrograms !== undefined) {
      this.#hub = await Hub.start({
        stateDir: this.#stateDir,
        programs: this.#nodePrograms,
        address: this.#hubAddress,
        apiServerPort: settings.ports.apiServer,
      });
    }
    const etcd = await this.#startComponent('etcd');
    await etcd.whileRunning((ended) => waitForEtcd(settings.ports.etcd, ended), signal);
    await this.#startApiServer();
    for (const component of components) {
      if (!this.#running.has(component)) await this.#startComponent(component);
    }
    await this.#ensureServiceAccount(components.has('kube-controller-manager'));
    signal?.throwIfAborted();
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    await this.#saveRecord({ phase: 'running' });
  }

  /** The hub's address, or undefined when the hub has its own bridge. */
  get #hubAddress(): string | undefined {
    const { realNodes } = this.#options;
    return typeof realNodes === 'object' ? realNodes.apiServerAddress : undefined;
  }

  handle(): Cluster {
    const access = createAccess(this.#stateDir, this.#record.serverUrl, this.#binaries.path('kubectl'));
    const running = this.#running;
    return {
      ...access,
      binaries: this.#binaries,
      hub: this.#hub,
      get pids() {
        return Object.fromEntries([...running].map(([name, component]) => [name, component.identity.pid]));
      },
      stop: () => this.stop(),
      killApiServer: () => this.#killApiServer(),
      restartApiServer: () => this.#restartApiServer(),
      [Symbol.asyncDispose]: () => this.stop(),
    };
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    await this.#hub?.stop();
    for (const name of STOP_ORDER) {
      const component = this.#running.get(name);
      if (!component) continue;
      this.#stopping.add(component);
      await component.stop(STOP_GRACE_MS[name]);
    }
    if (this.#options.keepState) await this.#saveRecord({ phase: 'stopped' });
    else await removeState(this.#stateDir);
    this.#log('test cluster stopped');
  }

  async #prepare(): Promise<ControlPlaneSettings> {
    const [etcd = 0, apiServer = 0, controllerManager = 0, scheduler = 0] = await chooseFreePorts(4);
    const realNodes = this.#nodePrograms !== undefined;
    const hubAddress = this.#hubAddress ?? BRIDGE_ADDRESS;
    const extraFlags = this.#options.extraFlags ?? {};
    const settings: ControlPlaneSettings = {
      stateDir: this.#stateDir,
      binaries: this.#binaries,
      ports: { etcd, apiServer, controllerManager, scheduler },
      kubeApiQps: this.#options.kubeApiQps ?? 500,
      kubeApiBurst: this.#options.kubeApiBurst ?? 1000,
      extraFlags: realNodes
        ? {
            ...extraFlags,
            'kube-apiserver': [
              ...apiServerFlagsForNodes(this.#stateDir, hubAddress),
              ...(extraFlags['kube-apiserver'] ?? []),
            ],
          }
        : extraFlags,
    };
    this.#settings = settings;
    const hosts = [...(this.#options.serverHosts ?? []), ...(realNodes ? [hubAddress] : [])];
    const authority = await createPki(this.#stateDir, hosts);
    await writeComponentFiles(settings, authority);
    if (realNodes) await writeFilesForNodes(this.#stateDir, authority);
    const admin = formatKubeconfig({
      serverUrl: serverUrl(settings.ports),
      authorityPem: authority.certificatePem,
      identity: { kind: 'certificate', ...issueUser(authority, 'test-admin', ['system:masters']) },
    });
    await writeSecret(adminKubeconfigPath(this.#stateDir), admin);
    await this.#saveRecord({ serverUrl: serverUrl(settings.ports) });
    return settings;
  }

  async #startComponent(name: ControlPlaneComponent): Promise<Component> {
    if (this.#settings === undefined) throw new TestClusterError('the cluster has not been prepared');
    this.#options.signal?.throwIfAborted();
    this.#log(`starting ${name}`);
    const component = await Component.start(componentSpec(name, this.#settings));
    this.#running.set(name, component);
    void component.exited.then((exit) => {
      if (this.#running.get(name) === component) this.#running.delete(name);
      if (!this.#stopping.has(component)) this.#log(`${name} ended with ${describeExit(exit)}`);
    });
    await this.#saveRecord({ components: { ...this.#record.components, [name]: component.identity } });
    return component;
  }

  async #startApiServer(): Promise<void> {
    const component = await this.#startComponent('kube-apiserver');
    const client = new ApiClient(await readKubeconfig(adminKubeconfigPath(this.#stateDir)));
    try {
      await component.whileRunning(
        (signal) =>
          pollUntil(() => isReady(client, signal), {
            what: '/readyz of the API server',
            timeoutMs: START_TIMEOUT_MS,
            signal,
          }),
        this.#options.signal,
      );
    } finally {
      client.close();
    }
  }

  /** Pods are rejected until their service account exists. The controller-manager creates one in each namespace. */
  async #ensureServiceAccount(byControllerManager: boolean): Promise<void> {
    const path = '/api/v1/namespaces/default/serviceaccounts';
    const client = new ApiClient(await readKubeconfig(adminKubeconfigPath(this.#stateDir)));
    try {
      const controllerManager = this.#running.get('kube-controller-manager');
      if (!byControllerManager) {
        await client.create(path, { metadata: { name: 'default' } });
        return;
      }
      if (!controllerManager) throw new TestClusterError('kube-controller-manager ended while the cluster started');
      await controllerManager.whileRunning(
        (signal) =>
          pollUntil(() => exists(client, `${path}/default`, signal), {
            what: 'the service account of namespace default',
            timeoutMs: START_TIMEOUT_MS,
            signal,
          }),
        this.#options.signal,
      );
    } finally {
      client.close();
    }
  }

  async #killApiServer(): Promise<void> {
    const component = this.#running.get('kube-apiserver');
    if (!component) return;
    this.#stopping.add(component);
    await component.kill();
  }

  async #restartApiServer(): Promise<void> {
    if (this.#stopped) throw new TestClusterError('the cluster has been stopped');
    const component = this.#running.get('kube-apiserver');
    if (component) {
      this.#stopping.add(component);
      await component.stop(STOP_GRACE_MS['kube-apiserver']);
    }
    await this.#startApiServer();
  }

  async #saveRecord(change: Partial<ClusterRecord>): Promise<void> {
    this.#record = { ...this.#record, ...change };
    await writeRecord(this.#stateDir, this.#record);
  }

  #log(line: string): void {
    this.#options.log?.(line);
  }
}

async function waitForEtcd(port: number, signal: AbortSignal): Promise<void> {
  await pollUntil(
    async () => {
      try {
        const response = await fetch(`http://127.0.0.1:${port}/health`, { signal });
        await response.body?.cancel();
        return response.ok ? true : undefined;
      } catch {
        return undefined;
      }
    },
    { what: '/health of etcd', timeoutMs: START_TIMEOUT_MS, signal },
  );
}

async function isReady(client: ApiClient, signal: AbortSignal): Promise<true | undefined> {
  try {
    await client.requestText('GET', '/readyz', { signal });
    return true;
  } catch (error) {
    // 401 and 403: the authorizer starts before the roles that it needs exist.
    if (isTransient(error) || (error instanceof ApiStatusError && [401, 403, 404].includes(error.status)))
      return undefined;
    throw error;
  }
}

async function exists(client: ApiClient, path: string, signal: AbortSignal): Promise<true | undefined> {
  try {
    await client.get(path, { signal });
    return true;
  } catch (error) {
    if (isTransient(error) || (error instanceof ApiStatusError && error.status === 404)) return undefined;
    throw error;
  }
}
