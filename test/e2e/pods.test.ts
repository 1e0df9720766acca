import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { violations } from '../../sim/world/invariants.ts';
import { TAG_OWNER } from '../../src/crds/names.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import type { LabNode } from '../harness/lab.ts';
import { API, addressOf, conditionOf, idOf, isEmpty, LATENCIES, OperatorLab, ZONE_I } from './support.ts';

/** The life of a pod's interface: every way in which pods come, go and come back. */

let operator: OperatorLab;
let nodeA: LabNode;
let nodeB: LabNode;
let nodeFar: LabNode;
let namespace: TestNamespace;
let ns: string;

beforeAll(async () => {
  const cluster = await sharedCluster();
  operator = await OperatorLab.start(cluster, { releaseConfirmation: '2s' });
  await operator.startControlPlane();
  namespace = await withNamespace(cluster, 'pods');
  ns = namespace.name;
  [nodeA, nodeB, nodeFar] = await Promise.all([operator.addNode(), operator.addNode(), operator.addNode(ZONE_I)]);
  await operator.readyNetworking('elastic', { selector: { podSelector: { matchLabels: { net: 'elastic' } } } });
  await operator.readyNetworking('ttl', {
    allocationType: { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '5m' },
    selector: { podSelector: { matchLabels: { net: 'ttl' } } },
  });
  await operator.readyNetworking('never', { allocationType: { type: 'Fixed', releaseStrategy: 'Never' } });
});

afterAll(async () => {
  await operator?.close();
  await namespace?.delete();
});

describe.concurrent('an elastic pod', () => {
  test('is bound with what its PodNetworking names, mirrored, and released without a trace', async () => {
    await operator.createPod(ns, 'elastic', { node: nodeA.name, networking: 'elastic' });
    const podEni = await operator.bound(ns, 'elastic');
    const [allocation] = podEni.spec.allocations ?? [];
    const eni = await operator.eni(idOf(podEni));
    expect(eni).toMatchObject({
      type: 'Member',
      status: 'InUse',
      vSwitchId: allocation?.eni.vSwitchID,
      securityGroupIds: allocation?.eni.securityGroupIDs,
      macAddress: allocation?.eni.mac,
      attachment: { instanceId: nodeA.instanceId, trunk: { eniId: podEni.status?.trunkENIID } },
    });
    expect(eni?.ipv4).toEqual([addressOf(podEni)]);
    expect(podEni.status?.eniInfos?.[idOf(podEni)]).toMatchObject({
      vid: eni?.attachment?.trunk?.vlanId,
      type: 'Member',
      status: 'Bind',
    });
    const mirror = await pollUntil(
      async () => {
        const found = await operator.networkInterface(idOf(podEni));
        return found?.status?.phase === 'Bind' ? found : undefined;
      },
      { what: 'the NetworkInterface', timeoutMs: 10_000 },
    );
    expect(mirror.metadata.labels).toEqual({ 'k8s.aliyun.com/node': nodeA.name });
    expect(mirror.status).toMatchObject({ nodeName: nodeA.name, instanceID: nodeA.instanceId });
    expect(await operator.podEvent(ns, 'elastic', 'AttachENISucceed')).toMatchObject({ type: 'Normal' });

    await operator.deletePod(ns, 'elastic');
    await operator.released(podEni);
  });

  test('that is chosen by a selector needs no annotation; one that nothing chooses gets no interface', async () => {
    await operator.createPod(ns, 'other', { node: nodeA.name, labels: { net: 'none' } });
    await operator.createPod(ns, 'selected', { node: nodeA.name, labels: { net: 'elastic' } });
    const selected = await operator.bound(ns, 'selected');
    // Both were seen in this order by the same queue, so the first has been judged by now.
    expect(await operator.findPodEni(ns, 'other')).toBeUndefined();
    await Promise.all([operator.deletePod(ns, 'other'), operator.deletePod(ns, 'selected')]);
    await operator.released(selected);
  });

  test('keeps its interface while it terminates, and releases it when it has finished', async () => {
    await operator.createPod(ns, 'finished', {
      node: nodeA.name,
      networking: 'elastic',
      finalizers: ['test.terway/hold'],
    });
    const podEni = await operator.bound(ns, 'finished');
    await operator.deletePod(ns, 'finished', 600);
    await operator.lab.api.patch(`/api/v1/namespaces/${ns}/pods/finished`, 'merge', {
      metadata: { labels: { seen: 'yes' } },
    });
    // A neighbour that goes through its whole life meanwhile shows that there was time to do the wrong thing.
    await operator.createPod(ns, 'neighbour', { node: nodeA.name, networking: 'elastic' });
    const neighbour = await operator.bound(ns, 'neighbour');
    await operator.deletePod(ns, 'neighbour');
    await operator.released(neighbour);
    expect((await operator.findPodEni(ns, 'finished'))?.metadata.resourceVersion).toBe(podEni.metadata.resourceVersion);

    await operator.finishPod(ns, 'finished', 'Succeeded');
    await operator.released(podEni);
    await operator.strip(`/api/v1/namespaces/${ns}/pods/finished`);
  });

  test('on a node whose agent reports is released on its confirmation, or after a timeout with an event', async () => {
    const node = await operator.addNode();
    await operator.lab.api.create(`${API}/noderuntimes`, {
      apiVersion: 'network.alibabacloud.com/v1beta1',
      kind: 'NodeRuntime',
      metadata: { name: node.name, annotations: { 'terway.alibabacloud.com/reports-release': 'true' } },
      spec: {},
    });
    const unconfirmed = async (name: string) =>
      (await operator.events('PodENI', ns, name)).filter(({ reason }) => reason === 'ReleaseUnconfirmed');
    for (const name of ['said', 'unsaid'])
      await operator.createPod(ns, name, { node: node.name, networking: 'elastic' });
    const [said, unsaid] = [await operator.bound(ns, 'said'), await operator.bound(ns, 'unsaid')];
    const uid = said.metadata.annotations?.['k8s.aliyun.com/pod-uid'] ?? '';
    const lastUpdateTime = new Date().toISOString();
    await operator.lab.api.patch(`${API}/noderuntimes/${node.name}/status`, 'merge', {
      status: { pods: { [uid]: { podID: `${ns}/said`, status: { deleted: { lastUpdateTime } } } } },
    });
    for (const name of ['said', 'unsaid']) await operator.deletePod(ns, name);
    await Promise.all([operator.released(said), operator.released(unsaid)]);
    await pollUntil(async () => ((await unconfirmed('unsaid')).length === 1 ? true : undefined), {
      what: 'event ReleaseUnconfirmed',
      timeoutMs: 20_000,
    });
    expect(await unconfirmed('said')).toEqual([]);
    await operator.lab.api.delete(`${API}/noderuntimes/${node.name}`);
  });

  test('that is deleted while its interface is created leaves nothing', async () => {
    // So long that the pod is gone before the answer comes, however busy the machine is.
    await operator.lab.cloud.setLatencies({ createMs: 10_000 });
    await operator.createPod(ns, 'creating', { node: nodeA.name, networking: 'elastic' });
    const { metadata } = await operator.podEni(ns, 'creating', () => true);
    const isCreated = async () =>
      (await operator.lab.cloud.state()).enis.some(({ tags }) => tags[TAG_OWNER] === `${ns}/creating`)
        ? true
        : undefined;
    await pollUntil(isCreated, { what: 'the ENI to be created', timeoutMs: 20_000 });
    await operator.lab.cloud.setLatencies({ createMs: LATENCIES.createMs });
    await operator.deletePod(ns, 'creating');
    const podEni = await operator.podEni(ns, 'creating', ({ spec }) => (spec.allocations?.[0]?.eni.id ?? '') !== '');
    // The answer came after the release was decided, and was recorded so that it could be released.
    expect([podEni.metadata.uid, podEni.metadata.deletionTimestamp === undefined]).toEqual([metadata.uid, false]);
    await operator.released(podEni);
  });

  test('that is deleted while its interface is attached leaves nothing', async () => {
    // Long enough to be observed on a busy machine.
    await operator.lab.cloud.setLatencies({ attachMs: 10_000 });
    await operator.createPod(ns, 'attaching', { node: nodeA.name, networking: 'elastic' });
    const podEni = await operator.podEni(ns, 'attaching', ({ spec }) => (spec.allocations?.[0]?.eni.id ?? '') !== '');
    await pollUntil(async () => ((await operator.eni(idOf(podEni)))?.status === 'Attaching' ? true : undefined), {
      what: 'the attachment to begin',
      timeoutMs: 20_000,
    });
    await operator.lab.cloud.setLatencies({ attachMs: LATENCIES.attachMs });
    await operator.deletePod(ns, 'attaching');
    await operator.released(podEni);
    expect(await operator.events('Pod', ns, 'attaching')).toEqual([]);
  });

  test('that is recreated before the old interface is gone gets its own interface', async () => {
    await operator.createPod(ns, 'again', { node: nodeA.name, networking: 'elastic' });
    const first = await operator.bound(ns, 'again');
    await operator.deletePod(ns, 'again');
    const uid = await operator.createPod(ns, 'again', { node: nodeB.name, networking: 'elastic' });
    const second = await operator.bound(ns, 'again', uid);
    expect(idOf(second)).not.toBe(idOf(first));
    expect(second.spec.target?.nodeName).toBe(nodeB.name);
    expect(await operator.eni(idOf(first))).toBeUndefined();
    await operator.deletePod(ns, 'again');
    await operator.released(second);
  });
});

describe.concurrent('a fixed pod', () => {
  test('gets its interface and address again on another node of the zone, and loses them after the TTL', async () => {
    await operator.createPod(ns, 'fixed', { node: nodeA.name, networking: 'ttl' });
    const first = await operator.bound(ns, 'fixed');
    await operator.deletePod(ns, 'fixed');
    const kept = await operator.podEni(ns, 'fixed', ({ status }) => status?.phase === 'Unbind');
    expect(Date.now() - Date.parse(kept.status?.podLastSeen ?? '')).toBeLessThan(30_000);
    expect(conditionOf(kept)).toBe('Ready=False Reserved: the address is kept for the next pod of this name');
    expect(await operator.eni(idOf(kept))).toMatchObject({ status: 'Available' });
    await pollUntil(
      async () => ((await operator.networkInterface(idOf(kept)))?.status?.phase === 'Unbind' ? true : undefined),
      { what: 'the NetworkInterface to be unbound', timeoutMs: 10_000 },
    );
    const mirror = await operator.networkInterface(idOf(kept));
    expect([mirror?.metadata.labels ?? {}, mirror?.status?.nodeName, mirror?.status?.eniInfo?.status]).toEqual([
      {},
      '',
      'Unbind',
    ]);

    const uid = await operator.createPod(ns, 'fixed', { node: nodeB.name, networking: 'ttl' });
    const second = await operator.bound(ns, 'fixed', uid);
    expect([idOf(second), addressOf(second)]).toEqual([idOf(first), addressOf(first)]);
    expect(second.status?.instanceID).toBe(nodeB.instanceId);
    expect(second.metadata.labels?.['k8s.aliyun.com/node']).toBe(nodeB.name);
    await pollUntil(
      async () => {
        const { phase, nodeName } = (await operator.networkInterface(idOf(second)))?.status ?? {};
        return phase === 'Bind' && nodeName === nodeB.name ? true : undefined;
      },
      { what: 'the NetworkInterface to follow', timeoutMs: 10_000 },
    );

    await operator.deletePod(ns, 'fixed');
    await operator.podEni(ns, 'fixed', ({ status }) => status?.phase === 'Unbind');
    await operator.lab.api.patch(
      `/apis/network.alibabacloud.com/v1beta1/namespaces/${ns}/podenis/fixed/status`,
      'merge',
      {
        status: { podLastSeen: new Date(Date.now() - 5 * 60_000).toISOString() },
      },
    );
    await operator.released(second);
  });

  test('with strategy Never is kept, however long the pod is gone', async () => {
    await operator.createPod(ns, 'never', { node: nodeA.name, networking: 'never' });
    await operator.bound(ns, 'never');
    await operator.deletePod(ns, 'never');
    await operator.podEni(ns, 'never', ({ status }) => status?.phase === 'Unbind');
    const path = `/apis/network.alibabacloud.com/v1beta1/namespaces/${ns}/podenis/never`;
    await operator.lab.api.patch(`${path}/status`, 'merge', { status: { podLastSeen: '2020-01-01T00:00:00Z' } });
    // The elastic neighbour comes later into the same queue.
    await operator.createPod(ns, 'beside', { node: nodeA.name, networking: 'elastic' });
    await operator.bound(ns, 'beside');
    const kept = await operator.podEni(ns, 'never', ({ status }) => status?.phase === 'Unbind');
    expect(await operator.eni(idOf(kept))).toMatchObject({ status: 'Available' });
    await operator.deletePod(ns, 'beside');
    await operator.lab.api.delete(path);
    await operator.released(kept);
  });

  test('#70: that is scheduled to another zone says so, and is bound once it is back in its own', async () => {
    await operator.createPod(ns, 'zonal', { node: nodeA.name, networking: 'ttl' });
    const first = await operator.bound(ns, 'zonal');
    await operator.deletePod(ns, 'zonal');
    await operator.podEni(ns, 'zonal', ({ status }) => status?.phase === 'Unbind');
    await operator.createPod(ns, 'zonal', { node: nodeFar.name, networking: 'ttl' });
    const { note } = await operator.podEvent(ns, 'zonal', 'ZoneMismatch');
    expect(note).toBe(
      `the fixed address is in zone ${nodeA.zone}, but node ${nodeFar.name} is in ${nodeFar.zone}: schedule the pod to zone ${nodeA.zone}, or delete PodENI ${ns}/zonal to give up the address`,
    );
    const waiting = await operator.podEni(
      ns,
      'zonal',
      ({ status }) => status?.conditions?.some(({ reason }) => reason === 'ZoneMismatch') === true,
    );
    expect(conditionOf(waiting)).toBe(`Ready=False ZoneMismatch: ${note}`);
    await operator.deletePod(ns, 'zonal');
    const uid = await operator.createPod(ns, 'zonal', { node: nodeB.name, networking: 'ttl' });
    expect(addressOf(await operator.bound(ns, 'zonal', uid))).toBe(addressOf(first));
    await operator.deletePod(ns, 'zonal');
    await operator.podEni(ns, 'zonal', ({ status }) => status?.phase === 'Unbind');
  });

  test('that is force-deleted and back at once waits for its own interface to be detached', async () => {
    await operator.createPod(ns, 'forced', { node: nodeA.name, networking: 'ttl' });
    const first = await operator.bound(ns, 'forced');
    await operator.deletePod(ns, 'forced');
    const uid = await operator.createPod(ns, 'forced', { node: nodeB.name, networking: 'ttl' });
    const second = await operator.bound(ns, 'forced', uid);
    expect([idOf(second), addressOf(second)]).toEqual([idOf(first), addressOf(first)]);
    expect(second.status?.instanceID).toBe(nodeB.instanceId);
    const detach = (await operator.lab.cloud.journal()).filter(
      ({ action, objectIds }) =>
        ['Detached', 'AttachNetworkInterface'].includes(action) && objectIds.includes(idOf(first)),
    );
    expect(detach.map(({ action }) => action)).toEqual([
      'AttachNetworkInterface',
      'Detached',
      'AttachNetworkInterface',
    ]);
    await operator.deletePod(ns, 'forced');
  });

  test('of a StatefulSet keeps its address through 2 → 0 → 2', async () => {
    const replicas = async (count: number) =>
      operator.lab.api.patch(`/apis/apps/v1/namespaces/${ns}/statefulsets/db`, 'merge', { spec: { replicas: count } });
    await operator.lab.api.create(`/apis/apps/v1/namespaces/${ns}/statefulsets`, {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: { name: 'db' },
      spec: {
        replicas: 2,
        podManagementPolicy: 'Parallel',
        selector: { matchLabels: { net: 'ttl' } },
        template: {
          metadata: { labels: { net: 'ttl' } },
          spec: {
            terminationGracePeriodSeconds: 0,
            nodeSelector: { 'topology.kubernetes.io/zone': nodeA.zone },
            containers: [{ name: 'main', image: 'registry.k8s.io/pause:3.10' }],
            tolerations: [{ operator: 'Exists' }],
          },
        },
      },
    });
    const names = ['db-0', 'db-1'];
    const addresses = async () => Promise.all(names.map(async (name) => addressOf(await operator.bound(ns, name))));
    const before = await addresses();
    await replicas(0);
    for (const name of names) await operator.podEni(ns, name, ({ status }) => status?.phase === 'Unbind');
    await replicas(2);
    expect(await addresses()).toEqual(before);
    await operator.lab.api.delete(`/apis/apps/v1/namespaces/${ns}/statefulsets/db`);
    for (const name of names) await operator.podEni(ns, name, ({ status }) => status?.phase === 'Unbind');
  });
});

test('twenty at once, half of them deleted at once: nothing is shared, lost or left behind', async () => {
  // What the fixed pods of the tests above reserve goes with their records.
  await operator.lab.api.delete(`${API}/namespaces/${ns}/podenis`);
  await operator.settled(isEmpty);
  const names = Array.from({ length: 20 }, (_, at) => `crowd-${at}`);
  const half = names.filter((_, at) => at % 2 === 0);
  for (const [at, name] of names.entries()) {
    await operator.createPod(ns, name, { node: at % 3 === 0 ? nodeFar.name : nodeA.name, networking: 'elastic' });
  }
  await Promise.all(half.map((name) => operator.deletePod(ns, name)));
  expect(violations(await operator.world())).toEqual([]);
  const kept = names.filter((name) => !half.includes(name));
  await Promise.all(kept.map((name) => operator.bound(ns, name)));
  const { podEnis } = await operator.settled(({ podEnis: { length } }) => length === kept.length);
  expect(podEnis.map(({ metadata }) => metadata.name).sort()).toEqual(kept.sort());
  await Promise.all(kept.map((name) => operator.deletePod(ns, name)));
  await operator.settled(isEmpty);
});

test('a namespace with bound, reserved and unfinished interfaces can be deleted', async () => {
  const doomed = await withNamespace(operator.lab.cluster, 'doomed');
  await operator.createPod(doomed.name, 'bound', { node: nodeA.name, networking: 'elastic' });
  await operator.createPod(doomed.name, 'kept', { node: nodeA.name, networking: 'ttl' });
  await operator.bound(doomed.name, 'bound');
  await operator.bound(doomed.name, 'kept');
  await operator.deletePod(doomed.name, 'kept');
  await operator.podEni(doomed.name, 'kept', ({ status }) => status?.phase === 'Unbind');
  await operator.createPod(doomed.name, 'late', { node: nodeA.name, networking: 'elastic' });
  await operator.podEni(doomed.name, 'late', () => true);
  // Nodes that have stopped the containers; nothing in this cluster would end the pods otherwise.
  const dying = doomed.delete({ wait: true });
  await Promise.all(['bound', 'late'].map((name) => operator.deletePod(doomed.name, name)));
  await dying;
  const { cloud, podEnis } = await operator.settled();
  expect(podEnis.filter(({ metadata }) => metadata.namespace === doomed.name)).toEqual([]);
  expect(cloud.enis.filter(({ tags }) => tags['terway.alibabacloud.com/owner']?.startsWith(doomed.name))).toEqual([]);
});
