import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import * as z from 'zod';
import { AdminClient } from '../../sim/cloud/admin-client.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import { chooseFreePorts } from '../../tools/machine/ports.ts';
import { LAUNCH_FLAGS } from '../../tools/product/launch-flags.ts';
import type { ClusterAccess } from '../cluster/access.ts';
import type { ApiClient } from '../cluster/api.ts';
import { applyManifests, parseManifests } from '../cluster/apply.ts';
import { createNode } from '../cluster/nodes.ts';
import { FOLLOW_OWNER, LabProcess } from './process.ts';

const root = join(import.meta.dirname, '..', '..');

/** The account of every lab: one VPC, and in each of two zones a vSwitch for nodes and one for pods. */
export const REGION = 'cn-hangzhou';
export const ZONES = ['cn-hangzhou-h', 'cn-hangzhou-i'] as const;
export const VPC = 'vpc-bp1lab';
export const OTHER_VPC = 'vpc-bp1other';
export const NODE_VSWITCH = { 'cn-hangzhou-h': 'vsw-bp1nodes-h', 'cn-hangzhou-i': 'vsw-bp1nodes-i' } as const;
export const POD_VSWITCH = { 'cn-hangzhou-h': 'vsw-bp1pods-h', 'cn-hangzhou-i': 'vsw-bp1pods-i' } as const;
export const NODE_SECURITY_GROUP = 'sg-bp1nodes';
export const POD_SECURITY_GROUP = 'sg-bp1pods';
export const CLUSTER_ID = 'c1lab';

export type Zone = (typeof ZONES)[number];

export const ACCESS_KEY = { accessKeyId: 'LTAI5tLabKey', accessKeySecret: 'LabSecretOfNoValue' };

export interface LabNode {
  name: string;
  zone: Zone;
  instanceId: string;
}

export interface LabOptions {
  cluster: ClusterAccess;
  /** Called with each line of progress. */
  log?: (line: string) => void;
  /** Ends every wait with its reason. The caller still has to call `close`. */
  signal?: AbortSignal;
  /** Folder for the state; must be empty or absent. Default: a temporary folder. */
  stateDir?: string;
  /** Whether to apply the CRDs and RBAC of config/, which Helm would install itself. Default: true. */
  manifests?: boolean;
  /** Merged over the `eni_conf` of the lab. */
  eniConf?: Readonly<Record<string, unknown>>;
  latencies?: Partial<Record<'createMs' | 'attachMs' | 'detachMs' | 'deleteMs' | 'answerMs', number>>;
}

export interface ControlPlaneOptions {
  /** Merged over the lab's configuration. */
  config?: Record<string, unknown>;
  /** Path of a kubeconfig. Default: that of the service account of config/rbac. */
  kubeconfig?: string;
  /** False for a start that is expected to fail. Default: true. */
  waitReady?: boolean;
}

/** A running control plane. */
export interface ControlPlane {
  process: LabProcess;
  /** Base URL of /healthz, /readyz and /metrics. */
  telemetryUrl: string;
  /** Path of its configuration file. */
  configPath: string;
  /** Path of the Unix socket of its admin channel. */
  adminSocket: string;
}

const readyLine = z.object({ endpoint: z.string(), adminUrl: z.string(), metadataEndpoint: z.string() });

/**
 * A cluster, a simulated cloud and control planes, each in its own process. Only the cloud is simulated, and the processes run
 * the bundles that we ship. One folder holds the state; `close` ends every process and removes the folder.
 */
export class ControlPlaneLab implements AsyncDisposable {
  readonly cluster: ClusterAccess;
  readonly api: ApiClient;
  readonly cloud: AdminClient;
  readonly stateDir: string;
  /** Host and port of the simulated ECS and VPC APIs. */
  readonly endpoint: string;
  /** Base URL of the simulator's control channel. */
  readonly adminUrl: string;
  /** Host and port of the simulator's instance metadata, for the VPC switch. */
  readonly metadataEndpoint: string;
  readonly #simulator: LabProcess;
  readonly #signal: AbortSignal | undefined;
  readonly #controlPlanes = new Set<LabProcess>();
  #started = 0;
  #kubeconfig: Promise<string> | undefined;
  #nodes = 0;

  private constructor(fields: {
    cluster: ClusterAccess;
    api: ApiClient;
    cloud: AdminClient;
    stateDir: string;
    endpoint: string;
    adminUrl: string;
    metadataEndpoint: string;
    simulator: LabProcess;
    signal: AbortSignal | undefined;
  }) {
    this.cluster = fields.cluster;
    this.api = fields.api;
    this.cloud = fields.cloud;
    this.stateDir = fields.stateDir;
    this.endpoint = fields.endpoint;
    this.adminUrl = fields.adminUrl;
    this.metadataEndpoint = fields.metadataEndpoint;
    this.#simulator = fields.simulator;
    this.#signal = fields.signal;
  }

  /**
   * Starts the simulator and applies CRDs, RBAC and eni-config. The cluster belongs to the caller.
   *
   * @throws the signal's reason. A start that fails leaves nothing behind.
   */
  static async start(options: LabOptions): Promise<ControlPlaneLab> {
    const { cluster, signal, log = () => undefined } = options;
    const stateDir = options.stateDir ?? (await mkdtemp(join(tmpdir(), 'terway-lab-')));
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    log('bundling control plane and simulator');
    await bundle(join(stateDir, 'dist'), signal);
    const configPath = join(stateDir, 'account.yaml');
    await writeFile(configPath, stringify(accountConfig(options.latencies ?? {})));
    log('starting alicloud-sim');
    const simulator = LabProcess.start({
      name: 'alicloud-sim',
      script: join(stateDir, 'dist', 'alicloud-sim.mjs'),
      args: ['--config', configPath, '--metadata-listen', '127.0.0.1:0'],
      logPath: join(stateDir, 'alicloud-sim.log'),
    });
    try {
      const ready = await untilReadyLine(simulator, signal);
      const cloud = new AdminClient(ready.adminUrl);
      const api = await cluster.client();
      const lab = new ControlPlaneLab({ cluster, api, cloud, stateDir, ...ready, simulator, signal });
      const manifests = options.manifests !== false;
      log(`applying ${manifests ? 'CRDs, RBAC and ' : ''}eni-config`);
      if (manifests) await lab.#applyManifests();
      await lab.applyEniConfig(options.eniConf);
      return lab;
    } catch (error) {
      await simulator.stop();
      await rm(stateDir, { recursive: true, force: true });
      throw error;
    }
  }

  /** Registers a node and starts its instance. Its trunk appears once a control plane runs. */
  async addNode(
    zone: Zone,
    instanceType = 'ecs.g7.4xlarge',
    labels: Readonly<Record<string, string>> = {},
  ): Promise<LabNode> {
    this.#nodes += 1;
    const name = `node-${this.#nodes}`;
    const { instanceId } = await this.cloud.runInstance({
      instanceType,
      vSwitchId: NODE_VSWITCH[zone],
      securityGroupIds: [NODE_SECURITY_GROUP],
      name,
    });
    const allocatable = { pods: '512' };
    await createNode(this.api, { name, instanceId, instanceType, zone, region: REGION, allocatable, labels });
    return { name, zone, instanceId };
  }

  /** Applies a sample or any other manifest. */
  async apply(manifest: string): Promise<void> {
    await applyManifests(this.api, manifest, this.#signal);
  }

  /** Writes `eni-config`, with these keys over those that every lab has. */
  async applyEniConfig(keys: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const eniConf = {
      version: '1',
      vswitches: Object.fromEntries(ZONES.map((zone) => [zone, [NODE_VSWITCH[zone]]])),
      security_group: NODE_SECURITY_GROUP,
      enable_eni_trunking: true,
      ...keys,
    };
    await this.apply(
      stringify({
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'eni-config', namespace: 'kube-system' },
        data: { eni_conf: JSON.stringify(eniConf) },
      }),
    );
  }

  /** Waits until a PodNetworking is Ready. */
  async networkingReady(name: string): Promise<void> {
    const path = `/apis/network.alibabacloud.com/v1beta1/podnetworkings/${name}`;
    await pollUntil(
      async () => {
        const { data } = networkingSchema.safeParse(await this.api.get(path));
        return data?.status.status === 'Ready' ? true : undefined;
      },
      { what: `PodNetworking ${name} to be Ready`, timeoutMs: 30_000, signal: this.#signal },
    );
  }

  /** Starts a control plane and waits until it is ready. */
  async startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
    this.#started += 1;
    const name = `terway-controlplane-${this.#started}`;
    const [port] = await chooseFreePorts(1);
    if (port === undefined) throw new Error('no free port');
    const configPath = join(this.stateDir, `${name}.yaml`);
    const adminSocket = join(this.stateDir, `${name}.sock`);
    const credentialPath = join(this.stateDir, 'credential.yaml');
    await writeFile(configPath, stringify({ ...this.#config(port), adminSocket, ...options.config }));
    await writeFile(
      credentialPath,
      stringify({ accessKey: ACCESS_KEY.accessKeyId, accessSecret: ACCESS_KEY.accessKeySecret }),
      { mode: 0o600 },
    );
    const child = LabProcess.start({
      name,
      script: join(this.stateDir, 'dist', 'terway-controlplane.mjs'),
      args: [
        ...['--config', configPath],
        ...['--credential', credentialPath],
        ...['--kubeconfig', options.kubeconfig ?? (await this.#serviceAccountKubeconfig())],
      ],
      logPath: join(this.stateDir, `${name}.log`),
      nodeFlags: LAUNCH_FLAGS,
    });
    this.#controlPlanes.add(child);
    const telemetryUrl = `http://127.0.0.1:${port}`;
    if (options.waitReady !== false) await untilReady(child, telemetryUrl, this.#signal);
    return { process: child, telemetryUrl, configPath, adminSocket };
  }

  /** Ends every process and removes the state. */
  async close(): Promise<void> {
    await Promise.all([...this.#controlPlanes].map((child) => child.stop()));
    await this.#simulator.stop();
    this.api.close();
    await rm(this.stateDir, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #config(port: number): Record<string, unknown> {
    return {
      regionID: REGION,
      clusterID: CLUSTER_ID,
      vpcID: VPC,
      healthzBindAddress: `127.0.0.1:${port}`,
      metricsBindAddress: '0',
      // Tests of admission enable it, each with its own port.
      webhook: { enabled: false },
      endpoints: { ecs: `http://${this.endpoint}`, vpc: `http://${this.endpoint}` },
    };
  }

  /** The control plane runs with the rights of config/rbac, as it does in a real installation. */
  #serviceAccountKubeconfig(): Promise<string> {
    this.#kubeconfig ??= this.cluster.writeKubeconfig({
      serviceAccount: { namespace: 'kube-system', name: 'terway-controlplane' },
      tokenLifetimeSeconds: 24 * 3600,
    });
    return this.#kubeconfig;
  }

  async #applyManifests(): Promise<void> {
    const manifests: string[] = [];
    for (const directory of [join(root, 'config', 'crd'), join(root, 'config', 'rbac')]) {
      for (const file of await readdir(directory)) manifests.push(await readFile(join(directory, file), 'utf8'));
    }
    const text = manifests.join('\n---\n');
    await this.apply(text);
    for (const { kind, metadata } of parseManifests(text)) {
      if (kind !== 'CustomResourceDefinition') continue;
      await pollUntil(async () => (isEstablished(await this.api.get(`${CRDS}/${metadata.name}`)) ? true : undefined), {
        what: `CRD ${metadata.name} to be established`,
        timeoutMs: 30_000,
        intervalMs: 20,
        signal: this.#signal,
      });
    }
  }
}

const networkingSchema = z.object({ status: z.object({ status: z.string() }) });

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const crdSchema = z.object({
  status: z.object({ conditions: z.array(z.object({ type: z.string(), status: z.string() })) }),
});

function isEstablished(crd: unknown): boolean {
  const { conditions = [] } = crdSchema.safeParse(crd).data?.status ?? {};
  return conditions.some(({ type, status }) => type === 'Established' && status === 'True');
}

/**
 * Bundles the executables into the lab's own folder, so that labs that run at the same time do not remove each other's files.
 * Asynchronous, so that the caller's signals and timers keep working.
 */
async function bundle(outdir: string, signal: AbortSignal | undefined): Promise<void> {
  // `make test` builds them once for all labs of its run.
  const made = process.env['TERWAY_TEST_BUNDLES'] ?? '';
  if (made !== '') return cp(made, outdir, { recursive: true });
  const script = join(root, 'scripts', 'build.ts');
  const child = spawn(process.execPath, ['--import', FOLLOW_OWNER, script, '--outdir', outdir], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    // Ctrl-C in a terminal must not look like a failed build. The signal is what ends it.
    detached: true,
    ...(signal === undefined ? {} : { signal }),
  });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  const [code] = await once(child, 'close').catch((error: unknown) => {
    signal?.throwIfAborted();
    throw error;
  });
  if (code !== 0) throw new Error(`the bundles could not be built: ${stderr}`);
}

function accountConfig(latencies: NonNullable<LabOptions['latencies']>) {
  const securityGroups = [NODE_SECURITY_GROUP, POD_SECURITY_GROUP];
  return {
    region: REGION,
    zones: [...ZONES],
    journalCapacity: 100_000,
    accessKeys: [ACCESS_KEY],
    latencies,
    vpcs: [
      { vpcId: VPC, cidrBlock: '10.0.0.0/8', ipv6CidrBlock: 'fd00:10::/48' },
      { vpcId: OTHER_VPC, cidrBlock: '172.16.0.0/12' },
    ],
    vSwitches: [
      ...ZONES.map((zoneId, at) => ({
        vSwitchId: NODE_VSWITCH[zoneId],
        vpcId: VPC,
        zoneId,
        cidrBlock: `10.${at}.0.0/20`,
        ipv6CidrBlock: `fd00:10:0:${at}::/64`,
      })),
      ...ZONES.map((zoneId, at) => ({
        vSwitchId: POD_VSWITCH[zoneId],
        vpcId: VPC,
        zoneId,
        cidrBlock: `10.${at + 10}.0.0/16`,
        ipv6CidrBlock: `fd00:10:0:1${at}::/64`,
      })),
      { vSwitchId: 'vsw-bp1elsewhere', vpcId: OTHER_VPC, zoneId: ZONES[0], cidrBlock: '172.16.0.0/24' },
    ],
    securityGroups: securityGroups.map((securityGroupId) => ({ securityGroupId, vpcId: VPC })),
  };
}

async function untilReadyLine(
  process: LabProcess,
  signal: AbortSignal | undefined,
): Promise<z.infer<typeof readyLine>> {
  return pollUntil(
    async () => {
      if (!process.isRunning) throw new Error(`${process.name} ended: ${await process.tail()}`);
      const [line] = (await process.output()).split('\n');
      return line?.startsWith('{') ? readyLine.parse(JSON.parse(line)) : undefined;
    },
    { what: `${process.name} to be ready`, timeoutMs: 20_000, intervalMs: 20, signal },
  );
}

async function untilReady(process: LabProcess, url: string, signal: AbortSignal | undefined): Promise<void> {
  await pollUntil(
    async () => {
      if (!process.isRunning) throw new Error(`${process.name} ended: ${await process.tail()}`);
      const response = await fetch(`${url}/readyz`).catch(() => undefined);
      return response?.ok === true ? true : undefined;
    },
    { what: `${process.name} to be ready`, timeoutMs: 60_000, intervalMs: 20, signal },
  );
}
