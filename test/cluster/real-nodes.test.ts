import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { nodeCgroups } from '../../tools/machine/cgroups.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import { BUSYBOX_IMAGE } from '../../tools/product/image/busybox.ts';
import { writeProductImage } from '../../tools/product/image/product.ts';
import type { ApiClient } from './api.ts';
import { type Cluster, startCluster } from './cluster.ts';
import { runChecked } from './command.ts';
import { BRIDGE_ADDRESS } from './real-nodes/hub.ts';
import { type RealNode, startRealNode } from './real-nodes/real-node.ts';
import { realNodeSupport } from './real-nodes/support.ts';
import { installTestCni } from './real-nodes/test-cni.ts';
import { createFolderApart, createStateDir, withNamespace } from './shared.ts';

// A first run may have to build the programs.
const BUILD_TIMEOUT_MS = 900_000;

const SPEC = { instanceType: 'ecs.g7.2xlarge', zone: 'cn-hangzhou-h', region: 'cn-hangzhou' };

const nodeSchema = z.object({
  metadata: z.object({ labels: z.record(z.string(), z.string()) }),
  spec: z.object({ providerID: z.string() }),
  status: z.object({
    addresses: z.array(z.object({ type: z.string(), address: z.string() })),
    conditions: z.array(z.object({ type: z.string(), status: z.string(), message: z.string() })),
  }),
});

const podSchema = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({ nodeName: z.string().optional() }),
  status: z.object({
    podIP: z.string().optional(),
    conditions: z.array(z.object({ type: z.string(), status: z.string() })).default([]),
    containerStatuses: z.array(z.object({ restartCount: z.number(), containerID: z.string().optional() })).default([]),
  }),
});
type Pod = z.infer<typeof podSchema>;

/** State of this machine that the tests must not change. */
async function machineState() {
  const sysctl = (name: string) => readFile(`/proc/sys/${name}`, 'utf8');
  return {
    links: await runChecked('ip', ['-oneline', 'address']),
    routes: await runChecked('ip', ['route', 'show', 'table', 'all']),
    rules: await runChecked('nft', ['list', 'ruleset']),
    // Other processes on this machine may create and remove named network namespaces and laboratories of the data path meanwhile.
    mounts: (await readFile('/proc/self/mountinfo', 'utf8'))
      .split('\n')
      .filter((line) => !line.includes('/run/netns') && !line.includes('/terway-datapath-')),
    sysctls: await Promise.all(
      ['vm/overcommit_memory', 'kernel/panic', 'kernel/panic_on_oops', 'net/ipv4/ip_forward'].map(sysctl),
    ),
    folders: ['/etc/cni', '/opt/cni', '/var/lib/kubelet', '/var/lib/containerd', '/run/containerd'].map(existsSync),
  };
}

/** Cgroups of the nodes that process `owner` started. */
async function cgroupsOf(owner: number | undefined): Promise<string[]> {
  return (await nodeCgroups()).filter((path) => path.includes(`.${owner}.`));
}

/** Processes in any of the given network namespaces. */
async function processesIn(namespaces: readonly string[]): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const namespace = await readlink(`/proc/${pid}/ns/net`).catch(() => '');
      return namespaces.includes(namespace) ? [pid] : [];
    }),
  );
  return found.flat();
}

/** A container that prints its host name and then sleeps. */
function podSpec(options: { hostNetwork?: boolean; command?: string }) {
  return {
    hostNetwork: options.hostNetwork ?? false,
    terminationGracePeriodSeconds: 0,
    tolerations: [{ operator: 'Exists' }],
    containers: [
      {
        name: 'main',
        image: BUSYBOX_IMAGE,
        imagePullPolicy: 'Never',
        command: ['sh', '-c', `${options.command ?? 'echo hello from $(hostname)'}; exec sleep 1000000`],
      },
    ],
  };
}

async function readyPods(client: ApiClient, namespace: string, count: number): Promise<Pod[]> {
  return pollUntil(
    async () => {
      const { objects } = await client.list(`/api/v1/namespaces/${namespace}/pods`);
      const pods = z.array(podSchema).parse(objects);
      const ready = pods.filter(({ status }) =>
        status.conditions.some(({ type, status: value }) => type === 'Ready' && value === 'True'),
      );
      return pods.length === count && ready.length === count ? ready : undefined;
    },
    { what: `${count} pods to be ready`, timeoutMs: 60_000, intervalMs: 100 },
  );
}

const readyCondition = async (client: ApiClient, name: string) =>
  nodeSchema.parse(await client.get(`/api/v1/nodes/${name}`)).status.conditions.find(({ type }) => type === 'Ready');

test('this machine can run real nodes', async () => {
  expect(await realNodeSupport()).toEqual({ supported: true });
});

describe('two real nodes', () => {
  let before: Awaited<ReturnType<typeof machineState>>;
  let cluster: Cluster;
  let client: ApiClient;
  let nodes: RealNode[];
  let hubNamespace: string;
  const plugged: string[] = [];

  beforeAll(async () => {
    before = await machineState();
    cluster = await startCluster({ stateDir: await createStateDir(), realNodes: true });
    client = await cluster.client();
    hubNamespace = await readlink(cluster.hub?.netnsPath ?? '');
    nodes = await Promise.all([
      startRealNode(cluster, {
        ...SPEC,
        name: 'real-1',
        instanceId: 'i-real1',
        plugInterfaces: async (netnsPath) => {
          plugged.push(await runChecked('nsenter', [`--net=${netnsPath}`, 'ip', '-oneline', 'link']));
        },
      }),
      startRealNode(cluster, {
        ...SPEC,
        name: 'real-2',
        instanceId: 'i-real2',
        labels: { 'alibabacloud.com/lingjun-worker': 'true', 'node-role.kubernetes.io/worker': '' },
      }),
    ]);
  }, BUILD_TIMEOUT_MS);

  afterAll(async () => {
    client?.close();
    await cluster?.stop();
  }, 30_000);

  const node = (at: number): RealNode => {
    const found = nodes[at];
    if (found === undefined) throw new RangeError(`no node ${at}`);
    return found;
  };

  test('are described as the cloud provider would, and wait for a CNI configuration', async () => {
    const second = nodeSchema.parse(await client.get('/api/v1/nodes/real-2'));
    expect(second.spec.providerID).toBe('cn-hangzhou.i-real2');
    expect(second.metadata.labels).toMatchObject({
      'topology.kubernetes.io/region': 'cn-hangzhou',
      'topology.kubernetes.io/zone': 'cn-hangzhou-h',
      'node.kubernetes.io/instance-type': 'ecs.g7.2xlarge',
      'alibabacloud.com/lingjun-worker': 'true',
      'node-role.kubernetes.io/worker': '',
    });
    expect(second.status.addresses).toContainEqual({ type: 'InternalIP', address: node(1).internalIp });
    expect(await readyCondition(client, 'real-2')).toMatchObject({
      status: 'False',
      message: expect.stringContaining('cni plugin not initialized'),
    });
  });

  test('run privileged host-network pods with hostPath folders of their own node', async () => {
    await using namespace = await withNamespace(cluster);
    const paths = ['/opt/cni/bin', '/etc/cni/net.d', '/var/lib/terway', '/run/netns', '/sys/fs/bpf', '/proc'];
    const template = podSpec({
      hostNetwork: true,
      command: 'hostname > /opt/cni/bin/who; echo hello from $(hostname)',
    });
    const daemonSet = {
      metadata: { name: 'agent' },
      spec: {
        selector: { matchLabels: { app: 'agent' } },
        template: {
          metadata: { labels: { app: 'agent' } },
          spec: {
            ...template,
            containers: template.containers.map((container) => ({
              ...container,
              securityContext: { privileged: true },
              volumeMounts: paths.map((path, at) => ({
                name: `v${at}`,
                mountPath: path === '/proc' ? '/host/proc' : path,
                ...(path === '/run/netns' ? { mountPropagation: 'HostToContainer' } : {}),
              })),
            })),
            volumes: paths.map((path, at) => ({
              name: `v${at}`,
              hostPath: { path, type: path.startsWith('/sys') ? 'Directory' : 'DirectoryOrCreate' },
            })),
          },
        },
      },
    };
    await client.create(`/apis/apps/v1/namespaces/${namespace.name}/daemonsets`, daemonSet);
    const pods = await readyPods(client, namespace.name, 2);
    for (const pod of pods) {
      const { nodeName } = pod.spec;
      const target = ['-n', namespace.name, `pod/${pod.metadata.name}`];
      await pollUntil(
        async () =>
          (await cluster.kubectl(['logs', ...target])).stdout === `hello from ${nodeName}\n` ? true : undefined,
        { what: `the output of the pod of ${nodeName}`, timeoutMs: 10_000 },
      );
      const inPod = (...command: string[]) => cluster.kubectl(['exec', ...target, '--', ...command]);
      expect(await inPod('cat', '/opt/cni/bin/who')).toMatchObject({ code: 0, stdout: `${nodeName}\n` });
      const owner = nodes.find(({ name }) => name === nodeName);
      await owner?.exec('ip', ['netns', 'add', 'later']);
      expect((await inPod('cat', '/proc/mounts')).stdout).toMatch(/ \/run\/netns\/later nsfs /);
      expect((await inPod('cat', '/host/proc/1/comm')).code).toBe(0);
      await owner?.exec('ip', ['netns', 'delete', 'later']);
    }
    for (const { exec, name } of nodes.map((each) => ({ exec: each.exec.bind(each), name: each.name }))) {
      expect((await exec('cat', ['/opt/cni/bin/who'])).stdout).toBe(`${name}\n`);
    }
  });

  test('run programs from the product image, which is made without a container engine', async () => {
    const distDir = join(cluster.stateDir, 'dist');
    const outPath = join(cluster.stateDir, 'product.tar');
    await mkdir(distDir);
    await writeFile(join(distDir, 'terway-x'), '#!/bin/sh\nexec node -p "process.version"\n', { mode: 0o755 });
    const reference = 'docker.io/library/terway-x:1';
    const nodePath = process.execPath;
    await writeProductImage({ distDir, nodePath, cacheDir: distDir, reference, version: '1', outPath });
    await Promise.all(nodes.map((each) => each.importImage(outPath)));
    await using namespace = await withNamespace(cluster);
    const template = podSpec({ hostNetwork: true, command: 'terway-x' });
    const containers = template.containers.map((container) => ({ ...container, image: 'terway-x:1' }));
    await client.create(`/api/v1/namespaces/${namespace.name}/pods`, {
      metadata: { name: 'p' },
      spec: { ...template, containers },
    });
    await readyPods(client, namespace.name, 1);
    const logs = () => cluster.kubectl(['logs', '-n', namespace.name, 'p']);
    await pollUntil(async () => ((await logs()).stdout === `${process.version}\n` ? true : undefined), {
      what: 'the output of the program',
      timeoutMs: 10_000,
    });
  });

  test('reach Services', async () => {
    const version = () =>
      node(0).exec('kubectl', [
        ...['--kubeconfig=/etc/kubernetes/kubelet.kubeconfig', '--server=https://10.96.0.1'],
        ...['--request-timeout=2s', 'get', '--raw', '/version'],
      ]);
    const output = await pollUntil(
      async () => {
        const result = await version();
        return result.code === 0 ? result.stdout : undefined;
      },
      { what: 'kube-proxy to know the API server', timeoutMs: 20_000 },
    );
    expect(output).toContain('"gitVersion": "v1.36.3"');
  });

  test('run programs of the machine until the signal', async () => {
    const stop = new AbortController();
    const sleeping = node(0).exec('sleep', ['777777'], { signal: stop.signal });
    const isThere = async () => (await node(0).exec('pgrep', ['-f', '^sleep 777777'])).code === 0;
    await pollUntil(async () => ((await isThere()) ? true : undefined), { what: 'sleep', timeoutMs: 10_000 });
    stop.abort(new Error('enough'));
    await expect(sleeping).rejects.toThrow('enough');
    await pollUntil(async () => ((await isThere()) ? undefined : true), { what: 'its end', timeoutMs: 10_000 });
    expect(await node(0).exec('cat', [], { input: 'text' })).toMatchObject({ code: 0, stdout: 'text' });
  });

  test('become Ready with a CNI plugin, and their pods reach Services and the machine', async () => {
    await Promise.all(nodes.map(installTestCni));
    const server = createServer((_request, response) => response.end('from the machine')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string' || cluster.hub === undefined) throw new Error('no port');
    await using forward = await cluster.hub.exposeToNodes(address.port);
    expect(forward.address).toBe(`${BRIDGE_ADDRESS}:${address.port}`);
    await using namespace = await withNamespace(cluster);
    const path = `/api/v1/namespaces/${namespace.name}/pods`;
    try {
      await client.create(path, {
        metadata: { name: 'p' },
        spec: podSpec({ command: 'mkdir /www; echo from the pod > /www/index.html; httpd -p 8080 -h /www' }),
      });
      const [pod] = await readyPods(client, namespace.name, 1);
      const inPod = (...command: string[]) =>
        cluster.kubectl(['exec', '-n', namespace.name, 'pod/p', '--', ...command]);
      expect(await inPod('wget', '-q', '-O', '-', `http://${forward.address}/`)).toMatchObject({
        stdout: 'from the machine',
      });
      expect(await inPod('nc', '-w', '3', '10.96.0.1', '443')).toMatchObject({ stderr: '' });

      const owner = nodes.find(({ name }) => name === pod?.spec.nodeName);
      await using door = await cluster.hub.exposeToMachine(owner?.netnsPath ?? '', `${pod?.status.podIP}:8080`);
      expect(await (await fetch(`http://${door.address}/`)).text()).toBe('from the pod\n');
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });

  test('keep their pods when kubelet and containerd are killed', async () => {
    await using namespace = await withNamespace(cluster);
    await client.create(`/api/v1/namespaces/${namespace.name}/pods`, {
      metadata: { name: 'p' },
      spec: { ...podSpec({ hostNetwork: true }), nodeName: 'real-2' },
    });
    const [pod] = await readyPods(client, namespace.name, 1);
    await node(1).kill9('kubelet');
    await node(1).kill9('containerd');
    const logs = () => cluster.kubectl(['logs', '-n', namespace.name, 'p']);
    await pollUntil(async () => ((await logs()).stdout === 'hello from real-2\n' ? true : undefined), {
      what: 'the kubelet to respond',
      timeoutMs: 30_000,
    });
    expect((await readyPods(client, namespace.name, 1))[0]?.status.containerStatuses).toEqual(
      pod?.status.containerStatuses,
    );
  });

  test('come back after a restart: /run is empty, the disk is kept, and the pods start again', async () => {
    await using namespace = await withNamespace(cluster);
    await client.create(`/api/v1/namespaces/${namespace.name}/pods`, {
      metadata: { name: 'p' },
      spec: { ...podSpec({}), nodeName: 'real-1' },
    });
    await readyPods(client, namespace.name, 1);
    await node(0).exec('touch', ['/run/before', '/var/lib/before', '/etc/before']);
    const namespaceBefore = await readlink(`/proc/${node(0).pid}/ns/net`);
    await node(0).restart();

    expect((await node(0).exec('ls', ['/run/before', '/var/lib/before', '/etc/before'])).stdout).toBe(
      '/etc/before\n/var/lib/before\n',
    );
    expect(await readlink(await readlink(node(0).netnsPath))).not.toBe(namespaceBefore);
    expect(plugged).toHaveLength(2);
    for (const links of plugged) expect(links).not.toContain(' eth');
    const restarted = await pollUntil(
      async () => {
        const [pod] = await readyPods(client, namespace.name, 1);
        return pod?.status.containerStatuses[0]?.restartCount === 1 ? pod : undefined;
      },
      { what: 'the pod to be started again', timeoutMs: 60_000, intervalMs: 100 },
    );
    expect(restarted.status.podIP).toMatch(/^10\.244\./);
    expect(await readyCondition(client, 'real-1')).toMatchObject({ status: 'True' });
  });

  test('are stopped together with the cluster, and leave nothing behind', async () => {
    const pids = nodes.map(({ pid }) => pid);
    const namespaces = await Promise.all(
      [cluster.hub?.netnsPath ?? '', ...pids.map((pid) => `/proc/${pid}/ns/net`)].map((path) => readlink(path)),
    );
    // When the hub dials in another namespace, that must not end the thread whose namespace identifies the hub.
    expect(namespaces[0]).toBe(hubNamespace);
    expect((await processesIn(namespaces)).length).toBeGreaterThan(7);
    expect(await cgroupsOf(process.pid)).not.toEqual([]);
    await cluster.stop();
    expect(await processesIn(namespaces)).toEqual([]);
    expect(existsSync(cluster.stateDir)).toBe(false);
    expect(await cgroupsOf(process.pid)).toEqual([]);
    expect(await machineState()).toEqual(before);
  }, 30_000);
});

describe('a node whose owner is killed', () => {
  test('ends, and takes its cgroups with it', async () => {
    const before = await machineState();
    await using folder = await createFolderApart();
    const stateDir = join(folder.path, 'state');
    const script = join(folder.path, 'owner.ts');
    const module = (name: string) => JSON.stringify(fileURLToPath(new URL(name, import.meta.url)));
    await writeFile(
      script,
      `import { startCluster } from ${module('cluster.ts')};
       import { startRealNode } from ${module('real-nodes/real-node.ts')};
       const cluster = await startCluster({ stateDir: ${JSON.stringify(stateDir)}, realNodes: true });
       const node = await startRealNode(cluster, ${JSON.stringify({ ...SPEC, name: 'orphan', instanceId: 'i-0' })});
       console.log(node.pid);`,
    );
    const owner = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [line] = await once(createInterface({ input: owner.stdout }), 'line');
      const namespace = await readlink(`/proc/${Number(line)}/ns/net`);
      expect((await processesIn([namespace])).length).toBeGreaterThan(3);
      expect(await cgroupsOf(owner.pid)).not.toEqual([]);
      owner.kill('SIGKILL');
      await pollUntil(async () => ((await processesIn([namespace])).length === 0 ? true : undefined), {
        what: 'the node to end',
        timeoutMs: 20_000,
      });
      await pollUntil(async () => ((await cgroupsOf(owner.pid)).length === 0 ? true : undefined), {
        what: 'its cgroups to be removed',
        timeoutMs: 20_000,
      });
      // The files of the control plane stay, as they do without nodes. The next start removes them.
      await (await startCluster({ stateDir })).stop();
      expect(existsSync(stateDir)).toBe(false);
      expect(await machineState()).toEqual(before);
    } finally {
      owner.kill('SIGKILL');
    }
  }, 60_000);
});
