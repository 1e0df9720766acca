import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { violations } from '../../sim/world/invariants.ts';
import type { PodEni } from '../../src/crds/pod-eni.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import { type Cluster, startCluster } from '../cluster/cluster.ts';
import { createNode, deleteNode } from '../cluster/nodes.ts';
import { createStateDir, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import { type LabNode, NODE_SECURITY_GROUP, NODE_VSWITCH, REGION } from '../harness/lab.ts';
import { twoLooks } from './observe.ts';
import { API, addressOf, conditionOf, idOf, isEmpty, OperatorLab, SMALL_TYPE, ZONE_H } from './support.ts';

/** Repair after changes by others in cloud and cluster. Uses its own cluster, because its API server is restarted. */

let cluster: Cluster;
let operator: OperatorLab;
let node: LabNode;
let namespace: TestNamespace;
let ns: string;

beforeAll(async () => {
  cluster = await startCluster({ stateDir: await createStateDir() });
  operator = await OperatorLab.start(cluster);
  await operator.startControlPlane();
  namespace = await withNamespace(cluster, 'repair');
  ns = namespace.name;
  node = await operator.addNode();
  await operator.readyNetworking('elastic');
  await operator.readyNetworking('fixed', { allocationType: { type: 'Fixed', releaseStrategy: 'Never' } });
});

afterAll(async () => {
  await operator?.close();
  await cluster?.stop();
});

async function podOn(name: string, where = node, networking = 'elastic'): Promise<PodEni> {
  await operator.createPod(ns, name, { node: where.name, networking });
  return operator.bound(ns, name);
}

/** The record, its mirror and the cloud tell the same. */
async function agreeing(name: string, beside: (podEni: PodEni) => boolean = () => true): Promise<PodEni> {
  return pollUntil(
    async () => {
      const podEni = await operator.findPodEni(ns, name);
      if (podEni?.status?.phase !== 'Bind' || !conditionOf(podEni).startsWith('Ready=True') || !beside(podEni))
        return undefined;
      const eni = await operator.eni(idOf(podEni));
      const mirror = await operator.networkInterface(idOf(podEni));
      const vlan = podEni.status.eniInfos?.[idOf(podEni)]?.vid;
      const same =
        eni?.status === 'InUse' &&
        eni.attachment?.trunk?.vlanId === vlan &&
        eni.attachment?.trunk?.eniId === podEni.status.trunkENIID &&
        mirror?.status?.eniInfo?.vid === vlan &&
        mirror?.status?.trunkENIID === podEni.status.trunkENIID;
      return same ? podEni : undefined;
    },
    { what: `record, mirror and cloud to agree on ${ns}/${name}`, timeoutMs: 30_000 },
  );
}

describe.concurrent('of a pod that is bound', () => {
  test('the ENI is deleted by hand: the pod gets an event that says what to do, and its deletion cleans up', async () => {
    const podEni = await podOn('eni-deleted');
    await operator.lab.cloud.deleteEniByHand(idOf(podEni));
    const message = `${idOf(podEni)} no longer exists in the cloud; delete the pod to give its successor a new ENI`;
    const lost = await operator.podEni(
      ns,
      'eni-deleted',
      ({ status }) => status?.conditions?.some(({ reason }) => reason === 'EniLost') === true,
    );
    expect(conditionOf(lost)).toBe(`Ready=False EniLost: ${message}`);
    expect(await operator.podEvent(ns, 'eni-deleted', 'EniLost')).toMatchObject({ type: 'Warning', note: message });
    await operator.deletePod(ns, 'eni-deleted');
    await operator.released(podEni);
  });

  test('the ENI is detached by hand: it is attached again, and the record has its VLAN id', async () => {
    const [podEni, other] = [await podOn('eni-detached'), await podOn('eni-detached-too')];
    await operator.lab.cloud.detachEniByHand(idOf(podEni));
    await operator.lab.cloud.detachEniByHand(idOf(other));
    for (const before of [podEni, other]) {
      await pollUntil(async () => ((await operator.eni(idOf(before)))?.status === 'InUse' ? true : undefined), {
        what: `${idOf(before)} to be attached`,
        timeoutMs: 30_000,
      });
      expect(addressOf(await agreeing(before.metadata.name))).toBe(addressOf(before));
      await operator.deletePod(ns, before.metadata.name);
    }
  });

  test('the NetworkInterface is deleted by hand: it is recreated, and the ENI is not touched', async () => {
    const podEni = await agreeing((await podOn('mirror-deleted')).metadata.name);
    const before = await operator.networkInterface(idOf(podEni));
    const path = `${API}/networkinterfaces/${idOf(podEni)}`;
    await operator.lab.api.delete(path);
    await pollUntil(
      async () => {
        const now = await operator.networkInterface(idOf(podEni));
        return now?.status?.phase === 'Bind' && now.metadata.uid !== before?.metadata.uid ? now : undefined;
      },
      { what: 'another NetworkInterface', timeoutMs: 10_000 },
    );
    const touching = (await operator.lab.cloud.journal()).filter(
      ({ action, objectIds }) => /^(Detach|Delete)/.test(action) && objectIds.includes(idOf(podEni)),
    );
    expect(touching).toEqual([]);
    await operator.deletePod(ns, 'mirror-deleted');
    await operator.released(podEni);
  });

  test('the PodENI is deleted by hand: the pod gets another interface', async () => {
    const podEni = await podOn('record-deleted');
    await operator.lab.api.delete(`${API}/namespaces/${ns}/podenis/record-deleted`);
    const next = await operator.podEni(
      ns,
      'record-deleted',
      ({ metadata, status }) => metadata.uid !== podEni.metadata.uid && status?.phase === 'Bind',
    );
    expect(idOf(next)).not.toBe(idOf(podEni));
    await operator.released(podEni);
    await operator.deletePod(ns, 'record-deleted');
    await operator.released(next);
  });

  test('the PodENI is removed by force: its ENI is released by the mirror, or without one by the collector', async () => {
    const [mirrored, bare] = [await agreeing((await podOn('stripped')).metadata.name), await podOn('stripped-bare')];
    await agreeing('stripped-bare');
    await operator.strip(`${API}/namespaces/${ns}/podenis/stripped`);
    // The record first: a mirror whose record lives is made again.
    await operator.strip(`${API}/namespaces/${ns}/podenis/stripped-bare`);
    await operator.strip(`${API}/networkinterfaces/${idOf(bare)}`);
    await Promise.all([operator.released(mirrored), operator.released(bare)]);
    for (const before of [mirrored, bare]) {
      const { name } = before.metadata;
      expect(idOf(await operator.podEni(ns, name, ({ status }) => status?.phase === 'Bind'))).not.toBe(idOf(before));
      await operator.deletePod(ns, name);
    }
  });
});

describe.concurrent('of a node', () => {
  test('the kubelet sets aliyun/member-eni to zero: it is set again', async () => {
    const { name } = await operator.addNode();
    const zero = { 'aliyun/member-eni': '0' };
    await operator.lab.api.patch(`/api/v1/nodes/${name}/status`, 'merge', {
      status: { capacity: zero, allocatable: zero },
    });
    await operator.trunkOf(name);
    const { stdout } = await cluster.kubectl([
      'get',
      'node',
      name,
      '-o',
      'jsonpath={.status.capacity.aliyun/member-eni} {.status.allocatable.aliyun/member-eni}',
    ]);
    expect(stdout).toBe('52 52');
  });

  test('the trunk is deleted by hand: it is recreated, and the pods are attached to it', async () => {
    const lossy = await operator.addNode();
    const pods = [await podOn('trunk-lost', lossy), await podOn('trunk-lost-fixed', lossy, 'fixed')];
    const trunk = pods[0]?.status?.trunkENIID ?? '';
    await operator.lab.cloud.deleteEniByHand(trunk);
    const next = await operator.trunkOf(lossy.name, trunk);
    for (const before of pods) {
      const after = await agreeing(before.metadata.name, ({ status }) => status?.trunkENIID === next);
      expect([idOf(after), addressOf(after)]).toEqual([idOf(before), addressOf(before)]);
      expect(after.spec.target?.trunkENIID).toBe(next);
      await operator.deletePod(ns, before.metadata.name);
    }
    expect(conditionOf((await operator.terwayNode(lossy.name)) ?? {}, 'TrunkReady')).toBe(
      `TrunkReady=True Attached: trunk ${next} is attached`,
    );
    await operator.lab.api.delete(`${API}/namespaces/${ns}/podenis/trunk-lost-fixed`);
  });

  test('the instance is released: pod and node say so', async () => {
    const dead = await operator.addNode();
    const podEni = await podOn('instance-gone', dead);
    await operator.lab.cloud.releaseInstance(dead.instanceId);
    await operator.podEni(
      ns,
      'instance-gone',
      ({ status }) => status?.conditions?.some(({ reason }) => reason === 'EniLost') === true,
    );
    const failing = await pollUntil(
      async () => {
        const found = await operator.terwayNode(dead.name);
        return found !== undefined && conditionOf(found, 'TrunkReady').includes('CloudError') ? found : undefined;
      },
      { what: 'the condition of the node', timeoutMs: 30_000 },
    );
    expect(conditionOf(failing, 'TrunkReady')).toMatch(
      /^TrunkReady=False CloudError: AttachNetworkInterface: InvalidEcsId\.NotFound: .*request id/,
    );
    await deleteNode(operator.lab.api, dead.name);
    await operator.deletePod(ns, 'instance-gone');
    await operator.released(podEni);
    await nodeGone(dead.name);
  });

  test('#68: the object is deleted: the trunk is released once no pod uses it; added again with another instance it gets another', async () => {
    const old = await operator.addNode();
    const trunk = await operator.trunkOf(old.name);
    const podEni = await podOn('node-gone', old);
    await deleteNode(operator.lab.api, old.name);
    const leaving = await pollUntil(
      async () => {
        const found = await operator.terwayNode(old.name);
        return found?.metadata.deletionTimestamp === undefined ? undefined : found;
      },
      { what: 'the Node CR to be deleted', timeoutMs: 20_000 },
    );
    // In which the trunk could go.
    await twoLooks(operator);
    expect((await operator.terwayNode(old.name))?.metadata.finalizers).toEqual(leaving.metadata.finalizers);
    expect(leaving.metadata.finalizers).not.toEqual([]);
    expect((await operator.eni(trunk))?.status).toBe('InUse');
    // As the pod collector of Kubernetes does once it misses the node.
    await operator.deletePod(ns, 'node-gone');
    await operator.released(podEni);
    await nodeGone(old.name);
    await pollUntil(async () => ((await operator.eni(trunk)) === undefined ? true : undefined), {
      what: `${trunk} to be deleted`,
      timeoutMs: 20_000,
    });
    const instanceId = await renewed(old.name);
    const next = await operator.trunkOf(old.name);
    expect((await operator.eni(next))?.attachment?.instanceId).toBe(instanceId);
  });

  test('the object is replaced while no control plane runs: state of the previous instance is not used', async () => {
    const old = await operator.addNode();
    const trunk = await operator.trunkOf(old.name);
    // Both changes in one moment; the watch may show them as one.
    const instance = await operator.lab.cloud.runInstance({
      instanceType: SMALL_TYPE,
      vSwitchId: NODE_VSWITCH[ZONE_H],
      securityGroupIds: [NODE_SECURITY_GROUP],
    });
    await deleteNode(operator.lab.api, old.name);
    await createNode(operator.lab.api, {
      name: old.name,
      instanceId: instance.instanceId,
      instanceType: SMALL_TYPE,
      zone: ZONE_H,
      region: REGION,
    });
    const next = await operator.trunkOf(old.name);
    expect(next).not.toBe(trunk);
    expect((await operator.eni(next))?.attachment?.instanceId).toBe(instance.instanceId);
    await pollUntil(async () => ((await operator.eni(trunk)) === undefined ? true : undefined), {
      what: `${trunk} to be collected`,
      timeoutMs: 30_000,
    });
  });

  test('the Node CR is deleted by hand: it is recreated with the same trunk, and the pods keep working', async () => {
    const kept = await operator.addNode();
    const podEni = await podOn('node-record', kept);
    const before = await operator.terwayNode(kept.name);
    await operator.lab.api.delete(`${API}/nodes/${kept.name}`);
    await pollUntil(
      async () => {
        const now = await operator.terwayNode(kept.name);
        const isNew = now !== undefined && now.metadata.uid !== before?.metadata.uid;
        return isNew && conditionOf(now, 'TrunkReady').startsWith('TrunkReady=True') ? true : undefined;
      },
      { what: 'another Node CR', timeoutMs: 20_000 },
    );
    expect(await operator.trunkOf(kept.name)).toBe(podEni.status?.trunkENIID);
    expect((await operator.findPodEni(ns, 'node-record'))?.metadata.resourceVersion).toBe(
      podEni.metadata.resourceVersion,
    );
    expect((await podOn('node-record-new', kept)).status?.trunkENIID).toBe(podEni.status?.trunkENIID);
    await Promise.all(['node-record', 'node-record-new'].map((name) => operator.deletePod(ns, name)));
  });
});

async function nodeGone(name: string): Promise<void> {
  await pollUntil(async () => ((await operator.terwayNode(name)) === undefined ? true : undefined), {
    what: `Node CR ${name} to be gone`,
    timeoutMs: 30_000,
  });
}

/** Registers a node of that name with a new instance. */
async function renewed(name: string): Promise<string> {
  const { instanceId } = await operator.lab.cloud.runInstance({
    instanceType: SMALL_TYPE,
    vSwitchId: NODE_VSWITCH[ZONE_H],
    securityGroupIds: [NODE_SECURITY_GROUP],
  });
  await createNode(operator.lab.api, { name, instanceId, instanceType: SMALL_TYPE, zone: ZONE_H, region: REGION });
  return instanceId;
}

test('ten pods in flight while the API server restarts: all are bound, nothing is duplicated', async () => {
  await operator.settled(isEmpty);
  const names = Array.from({ length: 10 }, (_, at) => `restart-${at}`);
  for (const name of names) await operator.createPod(ns, name, { node: node.name, networking: 'elastic' });
  await cluster.restartApiServer();
  for (const name of names) await operator.bound(ns, name);
  const { podEnis } = await operator.settled();
  expect(podEnis.map(({ metadata }) => metadata.name).sort()).toEqual(names.sort());
  await Promise.all(names.map((name) => operator.deletePod(ns, name)));
  await operator.settled(isEmpty);
});

test('records that upstream has left are adopted as they are', async () => {
  await podOn('theirs');
  await podOn('theirs-fixed', node, 'fixed');
  const uids = new Map<string, string>();
  await operator.stopControlPlane();
  for (const name of ['theirs', 'theirs-fixed']) {
    // Takes out what only we write.
    const path = `${API}/namespaces/${ns}/podenis/${name}`;
    const found = await operator.findPodEni(ns, name);
    const [{ intent: _intent, ...allocation } = { eni: { id: '' } }] = found?.spec.allocations ?? [];
    await operator.lab.api.patch(path, 'merge', { spec: { target: null, allocations: [allocation] } });
    await operator.lab.api.patch(`${path}/status`, 'merge', { status: { conditions: null, observedGeneration: null } });
    uids.set(name, (await operator.findPodEni(ns, name))?.metadata.resourceVersion ?? '');
  }
  const before = await operator.mutations();
  await operator.startControlPlane();
  const neighbour = await podOn('ours');
  expect(violations(await operator.world())).toEqual([]);
  for (const [name, version] of uids) {
    expect((await operator.findPodEni(ns, name))?.metadata.resourceVersion, name).toBe(version);
  }
  expect(await operator.mutations()).toEqual({
    ...before,
    CreateNetworkInterface: { OK: okOf(before['CreateNetworkInterface']) + 1 },
    AttachNetworkInterface: {
      ...errorsOf(before['AttachNetworkInterface']),
      OK: okOf(before['AttachNetworkInterface']) + 1,
    },
  });
  const theirs = await operator.podEni(ns, 'theirs', () => true);
  const fixed = await operator.podEni(ns, 'theirs-fixed', () => true);
  for (const name of ['theirs', 'theirs-fixed', 'ours']) await operator.deletePod(ns, name);
  await operator.released(theirs);
  await operator.podEni(ns, 'theirs-fixed', ({ status }) => status?.phase === 'Unbind');
  const uid = await operator.createPod(ns, 'theirs-fixed', { node: node.name, networking: 'fixed' });
  expect(idOf(await operator.bound(ns, 'theirs-fixed', uid))).toBe(idOf(fixed));
  await operator.deletePod(ns, 'theirs-fixed');
  await operator.podEni(ns, 'theirs-fixed', ({ status }) => status?.phase === 'Unbind');
  await operator.lab.api.delete(`${API}/namespaces/${ns}/podenis/theirs-fixed`);
  await operator.released(fixed);
  await operator.released(neighbour);
});

function okOf(outcomes: unknown): number {
  return typeof outcomes === 'object' && outcomes !== null && 'OK' in outcomes ? Number(outcomes.OK) : 0;
}

function errorsOf(outcomes: unknown): object {
  return typeof outcomes === 'object' && outcomes !== null ? outcomes : {};
}

test('too many orphans at once count as lost records: nothing is released', async () => {
  const names = Array.from({ length: 14 }, (_, at) => `amnesia-${at}`);
  for (const name of names) await operator.createPod(ns, name, { node: node.name, networking: 'elastic' });
  const records = await Promise.all(names.map((name) => operator.bound(ns, name)));
  await operator.settled();
  await operator.stopControlPlane();
  await Promise.all(names.map((name) => operator.deletePod(ns, name)));
  await Promise.all(names.map((name) => operator.strip(`${API}/namespaces/${ns}/podenis/${name}`)));
  const before = await operator.mutations();
  await operator.startControlPlane();
  const said = async (text: string) =>
    pollUntil(async () => ((await operator.controlPlane.process.output()).includes(text) ? true : undefined), {
      what: text,
      timeoutMs: 30_000,
    });
  await said('implausibly many NetworkInterfaces have lost their PodENIs');
  expect(await operator.mutations()).toEqual(before);

  // Not even the mirrors are left to tell.
  await operator.stopControlPlane();
  await Promise.all(records.map((record) => operator.strip(`${API}/networkinterfaces/${idOf(record)}`)));
  await operator.startControlPlane();
  await said('implausibly many ENIs look orphaned');
  const metrics = async () => (await fetch(`${operator.controlPlane.telemetryUrl}/metrics`)).text();
  await pollUntil(async () => (/^terway_collector_braked 1$/m.test(await metrics()) ? true : undefined), {
    what: 'the brake in the metrics',
    timeoutMs: 10_000,
  });
  // A second round would be the one that releases.
  await twoLooks(operator);
  expect(await operator.mutations()).toEqual(before);
  for (const record of records) expect(await operator.eni(idOf(record))).toMatchObject({ status: 'InUse' });
});
