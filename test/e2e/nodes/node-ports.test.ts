import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { pollUntil } from '../../../tools/machine/poll.ts';
import type { CommandResult } from '../../cluster/command.ts';
import { type TestNamespace, withNamespace } from '../../cluster/shared.ts';
import { ZONES } from '../../harness/lab.ts';
import { NodeLab, type WiredNode } from '../../harness/node-lab.ts';
import type { VpcHost } from '../../harness/vpc-host.ts';
import { createPod, PORT, readyNetworking, type WirePod } from './support.ts';

/*
 * Node ports and host ports, from everywhere: outside the cluster, another node, the pod's own node, a neighbour and the pod
 * itself; with shared ENIs, member ENIs and whole ones, and with both ways in which kube-proxy makes Services work.
 */

const EXCLUSIVE = { 'k8s.aliyun.com/exclusive-mode-eni-type': 'eniOnly' };
const POLICIES = ['Cluster', 'Local'] as const;
const FAMILIES = ['IPv4', 'IPv6'] as const;

let lab: NodeLab;
let namespace: TestNamespace;
let ns: string;
let outside: VpcHost;

/** One pod of each kind; the second part says how kube-proxy works on its node. */
const TARGETS = [
  ['member nftables', 'node-1'],
  ['member iptables', 'node-2'],
  ['whole nftables', 'node-3'],
  ['whole iptables', 'node-4'],
  ['shared nftables', 'node-1'],
  ['shared iptables', 'node-2'],
] as const;

const podName = (target: string) => target.replace(' ', '-');
/** Pods with whole ENIs stand alone here. */
const hasNeighbour = (target: string) => !target.startsWith('whole');

beforeAll(async () => {
  lab = await NodeLab.start({
    nodes: [
      { zone: ZONES[0] },
      { zone: ZONES[0], kubeProxyMode: 'iptables' },
      { zone: ZONES[0], labels: EXCLUSIVE },
      { zone: ZONES[0], labels: EXCLUSIVE, kubeProxyMode: 'iptables' },
    ],
    latencies: { attachMs: 300, detachMs: 300 },
    dualStack: true,
    eniConf: { ipam_type: 'crd', ip_stack: 'dual', max_pool_size: 5 },
    controlPlaneConfig: { ipStack: 'dual' },
    agentConfig: { syncPeriod: '2s' },
  });
  await lab.install();
  namespace = await withNamespace(lab.cluster, 'ports');
  ns = namespace.name;
  outside = await lab.startHost('outside');
  await readyNetworking(lab, 'ports');
  for (const [at, [target, nodeName]] of TARGETS.entries()) {
    const node = lab.node(nodeName);
    const resource: WirePod['resource'] = target.startsWith('whole') ? 'aliyun/eni' : 'aliyun/member-eni';
    const kind = target.startsWith('shared') ? {} : { networking: 'ports', resource };
    await createPod(lab, ns, podName(target), { ...kind, node, hostPort: HOST_PORT + at });
    if (hasNeighbour(target)) await createPod(lab, ns, `${podName(target)}-neighbour`, { ...kind, node });
  }
  for (const [target] of TARGETS) {
    await lab.podReady(ns, podName(target));
    if (hasNeighbour(target)) await lab.podReady(ns, `${podName(target)}-neighbour`);
  }
}, 900_000);

afterAll(async () => {
  await lab?.close();
}, 60_000);

const HOST_PORT = 9080;

/** Asks for the page at `address`:`port`, by a program that runs where `run` runs it. */
type Run = (command: string, args: string[]) => Promise<CommandResult>;

async function page(run: Run, address: string, port: number): Promise<string | undefined> {
  const host = address.includes(':') ? `[${address}]` : address;
  const command = ['timeout', '3', 'busybox', 'wget', '-q', '-O', '-', `http://${host}:${port}/`];
  const { code, stdout } = await run('busybox', command);
  return code === 0 ? stdout.trim() : undefined;
}

/** Where a client may be, for a pod of this node. */
function clients(target: string, node: WiredNode): Record<string, Run> {
  const inNode =
    ({ real }: WiredNode): Run =>
    (command, args) =>
      real.exec(command, args);
  const inPod =
    (name: string): Run =>
    (command, args) =>
      lab.inPodNetwork(ns, name, command, ...args);
  const other = lab.nodes.find(({ name }) => name !== node.name) ?? node;
  const [otherTarget] = TARGETS.find(([, name]) => name === other.name) ?? [target];
  const [otherKind] = TARGETS.find(([kind, name]) => kind !== target && name === node.name) ?? [];
  return {
    'outside the cluster': (command, args) => outside.exec(command, args),
    'another node': inNode(other),
    'its own node': inNode(node),
    'a pod of another node': inPod(podName(otherTarget)),
    ...(hasNeighbour(target) ? { 'a pod beside it': inPod(`${podName(target)}-neighbour`) } : {}),
    ...(otherKind === undefined ? {} : { 'a pod of another kind beside it': inPod(podName(otherKind)) }),
    itself: inPod(podName(target)),
  };
}

/** What each client got; those that got the right page are left out. */
async function failures(target: string, node: WiredNode, address: string, port: number): Promise<string[]> {
  const wanted = podName(target);
  const asked = Object.entries(clients(target, node)).map(async ([client, run]) => {
    const answer = await page(run, address, port);
    return answer === wanted ? [] : [`${client}: ${answer ?? 'no answer'}`];
  });
  return (await Promise.all(asked)).flat();
}

async function addressesOf(node: WiredNode): Promise<Record<(typeof FAMILIES)[number], string>> {
  const { status } = z
    .object({ status: z.object({ addresses: z.array(z.object({ type: z.string(), address: z.string() })) }) })
    .parse(await lab.api.get(`/api/v1/nodes/${node.name}`));
  const internal = status.addresses.filter(({ type }) => type === 'InternalIP').map(({ address }) => address);
  return { IPv4: internal[0] ?? '', IPv6: internal[1] ?? '' };
}

async function nodePort(target: string, policy: (typeof POLICIES)[number]): Promise<number> {
  const path = `/api/v1/namespaces/${ns}/services`;
  const name = `${podName(target)}-${policy.toLowerCase()}`;
  await lab.api.create(path, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: {
      type: 'NodePort',
      ipFamilyPolicy: 'RequireDualStack',
      externalTrafficPolicy: policy,
      selector: { pod: podName(target) },
      ports: [{ port: 80, targetPort: PORT }],
    },
  });
  const { spec } = z
    .object({ spec: z.object({ ports: z.array(z.object({ nodePort: z.number() })).min(1) }) })
    .parse(await lab.api.get(`${path}/${name}`));
  return spec.ports[0]?.nodePort ?? 0;
}

/** kube-proxy takes a moment to learn of a Service; what does not work by then does not work. */
async function untilNone(what: string, find: () => Promise<string[]>): Promise<void> {
  let last: string[] = [];
  await pollUntil(
    async () => {
      last = await find();
      return last.length === 0 ? true : undefined;
    },
    { what, timeoutMs: 12_000 },
  ).catch(() => undefined);
  expect(last, what).toEqual([]);
}

describe.each(TARGETS)('a pod of kind %s', (target, nodeName) => {
  test.each(POLICIES)('answers at a node port of its node, with external traffic policy %s', async (policy) => {
    const port = await nodePort(target, policy);
    const node = lab.node(nodeName);
    const addresses = await addressesOf(node);
    for (const family of FAMILIES) {
      await untilNone(`${family} ${policy}`, () => failures(target, node, addresses[family], port));
    }
  });

  test('answers at its host port', async () => {
    const node = lab.node(nodeName);
    const port = HOST_PORT + TARGETS.findIndex(([name]) => name === target);
    const addresses = await addressesOf(node);
    for (const family of FAMILIES) {
      await untilNone(`${family} host port`, () => failures(target, node, addresses[family], port));
    }
  });
});

test('no agent finds anything to repair', async () => {
  for (const node of lab.nodes) {
    await expect
      .poll(async () => (await lab.agent(node, 'check')).stdout, { timeout: 20_000 })
      .toBe('the node is as it should be\n');
  }
});
