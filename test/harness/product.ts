import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { writeProductImage } from '../../tools/product/image/product.ts';
import { buildNative } from '../../tools/product/native.ts';
import { ensureHelm } from '../../tools/programs/helm.ts';
import { type Manifest, parseManifests } from '../cluster/apply.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { CommandResult } from '../cluster/command.ts';
import { ACCESS_KEY, CLUSTER_ID, type ControlPlaneLab, REGION, VPC } from './lab.ts';

const root = join(import.meta.dirname, '..', '..');
export const PRODUCT_IMAGE = 'docker.io/library/terway-controlplane:lab';
/** Name of the Helm release. */
export const RELEASE = 'terway-controlplane';
export const CHART = join(root, 'charts', 'terway-controlplane');
const CREDENTIAL = { accessKey: ACCESS_KEY.accessKeyId, accessSecret: ACCESS_KEY.accessKeySecret };
/** Service ranges with IPv6. The IPv4 range is the same in every test cluster. */
export const SERVICE_CIDRS = '10.96.0.0/16,fd00:96::/112';

export interface ProductOptions {
  /** Merged over the agent's configuration. */
  agentConfig?: Record<string, unknown>;
  /** Merged over the control plane's configuration. */
  controlPlaneConfig?: Record<string, unknown>;
  replicas?: number;
  /** Whether nodes and Services also have IPv6 addresses. */
  dualStack?: boolean;
  /** What to install the product from. Default: `manifests`. */
  installer?: 'manifests' | 'helm';
  /** Aborts running commands. */
  signal?: AbortSignal;
}

/** The product as its users get it: its image, and its installation in the cluster of a lab. */
export class Product {
  readonly #cluster: Cluster;
  readonly #lab: ControlPlaneLab;
  readonly #stateDir: string;
  readonly #options: ProductOptions;
  /** Path of the image's archive, once it is written. */
  imagePath: string | undefined;
  #cloudForNodes: Promise<string> | undefined;

  constructor(parts: { cluster: Cluster; lab: ControlPlaneLab; stateDir: string }, options: ProductOptions) {
    this.#cluster = parts.cluster;
    this.#lab = parts.lab;
    this.#stateDir = parts.stateDir;
    this.#options = options;
  }

  /** Folder of the bundles and native programs that the image is made of. */
  get distDir(): string {
    return join(this.#lab.stateDir, 'dist');
  }

  async writeImage(): Promise<string> {
    const distDir = this.distDir;
    await buildNative(distDir);
    const cacheDir = join(root, 'node_modules', '.cache', 'terway-controlplane-image');
    await mkdir(cacheDir, { recursive: true });
    const outPath = join(this.#stateDir, 'image.tar');
    await writeProductImage({
      distDir,
      nodePath: process.execPath,
      cacheDir,
      reference: PRODUCT_IMAGE,
      version: 'lab',
      outPath,
    });
    this.imagePath = outPath;
    return outPath;
  }

  /** Installs control plane and agent from `config/deploy` or the chart. */
  async install(): Promise<void> {
    if (this.#options.installer === 'helm') {
      await this.helmChecked(['install', RELEASE, CHART, '--wait', '--timeout', '120s'], await this.chartValues());
    } else {
      await this.installControlPlane();
      await this.#installAgent();
    }
  }

  /** Values of the chart for this lab. */
  async chartValues(): Promise<Record<string, unknown>> {
    const [repository = '', tag = ''] = PRODUCT_IMAGE.split(':');
    return {
      image: { repository, tag },
      controlPlane: {
        replicas: this.#options.replicas ?? 1,
        config: await this.#controlPlaneConfig(),
        credential: { file: CREDENTIAL },
      },
      agent: { config: this.#agentConfig },
    };
  }

  /** Runs helm in the product's namespace. A command that fails is a `code`, not an exception. */
  async helm(args: readonly string[], values?: Record<string, unknown>): Promise<CommandResult> {
    const { signal } = this.#options;
    return this.#cluster.run(
      await ensureHelm(signal === undefined ? {} : { signal }),
      [...args, '--namespace', 'kube-system', ...(values === undefined ? [] : ['--values', '-'])],
      { input: values === undefined ? '' : stringify(values), ...(signal === undefined ? {} : { signal }) },
    );
  }

  /** @returns what helm printed. @throws Error with helm's message and the state of the product's pods. */
  async helmChecked(args: readonly string[], values?: Record<string, unknown>): Promise<string> {
    const { code, stdout, stderr } = await this.helm(args, values);
    if (code === 0) return stdout;
    throw new Error(`helm ${args.join(' ')}: ${stderr}\n${await this.#stateOfProduct()}`);
  }

  get #agentConfig(): Record<string, unknown> {
    const { agentConfig, dualStack } = this.#options;
    return { ...(dualStack === true ? { serviceCIDRs: SERVICE_CIDRS.split(',') } : {}), ...agentConfig };
  }

  async #controlPlaneConfig(): Promise<Record<string, unknown>> {
    this.#cloudForNodes ??= this.#exposeCloud();
    const endpoint = `http://${await this.#cloudForNodes}`;
    return {
      regionID: REGION,
      clusterID: CLUSTER_ID,
      vpcID: VPC,
      ...(this.#options.installer === 'helm' ? {} : { webhook: { enabled: false } }),
      endpoints: { ecs: endpoint, vpc: endpoint },
      ...this.#options.controlPlaneConfig,
    };
  }

  /** Lets nodes reach the simulated cloud. @returns the host and port for them. */
  async #exposeCloud(): Promise<string> {
    const { hub } = this.#cluster;
    if (hub === undefined) throw new Error('the cluster has no hub');
    return (await hub.exposeToNodes(Number(this.#lab.endpoint.split(':').at(-1)))).address;
  }

  async installControlPlane(): Promise<void> {
    const config = await this.#controlPlaneConfig();
    const secret = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'terway-controlplane-credential', namespace: 'kube-system' },
      stringData: { 'ctrl-secret.yaml': stringify(CREDENTIAL) },
    };
    const manifest = await this.#manifest('control-plane.yaml', (object) => {
      if (object.kind === 'Secret') Object.assign(object, secret);
      if (object.kind === 'ConfigMap') object['data'] = { 'ctrl-config.yaml': stringify(config) };
      if (object.kind === 'Deployment') Object.assign(object['spec'] ?? {}, { replicas: this.#options.replicas ?? 1 });
    });
    await this.#lab.apply(manifest);
    await this.rolledOut('deployment/terway-controlplane');
  }

  async #installAgent(): Promise<void> {
    const manifest = await this.#manifest('agent.yaml', (object) => {
      if (object.kind === 'ConfigMap') object['data'] = { 'agent.yaml': stringify(this.#agentConfig) };
    });
    await this.#lab.apply(manifest);
    await this.rolledOut('daemonset/terway-agent');
  }

  /** A file of config/deploy with the image of this lab. */
  async #manifest(file: string, change: (object: Manifest) => void): Promise<string> {
    const text = await readFile(join(root, 'config', 'deploy', file), 'utf8');
    return parseManifests(text.replaceAll(/\bterway-controlplane:\d[\w.-]*/g, PRODUCT_IMAGE))
      .map((object) => {
        change(object);
        return stringify(object);
      })
      .join('---\n');
  }

  async rolledOut(what: string): Promise<void> {
    await this.#kubectl(['rollout', 'status', '-n', 'kube-system', '--timeout=90s', what]).catch(
      async (error: unknown) => {
        throw new Error(`${String(error)}\n${await this.#stateOfProduct()}`);
      },
    );
  }

  async #stateOfProduct(): Promise<string> {
    const pods = await this.#cluster.kubectl(['describe', 'pods', '-n', 'kube-system']);
    const selector = 'app.kubernetes.io/part-of=terway-controlplane';
    const logs = await this.#cluster.kubectl(['logs', '-n', 'kube-system', '--tail=20', '--prefix', '-l', selector]);
    return `${pods.stdout.slice(-3000)}\n${logs.stdout}${logs.stderr}`;
  }

  async #kubectl(args: readonly string[]): Promise<string> {
    const { signal } = this.#options;
    const { code, stdout, stderr } = await this.#cluster.kubectl(args, signal === undefined ? {} : { signal });
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr || stdout}`);
    return stdout;
  }
}
