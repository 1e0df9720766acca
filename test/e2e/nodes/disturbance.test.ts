import { afterAll, beforeAll, expect, test } from 'vitest';
import * as z from 'zod';
import { pollUntil } from '../../../tools/machine/poll.ts';
import { type TestNamespace, withNamespace } from '../../cluster/shared.ts';
import { ZONES } from '../../harness/lab.ts';
import { NodeLab, type WiredNode } from '../../harness/node-lab.ts';
import { API, createPod, deletePod, type RunningPod, reached, readyNetworking, running } from './support.ts';

/** What happens to a node in its life; pods keep their network or get it back, and nothing is left over. */

let lab: NodeLab;
let namespace: TestNamespace;
let ns: string;
let first: WiredNode;
let a: RunningPod;
let b: RunningPod;

beforeAll(async () => {
  lab = await NodeLab.start({
    nodes: [{ zone: ZONES[0] }, { zone: ZONES[0] }],
    latencies: { attachMs: 300, detachMs: 300 },
    // What comes back does so because the agent was told, not because it looks again.
    agentConfig: { syncPeriod: '1h' },
    controlPlaneConfig: { collector: { interval: '2s', minimumAge: '1s' } },
  });
  await lab.install();
  first = lab.node('node-1');
  namespace = await withNamespace(lab.cluster, 'disturbance');
  ns = namespace.name;
  await readyNetworking(lab, 'wire');
  await createPod(lab, ns, 'a', { networking: 'wire', node: first });
  await createPod(lab, ns, 'b', { networking: 'wire', node: lab.node('node-2') });
  [a, b] = [await running(lab, ns, 'a'), await running(lab, ns, 'b')];
}, 900_000);

afterAll(async () => {
  await lab?.close();
}, 60_000);

/** How often the agent was told that somebody had changed its node. */
async function disturbances(node: WiredNode): Promise<number> {
  const { stdout } = await node.real.exec('busybox', ['wget', '-q', '-O', '-', 'http://127.0.0.1:9196/metrics']);
  return Number(/^terway_agent_disturbances_total\{kind="node"\} (\d+)$/m.exec(stdout)?.[1] ?? 0);
}

/** Waits until the node's agent finds nothing to repair. */
async function clean(node: WiredNode): Promise<void> {
  await expect
    .poll(async () => (await lab.agent(node, 'check').catch(() => undefined))?.stdout, { timeout: 30_000 })
    .toBe('the node is as it should be\n');
}

/** Sends the agent's process a signal; without one it ends without warning. */
async function killAgent(node: WiredNode, signal = '-KILL'): Promise<void> {
  const { stdout } = await node.real.exec('pgrep', ['-f', 'terway-agent.mjs']);
  expect((await node.real.exec('kill', [signal, ...stdout.trim().split('\n')])).code).toBe(0);
}

test('kill -9 of the agent: pods do not notice, and new ones are served when it is back', async () => {
  await killAgent(first);
  expect(await reached(lab, ns, 'a', b.ip)).toBe('b');
  await createPod(lab, ns, 'meanwhile', { networking: 'wire', node: first });
  const meanwhile = await running(lab, ns, 'meanwhile');
  expect(await reached(lab, ns, 'meanwhile', a.ip)).toBe('a');
  await deletePod(lab, ns, meanwhile.name);
  await clean(first);
});

test('an ENI is not taken from a sandbox that may be running: its node must first report it gone', async () => {
  const member = async (eniId: string) => (await lab.lab.cloud.state()).enis.find(({ id }) => id === eniId);
  const released = async (pod: RunningPod) => {
    await expect.poll(() => member(pod.eniId), { timeout: 30_000, interval: 200 }).toBeUndefined();
  };
  await createPod(lab, ns, 'forced', { networking: 'wire', node: first });
  await createPod(lab, ns, 'other', { networking: 'wire', node: lab.node('node-2') });
  const [forced, other] = [await running(lab, ns, 'forced'), await running(lab, ns, 'other')];
  await killAgent(first, '-STOP');
  try {
    // The object goes at once, whatever the containers do; DEL finds nobody.
    const deletion = ['delete', 'pod', '-n', ns, forced.name, '--force', '--grace-period=0'];
    expect((await lab.cluster.kubectl(deletion)).code).toBe(0);
    await expect
      .poll(() => lab.api.get(`${API}/namespaces/${ns}/podenis/${forced.name}`), { timeout: 10_000 })
      .toHaveProperty('metadata.deletionTimestamp');
    // Meanwhile a pod of a node whose agent works is released as ever.
    await deletePod(lab, ns, other.name);
    await released(other);
    expect(await member(forced.eniId)).toMatchObject({ status: 'InUse' });
  } finally {
    await killAgent(first, '-CONT');
  }
  await released(forced);
  const { objects } = await lab.api.list(`/apis/events.k8s.io/v1/namespaces/${ns}/events`);
  expect(z.array(z.object({ reason: z.string() })).parse(objects)).not.toContainEqual({ reason: 'ReleaseUnconfirmed' });
  await clean(first);
});

test('filters, rules and routes that somebody removes come back at once (weak spot 9)', async () => {
  const broken = [
    ['tc', 'qdisc', 'del', 'dev', 'eth1', 'clsact'],
    ['ip', 'rule', 'del', 'priority', '510'],
    ['ip', 'rule', 'del', 'priority', '513'],
    ['ip', 'route', 'flush', 'table', '911'],
  ];
  const before = await disturbances(first);
  for (const [command = '', ...args] of broken) {
    expect((await first.real.exec(command, args)).code, args.join(' ')).toBe(0);
  }
  expect(await reached(lab, ns, 'a', b.ip)).toBe('b');
  expect(await reached(lab, ns, 'b', a.ip)).toBe('a');
  await clean(first);
  expect((await first.real.exec('tc', ['filter', 'show', 'dev', 'eth1', 'ingress'])).stdout).toContain('trunk_ingress');
  expect(await disturbances(first)).toBeGreaterThan(before);
});

test('an unreadable record is set aside and rebuilt', async () => {
  const { stdout } = await first.real.exec('sh', ['-c', 'ls /var/lib/terway-agent/pods/*.json']);
  const [path = ''] = stdout.trim().split('\n');
  await first.real.exec('sh', ['-c', `echo '{"version":1,' > ${path}`]);
  await killAgent(first);
  await expect
    .poll(async () => (await lab.agent(first, 'show').catch(() => undefined))?.stdout, { timeout: 30_000 })
    .toMatch(/\/a +eth0 .* ready/);
  expect(await reached(lab, ns, 'b', a.ip)).toBe('a');
  await clean(first);
  expect((await first.real.exec('sh', ['-c', 'ls /var/lib/terway-agent/pods/corrupt'])).stdout).toContain('.json');
});

test('the trunk is replaced: pods hang below the next one, and the tag follows', async () => {
  const trunk = a.podEni.status?.trunkENIID ?? '';
  await lab.lab.cloud.deleteEniByHand(trunk);
  await pollUntil(
    async () => {
      const now = await running(lab, ns, 'a').catch(() => undefined);
      return now?.podEni.status?.phase === 'Bind' && now.podEni.status.trunkENIID !== trunk ? true : undefined;
    },
    { what: 'pod a below another trunk', timeoutMs: 60_000 },
  );
  expect(await reached(lab, ns, 'a', b.ip)).toBe('b');
  expect(await reached(lab, ns, 'b', a.ip)).toBe('a');
  await clean(first);
});

test('the node is switched off and on: its pods are there again', async () => {
  await first.real.restart();
  await lab.nodesReady();
  await pollUntil(async () => ((await reached(lab, ns, 'b', a.ip).catch(() => undefined)) === 'a' ? true : undefined), {
    what: 'pod a to answer again',
    timeoutMs: 90_000,
  });
  const again = await running(lab, ns, 'a');
  expect(again.ip).toBe(a.ip);
  await clean(first);
});

test('deleting the pods removes everything', async () => {
  await deletePod(lab, ns, 'a');
  await deletePod(lab, ns, 'b');
  for (const node of lab.nodes) {
    await expect.poll(async () => (await lab.agent(node, 'show')).stdout, { timeout: 30_000 }).not.toContain(ns);
    const { stdout } = await node.real.exec('ip', ['-oneline', 'link']);
    expect(stdout).not.toMatch(/: cali/);
    // What the pods of a trunk shared is taken away by a look: that of the next period, or of a start.
    await killAgent(node);
    await clean(node);
  }
  await pollUntil(
    async () => {
      const { enis } = await lab.lab.cloud.state();
      return enis.every(({ type }) => type !== 'Member') ? true : undefined;
    },
    { what: 'the cloud to be empty', timeoutMs: 30_000 },
  );
});
