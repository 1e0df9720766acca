import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pollUntil } from '../../tools/machine/poll.ts';
import { createNode } from '../cluster/nodes.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import {
  type LabNode,
  NODE_SECURITY_GROUP,
  NODE_VSWITCH,
  OTHER_VPC,
  POD_SECURITY_GROUP,
  POD_VSWITCH,
  REGION,
  VPC,
} from '../harness/lab.ts';
import { everythingOf, figuresFollow, rounds, tableOf } from './observe.ts';
import {
  API,
  addressOf,
  conditionOf,
  idOf,
  isEmpty,
  OperatorLab,
  SMALL_TYPE,
  TRUNKLESS_TYPE,
  ZONE_H,
} from './support.ts';

/** The operator's view: conditions, events, tables, and what the system waits for. */

let operator: OperatorLab;
let node: LabNode;
let namespace: TestNamespace;
let ns: string;

beforeAll(async () => {
  const cluster = await sharedCluster();
  operator = await OperatorLab.start(cluster);
  await operator.startControlPlane();
  namespace = await withNamespace(cluster, 'operator');
  ns = namespace.name;
  node = await operator.addNode();
  await operator.readyNetworking('sound');
});

afterAll(async () => {
  await operator?.close();
  await namespace?.delete();
});

describe.concurrent('a PodNetworking', () => {
  const h = POD_VSWITCH[ZONE_H];
  test.each([
    {
      name: 'no-vswitch',
      spec: { vSwitchOptions: [h, 'vsw-bp1nowhere'] },
      type: 'VSwitchesReady',
      reason: 'VSwitchNotFound',
      message: 'spec.vSwitchOptions: vsw-bp1nowhere does not exist in this account and region',
    },
    {
      name: 'other-vpc',
      spec: { vSwitchOptions: ['vsw-bp1elsewhere'] },
      type: 'VSwitchesReady',
      reason: 'VSwitchInOtherVPC',
      message: `spec.vSwitchOptions: vsw-bp1elsewhere (${OTHER_VPC}) is in another VPC; the cluster uses ${VPC}`,
    },
    {
      name: 'no-group',
      spec: { securityGroupIDs: ['sg-bp1nowhere', POD_SECURITY_GROUP] },
      type: 'SecurityGroupsReady',
      reason: 'SecurityGroupNotFound',
      message: 'spec.securityGroupIDs: sg-bp1nowhere does not exist in this account and region',
    },
  ])('#60: with a mistake ($name) says which and where, once', async ({ name, spec, type, reason, message }) => {
    await operator.createNetworking(name, spec);
    const failed = await operator.networking(name, ({ status }) => status?.status === 'Fail');
    expect(failed.status?.message).toBe(message);
    expect(conditionOf(failed, type)).toBe(`${type}=False ${reason}: ${message}`);
    expect(conditionOf(failed)).toBe(`Ready=False ${reason}: ${message}`);

    const spelled = await operator.lab.cluster.kubectl(['describe', 'podnetworking', name]);
    expect(spelled.stdout.replace(/\s+/g, ' ')).toContain(message);

    // Nothing is to happen: three re-checks of a failing networking fit into this time, told by the cloud's counter.
    const checks = async () =>
      Object.values((await operator.lab.cloud.counters()).calls['DescribeVSwitches'] ?? {})[0] ?? 0;
    const before = await checks();
    await pollUntil(async () => ((await checks()) >= before + 3 ? true : undefined), {
      what: 're-checks',
      timeoutMs: 20_000,
    });
    const later = await operator.networking(name, () => true);
    expect(later.metadata.resourceVersion).toBe(failed.metadata.resourceVersion);
    const events = await operator.events('PodNetworking', 'default', name);
    expect(events).toEqual([{ type: 'Warning', reason: 'SyncPodNetworkingFailed', note: message, count: 1 }]);
  });

  test('#60: recovers when what it names appears, serves the pod that waits for it, and is checked anew when it is edited or what it names goes', async ({
    expect,
  }) => {
    await operator.createPod(ns, 'early', { node: node.name, networking: 'late' });
    expect((await operator.podEvent(ns, 'early', 'PodNetworkingNotFound')).note).toBe(
      'annotation k8s.aliyun.com/pod-networking names PodNetworking late, which does not exist',
    );
    await operator.createNetworking('late', { vSwitchOptions: ['vsw-bp1late'] });
    await operator.networking('late', ({ status }) => status?.status === 'Fail');
    expect((await operator.podEvent(ns, 'early', 'PodNetworkingNotReady')).note).toBe(
      'PodNetworking late is not Ready; `kubectl describe podnetworking late` says why',
    );
    await operator.lab.cloud.createVSwitch({
      vSwitchId: 'vsw-bp1late',
      vpcId: VPC,
      zoneId: ZONE_H,
      cidrBlock: '10.64.0.0/24',
    });
    const ready = await operator.networking('late', ({ status }) => status?.status === 'Ready');
    expect(ready.status?.vSwitches).toEqual([
      { id: 'vsw-bp1late', zone: ZONE_H, availableIPCount: 252, reservedIPCount: 0 },
    ]);
    expect((await operator.bound(ns, 'early')).spec.allocations?.[0]?.eni.vSwitchID).toBe('vsw-bp1late');

    await operator.lab.api.patch(`${API}/podnetworkings/late`, 'merge', { spec: { securityGroupIDs: ['sg-bp1gone'] } });
    await operator.networking('late', ({ status }) => status?.status === 'Fail' && status.observedGeneration === 2);
    await operator.lab.api.patch(`${API}/podnetworkings/late`, 'merge', {
      spec: { securityGroupIDs: [POD_SECURITY_GROUP] },
    });
    await operator.networking('late', ({ status }) => status?.status === 'Ready' && status.observedGeneration === 3);
    await expect
      .poll(
        async () => {
          const events = await operator.events('PodNetworking', 'default', 'late');
          return events.flatMap(({ reason, count }) => Array<string>(count).fill(reason)).sort();
        },
        { timeout: 45_000 },
      )
      .toEqual([
        ...['SyncPodNetworkingFailed', 'SyncPodNetworkingFailed'],
        ...['SyncPodNetworkingSucceed', 'SyncPodNetworkingSucceed'],
      ]);

    const podEni = await operator.podEni(ns, 'early', () => true);
    await operator.deletePod(ns, 'early');
    await operator.released(podEni);
    // Nothing in the cluster changes: only a look at the cloud can tell.
    await operator.lab.cloud.deleteVSwitch('vsw-bp1late');
    const gone = await operator.networking('late', ({ status }) => status?.status === 'Fail');
    expect(conditionOf(gone)).toBe(
      'Ready=False VSwitchNotFound: spec.vSwitchOptions: vsw-bp1late does not exist in this account and region',
    );
  });

  test('whose security group was deleted shows the cloud’s error on PodENI and pod, and continues once it is corrected', async () => {
    await operator.lab.cloud.createSecurityGroup({ securityGroupId: 'sg-bp1brief', vpcId: VPC });
    await operator.readyNetworking('brief', { securityGroupIDs: ['sg-bp1brief'] });
    await operator.lab.cloud.deleteSecurityGroup('sg-bp1brief');
    await operator.createPod(ns, 'refused', { node: node.name, networking: 'brief' });
    const refused = await operator.podEni(
      ns,
      'refused',
      ({ status }) => status?.conditions?.some(({ reason }) => reason === 'CloudError') === true,
    );
    expect(conditionOf(refused)).toMatch(
      /^Ready=False CloudError: CreateNetworkInterface: InvalidSecurityGroupId\.NotFound: .+ \(request id [0-9A-F-]{36}\)$/,
    );
    const { note } = await operator.podEvent(ns, 'refused', 'CloudError');
    expect(note).toMatch(/InvalidSecurityGroupId\.NotFound.*request id/);

    await operator.networking('brief', ({ status }) => status?.status === 'Fail');
    await operator.lab.api.patch(`${API}/podnetworkings/brief`, 'merge', {
      spec: { securityGroupIDs: [POD_SECURITY_GROUP] },
    });
    const bound = await operator.bound(ns, 'refused');
    expect(bound.spec.allocations?.[0]).toMatchObject({
      eni: { securityGroupIDs: [POD_SECURITY_GROUP] },
      intent: { attempt: 2, networkingGeneration: 2 },
    });
    await operator.deletePod(ns, 'refused');
  });
});

describe.concurrent('a pod that finds no room', () => {
  test('on a node whose type has no trunk gets an event that says where to read why', async () => {
    const { name } = await operator.lab.addNode(ZONE_H, TRUNKLESS_TYPE);
    await operator.createPod(ns, 'trunkless', { node: name, networking: 'sound' });
    expect((await operator.podEvent(ns, 'trunkless', 'TrunkNotReady')).note).toBe(
      `node ${name} has no trunk ENI yet; condition TrunkReady of nodes.network.alibabacloud.com ${name} says why`,
    );
    const described = await pollUntil(
      async () => {
        const found = await operator.terwayNode(name);
        return found?.status?.conditions === undefined ? undefined : found;
      },
      { what: 'the condition of the node', timeoutMs: 10_000 },
    );
    expect(conditionOf(described, 'TrunkReady')).toBe(
      `TrunkReady=False TrunkNotSupported: instance type ${TRUNKLESS_TYPE} does not support member ENIs`,
    );
    await operator.deletePod(ns, 'trunkless');
  });

  test('on a node that is not labelled as an instance is served once it is', async () => {
    const { instanceId } = await operator.lab.cloud.runInstance({
      instanceType: SMALL_TYPE,
      vSwitchId: NODE_VSWITCH[ZONE_H],
      securityGroupIds: [NODE_SECURITY_GROUP],
    });
    const labels = { 'topology.kubernetes.io/zone': '' };
    await createNode(operator.lab.api, {
      name: 'unlabelled',
      instanceId,
      instanceType: SMALL_TYPE,
      zone: ZONE_H,
      region: REGION,
      labels,
    });
    await operator.createPod(ns, 'lost', { node: 'unlabelled', networking: 'sound' });
    await operator.podEvent(ns, 'lost', 'NodeNotReady');
    const warned = await pollUntil(
      async () =>
        (await operator.events('Node', 'default', 'unlabelled')).find(({ reason }) => reason === 'ConfigError'),
      { what: 'a warning about the node', timeoutMs: 10_000 },
    );
    expect(warned.note).toBe('node unlabelled lacks label topology.kubernetes.io/zone, so it gets no trunk ENI');
    await operator.lab.api.patch('/api/v1/nodes/unlabelled', 'merge', {
      metadata: { labels: { 'topology.kubernetes.io/zone': ZONE_H } },
    });
    await operator.bound(ns, 'lost');
    await operator.deletePod(ns, 'lost');
  });

  test('because every member slot is taken is served in the order of arrival', async () => {
    const small = await operator.addNode(ZONE_H, SMALL_TYPE);
    const first = ['slot-0', 'slot-1', 'slot-2'];
    for (const name of first) await operator.createPod(ns, name, { node: small.name, networking: 'sound' });
    await Promise.all(first.map((name) => operator.bound(ns, name)));
    const later = ['slot-3', 'slot-4', 'slot-5'];
    for (const [at, name] of later.entries()) {
      await operator.createPod(ns, name, { node: small.name, networking: 'sound' });
      expect((await operator.podEvent(ns, name, 'NoMemberSlot')).note).toBe(
        `all 3 member ENIs that node ${small.name} can hold are in use; the pod is served when one is released; place ${at + 1} of ${at + 1} in line`,
      );
    }
    // A pod that leaves the queue does not delay the others.
    await operator.deletePod(ns, 'slot-4');
    await operator.deletePod(ns, 'slot-1');
    await operator.bound(ns, 'slot-3');
    expect(await operator.findPodEni(ns, 'slot-5')).toBeUndefined();
    await operator.deletePod(ns, 'slot-0');
    await operator.bound(ns, 'slot-5');
    await Promise.all(['slot-2', 'slot-3', 'slot-5'].map((name) => operator.deletePod(ns, name)));
  });

  test('in a full vSwitch gets another of the zone, or waits until an address is free', async () => {
    const cidrs = { 'vsw-bp1tiny-a': '10.65.0.0/29', 'vsw-bp1tiny-b': '10.65.0.8/29' };
    for (const [vSwitchId, cidrBlock] of Object.entries(cidrs)) {
      await operator.lab.cloud.createVSwitch({ vSwitchId, vpcId: VPC, zoneId: ZONE_H, cidrBlock });
    }
    await operator.readyNetworking('tiny', { vSwitchOptions: Object.keys(cidrs) });
    // Taken behind the control plane's back, so that it believes in addresses which are not there.
    for (let count = 0; count < 2; count += 1) {
      await operator.lab.cloud.runInstance({
        instanceType: SMALL_TYPE,
        vSwitchId: 'vsw-bp1tiny-a',
        securityGroupIds: [NODE_SECURITY_GROUP],
      });
    }
    const names = Array.from({ length: 7 }, (_, at) => `tiny-${at}`);
    for (const name of names) await operator.createPod(ns, name, { node: node.name, networking: 'tiny' });
    const bound = async () => {
      const found = await Promise.all(names.map((name) => operator.findPodEni(ns, name)));
      return found.filter((podEni) => podEni?.status?.phase === 'Bind');
    };
    const six = await pollUntil(async () => ((await bound()).length === 6 ? bound() : undefined), {
      what: 'six pods',
      timeoutMs: 30_000,
    });
    const used = six.map((podEni) => podEni?.spec.allocations?.[0]?.eni.vSwitchID);
    expect(used.filter((id) => id === 'vsw-bp1tiny-a')).toHaveLength(2);
    const boundNames = six.map((podEni) => podEni?.metadata.name);
    const last = names.find((name) => !boundNames.includes(name)) ?? '';
    expect((await operator.podEvent(ns, last, 'VSwitchFull')).note).toContain(
      'no free address in vsw-bp1tiny-a, vsw-bp1tiny-b, the vSwitches of PodNetworking tiny in zone cn-hangzhou-h',
    );
    const gone = six[0];
    if (gone === undefined) throw new Error('no pod is bound');
    await operator.deletePod(ns, gone.metadata.name);
    const served = await operator.bound(ns, last);
    expect(new Set([...six.slice(1), served].map((podEni) => podEni && addressOf(podEni))).size).toBe(6);
    await Promise.all(names.filter((name) => name !== gone.metadata.name).map((name) => operator.deletePod(ns, name)));
  });

  test('because the trunk of its node found no address is served when there is one, and the cloud is asked seldom', async () => {
    await operator.lab.cloud.createVSwitch({
      vSwitchId: 'vsw-bp1trunks',
      vpcId: VPC,
      zoneId: ZONE_H,
      cidrBlock: '10.66.0.0/29',
    });
    const fillers: string[] = [];
    for (let count = 0; count < 4; count += 1) {
      const request = { instanceType: SMALL_TYPE, vSwitchId: 'vsw-bp1trunks', securityGroupIds: [NODE_SECURITY_GROUP] };
      fillers.push((await operator.lab.cloud.runInstance(request)).instanceId);
    }
    const eni = {
      vSwitchOptions: ['vsw-bp1trunks'],
      securityGroupIDs: [NODE_SECURITY_GROUP],
      vSwitchSelectPolicy: 'ordered',
    };
    const refused = async () =>
      (await operator.lab.cloud.journal()).filter(
        ({ action, outcome, params }) =>
          action === 'CreateNetworkInterface' && outcome !== 'OK' && params['VSwitchId'] === 'vsw-bp1trunks',
      ).length;
    const own = { instanceType: SMALL_TYPE, vSwitchId: NODE_VSWITCH[ZONE_H], securityGroupIds: [NODE_SECURITY_GROUP] };
    const { instanceId } = await operator.lab.cloud.runInstance(own);
    const name = 'crowded';
    const zoneLabel = (zone: string) => ({ 'topology.kubernetes.io/zone': zone });
    await createNode(operator.lab.api, {
      name,
      instanceId,
      instanceType: SMALL_TYPE,
      zone: ZONE_H,
      region: REGION,
      labels: zoneLabel(''),
    });
    // A vSwitch of its own, as upstream's node daemon may choose it.
    const kind = { apiVersion: 'network.alibabacloud.com/v1beta1', kind: 'Node' };
    await operator.lab.api.create(`${API}/nodes`, { ...kind, metadata: { name }, spec: { eni } });
    await operator.lab.api.patch(`/api/v1/nodes/${name}`, 'merge', { metadata: { labels: zoneLabel(ZONE_H) } });
    const full = await pollUntil(
      async () => {
        const found = await operator.terwayNode(name);
        return found !== undefined && conditionOf(found, 'TrunkReady').includes('VSwitchFull') ? found : undefined;
      },
      { what: 'the condition of the node', timeoutMs: 20_000 },
    );
    expect(conditionOf(full, 'TrunkReady')).toBe(
      'TrunkReady=False VSwitchFull: no free address in vsw-bp1trunks, the vSwitches for trunk ENIs in zone cn-hangzhou-h',
    );
    await operator.createPod(ns, 'trunk-waits', { node: name, networking: 'sound' });
    await operator.podEvent(ns, 'trunk-waits', 'TrunkNotReady');
    await operator.lab.cloud.releaseInstance(fillers[0] ?? '');
    await operator.bound(ns, 'trunk-waits');
    await operator.deletePod(ns, 'trunk-waits');
    expect(await refused()).toBeLessThanOrEqual(2);
  });
});

describe('to look at', () => {
  test('tables and descriptions show the relevant fields', async () => {
    await operator.settled(isEmpty);
    await operator.createPod(ns, 'shown', { node: node.name, networking: 'sound' });
    const podEni = await operator.bound(ns, 'shown');
    await operator.settled();
    const table = (...args: string[]) => tableOf(operator, args);
    const trunk = podEni.status?.trunkENIID;
    const vlan = String(podEni.status?.eniInfos?.[idOf(podEni)]?.vid);
    const age = expect.stringMatching(/^\d+s$/);
    expect(await table('podenis', '-n', ns)).toMatchObject([
      {
        NAME: 'shown',
        PHASE: 'Bind',
        NODE: node.name,
        IPV4: addressOf(podEni),
        VLAN: vlan,
        ENI: idOf(podEni),
        REASON: 'Bound',
        VSWITCH: POD_VSWITCH[ZONE_H],
        TRUNK: trunk,
        ALLOCATION: 'Elastic',
        NETWORKING: 'sound',
        AGE: age,
      },
    ]);
    expect(await table('networkinterfaces', idOf(podEni))).toMatchObject([
      {
        NAME: idOf(podEni),
        PHASE: 'Bind',
        INSTANCEID: node.instanceId,
        TRUNKENIID: trunk,
        NODENAME: node.name,
        PODNAMESPACE: ns,
        PODNAME: 'shown',
        TYPE: 'Member',
        VLAN: vlan,
        IPV4: addressOf(podEni),
        AGE: age,
        VSWITCH: POD_VSWITCH[ZONE_H],
      },
    ]);
    expect(await table('podnetworkings', 'no-vswitch', 'sound')).toMatchObject([
      {
        NAME: 'no-vswitch',
        STATUS: 'Fail',
        ENI: 'Default',
        ALLOCATION: 'Elastic',
        REASON: 'VSwitchNotFound',
        MESSAGE: 'spec.vSwitchOptions: vsw-bp1nowhere does not exist in this account and region',
      },
      { NAME: 'sound', STATUS: 'Ready', REASON: 'Checked', MESSAGE: '' },
    ]);
    expect(await table('nodes.network.alibabacloud.com', node.name)).toMatchObject([
      { NAME: node.name, INSTANCE: node.instanceId, ZONE: ZONE_H, MEMBERS: '52', TRUNK: 'Attached', ENIS: trunk },
    ]);

    const { stdout } = await operator.lab.cluster.kubectl(['describe', 'podeni', '-n', ns, 'shown']);
    expect(stdout).toContain(`${idOf(podEni)} is a member of trunk ${trunk} with VLAN id ${vlan}`);
    const pod = await operator.lab.cluster.kubectl(['describe', 'pod', '-n', ns, 'shown']);
    expect(pod.stdout).toMatch(/Normal +AttachENISucceed .* is attached with VLAN id \d+/);
  });

  test('health, readiness and metrics', async () => {
    const get = async (path: string) => {
      const response = await fetch(`${operator.controlPlane.telemetryUrl}${path}`);
      return { status: response.status, text: await response.text() };
    };
    expect(await get('/healthz')).toEqual({ status: 200, text: 'ok\n' });
    expect(await get('/readyz')).toEqual({ status: 200, text: 'ok\n' });
    const { text } = await get('/metrics');
    for (const line of [
      /^terway_cloud_calls_total\{action="AttachNetworkInterface",code="OK"\} [1-9]/m,
      /^terway_cloud_calls_total\{action="CreateNetworkInterface",code="InvalidSecurityGroupId\.NotFound"\} [1-9]/m,
      /^terway_cloud_call_duration_seconds_count\{action="DescribeNetworkInterfaces"\} [1-9]/m,
      /^terway_kube_requests_total\{.*resource="podenis".*code="201"\} [1-9]/m,
      /^terway_reconciles_total\{controller="pod-eni",result="success"\} [1-9]/m,
      /^terway_leader 1$/m,
      /^terway_orphaned_enis 0$/m,
      /^terway_collector_braked 0$/m,
    ]) {
      expect(text).toMatch(line);
    }
  });

  test('a settled system is left alone (L2)', async () => {
    expect((await operator.settled()).podEnis.length).toBeGreaterThan(0);
    await figuresFollow(operator);
    const before = await everythingOf(operator);
    await rounds(operator, 3);
    expect(await everythingOf(operator)).toEqual(before);
  });
});
