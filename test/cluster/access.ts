import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import { ApiClient } from './api.ts';
import { TestClusterError } from './errors.ts';
import { formatKubeconfig } from './kubeconfig.ts';
import { NODE_CACHE } from './node-cache.ts';
import { issueUser, loadAuthority, writeSecret } from './pki.ts';
import { readRecord } from './state.ts';

/** The subject of a kubeconfig. */
export type KubeconfigSubject =
  | { user: string; groups?: readonly string[] }
  | {
      serviceAccount: { namespace: string; name: string };
      tokenLifetimeSeconds?: number;
      /** The token ends with this object and names its node. */
      boundTo?: { apiVersion: 'v1'; kind: 'Pod' | 'Node'; name: string; uid: string };
    };

export interface CommandResult {
  stdout: string;
  stderr: string;
  code: number;
}

export interface CommandOptions {
  /** Standard input. */
  input?: string;
  kubeconfig?: string;
  signal?: AbortSignal;
  env?: Readonly<Record<string, string>>;
  /** Folders to prepend to the PATH. */
  path?: readonly string[];
}

/** Access to a running test cluster from any process on this machine. */
export interface ClusterAccess {
  readonly stateDir: string;
  readonly serverUrl: string;
  /** Of an administrator (group system:masters). */
  readonly kubeconfigPath: string;
  /** Runs kubectl as that administrator, or with the `kubeconfig` given. A failure is a `code`, not an exception. */
  kubectl(args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  /** The same for another program that reads KUBECONFIG, such as helm. */
  run(program: string, args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  /**
   * Writes a kubeconfig below the state directory, of a user with a client certificate or of a service account that
   * exists, with a token for it (an hour by default).
   *
   * @returns its path.
   * @throws ApiStatusError when there is no such service account.
   */
  writeKubeconfig(subject: KubeconfigSubject): Promise<string>;
  /** A new client, of the administrator or of the `kubeconfig` given. */
  client(options?: { kubeconfig?: string; maxConnections?: number }): Promise<ApiClient>;
}

const tokenRequestSchema = z.object({ status: z.object({ token: z.string() }) });

/** Where the administrator's kubeconfig of a state directory is. */
export function adminKubeconfigPath(stateDir: string): string {
  return join(stateDir, 'kubeconfig');
}

/**
 * Uses a cluster that another process runs, given its state directory.
 *
 * @throws TestClusterError when no cluster runs there.
 */
export async function openCluster(stateDir: string): Promise<ClusterAccess> {
  const record = await readRecord(stateDir);
  if (record?.phase !== 'running') throw new TestClusterError(`no test cluster runs in ${stateDir}`);
  return createAccess(stateDir, record.serverUrl, join(record.binaries, 'kubectl'));
}

/** Access to the cluster in `stateDir`, whose files exist already. */
export function createAccess(stateDir: string, serverUrl: string, kubectlPath: string): ClusterAccess {
  const kubeconfigPath = adminKubeconfigPath(stateDir);
  const client: ClusterAccess['client'] = ({ kubeconfig = kubeconfigPath, ...options } = {}) =>
    ApiClient.fromKubeconfig(kubeconfig, options);

  const run: ClusterAccess['run'] = (
    program,
    args,
    { input = '', kubeconfig = kubeconfigPath, signal, env = {}, path = [] } = {},
  ) =>
    runCommand(program, args, {
      input,
      signal,
      env: {
        // A plug-in of kubectl calls kubectl.
        PATH: [...path, dirname(kubectlPath), process.env['PATH'] ?? ''].join(':'),
        HOME: stateDir,
        KUBECONFIG: kubeconfig,
        // The cache of discovery must not be shared with clusters that had our port before.
        KUBECACHEDIR: join(stateDir, 'kubectl-cache'),
        ...NODE_CACHE,
        ...env,
      },
    });

  return {
    stateDir,
    serverUrl,
    kubeconfigPath,
    client,
    run,
    kubectl: (args, options) => run(kubectlPath, args, options),
    writeKubeconfig: async (subject) => {
      const authority = await loadAuthority(stateDir);
      const base = { serverUrl, authorityPem: authority.certificatePem };
      if ('user' in subject) {
        const pair = issueUser(authority, subject.user, subject.groups ?? []);
        return save(stateDir, subject.user, formatKubeconfig({ ...base, identity: { kind: 'certificate', ...pair } }));
      }
      const { namespace, name } = subject.serviceAccount;
      const admin = await client();
      try {
        const answer = await admin.create(`/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`, {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenRequest',
          spec: {
            expirationSeconds: subject.tokenLifetimeSeconds ?? 3600,
            ...(subject.boundTo === undefined ? {} : { boundObjectRef: subject.boundTo }),
          },
        });
        const { token } = tokenRequestSchema.parse(answer).status;
        const text = formatKubeconfig({ ...base, identity: { kind: 'token', token } });
        return await save(stateDir, `${namespace}-${name}`, text);
      } finally {
        admin.close();
      }
    },
  };
}

let written = 0;

async function save(stateDir: string, subject: string, text: string): Promise<string> {
  const directory = join(stateDir, 'kubeconfigs');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  // Two test files may ask for the same subject at the same moment, from processes of their own.
  const path = join(directory, `${subject.replace(/[^\w.-]/g, '_')}-${process.pid}-${++written}`);
  await writeSecret(path, text);
  return path;
}

function runCommand(
  command: string,
  args: readonly string[],
  options: { input: string; signal: AbortSignal | undefined; env: NodeJS.ProcessEnv },
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: options.env,
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.signal ? { signal: options.signal } : {}),
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk;
    });
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk;
    });
    child.once('error', (error) => reject(options.signal?.aborted ? options.signal.reason : error));
    child.once('close', (code) => resolve({ stdout, stderr, code: code ?? 1 }));
    // It may end before it has read everything, which is not our failure.
    child.stdin.once('error', () => undefined);
    child.stdin.end(options.input);
  });
}
