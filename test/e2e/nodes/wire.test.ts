import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestNamespace, withNamespace } from '../../cluster/shared.ts';
import { ZONES } from '../../lab/lab.ts';
import { NodeLab } from '../../lab/node-lab.ts';
import { createPod, deletePod, PORT, type RunningPod, reached, readyNetworking, running } from './support.ts';

/** Pods of real kubelets talk through the VPC switch: a wrong tag, a stale address or an early Bind is a lost packet here. */

let lab: NodeLab;
let namespace: TestNamespace;
let ns: string;
let a: RunningPod;
let b: RunningPod;
let sibling: RunningPod;

beforeAll(async () => {
  lab = await NodeLab.start({
    nodes: [{ zone: ZONES[0] }, { zone: ZONES[0] }],
    latencies: { attachMs: 300, detachMs: 300 },
  });
  await lab.install();
  namespace = await withNamespace(lab.cluster, 'wire');
  ns = namespace.name;
  await readyNetworking(lab, 'wire');
}, 900_000);

afterAll(async () => {
  await lab?.close();
}, 60_000);

test('pods run on real nodes, with the address that their PodENI names', async () => {
  const [first, second] = lab.nodes;
  if (first === undefined || second === undefined) throw new Error('no nodes');
  await createPod(lab, ns, 'a', { networking: 'wire', node: first });
  await createPod(lab, ns, 'sibling', { networking: 'wire', node: first });
  await createPod(lab, ns, 'b', { networking: 'wire', node: second });
  [a, sibling, b] = [await running(lab, ns, 'a'), await running(lab, ns, 'sibling'), await running(lab, ns, 'b')];
  for (const pod of [a, sibling, b]) {
    expect(pod.ip).toBe(pod.podEni.spec.allocations?.[0]?.ipv4);
    expect(pod.vlanId).toBeGreaterThan(0);
  }
});

test('pods of two nodes talk, each under its own VLAN id', async () => {
  await using capture = await lab.vpc.capture();
  expect(await reached(lab, ns, 'a', b.ip)).toBe('b');
  const frames = capture.frames.list().filter(({ srcPort, dstPort }) => srcPort === PORT || dstPort === PORT);
  expect(frames.length).toBeGreaterThan(0);
  const tags = new Set(frames.map(({ direction, vlan, eni }) => `${direction} ${eni} ${vlan}`));
  expect(tags).toEqual(
    new Set([
      `fromNode ${a.eniId} ${a.vlanId}`,
      `toNode ${b.eniId} ${b.vlanId}`,
      `fromNode ${b.eniId} ${b.vlanId}`,
      `toNode ${a.eniId} ${a.vlanId}`,
    ]),
  );
});

test('pods of one node talk through the VPC, so that security groups see them', async () => {
  await using capture = await lab.vpc.capture({ eniId: sibling.eniId });
  expect(await reached(lab, ns, 'a', sibling.ip)).toBe('sibling');
  expect(capture.frames.list().some(({ direction, vlan }) => direction === 'toNode' && vlan === sibling.vlanId)).toBe(
    true,
  );
});

test('nothing was refused on the way, and no agent finds anything to mend', async () => {
  expect(lab.vpc.refusals.list().filter(({ src }) => [a.ip, b.ip, sibling.ip].includes(src))).toEqual([]);
  for (const node of lab.nodes) {
    expect(await lab.agent(node, 'check')).toMatchObject({ code: 0, stdout: 'the node is as it should be\n' });
  }
});

test('a pod that goes leaves nothing', async () => {
  await deletePod(lab, ns, 'sibling');
  const [first] = lab.nodes;
  if (first === undefined) throw new Error('no node');
  await expect.poll(async () => (await lab.agent(first, 'show')).stdout, { timeout: 20_000 }).not.toContain('sibling');
  expect(await lab.agent(first, 'check')).toMatchObject({ code: 0 });
});
