import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { diffMergePatch } from '../kube/patch.ts';
import { networkInterfaceSchema } from './network-interface.ts';
import { nodeSchema } from './node.ts';
import { nodeRuntimeSchema } from './node-runtime.ts';
import { podEniSchema } from './pod-eni.ts';
import { podNetworkingSchema } from './pod-networking.ts';

const metadata = { name: 'web-0', namespace: 'default' };

/** As upstream's control plane writes it: no target, no intent. */
const upstreamPodEni = {
  apiVersion: 'network.alibabacloud.com/v1beta1',
  kind: 'PodENI',
  metadata: {
    ...metadata,
    uid: '1',
    resourceVersion: '2',
    creationTimestamp: '2025-01-01T00:00:00Z',
    finalizers: ['network.alibabacloud.com/pod-eni'],
    annotations: { 'k8s.aliyun.com/pod-uid': 'u' },
    labels: { 'k8s.aliyun.com/node': 'n' },
    managedFields: [{ manager: 'terway-controlplane' }],
  },
  spec: {
    zone: 'cn-hangzhou-i',
    allocations: [
      {
        allocationType: { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '10x' },
        eni: {
          id: 'eni-1',
          mac: '00:16:3e:00:00:01',
          zone: 'cn-hangzhou-i',
          vSwitchID: 'vsw-1',
          securityGroupIDs: ['sg-1'],
          attachmentOptions: { trunk: true },
        },
        ipv4: '10.0.0.1',
        ipv6: '',
        ipv4CIDR: '10.0.0.0/24',
        interface: 'eth0',
        extraRoutes: [{ dst: '10.1.0.0/16' }],
        extraConfig: {},
      },
    ],
  },
  status: {
    phase: 'Bind',
    instanceID: 'i-1',
    trunkENIID: 'eni-t',
    podLastSeen: '2025-01-01T00:00:00Z',
    eniInfos: { 'eni-1': { id: 'eni-1', type: 'Member', vid: 5, status: 'Bind' } },
  },
};

describe('a PodENI', () => {
  test('of upstream is parsed with all fields that the control plane needs', () => {
    const parsed = podEniSchema.parse(upstreamPodEni);
    expect(parsed.spec).toEqual(upstreamPodEni.spec);
    expect(parsed.status).toEqual(upstreamPodEni.status);
    expect(parsed.spec.target).toBeUndefined();
    expect(parsed.spec.allocations?.[0]?.intent).toBeUndefined();
  });

  test.each([
    [{ metadata }],
    [{ metadata, spec: {} }],
    [{ metadata, spec: { allocations: [] } }],
    [{ metadata, spec: { allocations: [{}] }, status: {} }],
  ])('with hardly any fields is parsed: %j', (object) => {
    expect(podEniSchema.safeParse(object).error).toBeUndefined();
  });

  test.each(['', 'Initial', 'Binding', 'Bind', 'Detaching', 'Unbind', 'Deleting'])('keeps the phase "%s"', (phase) => {
    expect(podEniSchema.parse({ metadata, status: { phase } }).status?.phase).toBe(phase);
  });

  test('with an unknown phase is parsed as one without a phase', () => {
    expect(podEniSchema.parse({ metadata, status: { phase: 'Sleeping' } }).status?.phase).toBe('');
  });

  test('keeps fields of a later version, at every depth of an allocation, when the list is rewritten', () => {
    const later = structuredClone(upstreamPodEni);
    const [allocation] = later.spec.allocations;
    const future = { added: { in: 'a later version' } };
    Object.assign(allocation ?? {}, future, { intent: { attempt: 1, clientToken: 't', createdAt: 'x', ...future } });
    Object.assign(allocation?.eni ?? {}, future);
    Object.assign(allocation?.eni.attachmentOptions ?? {}, future);
    Object.assign(allocation?.allocationType ?? {}, future);
    Object.assign(allocation?.extraRoutes[0] ?? {}, future);

    const before = podEniSchema.parse(later);
    const after = structuredClone(before);
    for (const edited of after.spec.allocations ?? []) edited.ipv4 = '10.0.0.2';
    expect(diffMergePatch(before, after)).toEqual({ spec: { allocations: [{ ...allocation, ipv4: '10.0.0.2' }] } });
  });

  test('parses to itself: parsing twice gives the same', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), fc.jsonValue()), (extra) => {
        const allocation = { ...extra, eni: { id: 'eni-1', ...pick(extra) } };
        const once = podEniSchema.safeParse({ metadata, spec: { allocations: [allocation] } });
        // The API server refuses known names with a value of another type.
        fc.pre(once.success);
        expect(once.data?.spec.allocations?.[0]).toEqual(allocation);
      }),
    );
  });
});

/** Without fields that would replace a known field of an ENI. */
function pick(extra: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(extra).map(([key, value]) => [`x-${key}`, value]));
}

describe('a PodNetworking', () => {
  test('has the defaults of the API server', () => {
    expect(podNetworkingSchema.parse({ metadata }).spec).toEqual({
      eniOptions: { eniType: 'Default' },
      allocationType: { type: 'Elastic' },
      securityGroupRolloutPolicy: 'Immediate',
      priority: 0,
      vSwitchSelectOptions: { vSwitchSelectionPolicy: 'ordered' },
    });
  });

  test.each([
    { allocationType: { type: 'Fixed' } },
    { allocationType: { type: 'Elastic', releaseAfter: '10m' } },
    { allocationType: { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '1h'.repeat(60) } },
    { securityGroupIDs: Array.from({ length: 11 }, () => 'default_group') },
    { vSwitchOptions: ['VSW_1', 'vsw-1', 'vsw-1'] },
  ])('older than a rule is still parsed: %j', (spec) => {
    expect(podNetworkingSchema.parse({ metadata, spec }).spec).toMatchObject(spec);
  });
});

test('a NetworkInterface of upstream is parsed', () => {
  const eni = { id: 'eni-1', mac: '00:16:3e:00:00:01', attachmentOptions: { trunk: true } };
  const podENIRef = { kind: 'Pod', namespace: 'default', name: 'web-0' };
  const status = { phase: '', eniInfo: { id: 'eni-1', status: 'Unbind' }, nodeName: 'n' };
  const parsed = networkInterfaceSchema.parse({ metadata, spec: { eni, ipv4: '10.0.0.1', podENIRef }, status });
  expect(parsed.spec).toEqual({ eni, ipv4: '10.0.0.1', podENIRef });
  expect(parsed.status).toEqual(status);
  expect(networkInterfaceSchema.parse({ metadata }).spec.eni.id).toBe('');
});

test('a Node of upstream is parsed', () => {
  const spec = {
    nodeMetadata: { regionID: 'cn-hangzhou', instanceType: 'ecs.g7.xlarge', instanceID: 'i-1', zoneID: 'z' },
    nodeCap: { adapters: 4, totalAdapters: 20, memberAdapterLimit: 16, networkCards: [{ index: 0 }] },
    eni: { vSwitchOptions: ['vsw-1'], securityGroupIDs: ['sg-1'], vSwitchSelectPolicy: 'most', enableTrunk: true },
    pool: {
      maxPoolSize: 5,
      minPoolSize: 0,
      reclaim: { after: '5m', interval: '1m', batchSize: 5, jitterFactor: '0.1' },
    },
    flavor: [{ networkInterfaceType: 'Trunk', networkInterfaceTrafficMode: 'Standard', count: 1 }],
  };
  const eni = {
    id: 'eni-1',
    status: 'InUse',
    networkInterfaceType: 'Trunk',
    ipv4: { '10.0.0.1': { ip: '10.0.0.1', primary: true, status: 'Valid', podID: 'default/web-0' } },
    ipv4Prefix: [{ prefix: '10.0.1.0/28', status: 'Frozen' }],
    conditions: { InsufficientIP: { observedTime: '2025-01-01T00:00:00Z', message: 'm' } },
  };
  const parsed = nodeSchema.parse({ metadata, spec, status: { networkInterfaces: { 'eni-1': eni } } });
  expect(parsed.spec).toEqual(spec);
  expect(parsed.status?.networkInterfaces).toEqual({ 'eni-1': eni });
  expect(nodeSchema.parse({ metadata }).spec).toEqual({});
});

test('a NodeRuntime of upstream is parsed', () => {
  const pods = { uid: { podID: 'default/web-0', status: { initial: { lastUpdateTime: '2025-01-01T00:00:00Z' } } } };
  expect(nodeRuntimeSchema.parse({ metadata, spec: {}, status: { pods } }).status?.pods).toEqual(pods);
});
