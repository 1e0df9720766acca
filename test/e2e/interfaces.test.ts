import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { nodeSchema } from '../../src/crds/node.ts';
import { cidrContains } from '../../src/util/ip.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import { type LabNode, NODE_VSWITCH } from '../harness/lab.ts';
import { API, idOf, OperatorLab, SMALL_TYPE, ZONE_H } from './support.ts';

/** Other kinds of interfaces than one member ENI with an IPv4 address. */

let operator: OperatorLab;
let exclusive: LabNode;
let shared: LabNode;
let namespace: TestNamespace;
let ns: string;

beforeAll(async () => {
  const cluster = await sharedCluster();
  operator = await OperatorLab.start(cluster, { ipStack: 'dual' });
  await operator.startControlPlane();
  namespace = await withNamespace(cluster, 'interfaces');
  ns = namespace.name;
  exclusive = await operator.lab.addNode(ZONE_H, SMALL_TYPE, { 'k8s.aliyun.com/exclusive-mode-eni-type': 'ENIOnly' });
  shared = await operator.addNode();
  await operator.readyNetworking('plain');
  await operator.readyNetworking('storage');
});

afterAll(async () => {
  await operator?.close();
  await namespace?.delete();
});

const shownNode = z.object({
  metadata: z.object({ annotations: z.record(z.string(), z.string()).default({}) }),
  status: z.object({ allocatable: z.record(z.string(), z.string()) }),
});

describe('a node with the label eniOnly', () => {
  let slots = 0;

  test('shows its ENIs to the scheduler, and has no trunk', async () => {
    const { metadata, status } = await pollUntil(
      async () => {
        const node = shownNode.parse(await operator.lab.api.get(`/api/v1/nodes/${exclusive.name}`));
        return node.status.allocatable['aliyun/eni'] === undefined ? undefined : node;
      },
      { what: 'aliyun/eni of the node', timeoutMs: 20_000 },
    );
    slots = Number(status.allocatable['aliyun/eni']);
    expect(slots).toBeGreaterThan(0);
    expect(status.allocatable['aliyun/member-eni']).toBeUndefined();
    expect(metadata.annotations['k8s.aliyun.com/trunk-on']).toBeUndefined();
    const node = nodeSchema.parse(await operator.lab.api.get(`${API}/nodes/${exclusive.name}`));
    expect(node.status?.conditions).toMatchObject([
      { type: 'TrunkReady', status: 'False', reason: 'ExclusiveMode' },
      { type: 'Ready', status: 'True', reason: 'ExclusiveMode' },
    ]);
  });

  test('gives every pod a whole ENI, from eni-config when no PodNetworking selects it', async () => {
    await operator.createPod(ns, 'any', { node: exclusive.name });
    const podEni = await operator.bound(ns, 'any');
    expect(podEni.status).toMatchObject({ instanceID: exclusive.instanceId });
    expect(podEni.status?.trunkENIID ?? '').toBe('');
    expect(podEni.status?.eniInfos?.[idOf(podEni)]).toMatchObject({ type: 'Secondary' });
    expect(podEni.spec.allocations).toMatchObject([{ intent: { networking: 'kube-system/eni-config' } }]);
    expect(await operator.eni(idOf(podEni))).toMatchObject({
      type: 'Secondary',
      status: 'InUse',
      vSwitchId: NODE_VSWITCH[ZONE_H],
      attachment: { instanceId: exclusive.instanceId },
    });
    await operator.deletePod(ns, 'any');
    await operator.released(podEni);
  });

  test('serves as many pods as it has ENIs; the next one waits with a reason, and is then served', async () => {
    const names = Array.from({ length: slots }, (_, at) => `full-${at}`);
    for (const name of names) await operator.createPod(ns, name, { node: exclusive.name, networking: 'plain' });
    const records = await Promise.all(names.map((name) => operator.bound(ns, name)));
    await operator.createPod(ns, 'late', { node: exclusive.name, networking: 'plain' });
    const { note } = await operator.podEvent(ns, 'late', 'NoEniSlot');
    expect(note).toContain(`all ${slots} ENIs that node ${exclusive.name} can hold for pods are in use`);
    const [first] = records;
    await operator.deletePod(ns, 'full-0');
    const late = await operator.bound(ns, 'late');
    if (first !== undefined) await operator.released(first);
    for (const name of [...names.slice(1), 'late']) await operator.deletePod(ns, name);
    for (const record of [...records.slice(1), late]) await operator.released(record);
  });

  test('keeps its mode: a label that changes later is reported', async () => {
    await operator.lab.api.patch(`/api/v1/nodes/${exclusive.name}`, 'merge', {
      metadata: { labels: { 'k8s.aliyun.com/exclusive-mode-eni-type': 'default' } },
    });
    const event = await pollUntil(
      async () =>
        (await operator.events('Node', 'default', exclusive.name)).find(({ reason }) => reason === 'ConfigError'),
      { what: 'event ConfigError of the node', timeoutMs: 20_000 },
    );
    expect(event.note).toContain('was eniOnly when the node joined and cannot change');
  });
});

test('with ipStack dual an ENI has an IPv6 address of its vSwitch', async () => {
  await operator.createPod(ns, 'dual', { node: shared.name, networking: 'plain' });
  const podEni = await operator.bound(ns, 'dual');
  const [allocation] = podEni.spec.allocations ?? [];
  const eni = await operator.eni(idOf(podEni));
  expect(eni?.ipv6).toHaveLength(1);
  expect(eni?.ipv6).toEqual([allocation?.ipv6]);
  expect(cidrContains(allocation?.ipv6CIDR ?? '', allocation?.ipv6 ?? '')).toBe(true);
  const node = nodeSchema.parse(await operator.lab.api.get(`${API}/nodes/${shared.name}`));
  expect(Object.values(node.status?.networkInterfaces ?? {})).toMatchObject([{ ipv6CIDR: 'fd00:10:0:0::/64' }]);
  await operator.deletePod(ns, 'dual');
  await operator.released(podEni);
});

test('a pod that asks for two interfaces gets both, bound together and released together', async () => {
  const request = [
    { interfaceName: 'eth0', network: 'plain', defaultRoute: true },
    { interfaceName: 'net1', network: 'storage', routes: [{ dst: '10.99.0.0/16' }] },
  ];
  await operator.createPod(ns, 'double', {
    node: shared.name,
    annotations: { 'k8s.aliyun.com/pod-networks-request': JSON.stringify(request) },
  });
  const podEni = await operator.bound(ns, 'double');
  expect(podEni.spec.allocations).toMatchObject([
    { interface: 'eth0', defaultRoute: true },
    { interface: 'net1', extraRoutes: [{ dst: '10.99.0.0/16' }] },
  ]);
  const ids = (podEni.spec.allocations ?? []).map(({ eni }) => eni.id);
  const vids = ids.map((id) => podEni.status?.eniInfos?.[id]?.vid);
  expect(new Set(vids).size).toBe(2);
  expect(vids.every((vid) => vid !== undefined && vid > 0)).toBe(true);
  await operator.deletePod(ns, 'double');
  await operator.released(podEni);
  const { enis } = await operator.lab.cloud.state();
  expect(enis.filter(({ id }) => ids.includes(id))).toEqual([]);
});

test('an invalid request gets an event that names field and rule', async () => {
  await operator.createPod(ns, 'wrong', {
    node: shared.name,
    annotations: { 'k8s.aliyun.com/pod-networks-request': '[{"network":"plain","interfaceName":"net1"}]' },
  });
  const { note } = await operator.podEvent(ns, 'wrong', 'NetworkRequestInvalid');
  expect(note).toContain('no entry for eth0');
  await operator.deletePod(ns, 'wrong');
});
