import { randomBytes } from 'node:crypto';
import { type DisposableTempDir, mkdir, mkdtemp, mkdtempDisposable, readdir, rm } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { inject } from 'vitest';
import { pollUntil } from '../../tools/machine/poll.ts';
import { type ClusterAccess, openCluster } from './access.ts';
import { type ClusterOptions, startCluster } from './cluster.ts';
import { ApiStatusError, StateDirInUseError } from './errors.ts';
import { removeLeftovers } from './state.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** State directory of the cluster that global-setup.ts started; see {@link sharedCluster}. */
    testClusterStateDir: string;
    /** Kubeconfig of that cluster's administrator. */
    testClusterKubeconfig: string;
  }
}

export interface SharedCluster {
  access: ClusterAccess;
  /** Stops the cluster if it was started for this run. */
  release(): Promise<void>;
}

/**
 * The one cluster of a test run. By default it is a new one. If `TERWAY_TEST_CLUSTER` is set, it is the cluster that already
 * runs in that state directory (`cli.ts start`), and it keeps running afterwards. KUBECONFIG is ignored on purpose: tests change
 * a cluster in ways that must not happen to one that somebody uses.
 *
 * For a process that lives as long as the run, such as vitest's global setup.
 */
export async function acquireSharedCluster(options: Omit<ClusterOptions, 'stateDir'> = {}): Promise<SharedCluster> {
  const running = process.env['TERWAY_TEST_CLUSTER'];
  if (running !== undefined && running !== '') {
    return { access: await openCluster(running), release: async () => undefined };
  }
  const stateDir = await createStateDir();
  const cluster = await startCluster({ ...options, stateDir });
  return { access: cluster, release: () => cluster.stop() };
}

/** The cluster that global-setup.ts started, for use in tests. @throws TestClusterError when it does not run (any more). */
export function sharedCluster(): Promise<ClusterAccess> {
  return openCluster(inject('testClusterStateDir'));
}

/**
 * An empty directory for one cluster, among the temporary files. Also removes what clusters of killed runs left there.
 */
export async function createStateDir(): Promise<string> {
  const parent = join(tmpdir(), `terway-test-clusters-${userInfo().uid}`);
  await mkdir(parent, { recursive: true, mode: 0o700 });
  for (const entry of await readdir(parent)) {
    const path = join(parent, entry);
    try {
      await removeLeftovers(path);
    } catch (error) {
      if (!(error instanceof StateDirInUseError)) throw error;
    }
  }
  return mkdtemp(join(parent, 'cluster-'));
}

/**
 * A folder for the state of a cluster whose owner a test kills. What is left there is not removed by the next
 * {@link createStateDir} of another test, which may run at the same time.
 */
export function createFolderApart(): Promise<DisposableTempDir> {
  return mkdtempDisposable(join(tmpdir(), 'terway-killed-owner-'));
}

/** Removes a directory from {@link createStateDir} in which no cluster started, or whose cluster kept its state. */
export async function removeStateDir(stateDir: string): Promise<void> {
  await rm(stateDir, { recursive: true, force: true });
}

export interface TestNamespace extends AsyncDisposable {
  readonly name: string;
  /** Starts the deletion. With `wait`, resolves only when the namespace and everything in it are gone. */
  delete(options?: { wait?: boolean }): Promise<void>;
}

/**
 * Creates a unique namespace in which pods can be created at once: `await using ns = await withNamespace(cluster)`. At the end
 * of the scope it is deleted, without waiting for the deletion to finish.
 *
 * @param prefix beginning of its name.
 * @param labels labels that it is created with.
 */
export async function withNamespace(
  cluster: ClusterAccess,
  prefix = 'test',
  labels: Record<string, string> = {},
): Promise<TestNamespace> {
  const name = `${prefix}-${randomBytes(4).toString('hex')}`;
  const path = `/api/v1/namespaces/${name}`;
  const client = await cluster.client();
  const isThere = async (what: string) => {
    try {
      await client.get(what);
      return true;
    } catch (error) {
      if (error instanceof ApiStatusError && error.status === 404) return false;
      throw error;
    }
  };
  const remove = async ({ wait = false }: { wait?: boolean } = {}) => {
    try {
      if (await isThere(path)) await client.delete(path);
      if (!wait) return;
      await pollUntil(async () => ((await isThere(path)) ? undefined : true), {
        what: `namespace ${name} to be gone`,
        timeoutMs: 60_000,
        intervalMs: 200,
      });
    } finally {
      client.close();
    }
  };
  await client.create('/api/v1/namespaces', { metadata: { name, labels } });
  await pollUntil(async () => ((await isThere(`${path}/serviceaccounts/default`)) ? true : undefined), {
    what: `the service account of namespace ${name}`,
    timeoutMs: 30_000,
  });
  return { name, delete: remove, [Symbol.asyncDispose]: () => remove() };
}
