import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { podEniSchema } from '../../../src/crds/pod-eni.ts';
import { pollUntil } from '../../../tools/machine/poll.ts';
import { type TestNamespace, withNamespace } from '../../cluster/shared.ts';
import { NODE_VSWITCH, POD_SECURITY_GROUP, POD_VSWITCH, VPC, ZONES } from '../../harness/lab.ts';
import { NodeLab, type WiredNode } from '../../harness/node-lab.ts';
import {
  API,
  ask,
  deletePod,
  PORT,
  podTemplate,
  type RunningPod,
  reached,
  readyNetworking,
  running,
} from './support.ts';

/*
 * Upstream's own acceptance scenarios that concern the control plane, under upstream's names, on the product as Helm installs
 * it. Pods say nothing about networks but what their labels say: the webhook does the rest. Scenarios about upgrades are in
 * chart.test.ts; those about pools, prefixes and LingJun concern the node daemon or what is not built yet.
 */

let lab: NodeLab;
let namespace: TestNamespace;
let ns: string;
let near: WiredNode;
let other: WiredNode;
let far: WiredNode;
let exclusive: WiredNode;

beforeAll(async () => {
  lab = await NodeLab.start({
    nodes: [
      { zone: ZONES[0] },
      { zone: ZONES[0] },
      { zone: ZONES[1] },
      { zone: ZONES[0], labels: { 'k8s.aliyun.com/exclusive-mode-eni-type': 'eniOnly' } },
    ],
    latencies: { attachMs: 300, detachMs: 300 },
    installer: 'helm',
    agentConfig: { syncPeriod: '2s' },
  });
  await lab.install();
  [near, other, far, exclusive] = [lab.node('node-1'), lab.node('node-2'), lab.node('node-3'), lab.node('node-4')];
  namespace = await withNamespace(lab.cluster, 'scenarios');
  ns = namespace.name;
  await lab.api.patch(`/api/v1/namespaces/${ns}`, 'merge', { metadata: { labels: { team: 'blue' } } });
}, 900_000);

afterAll(async () => {
  await lab?.close();
}, 60_000);

interface Plain {
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  node?: WiredNode;
  in?: string;
}

async function create(name: string, { labels = {}, annotations = {}, node, in: space = ns }: Plain): Promise<void> {
  const { spec } = podTemplate({ networking: '' });
  const [container] = spec.containers;
  const place = node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': node.name } };
  await lab.api.create(`/api/v1/namespaces/${space}/pods`, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { pod: name, ...labels }, annotations },
    spec: {
      ...spec,
      ...place,
      containers: [{ name: 'main', image: container?.image, imagePullPolicy: 'Never', command: container?.command }],
    },
  });
}

const podSchema = z.object({
  metadata: z.object({ annotations: z.record(z.string(), z.string()).default({}) }),
  spec: z.object({
    containers: z.array(z.object({ resources: z.object({ limits: z.record(z.string(), z.string()).default({}) }) })),
  }),
});

async function read(name: string, space = ns) {
  const pod = podSchema.parse(await lab.api.get(`/api/v1/namespaces/${space}/pods/${name}`));
  return { annotations: pod.metadata.annotations, limits: pod.spec.containers[0]?.resources.limits ?? {} };
}

async function run(name: string, pod: Plain): Promise<RunningPod> {
  await create(name, pod);
  return running(lab, pod.in ?? ns, name);
}

const selects = (label: Record<string, string>) => ({ selector: { podSelector: { matchLabels: label } } });

/** Asks for a page through a ClusterIP whose only backend is this pod. */
async function throughService(from: string, backend: string): Promise<string> {
  const path = `/api/v1/namespaces/${ns}/services`;
  const name = `to-${backend}-${from}`;
  await lab.api.create(path, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: { selector: { pod: backend }, ports: [{ port: 80, targetPort: PORT }] },
  });
  const { spec } = z.object({ spec: z.object({ clusterIP: z.string() }) }).parse(await lab.api.get(`${path}/${name}`));
  return pollUntil(() => ask(lab, ns, from, spec.clusterIP, { port: 80 }), {
    what: `${from} to reach ${backend} through its Service`,
    timeoutMs: 20_000,
  });
}

const eniTypeOf = ({ podEni, eniId }: RunningPod) => podEni.status?.eniInfos?.[eniId]?.type;

describe('PodNetworking Trunk / ENI / Default mode', () => {
  test.each([
    ['Trunk', 'member-eni', 'Member', () => near],
    ['Default', 'member-eni', 'Member', () => other],
    ['ENI', 'eni', 'Secondary', () => exclusive],
  ] as const)(
    '%s: annotations, the resource aliyun/%s, and an ENI of type %s',
    async (eniType, resource, type, node) => {
      const name = eniType.toLowerCase();
      await readyNetworking(lab, name, { ...selects({ mode: name }), eniOptions: { eniType } });
      const pod = await run(name, { labels: { mode: name }, node: node() });
      const { annotations, limits } = await read(name);
      expect(annotations).toMatchObject({ 'k8s.aliyun.com/pod-networking': name, 'k8s.aliyun.com/pod-eni': 'true' });
      expect(limits).toEqual({ [`aliyun/${resource}`]: '1' });
      expect(eniTypeOf(pod)).toBe(type);
    },
  );

  test('service traffic works in each', async () => {
    expect(await throughService('trunk', 'default')).toBe('default');
    expect(await throughService('default', 'trunk')).toBe('trunk');
    expect(await throughService('trunk', 'eni')).toBe('eni');
  });
});

describe('Pod selector / Namespace selector', () => {
  test('a pod that matches uses it, one that does not is left alone', async () => {
    await readyNetworking(lab, 'blue', { selector: { namespaceSelector: { matchLabels: { team: 'blue' } } } });
    await using elsewhere = await withNamespace(lab.cluster, 'green');
    await create('in-blue', {});
    expect((await read('in-blue')).annotations['k8s.aliyun.com/pod-networking']).toBe('blue');
    await create('in-green', { in: elsewhere.name });
    expect((await read('in-green', elsewhere.name)).annotations).toEqual({});
    // The pod selector goes before by name where both match: `blue` < `trunk`; a priority turns that round.
    await lab.api.patch(`${API}/podnetworkings/trunk`, 'merge', { spec: { priority: 1 } });
    await pollUntil(
      async () => {
        await create('both', { labels: { mode: 'trunk' } });
        const networking = (await read('both')).annotations['k8s.aliyun.com/pod-networking'];
        if (networking === 'trunk') return true;
        await deletePod(lab, ns, 'both');
        return undefined;
      },
      { what: 'the priority to count', timeoutMs: 20_000 },
    );
    for (const name of ['in-blue', 'both']) await deletePod(lab, ns, name);
    await lab.api.delete(`${API}/podnetworkings/blue`);
  });
});

describe('Fixed IP (Trunk and ENI), TTL 10m', () => {
  test.each([
    ['Trunk', () => near],
    ['ENI', () => exclusive],
  ] as const)('%s: a bare pod that is deleted and created again keeps its IP', async (eniType, node) => {
    const name = `fixed-${eniType.toLowerCase()}`;
    await readyNetworking(lab, name, {
      ...selects({ fixed: name }),
      eniOptions: { eniType },
      allocationType: { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '10m' },
    });
    const before = await run(name, { labels: { fixed: name }, node: node() });
    await deletePod(lab, ns, name);
    const after = await run(name, { labels: { fixed: name }, node: node() });
    expect([after.ip, after.eniId]).toEqual([before.ip, before.eniId]);
    expect(after.podEni.metadata.uid).toBe(before.podEni.metadata.uid);
  });
});

describe('vSwitch + SG default and custom', () => {
  test('what the PodNetworking leaves out comes from eni-config', async () => {
    await readyNetworking(lab, 'bare', {
      ...selects({ net: 'bare' }),
      vSwitchOptions: undefined,
      securityGroupIDs: undefined,
    });
    const pod = await run('bare', { labels: { net: 'bare' }, node: near });
    expect(pod.podEni.spec.allocations?.[0]?.eni.vSwitchID).toBe(NODE_VSWITCH[ZONES[0]]);
  });

  test('what it names is used', async () => {
    const pod = podEniSchema.parse(await lab.api.get(`${API}/namespaces/${ns}/podenis/trunk`));
    expect(pod.spec.allocations?.[0]?.eni.vSwitchID).toBe(POD_VSWITCH[ZONES[0]]);
  });
});

describe('Connectivity same-node / cross-node / cross-zone / hairpin, Trunk and ENI', () => {
  test('HTTP through ClusterIP', async () => {
    await run('same', { labels: { mode: 'trunk' }, node: near });
    await run('zone', { labels: { mode: 'trunk' }, node: far });
    expect(await throughService('same', 'trunk')).toBe('trunk');
    expect(await throughService('same', 'zone')).toBe('zone');
    expect(await throughService('zone', 'eni')).toBe('eni');
    expect(await throughService('same', 'same')).toBe('same');
    expect(await throughService('eni', 'same')).toBe('same');
  });
});

describe('Multi-network default/custom', () => {
  test('two networkings, a pod with eth0 and eth1; pod-networks lists both', async () => {
    for (const name of ['first', 'second']) await readyNetworking(lab, name, {});
    const request = [
      { interfaceName: 'eth0', network: 'first', defaultRoute: true },
      { interfaceName: 'eth1', network: 'second' },
    ];
    const pod = await run('two', {
      annotations: { 'k8s.aliyun.com/pod-networks-request': JSON.stringify(request) },
      node: near,
    });
    const { annotations, limits } = await read('two');
    const listed = z
      .object({ podNetworks: z.array(z.looseObject({ interface: z.string() })) })
      .parse(JSON.parse(annotations['k8s.aliyun.com/pod-networks'] ?? ''));
    expect(listed.podNetworks.map((entry) => entry.interface)).toEqual(['eth0', 'eth1']);
    expect(limits).toEqual({ 'aliyun/member-eni': '2' });
    expect(pod.podEni.spec.allocations).toHaveLength(2);
    const { stdout } = await lab.inPod(ns, 'two', 'ip', 'addr');
    expect(stdout).toMatch(/eth0[\s\S]*eth1/);
  });
});

describe('Security group (Trunk)', () => {
  test('client → server is allowed, server → client is denied', async () => {
    const groups = { server: 'sg-bp1serves', client: 'sg-bp1asks' };
    for (const [name, securityGroupId] of Object.entries(groups)) {
      await lab.lab.cloud.createSecurityGroup({ securityGroupId, vpcId: VPC, innerAccessPolicy: 'Drop' });
      await readyNetworking(lab, name, {
        ...selects({ role: name }),
        securityGroupIDs: [securityGroupId],
        priority: 5,
      });
    }
    const server = await run('server', { labels: { role: 'server' }, node: near });
    const client = await run('client', { labels: { role: 'client' }, node: other });
    await lab.allow({ into: groups.server, from: groups.client, ports: `${PORT}/${PORT}` });
    expect(await reached(lab, ns, 'client', server.ip)).toBe('server');
    expect(await ask(lab, ns, 'server', client.ip)).toBeUndefined();
  });
});

describe('a newcomer', () => {
  /** What an operator types, in a shell that has kubectl and its plugin on the PATH. */
  const kubectl = async (args: readonly string[], input = '') =>
    lab.cluster.kubectl(args, { input, path: [lab.product.distDir] });
  const manifest = (vSwitch: string, strategy = 'Never') => `
apiVersion: network.alibabacloud.com/v1beta1
kind: PodNetworking
metadata: { name: mine }
spec:
  priority: 9
  selector: { podSelector: { matchLabels: { app: mine } } }
  allocationType: { type: Fixed, releaseStrategy: ${strategy} }
  vSwitchOptions: [${vSwitch}]
  securityGroupIDs: [${POD_SECURITY_GROUP}]
`;

  test('applies a PodNetworking with mistakes, reads what is wrong, mends it, and has a pod explained that runs', async () => {
    const refused = await kubectl(['apply', '-f', '-'], manifest('vsw-bp1typo', 'TTL'));
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('releaseStrategy TTL needs releaseAfter, a Go duration of at least 5m');

    expect((await kubectl(['apply', '-f', '-'], manifest('vsw-bp1typo'))).stderr).toBe('');
    await create('mine', { labels: { app: 'mine' }, node: near });
    await expect
      .poll(async () => (await kubectl(['get', 'podnetworking', 'mine', '-o', 'wide'])).stdout, { timeout: 20_000 })
      .toContain('spec.vSwitchOptions: vsw-bp1typo does not exist in this account and region');
    const waiting = await kubectl(['terway', 'explain', 'pod', `${ns}/mine`]);
    expect(waiting.code, waiting.stderr).toBe(1);
    expect(waiting.stdout).toContain('PodNetworkingNotReady');

    expect((await kubectl(['apply', '-f', '-'], manifest(POD_VSWITCH[ZONES[0]]))).stderr).toBe('');
    await running(lab, ns, 'mine');
    const works = await kubectl(['terway', 'explain', 'pod', `${ns}/mine`]);
    expect(works.code, works.stderr).toBe(0);
    expect(works.stdout).toMatch(/CreateNetworkInterface.*[0-9A-F]{8}-/);

    // What only the control plane knows is asked by kubectl exec in its pod.
    const quota = await kubectl(['terway', 'quota']);
    expect(quota.code, quota.stderr).toBe(0);
    expect(quota.stdout).toMatch(/AttachNetworkInterface/);
    const orphans = await kubectl(['terway', 'gc', '--plan']);
    expect(orphans.code, orphans.stderr).toBe(0);
  });
});
