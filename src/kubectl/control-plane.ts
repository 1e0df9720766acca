import { spawn } from 'node:child_process';
import * as z from 'zod';
import { KubeApiError } from '../kube/errors.ts';
import { leaseResource } from '../kube/lease.ts';
import { errorMessage } from '../util/errors.ts';
import { firstIssue } from '../util/issues.ts';
import { askSocket, SocketUnreachableError } from '../util/unix-socket.ts';
import { adminQuery } from '../wire/admin-channel.ts';
import type { ClusterReader } from './cluster.ts';
import { NoControlPlaneError } from './errors.ts';
import { podResource } from './resources.ts';

/** Label that everything in the product carries. */
export const PRODUCT_SELECTOR = 'app.kubernetes.io/part-of=terway-controlplane';
/** Label of the control plane's pods with its name. */
export const NAME_LABEL = 'app.kubernetes.io/name';
const CONTROL_PLANE_SELECTOR = `${PRODUCT_SELECTOR},app.kubernetes.io/component=control-plane`;
/** Default name, for when no pod has the label. */
const DEFAULT_NAME = 'terway-controlplane';
const CONTAINER = 'controlplane';

/** One query, as arguments of `terway-controlplane admin`. */
export interface Question {
  command: 'status' | 'quota' | 'orphans' | 'adopt' | 'enis' | 'pool' | 'configuration' | 'metrics';
  apply?: boolean;
  overrideBrake?: boolean;
  /** Only for `pool`. */
  node?: string;
}

/** Queries the control plane for what only it knows. */
export interface ControlPlaneChannel {
  /** @throws NoControlPlaneError with one line that names what was asked and how it failed */
  ask<T>(question: Question, schema: z.ZodType<T>): Promise<T>;
}

const refusalSchema = z.object({ error: z.string() });

/**
 * The name of the control plane of a namespace, shared by its Deployment, lease and ConfigMap. It comes from a label of its
 * pods. Without such pods, or without the right to list them, it is the default name.
 *
 * @throws NoControlPlaneError when there are several; KubeApiError, TransportError
 */
export async function findControlPlaneName(cluster: ClusterReader, namespace: string): Promise<string> {
  const pods = await cluster
    .list(podResource, { namespace, labelSelector: CONTROL_PLANE_SELECTOR })
    .catch((error: unknown) => {
      if (error instanceof KubeApiError && error.code === 403) return [];
      throw error;
    });
  const names = [...new Set(pods.map(({ metadata }) => metadata.labels?.[NAME_LABEL] ?? DEFAULT_NAME))].sort();
  const [name = DEFAULT_NAME, ...others] = names;
  if (others.length === 0) return name;
  throw new NoControlPlaneError(
    `${namespace} has several control planes: ${names.join(', ')}; choose one with --control-plane`,
  );
}

/** Asks a control plane that runs as a process on this machine, through its unix socket. */
export class SocketChannel implements ControlPlaneChannel {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  async ask<T>({ command, apply, overrideBrake, node }: Question, schema: z.ZodType<T>): Promise<T> {
    const path = `/${command}${adminQuery({ overrideBrake, node })}`;
    const { body } = await askSocket(this.#socketPath, apply ? 'POST' : 'GET', path).catch((error: unknown) => {
      throw error instanceof SocketUnreachableError ? new NoControlPlaneError(error.message, { cause: error }) : error;
    });
    return readAnswer(body, schema, this.#socketPath);
  }
}

/** Runs `kubectl exec` in the leader's pod, so the right to exec there is the right to query. */
export class ExecChannel implements ControlPlaneChannel {
  readonly #cluster: ClusterReader;
  readonly #namespace: string;
  readonly #name: () => Promise<string>;
  readonly #kubectl: Kubectl;

  /** @param options.name of the control plane */
  constructor(options: {
    cluster: ClusterReader;
    namespace: string;
    name: () => Promise<string>;
    kubectl: Kubectl;
  }) {
    this.#name = options.name;
    this.#cluster = options.cluster;
    this.#namespace = options.namespace;
    this.#kubectl = options.kubectl;
  }

  async ask<T>({ command, apply, overrideBrake, node }: Question, schema: z.ZodType<T>): Promise<T> {
    const pod = await this.#leader();
    const flags = [
      ...(apply ? ['--apply'] : []),
      ...(overrideBrake ? ['--override-brake'] : []),
      ...(node === undefined ? [] : ['--node', node]),
    ];
    const { stdout, stderr } = await this.#kubectl([
      ...['exec', '--namespace', this.#namespace, pod, '--container', CONTAINER, '--'],
      ...['terway-controlplane', 'admin', command, ...flags],
    ]);
    if (stdout.trim() === '') {
      const [line = 'no answer'] = stderr.trim().split('\n');
      throw new NoControlPlaneError(`kubectl exec into pod ${this.#namespace}/${pod}: ${line}`);
    }
    return readAnswer(stdout, schema, `pod ${this.#namespace}/${pod}`);
  }

  async #leader(): Promise<string> {
    const key = { namespace: this.#namespace, name: await this.#name() };
    const where = `lease ${key.namespace}/${key.name}`;
    const lease = await this.#cluster.find(leaseResource, key);
    if (lease === undefined) throw new NoControlPlaneError(`there is no ${where}; is the control plane installed?`);
    const name = holderName(lease.spec?.holderIdentity);
    if (name === '') throw new NoControlPlaneError(`nobody holds ${where}; does a replica of the control plane run?`);
    const pod = await this.#cluster.find(podResource, { namespace: this.#namespace, name });
    if (pod !== undefined) return name;
    throw new NoControlPlaneError(
      `${where} is held by ${name}, which is no pod; if the control plane runs as a process, name its socket with --socket or TERWAY_ADMIN_SOCKET`,
    );
  }
}

/** The pod in `<pod>_<random>`. */
export function holderName(identity: string | undefined): string {
  return (identity ?? '').replace(/_[^_]*$/, '');
}

function readAnswer<T>(body: string, schema: z.ZodType<T>, from: string): T {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch (error) {
    throw new NoControlPlaneError(`${from} did not return JSON: ${errorMessage(error)}`, { cause: error });
  }
  const refusal = refusalSchema.safeParse(json);
  if (refusal.success) throw new NoControlPlaneError(`${from}: ${refusal.data.error}`);
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const { field, rule } = firstIssue(parsed.error);
  throw new NoControlPlaneError(`${from}: the response has an unexpected format (another version?): ${field}: ${rule}`);
}

/** Runs kubectl with this command's connection flags. A failure is a `code`, not an exception. */
export type Kubectl = (args: readonly string[]) => Promise<{ stdout: string; stderr: string; code: number }>;

/** @param connection flags such as `--context`, put before every command line. */
export function kubectlRunner(connection: readonly string[], signal: AbortSignal): Kubectl {
  return (args) =>
    new Promise((resolve, reject) => {
      const child = spawn('kubectl', [...connection, ...args], { stdio: ['ignore', 'pipe', 'pipe'], signal });
      let stdout = '';
      let stderr = '';
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        stdout += chunk;
      });
      child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
        stderr += chunk;
      });
      child.once('error', (error) => reject(new NoControlPlaneError(`kubectl cannot be run: ${error.message}`)));
      child.once('close', (code) => resolve({ stdout, stderr, code: code ?? 1 }));
    });
}
