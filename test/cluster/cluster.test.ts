import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { ComponentFailedError } from '../../tools/errors.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import { isPortFree } from '../../tools/machine/ports.ts';
import {
  commandLine,
  identifyProcess,
  isRunning,
  type ProcessIdentity,
  processIdentitySchema,
  waitGone,
} from '../../tools/machine/process-table.ts';
import { openCluster } from './access.ts';
import { type Cluster, startCluster } from './cluster.ts';
import { ApiStatusError, StateDirInUseError } from './errors.ts';
import { startNodeLoop } from './node-loop.ts';
import { createNode } from './nodes.ts';
import { createFolderApart, createStateDir, removeStateDir, withNamespace } from './shared.ts';
import { watch } from './watch.ts';

// A first run may have to build the programs.
const BUILD_TIMEOUT_MS = 900_000;

const podSchema = z.object({
  metadata: z.object({ name: z.string() }),
  status: z.object({
    phase: z.string(),
    podIP: z.string().optional(),
    conditions: z.array(z.object({ type: z.string(), status: z.string() })).default([]),
  }),
});

const NODE = { instanceId: 'i-test0', instanceType: 'ecs.g7.2xlarge', zone: 'cn-hangzhou-i', region: 'cn-hangzhou' };

describe('a running cluster', () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await startCluster({ stateDir: await createStateDir() });
  }, BUILD_TIMEOUT_MS);

  afterAll(async () => {
    await cluster?.stop();
  }, 30_000);

  test('only its owner can read its secrets', async () => {
    expect((await stat(cluster.stateDir)).mode & 0o777).toBe(0o700);
    expect((await stat(cluster.kubeconfigPath)).mode & 0o777).toBe(0o600);
  });

  test('kubectl works, takes input, and reports failures', async () => {
    await using namespace = await withNamespace(cluster);
    const manifest = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'from-stdin' } };
    const applied = await cluster.kubectl(['-n', namespace.name, 'apply', '-f', '-'], {
      input: JSON.stringify(manifest),
    });
    expect(applied).toMatchObject({ code: 0, stdout: 'configmap/from-stdin created\n' });
    const missing = await cluster.kubectl(['-n', namespace.name, 'get', 'configmap', 'missing']);
    expect(missing.code).toBe(1);
    expect(missing.stderr).toContain('NotFound');
  });

  test('RBAC is on: a user has no rights without a role', async () => {
    await using namespace = await withNamespace(cluster);
    const kubeconfig = await cluster.writeKubeconfig({ user: 'nobody', groups: ['readers'] });
    const client = await cluster.client({ kubeconfig });
    const path = `/api/v1/namespaces/${namespace.name}/pods`;
    await expect(client.list(path)).rejects.toMatchObject({ status: 403, reason: 'Forbidden' });

    const bound = ['-n', namespace.name, 'create', 'rolebinding', 'r', '--clusterrole=view', '--group=readers'];
    expect(await cluster.kubectl(bound)).toMatchObject({ code: 0 });
    const list = await pollUntil(() => client.list(path).catch(() => undefined), {
      what: 'the role',
      timeoutMs: 10_000,
    });
    expect(list.objects).toEqual([]);
    client.close();
  });

  test('a service account gets a kubeconfig of its own', async () => {
    await using namespace = await withNamespace(cluster);
    const kubeconfig = await cluster.writeKubeconfig({
      serviceAccount: { namespace: namespace.name, name: 'default' },
    });
    const who = await cluster.kubectl(['auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}'], { kubeconfig });
    expect(who.stdout).toBe(`system:serviceaccount:${namespace.name}:default`);
  });

  test('metrics of the API server can be read', async () => {
    const client = await cluster.client();
    expect(await client.requestText('GET', '/metrics')).toContain('apiserver_request_total{');
    client.close();
  });

  test('other processes can use it through its state directory', async () => {
    const access = await openCluster(cluster.stateDir);
    expect(await access.kubectl(['get', '--raw', '/readyz'])).toMatchObject({ code: 0, stdout: 'ok' });
  });

  test('a second cluster cannot use its state directory', async () => {
    await expect(startCluster({ stateDir: cluster.stateDir })).rejects.toBeInstanceOf(StateDirInUseError);
    expect(await cluster.kubectl(['get', '--raw', '/readyz'])).toMatchObject({ stdout: 'ok' });
  });

  test('pods are scheduled to a node without a kubelet, run, and end', async () => {
    await using namespace = await withNamespace(cluster);
    const client = await cluster.client();
    await createNode(client, { ...NODE, name: 'cheap-1' });
    const asked: string[] = [];
    await using _loop = await startNodeLoop(cluster, {
      podReady: (pod) => {
        asked.push(pod.metadata.name);
        return asked.length < 3 ? undefined : { ip: '10.1.2.3' };
      },
      podReadyRetryMs: 20,
    });
    const path = `/api/v1/namespaces/${namespace.name}/pods`;
    await client.create(path, {
      metadata: { name: 'p' },
      spec: { containers: [{ name: 'main', image: 'none' }], terminationGracePeriodSeconds: 30 },
    });
    const running = await pollUntil(
      async () => {
        const pod = podSchema.parse(await client.get(`${path}/p`));
        return pod.status.phase === 'Running' ? pod : undefined;
      },
      { what: 'the pod to run', timeoutMs: 20_000 },
    );
    expect(running.status.podIP).toBe('10.1.2.3');
    expect(running.status.conditions).toContainEqual(expect.objectContaining({ type: 'Ready', status: 'True' }));
    expect(running.status.conditions).toContainEqual(expect.objectContaining({ type: 'PodScheduled', status: 'True' }));
    expect(asked).toEqual(['p', 'p', 'p']);

    await client.delete(`${path}/p`);
    await pollUntil(
      () =>
        client.get(`${path}/p`).then(
          () => undefined,
          (error: unknown) => error instanceof ApiStatusError && error.status === 404,
        ),
      { what: 'the pod to be gone', timeoutMs: 10_000 },
    );
    const node = await cluster.kubectl(['get', 'node', 'cheap-1', '-o', 'jsonpath={.spec.providerID} {.spec.taints}']);
    expect(node.stdout).toBe('cn-hangzhou.i-test0 ');
    const lease = ['-n', 'kube-node-lease', 'get', 'lease', 'cheap-1', '-o', 'jsonpath={.spec.holderIdentity}'];
    expect((await cluster.kubectl(lease)).stdout).toBe('cheap-1');
    client.close();
  });

  test('a watch outlives the API server', async () => {
    await using namespace = await withNamespace(cluster);
    const client = await cluster.client();
    const path = `/api/v1/namespaces/${namespace.name}/configmaps`;
    const stop = new AbortController();
    const seen: string[] = [];
    const watching = (async () => {
      const schema = z.object({ metadata: z.object({ name: z.string() }) });
      const query = { labelSelector: 'watched=yes' };
      for await (const event of watch(client, path, { schema, query, signal: stop.signal })) {
        if (event.type === 'LISTED') seen.push(`LISTED ${event.objects.length}`);
        else seen.push(`${event.type} ${event.object.metadata.name}`);
      }
    })();
    const sees = (what: string) =>
      pollUntil(async () => (seen.includes(what) ? true : undefined), { what, timeoutMs: 10_000 });
    const create = (name: string) => client.create(path, { metadata: { name, labels: { watched: 'yes' } } });

    await sees('LISTED 0');
    await create('before');
    await sees('ADDED before');
    const before = cluster.pids['kube-apiserver'];
    await cluster.killApiServer();
    expect(cluster.pids['kube-apiserver']).toBeUndefined();
    await expect(client.list(path)).rejects.toThrow();
    await cluster.restartApiServer();
    expect(cluster.pids['kube-apiserver']).not.toBe(before);
    await create('after');
    await sees('ADDED after');
    // The new API server may have forgotten where the watch was; then it lists what is there.
    expect(seen.filter((what) => what !== 'LISTED 1')).toEqual(['LISTED 0', 'ADDED before', 'ADDED after']);
    stop.abort();
    await watching;
    client.close();
  }, 60_000);
});

describe('the end of a cluster', () => {
  test('leaves no process, no port and no file', async () => {
    const stateDir = await createStateDir();
    const cluster = await startCluster({ stateDir });
    const identities = await identifyAll(cluster.pids);
    expect(Object.keys(cluster.pids)).toHaveLength(4);
    const ports = await portsOf(identities);
    expect(ports).toHaveLength(4);
    await Promise.all([cluster.stop(), cluster.stop()]);
    for (const identity of identities) expect(await isRunning(identity)).toBe(false);
    for (const port of ports) expect(await isPortFree(port)).toBe(true);
    expect(existsSync(stateDir)).toBe(false);
  }, 60_000);

  test('also happens on abort', async () => {
    const stateDir = await createStateDir();
    const abort = new AbortController();
    const started = startCluster({
      stateDir,
      signal: abort.signal,
      log: (line) => {
        if (line === 'starting kube-apiserver') abort.abort(new Error('changed my mind'));
      },
    });
    await expect(started).rejects.toThrow('changed my mind');
    expect(existsSync(stateDir)).toBe(false);
  }, 60_000);

  test('is clean when a component fails to start, and the error says why', async () => {
    const stateDir = await createStateDir();
    const started = startCluster({
      stateDir,
      extraFlags: { 'kube-apiserver': ['--service-cluster-ip-range=nonsense'] },
    });
    const error = await started.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(ComponentFailedError);
    expect(String(error)).toMatch(/kube-apiserver ended with code 1: .*service-cluster-ip-range.*cidr/);
    expect(existsSync(stateDir)).toBe(false);
  }, 60_000);

  test('happens when its parent is killed, and the next start cleans up', async () => {
    await using folder = await createFolderApart();
    const stateDir = join(folder.path, 'state');
    const script = join(folder.path, 'parent.ts');
    const clusterModule = fileURLToPath(new URL('cluster.ts', import.meta.url));
    await writeFile(
      script,
      `import { startCluster } from ${JSON.stringify(clusterModule)};
       const cluster = await startCluster({ stateDir: ${JSON.stringify(stateDir)} });
       console.log(JSON.stringify(cluster.pids));`,
    );
    const parent = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [line] = await once(createInterface({ input: parent.stdout }), 'line');
      const identities = await identifyAll(z.record(z.string(), z.number()).parse(JSON.parse(String(line))));
      expect(identities).toHaveLength(4);
      parent.kill('SIGKILL');
      for (const identity of identities) await waitGone(identity, 5000);
      expect(existsSync(stateDir)).toBe(true);
      await (await startCluster({ stateDir })).stop();
      expect(existsSync(stateDir)).toBe(false);
    } finally {
      parent.kill('SIGKILL');
    }
  }, 60_000);

  test('a directory with foreign files is left alone', async () => {
    const stateDir = await createStateDir();
    await mkdir(join(stateDir, 'precious'));
    await expect(startCluster({ stateDir })).rejects.toBeInstanceOf(StateDirInUseError);
    expect(existsSync(join(stateDir, 'precious'))).toBe(true);
    await removeStateDir(stateDir);
  });
});

async function identifyAll(pids: Readonly<Record<string, number>>): Promise<ProcessIdentity[]> {
  const found = await Promise.all(Object.values(pids).map(identifyProcess));
  return z.array(processIdentitySchema).parse(found);
}

async function portsOf(identities: readonly ProcessIdentity[]): Promise<number[]> {
  const lines = await Promise.all(identities.map(({ pid }) => commandLine(pid)));
  return lines.flat().flatMap((argument) => {
    const port = /^--(?:secure-port=|listen-client-urls=http:\/\/127\.0\.0\.1:)(\d+)$/.exec(argument)?.[1];
    return port === undefined ? [] : [Number(port)];
  });
}
