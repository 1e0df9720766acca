import { afterAll, beforeAll, expect, test } from 'vitest';
import * as z from 'zod';
import { addressesOf } from '../../../src/allocation/pool/view.ts';
import { nodeSchema } from '../../../src/crds/node.ts';
import { podEniSchema } from '../../../src/crds/pod-eni.ts';
import { pollUntil } from '../../../tools/machine/poll.ts';
import { type TestNamespace, withNamespace } from '../../cluster/shared.ts';
import { ZONES } from '../../harness/lab.ts';
import { NodeLab } from '../../harness/node-lab.ts';
import { API, ask, createPod, deletePod, PORT, podTemplate, reached, readyNetworking } from './support.ts';

/*
 * Who reaches whom when pods share ENIs, seen on the wire: shared, trunk and whole ENIs; the same node, another node, another zone;
 * the pod itself, its node, and the host network; IPv4 and IPv6. Node ports and host ports are in node-ports.test.ts.
 */

const EXCLUSIVE = { 'k8s.aliyun.com/exclusive-mode-eni-type': 'eniOnly' };
const TCP = 6;
/** In the host network; on one of the nodes the control plane has 8080. */
const HOST_PORT = 8181;

type Kind = 'shared' | 'trunk' | 'whole';

const PODS: readonly { name: string; kind: Kind; nodeName: string }[] = [
  { name: 'shared-a', kind: 'shared', nodeName: 'node-1' },
  { name: 'shared-b', kind: 'shared', nodeName: 'node-1' },
  { name: 'trunk-a', kind: 'trunk', nodeName: 'node-1' },
  { name: 'shared-c', kind: 'shared', nodeName: 'node-2' },
  { name: 'trunk-c', kind: 'trunk', nodeName: 'node-2' },
  // In the other zone.
  { name: 'shared-z', kind: 'shared', nodeName: 'node-3' },
  { name: 'trunk-z', kind: 'trunk', nodeName: 'node-3' },
  { name: 'whole', kind: 'whole', nodeName: 'node-4' },
];

interface Placed {
  name: string;
  kind: Kind;
  nodeName: string;
  uid: string;
  /** IPv4, then IPv6. */
  ips: readonly string[];
  /** How its frames leave the node. */
  onWire: { eni: string; vlan: number };
}

let lab: NodeLab;
let namespace: TestNamespace;
let ns: string;
let pods: Placed[];

beforeAll(async () => {
  lab = await NodeLab.start({
    nodes: [{ zone: ZONES[0] }, { zone: ZONES[0] }, { zone: ZONES[1] }, { zone: ZONES[0], labels: EXCLUSIVE }],
    latencies: { attachMs: 300, detachMs: 300 },
    dualStack: true,
    eniConf: { ipam_type: 'crd', ip_stack: 'dual', max_pool_size: 5 },
    controlPlaneConfig: { ipStack: 'dual' },
    agentConfig: { syncPeriod: '2s' },
  });
  await lab.install();
  namespace = await withNamespace(lab.cluster, 'shared');
  ns = namespace.name;
  await readyNetworking(lab, 'own');
  for (const { name, kind, nodeName } of PODS) {
    const resource = kind === 'whole' ? 'aliyun/eni' : 'aliyun/member-eni';
    const own = kind === 'shared' ? {} : ({ networking: 'own', resource } as const);
    await createPod(lab, ns, name, { ...own, node: lab.node(nodeName) });
  }
  pods = await Promise.all(PODS.map(placed));
}, 900_000);

afterAll(async () => {
  await lab?.close();
}, 60_000);

const podSchema = z.object({
  metadata: z.object({ uid: z.string() }),
  status: z.object({ podIPs: z.array(z.object({ ip: z.string() })) }),
});

async function placed({ name, kind, nodeName }: (typeof PODS)[number]): Promise<Placed> {
  await lab.podReady(ns, name);
  const { metadata, status } = podSchema.parse(await lab.api.get(`/api/v1/namespaces/${ns}/pods/${name}`));
  const ips = status.podIPs.map(({ ip }) => ip);
  const onWire = kind === 'shared' ? await sharedOnWire(nodeName, metadata.uid, ips) : await ownOnWire(name, kind);
  return { name, kind, nodeName, uid: metadata.uid, ips, onWire };
}

async function recordOf(nodeName: string) {
  return nodeSchema.parse(await lab.api.get(`${API}/nodes/${nodeName}`));
}

/** A pod that shares an ENI sends without a tag, from addresses that the Node CR gives it. */
async function sharedOnWire(nodeName: string, uid: string, ips: readonly string[]): Promise<Placed['onWire']> {
  const enis = Object.values((await recordOf(nodeName)).status?.networkInterfaces ?? {});
  const own = enis.filter((eni) => addressesOf(eni).some(({ podUID }) => podUID === uid));
  expect(own).toHaveLength(1);
  const bound = own.flatMap((eni) => addressesOf(eni)).filter(({ podUID }) => podUID === uid);
  expect(bound.map(({ ip }) => ip)).toEqual(ips);
  return { eni: own[0]?.id ?? '', vlan: 0 };
}

async function ownOnWire(name: string, kind: Kind): Promise<Placed['onWire']> {
  const podEni = podEniSchema.parse(await lab.api.get(`${API}/namespaces/${ns}/podenis/${name}`));
  const eni = podEni.spec.allocations?.[0]?.eni.id ?? '';
  const vlan = podEni.status?.eniInfos?.[eni]?.vid ?? 0;
  if (kind === 'trunk') expect(vlan).toBeGreaterThan(0);
  return { eni, vlan: kind === 'trunk' ? vlan : 0 };
}

/** Pods on shared ENIs of one node reach each other without leaving it. */
function staysOnNode(from: Placed, to: Placed): boolean {
  return from.nodeName === to.nodeName && from.kind === 'shared' && to.kind === 'shared';
}

test('every pod has an address of each family', () => {
  expect(pods.map(({ ips }) => ips.length)).toEqual(PODS.map(() => 2));
});

test('every pod reaches every other one in both families; each frame leaves from the ENI of its sender, with its tag', async () => {
  await using wire = await lab.vpc.capture();
  const expected = new Map<string, Placed['onWire']>();
  for (const from of pods) {
    for (const to of pods.filter((one) => one !== from)) {
      for (const [family, address] of to.ips.entries()) {
        expect(await reached(lab, ns, from.name, address), `${from.name} to ${to.name}`).toBe(to.name);
        if (!staysOnNode(from, to)) expected.set(`${from.ips[family]} to ${address}`, from.onWire);
      }
    }
  }
  const known = new Set(pods.flatMap(({ ips }) => ips));
  const frames = (await wire.all()).filter(
    ({ protocol, direction, src, dst, srcPort, dstPort }) =>
      protocol === TCP &&
      direction === 'fromNode' &&
      (srcPort === PORT || dstPort === PORT) &&
      known.has(src) &&
      known.has(dst),
  );
  const seen = new Map(frames.map((frame) => [`${frame.src} to ${frame.dst}`, frame]));
  expect([...seen.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [pair, onWire] of expected) expect(seen.get(pair), pair).toMatchObject(onWire);
});

test('every pod is reached from its own node and from each other one, as probes and the host network need it', async () => {
  for (const pod of pods) {
    for (const { name, real } of lab.nodes) {
      for (const ip of pod.ips) {
        const url = `http://${ip.includes(':') ? `[${ip}]` : ip}:${PORT}/`;
        const get = ['timeout', '3', 'busybox', 'wget', '-q', '-O', '-', url];
        const answer = await pollUntil(
          async () => {
            const { code, stdout } = await real.exec('busybox', get);
            return code === 0 ? stdout.trim() : undefined;
          },
          { what: `${name} to reach ${pod.name} at ${ip}`, timeoutMs: 20_000 },
        );
        expect(answer, `${name} to ${pod.name}`).toBe(pod.name);
      }
    }
  }
});

test('pods reach the host network of each node', async () => {
  const { metadata, spec } = podTemplate({ port: HOST_PORT });
  for (const { name } of lab.nodes) {
    await lab.api.create(`/api/v1/namespaces/${ns}/pods`, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { ...metadata, name: `host-${name}` },
      spec: { ...spec, hostNetwork: true, nodeSelector: { 'kubernetes.io/hostname': name } },
    });
  }
  for (const { name } of lab.nodes) {
    await lab.podReady(ns, `host-${name}`);
    const { status } = podSchema.parse(await lab.api.get(`/api/v1/namespaces/${ns}/pods/host-${name}`));
    for (const from of pods.filter(({ kind }) => kind === 'shared')) {
      for (const { ip } of status.podIPs)
        expect(await reached(lab, ns, from.name, ip, HOST_PORT), `${from.name} to ${ip}`).toBe(name);
    }
  }
});

test('a Service leads to backends of each kind, and to the pod that asks', async () => {
  const path = `/api/v1/namespaces/${ns}/services`;
  for (const { name } of pods) {
    await lab.api.create(path, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name },
      spec: {
        ipFamilyPolicy: 'RequireDualStack',
        selector: { pod: name },
        ports: [{ port: 80, targetPort: PORT }],
      },
    });
  }
  const servicesSchema = z.object({ spec: z.object({ clusterIPs: z.array(z.string()).length(2) }) });
  for (const from of pods.filter(({ kind }) => kind === 'shared')) {
    for (const to of pods) {
      const { spec } = servicesSchema.parse(await lab.api.get(`${path}/${to.name}`));
      for (const address of spec.clusterIPs) {
        const answer = await pollUntil(() => ask(lab, ns, from.name, address, { port: 80 }), {
          what: `${from.name} to reach Service ${to.name} at ${address}`,
          timeoutMs: 20_000,
        });
        expect(answer).toBe(to.name);
      }
    }
  }
});

test('a pod that goes gives its addresses back, and the next one is reached at its own', async () => {
  const gone = pods.find(({ name }) => name === 'shared-b');
  await deletePod(lab, ns, 'shared-b');
  const holders = async () =>
    Object.values((await recordOf('node-1')).status?.networkInterfaces ?? {})
      .flatMap((eni) => addressesOf(eni))
      .map(({ podUID }) => podUID);
  await expect.poll(holders, { timeout: 20_000 }).not.toContain(gone?.uid);
  await createPod(lab, ns, 'shared-d', { node: lab.node('node-1') });
  const next = await placed({ name: 'shared-d', kind: 'shared', nodeName: 'node-1' });
  for (const ip of next.ips) expect(await reached(lab, ns, 'trunk-c', ip)).toBe('shared-d');
});

test('nothing was refused on the wire, and no agent finds anything to mend', async () => {
  const own = new Set(pods.flatMap(({ ips }) => ips));
  expect(lab.vpc.refusals.list().filter(({ src, dst }) => own.has(src) && own.has(dst))).toEqual([]);
  for (const node of lab.nodes) {
    await expect
      .poll(async () => (await lab.agent(node, 'check')).stdout, { timeout: 20_000 })
      .toBe('the node is as it should be\n');
  }
});
