import { afterAll, beforeAll, expect, test } from 'vitest';
import * as z from 'zod';
import { pollUntil } from '../../tools/machine/poll.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import {
  type LabNode,
  NODE_SECURITY_GROUP,
  NODE_VSWITCH,
  POD_SECURITY_GROUP,
  POD_VSWITCH,
  VPC,
} from '../harness/lab.ts';
import { twoLooks } from './observe.ts';
import { API, conditionOf, idOf, LATENCIES, OperatorLab, SMALL_TYPE, ZONE_H } from './support.ts';

/** The status of each kind: how pods are served, what waits for what, and which cloud calls were made. */

let operator: OperatorLab;
let node: LabNode;
let small: LabNode;
let namespace: TestNamespace;
let ns: string;

beforeAll(async () => {
  const cluster = await sharedCluster();
  operator = await OperatorLab.start(cluster);
  await operator.startControlPlane();
  namespace = await withNamespace(cluster, 'status');
  ns = namespace.name;
  node = await operator.addNode();
  small = await operator.addNode(ZONE_H, SMALL_TYPE);
});

afterAll(async () => {
  await operator?.close();
  await namespace?.delete();
});

test('#55: a bound pod: each kind is Ready for the generation that it has, and the calls are told', async () => {
  await operator.readyNetworking('plain');
  await operator.createPod(ns, 'plain-0', { node: node.name, networking: 'plain' });
  const podEni = await operator.bound(ns, 'plain-0');
  const mirror = await pollUntil(
    async () => {
      const found = await operator.networkInterface(idOf(podEni));
      return found?.status?.phase === 'Bind' ? found : undefined;
    },
    { what: 'the NetworkInterface', timeoutMs: 20_000 },
  );
  const record = await operator.terwayNode(node.name);
  if (record === undefined) throw new Error('the Node CR exists');
  for (const object of [podEni, mirror, record]) {
    const ready = object.status?.conditions?.find(({ type }) => type === 'Ready');
    expect(ready).toMatchObject({ status: 'True', observedGeneration: object.metadata.generation });
    expect(object.status?.observedGeneration).toBe(object.metadata.generation);
  }
  expect(conditionOf(record)).toMatch(/^Ready=True Attached: trunk eni-/);

  const calls = (await operator.lab.cloud.journal()).filter(
    ({ kind, objectIds }) => kind === 'call' && objectIds.includes(idOf(podEni)),
  );
  expect(podEni.status?.operations).toEqual(
    calls.map(({ action, requestId }) => ({
      action,
      requestID: requestId,
      eniID: idOf(podEni),
      time: expect.stringMatching(/Z$/),
      durationMs: expect.any(Number),
    })),
  );
  await operator.deletePod(ns, 'plain-0');
  await operator.released(podEni);
});

test('a PodNetworking counts its pods: bound, waiting with their place in line, reserved', async () => {
  await operator.readyNetworking('counted', { allocationType: { type: 'Fixed', releaseStrategy: 'Never' } });
  const names = Array.from({ length: 5 }, (_, at) => `counted-${at}`);
  for (const name of names.slice(0, 3)) {
    await operator.createPod(ns, name, { node: small.name, networking: 'counted' });
    await operator.bound(ns, name);
  }
  for (const name of names.slice(3)) await operator.createPod(ns, name, { node: small.name, networking: 'counted' });
  const full = await operator.networking('counted', ({ status }) => status?.pods?.waiting === 2);
  const none = { starting: 0, releasing: 0, reserved: 0, failed: 0 };
  expect(full.status?.pods).toEqual({ ...none, bound: 3, waiting: 2 });
  expect((await operator.podEvent(ns, 'counted-4', 'NoMemberSlot')).note).toMatch(/; place 2 of 2 in line$/);

  await operator.deletePod(ns, 'counted-4');
  await operator.deletePod(ns, 'counted-3');
  await operator.deletePod(ns, 'counted-2');
  const reserved = await operator.networking('counted', ({ status }) => status?.pods?.reserved === 1);
  expect(reserved.status?.pods).toEqual({ ...none, bound: 2, waiting: 0, reserved: 1 });
  expect(reserved.status?.vSwitches?.find(({ id }) => id === POD_VSWITCH[ZONE_H])?.reservedIPCount).toBe(1);
  expect(reserved.status?.reservedIPCount).toBe(1);

  // One that comes back to a node without a slot waits as well. Its PodENI says why; the place, which changes, is in the event.
  await operator.createPod(ns, 'other', { node: small.name, networking: 'counted' });
  await operator.bound(ns, 'other');
  await operator.createPod(ns, 'counted-2', { node: small.name, networking: 'counted' });
  const waiting = await operator.podEni(ns, 'counted-2', (podEni) => conditionOf(podEni).includes('NoMemberSlot'));
  expect(conditionOf(waiting)).toMatch(/^Ready=False NoMemberSlot: .* served when one is released$/);
  expect((await operator.podEvent(ns, 'counted-2', 'NoMemberSlot')).note).toMatch(/; place 1 of 1 in line$/);
  await operator.networking('counted', ({ status }) => status?.pods?.waiting === 1 && status.pods.reserved === 0);
  for (const name of ['counted-0', 'counted-1', 'counted-2', 'other']) {
    await operator.deletePod(ns, name);
    await operator.podEni(ns, name, ({ status }) => status?.phase === 'Unbind');
    await operator.lab.api.delete(`${API}/namespaces/${ns}/podenis/${name}`);
  }
  await operator.networking('counted', ({ status }) => Object.values(status?.pods ?? {}).every((count) => count === 0));
});

test('a PodNetworking whose zone is full names the vSwitch, and recovers when addresses are free again', async () => {
  await operator.lab.cloud.createVSwitch({
    vSwitchId: 'vsw-bp1few',
    vpcId: VPC,
    zoneId: ZONE_H,
    cidrBlock: '10.67.0.0/29',
  });
  const other = POD_VSWITCH['cn-hangzhou-i'];
  await operator.readyNetworking('few', { vSwitchOptions: ['vsw-bp1few', other] });
  const names = Array.from({ length: 5 }, (_, at) => `few-${at}`);
  for (const name of names) await operator.createPod(ns, name, { node: node.name, networking: 'few' });
  const full = await operator.networking('few', (found) =>
    conditionOf(found, 'CapacityAvailable').includes('ZoneFull'),
  );
  expect(conditionOf(full, 'CapacityAvailable')).toContain(`pods wait for an address in ${ZONE_H} (vsw-bp1few)`);
  const served = await pollUntil(
    async () => {
      const found = await Promise.all(names.map((name) => operator.findPodEni(ns, name)));
      const bound = found.flatMap((podEni) => (podEni?.status?.phase === 'Bind' ? [podEni] : []));
      return bound.length === 4 ? bound : undefined;
    },
    { what: 'four pods', timeoutMs: 30_000 },
  );
  const [gone] = served;
  if (gone === undefined) throw new Error('four are bound');
  await operator.deletePod(ns, gone.metadata.name);
  for (const name of names) if (name !== gone.metadata.name) await operator.bound(ns, name);
  await operator.networking('few', (found) =>
    conditionOf(found, 'CapacityAvailable').startsWith('CapacityAvailable=True'),
  );
  await Promise.all(names.filter((name) => name !== gone.metadata.name).map((name) => operator.deletePod(ns, name)));
});

test('#56, #57: a failure is one event however often it repeats, and the PodNetworking tells it with its request id', async () => {
  await operator.lab.cloud.createSecurityGroup({ securityGroupId: 'sg-bp1short', vpcId: VPC });
  await operator.readyNetworking('failing', { securityGroupIDs: ['sg-bp1short'] });
  await operator.lab.cloud.deleteSecurityGroup('sg-bp1short');
  await operator.createPod(ns, 'failing-0', { node: node.name, networking: 'failing' });
  const failing = await operator.networking('failing', (found) =>
    conditionOf(found, 'AllocationHealthy').includes('PodsFailing'),
  );
  expect(failing.status?.pods?.failed).toBe(1);
  expect(conditionOf(failing, 'AllocationHealthy')).toMatch(
    new RegExp(
      `^AllocationHealthy=False PodsFailing: the interface of one pod fails, most recently ${ns}/failing-0: CloudError: CreateNetworkInterface: InvalidSecurityGroupId\\.NotFound: .*\\(request id [0-9A-F-]+\\)$`,
    ),
  );
  const refused = async () =>
    (await operator.lab.cloud.journal()).filter(
      ({ action, outcome }) => action === 'CreateNetworkInterface' && outcome === 'InvalidSecurityGroupId.NotFound',
    );
  await pollUntil(async () => ((await refused()).length >= 3 ? true : undefined), {
    what: 'three tries',
    timeoutMs: 30_000,
  });
  await operator.podEvent(ns, 'failing-0', 'CloudError');
  const events = await operator.events('Pod', ns, 'failing-0');
  expect(events.map(({ reason, count }) => [reason, count])).toEqual([['CloudError', 1]]);
  const podEni = await operator.podEni(ns, 'failing-0', () => true);
  expect(podEni.status?.operations?.[0]).toMatchObject({
    action: 'CreateNetworkInterface',
    code: 'InvalidSecurityGroupId.NotFound',
    requestID: (await refused())[0]?.requestId,
  });

  await operator.lab.api.patch(`${API}/podnetworkings/failing`, 'merge', {
    spec: { securityGroupIDs: [POD_SECURITY_GROUP] },
  });
  await operator.bound(ns, 'failing-0');
  await operator.networking('failing', (found) =>
    conditionOf(found, 'AllocationHealthy').startsWith('AllocationHealthy=True'),
  );
  await operator.deletePod(ns, 'failing-0');
});

test('#56, #57: a refused attachment is said once, in the cloud’s words, to pod and PodENI', async () => {
  await operator.readyNetworking('unattached');
  await operator.lab.cloud.setInstanceStatus(node.instanceId, 'Stopping');
  await operator.createPod(ns, 'unattached-0', { node: node.name, networking: 'unattached' });
  const refused = async () =>
    (await operator.lab.cloud.journal()).filter(
      ({ action, outcome }) => action === 'AttachNetworkInterface' && outcome === 'InvalidOperation.InvalidEcsState',
    );
  await pollUntil(async () => ((await refused()).length >= 3 ? true : undefined), {
    what: 'three tries',
    timeoutMs: 30_000,
  });
  const podEni = await operator.podEni(ns, 'unattached-0', (found) => conditionOf(found).includes('CloudError'));
  expect(conditionOf(podEni)).toMatch(
    /^Ready=False CloudError: AttachNetworkInterface: InvalidOperation\.InvalidEcsState: .+ \(request id [0-9A-F-]+\)$/,
  );
  await operator.podEvent(ns, 'unattached-0', 'CloudError');
  const events = await operator.events('Pod', ns, 'unattached-0');
  expect(events.map(({ type, reason, count }) => [type, reason, count])).toEqual([['Warning', 'CloudError', 1]]);
  expect(events[0]?.note).toContain((await refused())[0]?.requestId);
  expect(await operator.events('PodENI', ns, 'unattached-0')).toEqual([]);
  await operator.lab.cloud.setInstanceStatus(node.instanceId, 'Running');
  await operator.bound(ns, 'unattached-0');
  await operator.deletePod(ns, 'unattached-0');
});

test('#65: a node says what eni-config lacks, and has its trunk once it is there', async () => {
  const path = '/api/v1/namespaces/kube-system/configmaps/eni-config';
  const { data } = z.object({ data: z.object({ eni_conf: z.string() }) }).parse(await operator.lab.api.get(path));
  const write = (text: string) => operator.lab.api.patch(path, 'merge', { data: { eni_conf: text } });
  const others = { version: '1', security_group: NODE_SECURITY_GROUP, enable_eni_trunking: true };
  try {
    await write(JSON.stringify({ ...others, vswitches: { 'cn-hangzhou-i': [NODE_VSWITCH['cn-hangzhou-i']] } }));
    const { name } = await operator.lab.addNode(ZONE_H, SMALL_TYPE);
    const lacking = await pollUntil(
      async () => {
        const found = await operator.terwayNode(name);
        return found?.status?.conditions === undefined ? undefined : found;
      },
      { what: 'the condition of the node', timeoutMs: 20_000 },
    );
    expect(conditionOf(lacking, 'TrunkReady')).toBe(
      'TrunkReady=False ConfigError: ConfigMap kube-system/eni-config, key eni_conf: vswitches has no entry for zone cn-hangzhou-h',
    );
    const edited = { vSwitchId: 'vsw-bp1edited', vpcId: VPC, zoneId: ZONE_H, cidrBlock: '10.68.0.0/24' };
    await operator.lab.cloud.createVSwitch(edited);
    // A node that has just come is looked at for other reasons, too.
    await twoLooks(operator);
    await write(JSON.stringify({ ...others, vswitches: { [ZONE_H]: [edited.vSwitchId] } }));
    expect((await operator.eni(await operator.trunkOf(name)))?.vSwitchId).toBe(edited.vSwitchId);
  } finally {
    await write(data.eni_conf);
  }
});

test('a long wait is reported with the usual duration', async () => {
  await operator.readyNetworking('slow');
  await operator.lab.cloud.setLatencies({ attachMs: 60_000 });
  await operator.createPod(ns, 'slow-0', { node: node.name, networking: 'slow' });
  const waiting = await operator.podEni(ns, 'slow-0', (podEni) => conditionOf(podEni).includes('Attaching'));
  expect(conditionOf(waiting)).toMatch(
    /^Ready=False Attaching: the cloud has accepted the attach of eni-\S+, which usually takes \d+ s$/,
  );
  await operator.networking('slow', ({ status }) => status?.pods?.starting === 1);
  await operator.lab.cloud.completeAll();
  await operator.lab.cloud.setLatencies({ attachMs: LATENCIES.attachMs });
  await operator.bound(ns, 'slow-0');
  await operator.deletePod(ns, 'slow-0');
});

test('many pods cost the PodNetworking one write in ten seconds, and settled ones none', async () => {
  await operator.readyNetworking('crowd');
  const writes = async () => {
    const text = await (await fetch(`${operator.controlPlane.telemetryUrl}/metrics`)).text();
    const lines = text
      .split('\n')
      .filter((line) => /^terway_kube_requests_total\{.*resource="podnetworkings"/.test(line));
    const counts = lines.filter((line) => /verb="patch"/.test(line)).map((line) => Number(line.split(' ').at(-1)));
    return counts.reduce((sum, count) => sum + count, 0);
  };
  await operator.settled();
  const before = await writes();
  const startedMs = Date.now();
  const names = Array.from({ length: 30 }, (_, at) => `crowd-${at}`);
  for (const name of names) await operator.createPod(ns, name, { node: node.name, networking: 'crowd' });
  await operator.networking('crowd', ({ status }) => status?.pods?.bound === names.length);
  const written = (await writes()) - before;
  // Those of the tests before may still tell their figures: at most as often.
  const { objects } = await operator.lab.api.list(`${API}/podnetworkings`);
  expect(written).toBeLessThanOrEqual(objects.length * (1 + Math.ceil((Date.now() - startedMs) / 10_000)));
  expect(written).toBeLessThan(names.length);
  await Promise.all(names.map((name) => operator.deletePod(ns, name)));
});

test('a wait for the quota tells how many calls wait, and when the last of them goes out', async () => {
  await operator.readyNetworking('rationed');
  await operator.stopControlPlane();
  await operator.startControlPlane({ rateLimit: { CreateNetworkInterface: 1 } });
  const names = Array.from({ length: 4 }, (_, at) => `rationed-${at}`);
  for (const name of names) await operator.createPod(ns, name, { node: node.name, networking: 'rationed' });
  // A minute may turn meanwhile and let another one through, never all.
  const words = await pollUntil(
    async () => {
      const found = await Promise.all(names.map((name) => operator.findPodEni(ns, name)));
      return found.map((podEni) => conditionOf(podEni ?? {})).find((text) => text.includes('WaitingForQuota'));
    },
    { what: 'a PodENI that waits for the quota', timeoutMs: 30_000 },
  );
  expect(words).toMatch(
    /^Ready=False WaitingForQuota: the quota of CreateNetworkInterface \(1 calls per minute\) is used up: [1-3] calls are waiting, the last will be sent at \d{4}-\S+:00Z/,
  );
  await operator.networking('rationed', ({ status }) => (status?.pods?.waiting ?? 0) > 0);
});
