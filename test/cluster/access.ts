import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import { ApiClient } from './api.ts';
import { type CommandResult, runCommand } from './command.ts';
import { TestClusterError } from './errors.ts';
import { formatKubeconfig } from './kubeconfig.ts';
import { NODE_CACHE } from './node-cache.ts';
import { issueUser, loadAuthority, writeSecret } from './pki.ts';
import { readRecord } from './state.ts';

/** The user or service account of a kubeconfig. */
export type KubeconfigSubject =
  | { user: string; groups?: readonly string[] }
  | {
      serviceAccount: { namespace: string; name: string };
      tokenLifetimeSeconds?: number;
      /** The token becomes invalid with this object, and names its node. */
      boundTo?: { apiVersion: 'v1'; kind: 'Pod' | 'Node'; name: string; uid: string };
    };

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
  /** Kubeconfig of an administrator (group system:masters). */
  readonly kubeconfigPath: string;
  /** Runs kubectl as that administrator, or with another `kubeconfig`. A failure is a `code`, not an exception. */
  kubectl(args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  /** Like {@link kubectl}, for another program that reads KUBECONFIG, such as helm. */
  run(program: string, args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  /**
   * Writes a kubeconfig below the state directory. A user gets a client certificate. A service account must exist, and gets a
   * token (valid for an hour by default).
   *
   * @returns its path.
   * @throws ApiStatusError when the service account does not exist.
   */
  writeKubeconfig(subject: KubeconfigSubject): Promise<string>;
  /** A new client for the administrator, or for the given `kubeconfig`. */
  client(options?: { kubeconfig?: string; maxConnections?: number }): Promise<ApiClient>;
}

const tokenRequestSchema = z.object({ status: z.object({ token: z.string() }) });

/** Path of the administrator's kubeconfig in a state directory. */
export function adminKubeconfigPath(stateDir: string): string {
  return join(stateDir, 'kubeconfig');
}

/**
 * Opens a cluster that another process runs.
 *
 * @throws TestClusterError when no cluster runs in the state directory.
 */
export async function openCluster(stateDir: string): Promise<ClusterAccess> {
  const record = await readRecord(stateDir);
  if (record?.phase !== 'running') throw new TestClusterError(`no test cluster runs in ${stateDir}`);
  return createAccess(stateDir, record.serverUrl, join(record.binaries, 'kubectl'));
}

/** Access to the cluster in `stateDir`. Its files must exist. */
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
        // A plug-in of kubectl may call kubectl.
        PATH: [...path, dirname(kubectlPath), process.env['PATH'] ?? ''].join(':'),
        HOME: stateDir,
        KUBECONFIG: kubeconfig,
        // Another cluster may have had our port before, so its discovery cache must not be shared.
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
        const response = await admin.create(`/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`, {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenRequest',
          spec: {
            expirationSeconds: subject.tokenLifetimeSeconds ?? 3600,
            ...(subject.boundTo === undefined ? {} : { boundObjectRef: subject.boundTo }),
          },
        });
        const { token } = tokenRequestSchema.parse(response).status;
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
  // Two test files in different processes may ask for the same subject at the same time.
  const path = join(directory, `${subject.replace(/[^\w.-]/g, '_')}-${process.pid}-${++written}`);
  await writeSecret(path, text);
  return path;
}
