import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { rpcV1 } from '../../../sim/cloud/http/raw-clients.ts';
import { nodeRuntimeSchema } from '../../../src/crds/node-runtime.ts';
import { podEniSchema } from '../../../src/crds/pod-eni.ts';
import { pollUntil } from '../../../tools/machine/poll.ts';
import { type TestNamespace, withNamespace } from '../../cluster/shared.ts';
import { ACCESS_KEY, REGION, VPC, ZONES } from '../../harness/lab.ts';
import { NodeLab, type WiredNode } from '../../harness/node-lab.ts';
import { Sandboxes } from './sandboxes.ts';
import {
  API,
  ask,
  createPod,
  deletePod,
  PORT,
  podTemplate,
  type RunningPod,
  reached,
  readyNetworking,
  running,
} from './support.ts';

/** Pods of real kubelets talk through the VPC switch: a wrong tag, a stale address or an early Bind is a lost packet here. */

let lab: NodeLab;
let namespace: TestNamespace;
let ns: string;
let first: WiredNode;
let second: WiredNode;
let exclusive: WiredNode;
let a: RunningPod;
let b: RunningPod;
let sibling: RunningPod;

beforeAll(async () => {
  lab = await NodeLab.start({
    nodes: [
      { zone: ZONES[0] },
      // 112 member slots.
      { zone: ZONES[0], instanceType: 'ecs.g7.16xlarge' },
      { zone: ZONES[0], labels: { 'k8s.aliyun.com/exclusive-mode-eni-type': 'eniOnly' } },
    ],
    latencies: { attachMs: 300, detachMs: 300 },
    controlPlaneConfig: { ipStack: 'dual' },
    // The sandbox that waits must do so however long a busy machine takes for the hundred beside it.
    agentConfig: { syncPeriod: '2s', addTimeout: '20m' },
  });
  await lab.install();
  [first, second, exclusive] = [lab.node('node-1'), lab.node('node-2'), lab.node('node-3')];
  namespace = await withNamespace(lab.cluster, 'wire');
  ns = namespace.name;
  await readyNetworking(lab, 'wire');
}, 900_000);

afterAll(async () => {
  await lab?.close();
}, 60_000);

describe('pods of trunk nodes', () => {
  test('run with the addresses that their PodENIs name', async () => {
    await createPod(lab, ns, 'a', { networking: 'wire', node: first });
    await createPod(lab, ns, 'sibling', { networking: 'wire', node: first });
    await createPod(lab, ns, 'b', { networking: 'wire', node: second });
    [a, sibling, b] = [await running(lab, ns, 'a'), await running(lab, ns, 'sibling'), await running(lab, ns, 'b')];
    for (const pod of [a, sibling, b]) {
      expect(pod.ip).toBe(pod.podEni.spec.allocations?.[0]?.ipv4);
      expect(pod.vlanId).toBeGreaterThan(0);
    }
  });

  test.each(['IPv4', 'IPv6'])('talk across nodes over %s, each under its own VLAN id', async (family) => {
    const address = family === 'IPv4' ? b.ip : (b.ipv6 ?? '');
    await using capture = await lab.vpc.capture();
    expect(await reached(lab, ns, 'a', address)).toBe('b');
    const frames = (await capture.all()).filter(({ srcPort, dstPort }) => srcPort === PORT || dstPort === PORT);
    expect(frames.every(({ etherType }) => etherType === (family === 'IPv4' ? 0x0800 : 0x86dd))).toBe(true);
    expect(new Set(frames.map(({ direction, vlan, eni }) => `${direction} ${eni} ${vlan}`))).toEqual(
      new Set([
        `fromNode ${a.eniId} ${a.vlanId}`,
        `toNode ${b.eniId} ${b.vlanId}`,
        `fromNode ${b.eniId} ${b.vlanId}`,
        `toNode ${a.eniId} ${a.vlanId}`,
      ]),
    );
  });

  test('of one node talk through the VPC, so that security groups see them (weak spot 5)', async () => {
    await using capture = await lab.vpc.capture({ eniId: sibling.eniId });
    expect(await reached(lab, ns, 'a', sibling.ip)).toBe('sibling');
    const received = capture.frames
      .list()
      .filter(({ direction, vlan }) => direction === 'toNode' && vlan === sibling.vlanId);
    expect(received.length).toBeGreaterThan(0);
  });

  test('are reached from their node, as the kubelet’s probes need it', async () => {
    const { code, stdout } = await first.real.exec('busybox', ['wget', '-q', '-O', '-', `http://${a.ip}:${PORT}/`]);
    expect([code, stdout]).toEqual([0, 'a\n']);
  });

  test('reach Services, whether the backend is elsewhere, on the same node or the pod itself', async () => {
    for (const [name, pod] of Object.entries({ there: 'b', here: 'sibling', self: 'a' })) {
      await lab.api.create(`/api/v1/namespaces/${ns}/services`, {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name },
        spec: { selector: { pod }, ports: [{ port: 80, targetPort: PORT }] },
      });
      const { spec } = z
        .object({ spec: z.object({ clusterIP: z.string() }) })
        .parse(await lab.api.get(`/api/v1/namespaces/${ns}/services/${name}`));
      const answer = await pollUntil(() => ask(lab, ns, 'a', spec.clusterIP, { port: 80 }), {
        what: `Service ${name} (pod ${pod})`,
        timeoutMs: 20_000,
      });
      expect(answer).toBe(pod);
    }
  });

  test('with a bandwidth have a token bucket at each end', async () => {
    const annotations = { 'k8s.aliyun.com/egress-bandwidth': '2M', 'kubernetes.io/ingress-bandwidth': '8M' };
    await createPod(lab, ns, 'limited', { networking: 'wire', node: second, annotations });
    const limited = await running(lab, ns, 'limited');
    expect(await reached(lab, ns, 'limited', a.ip)).toBe('a');
    const { stdout } = await second.real.exec('tc', ['qdisc', 'show']);
    // Into the pod: what the runtime handed over, in bits; out of it is limited inside the pod.
    expect(stdout).toMatch(/qdisc tbf 1: dev cali[0-9a-f]{11} root .*rate 8Mbit/);
    await deletePod(lab, ns, limited.name);
  });

  test('with two interfaces have both, with routes and VLAN ids of their own', async () => {
    const request = [
      { interfaceName: 'eth0', network: 'wire', defaultRoute: true },
      { interfaceName: 'net1', network: 'wire', routes: [{ dst: `${b.ip}/32` }] },
    ];
    await createPod(lab, ns, 'double', {
      networking: 'wire',
      node: first,
      annotations: { 'k8s.aliyun.com/pod-networks-request': JSON.stringify(request) },
    });
    const double = await running(lab, ns, 'double');
    const [eth0, net1] = double.podEni.spec.allocations ?? [];
    expect(double.ip).toBe(eth0?.ipv4);
    const net1Vlan = double.podEni.status?.eniInfos?.[net1?.eni.id ?? '']?.vid;
    await using capture = await lab.vpc.capture();
    expect(await reached(lab, ns, 'double', b.ip)).toBe('b');
    expect(await reached(lab, ns, 'double', sibling.ip)).toBe('sibling');
    const sent = (address: string) =>
      new Set(
        capture.frames
          .list()
          .filter(({ direction, dst, dstPort }) => direction === 'fromNode' && dst === address && dstPort === PORT)
          .map(({ src, vlan }) => `${src} ${vlan}`),
      );
    expect(sent(b.ip)).toEqual(new Set([`${net1?.ipv4} ${net1Vlan}`]));
    expect(sent(sibling.ip)).toEqual(new Set([`${eth0?.ipv4} ${double.vlanId}`]));
    await deletePod(lab, ns, 'double');
  });
});

describe('pods of an exclusive node', () => {
  let whole: RunningPod;

  test('have the ENI itself, and talk untagged', async () => {
    const before = (await exclusive.real.exec('ip', ['-oneline', 'link'])).stdout;
    await createPod(lab, ns, 'whole', { networking: 'wire', node: exclusive, resource: 'aliyun/eni' });
    whole = await running(lab, ns, 'whole');
    const mac = whole.podEni.spec.allocations?.[0]?.eni.mac ?? 'none';
    expect((await lab.inPod(ns, 'whole', 'ip', 'link', 'show', 'eth0')).stdout).toContain(mac);
    expect(before).not.toContain(mac);
    await using capture = await lab.vpc.capture({ eniId: whole.eniId });
    expect(await reached(lab, ns, 'whole', a.ip)).toBe('a');
    expect(await reached(lab, ns, 'a', whole.ip)).toBe('whole');
    const frames = (await capture.all()).filter(({ srcPort, dstPort }) => srcPort === PORT || dstPort === PORT);
    expect(new Set(frames.map(({ vlan }) => vlan))).toEqual(new Set([0]));
  });

  test('reach their node and Services through it', async () => {
    const { code, stdout } = await exclusive.real.exec('busybox', [
      'wget',
      '-q',
      '-O',
      '-',
      `http://${whole.ip}:${PORT}/`,
    ]);
    expect([code, stdout]).toEqual([0, 'whole\n']);
    const { spec } = z
      .object({ spec: z.object({ clusterIP: z.string() }) })
      .parse(await lab.api.get(`/api/v1/namespaces/${ns}/services/there`));
    // What a node forwards for a pod leaves by the node's own ENI; its security group must let it in.
    expect(await lab.inPod(ns, 'whole', 'ip', 'route', 'get', spec.clusterIP)).toMatchObject({
      stdout: expect.stringContaining('via 169.254.1.1 dev veth1'),
    });
  });

  test('give it back: the device is the node’s again, and the ENI is released', async () => {
    await deletePod(lab, ns, 'whole');
    await pollUntil(
      async () => {
        const { enis } = await lab.lab.cloud.state();
        return enis.every(({ id }) => id !== whole.eniId) ? true : undefined;
      },
      { what: 'the ENI to be released', timeoutMs: 30_000 },
    );
    await expect
      .poll(async () => (await lab.agent(exclusive, 'check')).stdout, { timeout: 20_000 })
      .toBe('the node is as it should be\n');
  });
});

describe('security groups', () => {
  test('let one direction pass and stop the other; a rule that is taken away stops the flow', async () => {
    const [server, client] = await Promise.all(
      ['sg-bp1server', 'sg-bp1client'].map((securityGroupId) =>
        lab.lab.cloud.createSecurityGroup({ securityGroupId, vpcId: VPC, innerAccessPolicy: 'Drop' }),
      ),
    );
    await readyNetworking(lab, 'server', { securityGroupIDs: [server] });
    await readyNetworking(lab, 'client', { securityGroupIDs: [client] });
    await createPod(lab, ns, 'server', { networking: 'server', node: first });
    await createPod(lab, ns, 'client', { networking: 'client', node: first });
    const [serving, asking] = [await running(lab, ns, 'server'), await running(lab, ns, 'client')];
    const rule = {
      RegionId: REGION,
      SecurityGroupId: server ?? '',
      SourceGroupId: client ?? '',
      IpProtocol: 'tcp',
      PortRange: `${PORT}/${PORT}`,
      Policy: 'accept',
      Priority: '1',
    };
    const call = async (Action: string) => {
      const answer = await rpcV1(lab.lab.endpoint, ACCESS_KEY, { method: 'POST', params: { Action, ...rule } });
      expect(answer.status, await answer.text()).toBe(200);
      await lab.vpc.settled();
    };
    // On one node: without isolation they would not leave it, and nothing would stop them.
    expect(await ask(lab, ns, 'client', serving.ip)).toBeUndefined();
    await call('AuthorizeSecurityGroup');
    expect(await reached(lab, ns, 'client', serving.ip)).toBe('server');
    expect(await ask(lab, ns, 'server', asking.ip)).toBeUndefined();
    await call('RevokeSecurityGroup');
    expect(await ask(lab, ns, 'client', serving.ip)).toBeUndefined();
    const refused = lab.vpc.refusals.list().filter(({ src, dst }) => src === asking.ip && dst === serving.ip);
    expect(new Set(refused.map(({ reason }) => reason))).toEqual(new Set(['security-group-ingress']));
    await deletePod(lab, ns, 'server');
    await deletePod(lab, ns, 'client');
  });
});

test('a fixed pod moves to another node and keeps its address, while a client keeps asking', async () => {
  await readyNetworking(lab, 'fixed', { allocationType: { type: 'Fixed', releaseStrategy: 'Never' } });
  const path = `/apis/apps/v1/namespaces/${ns}/statefulsets`;
  const { metadata, spec } = podTemplate({ networking: 'fixed', labels: { app: 'fixed' } });
  const on = (node: WiredNode) => ({ nodeSelector: { 'kubernetes.io/hostname': node.name } });
  await lab.api.create(path, {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'fixed' },
    spec: {
      serviceName: 'fixed',
      selector: { matchLabels: { app: 'fixed' } },
      template: { metadata, spec: { ...spec, ...on(first) } },
    },
  });
  const before = await running(lab, ns, 'fixed-0');
  expect(await reached(lab, ns, 'b', before.ip)).toBe('fixed-0');
  await lab.api.patch(`${path}/fixed`, 'merge', { spec: { template: { spec: on(second) } } });
  await pollUntil(
    async () => {
      const podEni = (await running(lab, ns, 'fixed-0').catch(() => undefined))?.podEni;
      return podEni?.status?.instanceID === second.instanceId ? true : undefined;
    },
    { what: 'fixed-0 to run on the other node', timeoutMs: 60_000 },
  );
  const after = await running(lab, ns, 'fixed-0');
  expect([after.ip, after.eniId]).toEqual([before.ip, before.eniId]);
  expect(await reached(lab, ns, 'b', before.ip)).toBe('fixed-0');
});

test('a hundred pods at once get their network while one waits for its PodENI, and talk under their own VLAN ids', async () => {
  await using sandboxes = await Sandboxes.open(lab, second, ns);
  const names = Array.from({ length: 100 }, (_, at) => `storm-${at}`);
  await sandboxes.create(['slow'], 'no-such-networking');
  await sandboxes.create(names, 'wire');
  const podEnis = async () =>
    (await lab.api.list(`${API}/namespaces/${ns}/podenis`)).objects
      .map((object) => podEniSchema.parse(object))
      .filter(({ metadata, status }) => metadata.name.startsWith('storm-') && status?.phase === 'Bind');
  const bound = await pollUntil(async () => ((await podEnis()).length === 100 ? podEnis() : undefined), {
    what: '100 PodENIs to be in Bind',
    timeoutMs: 90_000,
  });
  const slow = sandboxes.call('ADD', 'slow');
  let hasEnded = false;
  void slow.finally(() => {
    hasEnded = true;
  });
  // Not by kubectl: the kubelet stands still.
  const metrics = async () =>
    (await second.real.exec('busybox', ['wget', '-q', '-O', '-', 'http://127.0.0.1:9196/metrics'])).stdout;
  await expect.poll(metrics, { timeout: 20_000 }).toMatch(/^terway_agent_waiting_sandboxes 1$/m);
  await sandboxes.callAll('ADD', names);
  await using capture = await lab.vpc.capture();
  const answers = await sandboxes.askAll(names, `http://${a.ip}:${PORT}/`);
  expect(hasEnded).toBe(false);
  expect(new Set(names.map((name) => answers.get(name)))).toEqual(new Set(['a']));
  const sent = (await capture.all()).filter(({ direction, dstPort }) => direction === 'fromNode' && dstPort === PORT);
  const tags = new Map(sent.map(({ src, vlan }) => [src, vlan]));
  for (const { metadata, spec, status } of bound) {
    const [{ ipv4 = '', eni } = { eni: { id: '' } }] = spec.allocations ?? [];
    expect(tags.get(ipv4), metadata.name).toBe(status?.eniInfos?.[eni.id]?.vid);
  }
  expect(hasEnded).toBe(false);
  await sandboxes.callAll('DEL', ['slow', ...names]);
  expect(await slow).toMatchObject({ code: 1, stdout: expect.stringContaining('the sandbox was removed') });
});

test('nothing was refused but what had to be, and no agent finds anything to mend', async () => {
  const refused = lab.vpc.refusals
    .list()
    .filter(({ src, dst }) =>
      [a, b, sibling].some(({ ip, ipv6 }) => src === ip || src === ipv6 || dst === ip || dst === ipv6),
    );
  expect(refused).toEqual([]);
  for (const node of lab.nodes) {
    await expect
      .poll(async () => (await lab.agent(node, 'check')).stdout, { timeout: 20_000 })
      .toBe('the node is as it should be\n');
  }
});

test('an agent counts what it did, by verdict and command', async () => {
  const { stdout } = await first.real.exec('busybox', ['wget', '-q', '-O', '-', 'http://127.0.0.1:9196/metrics']);
  const value = (name: string) =>
    Number(
      stdout
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')[1],
    );
  expect(value('terway_agent_trunk_packets_total{verdict="tagged"}')).toBeGreaterThan(10);
  expect(value('terway_agent_trunk_packets_total{verdict="droppedWrongVlan"}')).toBe(0);
  expect(value('terway_agent_cni_requests_total{command="ADD",code="0"}')).toBeGreaterThan(1);
  expect(value('terway_agent_sandboxes')).toBeGreaterThan(1);
});

test('a pod that goes leaves nothing, and the control plane is told', async () => {
  await deletePod(lab, ns, 'sibling');
  await expect.poll(async () => (await lab.agent(first, 'show')).stdout, { timeout: 20_000 }).not.toContain('sibling');
  // As an operator does it.
  const exec = ['exec', '-n', 'kube-system', await lab.agentPod(first), '--', 'terway-agent', 'check'];
  expect(await lab.cluster.kubectl(exec)).toMatchObject({ code: 0, stdout: 'the node is as it should be\n' });
  const uid = sibling.podEni.metadata.annotations?.['k8s.aliyun.com/pod-uid'] ?? '';
  const runtime = async () =>
    nodeRuntimeSchema.parse(await lab.api.get(`${API}/noderuntimes/${first.name}`)).status?.pods ?? {};
  await expect
    .poll(async () => Object.keys((await runtime())[uid]?.status ?? {}), { timeout: 10_000 })
    .toEqual(['deleted']);
  const stays = a.podEni.metadata.annotations?.['k8s.aliyun.com/pod-uid'] ?? '';
  expect((await runtime())[stays]).toMatchObject({ podID: `${ns}/a`, status: { initial: {} } });
});
