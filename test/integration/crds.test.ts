import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { API_GROUP, API_VERSION } from '../../src/crds/define.ts';
import { networkInterfaceSchema } from '../../src/crds/network-interface.ts';
import { podEniSchema } from '../../src/crds/pod-eni.ts';
import { podNetworkingSchema } from '../../src/crds/pod-networking.ts';
import type { ApiClient } from '../cluster/api.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { accepts, installCrds, manifests, paths, refusal, startApiServer } from './crd-cluster.ts';

const apiVersion = `${API_GROUP}/${API_VERSION}`;
const START_TIMEOUT_MS = 900_000;

let cluster: Cluster;
let api: ApiClient;

beforeAll(async () => {
  cluster = await startApiServer();
  api = await cluster.client();
  await installCrds(api, manifests(), () => accepts(api, paths.podNetworkings, podNetworking({})));
}, START_TIMEOUT_MS);

afterAll(async () => {
  api?.close();
  await cluster?.stop();
}, 30_000);

let count = 0;
const uniqueName = (prefix: string) => `${prefix}-${++count}`;

function podNetworking(spec: object, name = uniqueName('pn')) {
  return { apiVersion, kind: 'PodNetworking', metadata: { name }, spec };
}

function podEni(spec: object, name = uniqueName('pe')) {
  return { apiVersion, kind: 'PodENI', metadata: { name, namespace: 'default' }, spec };
}

function networkInterface(spec: object, name = uniqueName('eni')) {
  return { apiVersion, kind: 'NetworkInterface', metadata: { name }, spec };
}

/** What the server would store; the refusal when it refuses. */
const tryPodNetworking = (spec: object) =>
  api.create(paths.podNetworkings, podNetworking(spec), { query: { dryRun: 'All' } });

const message = {
  strategy: 'a Fixed allocation needs releaseStrategy: TTL (with releaseAfter) or Never',
  duration: 'releaseStrategy TTL needs releaseAfter, a Go duration of at least 5m such as 10m or 1h30m',
  afterAlone: 'releaseAfter requires releaseStrategy: TTL; remove it or set the strategy',
  securityGroupTwice: 'a security group may be named only once',
  vSwitchTwice: 'a vSwitch may be named only once',
};

describe('what upstream’s control plane writes after a way back is accepted, and read', () => {
  // Its CRDs have no enum on these, so that it may have more words for them than it has today.
  test.each(['Bind', 'Unbind', 'Deleted', 'Binding', ''])('status %j of the binding of an ENI', async (status) => {
    const eniInfo = { id: 'eni-1', type: 'Member', vid: 1, status };
    const record = podEni({});
    await api.create(paths.podEnis, record);
    const podEniPath = `${paths.podEnis}/${record.metadata.name}`;
    await api.patch(`${podEniPath}/status`, 'merge', { status: { phase: 'Bind', eniInfos: { 'eni-1': eniInfo } } });
    expect(podEniSchema.parse(await api.get(podEniPath)).status?.eniInfos?.['eni-1']?.status).toBe(status);

    const mirror = networkInterface({ eni: { id: 'eni-1' } }, uniqueName('mirror'));
    await api.create(paths.networkInterfaces, mirror);
    const mirrorPath = `${paths.networkInterfaces}/${mirror.metadata.name}`;
    await api.patch(`${mirrorPath}/status`, 'merge', { status: { phase: 'Bind', eniInfo } });
    expect(networkInterfaceSchema.parse(await api.get(mirrorPath)).status?.eniInfo?.status).toBe(status);
  });

  test.each(['Ready', 'Fail', 'Initial', ''])('status %j of a PodNetworking', async (status) => {
    const networking = podNetworking({});
    await api.create(paths.podNetworkings, networking);
    const path = `${paths.podNetworkings}/${networking.metadata.name}`;
    await api.patch(`${path}/status`, 'merge', { status: { status, message: '', updateAt: '2026-01-01T00:00:00Z' } });
    expect(podNetworkingSchema.parse(await api.get(path)).status?.status).toBe(status);
  });
});

describe('allocationType of a PodNetworking', () => {
  test.each([
    ['none', undefined],
    ['empty: Elastic', {}],
    ['Elastic', { type: 'Elastic' }],
    ['kept for ever', { type: 'Fixed', releaseStrategy: 'Never' }],
    ['kept for ten minutes', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '10m' }],
    ['the shortest duration', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '5m' }],
    ['the shortest duration in other words', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '4m59.5s500ms' }],
    ['hours and minutes', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '1h30m' }],
    ['a fraction', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '0.5h' }],
    ['months', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '4380h' }],
  ])('is accepted: %s', async (_name, allocationType) => {
    await tryPodNetworking({ ...(allocationType === undefined ? {} : { allocationType }) });
  });

  test.each([
    ['Fixed without a strategy', { type: 'Fixed' }, message.strategy],
    ['TTL without a duration', { type: 'Fixed', releaseStrategy: 'TTL' }, message.duration],
    ['TTL with an empty one', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '' }, message.duration],
    ['TTL of one minute', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '1m' }, message.duration],
    ['just below', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '4m59.999s' }, message.duration],
    ['negative', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '-10m' }, message.duration],
    ['no unit', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '600' }, message.duration],
    ['an unknown unit', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '10x' }, message.duration],
    ['days, which Go has not', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '1d' }, message.duration],
    ['any character for the point', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '1x5h' }, message.duration],
    ['a duration without TTL', { type: 'Fixed', releaseStrategy: 'Never', releaseAfter: '10m' }, message.afterAlone],
    ['a duration for Elastic', { type: 'Elastic', releaseAfter: '10m' }, message.afterAlone],
  ])('is refused: %s', async (_name, allocationType, expected) => {
    const text = await refusal(tryPodNetworking({ allocationType }));
    expect(text).toContain('spec.allocationType');
    expect(text).toContain(expected);
    // One cause, one message: not three rules that complain about the same mistake.
    expect(Object.values(message).filter((other) => text.includes(other))).toEqual([expected]);
  });
});

describe('ids of a PodNetworking', () => {
  const groups = (n: number) => Array.from({ length: n }, (_, at) => `sg-bp1${at}`);

  test('of the forms that occur are accepted', async () => {
    await tryPodNetworking({
      securityGroupIDs: ['sg-bp1abc', 'sg-BP1ABC', 'sg-test-with-hyphens'],
      vSwitchOptions: ['vsw-bp1abc', 'vsw-BP1', 'vsw-a-b-c'],
    });
    await tryPodNetworking({ securityGroupIDs: groups(10) });
    await tryPodNetworking({ securityGroupIDs: [], vSwitchOptions: [] });
  });

  test.each([
    ['eleven groups', { securityGroupIDs: groups(11) }, /securityGroupIDs: Too many: 11: must have at most 10 items/],
    ['a group twice', { securityGroupIDs: ['sg-1', 'sg-2', 'sg-1'] }, message.securityGroupTwice],
    ['a vSwitch twice', { vSwitchOptions: ['vsw-1', 'vsw-1'] }, message.vSwitchTwice],
    ['a vSwitch as group', { securityGroupIDs: ['vsw-1'] }, /securityGroupIDs\[0\]: Invalid value: "vsw-1"/],
    ['a group as vSwitch', { vSwitchOptions: ['vsw-1', 'sg-1'] }, /vSwitchOptions\[1\]: Invalid value: "sg-1"/],
    ['only the prefix', { vSwitchOptions: ['vsw-'] }, /vSwitchOptions\[0\]: Invalid value: "vsw-"/],
    ['white space', { vSwitchOptions: ['vsw-1 '] }, /vSwitchOptions\[0\]: Invalid value/],
    ['two ids in one', { vSwitchOptions: ['vsw-1,vsw-2'] }, /vSwitchOptions\[0\]: Invalid value/],
    ['an empty id', { securityGroupIDs: [''] }, /securityGroupIDs\[0\]: Invalid value/],
    ['too long', { securityGroupIDs: [`sg-${'a'.repeat(62)}`] }, /securityGroupIDs\[0\]: Too long/],
  ])('are refused: %s', async (_name, spec, expected) => {
    expect(await refusal(tryPodNetworking(spec))).toEqual(
      typeof expected === 'string' ? expect.stringContaining(expected) : expect.stringMatching(expected),
    );
  });
});

test.each([
  ['eniType', { eniOptions: { eniType: 'Member' } }, 'spec.eniOptions.eniType: Unsupported value: "Member"'],
  ['type', { allocationType: { type: 'Sticky' } }, 'spec.allocationType.type: Unsupported value: "Sticky"'],
  [
    'releaseStrategy',
    { allocationType: { type: 'Fixed', releaseStrategy: 'Always' } },
    'spec.allocationType.releaseStrategy: Unsupported value: "Always"',
  ],
  [
    'vSwitchSelectionPolicy',
    { vSwitchSelectOptions: { vSwitchSelectionPolicy: 'least' } },
    'spec.vSwitchSelectOptions.vSwitchSelectionPolicy: Unsupported value: "least"',
  ],
])('a value that is none of the enum is refused: %s', async (_name, spec, expected) => {
  expect(await refusal(tryPodNetworking(spec))).toContain(expected);
});

test('defaults are filled in, the same that the product reads', async () => {
  const written = { allocationType: {}, selector: { podSelector: { matchLabels: { app: 'a' } } } };
  const stored = await tryPodNetworking(written);
  expect(stored).toMatchObject({
    spec: {
      eniOptions: { eniType: 'Default' },
      allocationType: { type: 'Elastic' },
      vSwitchSelectOptions: { vSwitchSelectionPolicy: 'ordered' },
    },
  });
  const parsedByUs = podNetworkingSchema.parse({ metadata: { name: 'x' }, spec: written });
  expect(podNetworkingSchema.parse(stored).spec).toEqual(parsedByUs.spec);

  const eni = await api.create(paths.networkInterfaces, networkInterface({}), { query: { dryRun: 'All' } });
  expect(networkInterfaceSchema.parse(eni).spec).toEqual(
    networkInterfaceSchema.parse({ metadata: { name: 'x' } }).spec,
  );

  const record = { allocations: [{ allocationType: {} }] };
  const storedRecord = await api.create(paths.podEnis, podEni(record), { query: { dryRun: 'All' } });
  const recordByUs = podEniSchema.parse({ metadata: { name: 'x' }, spec: record });
  expect(podEniSchema.parse(storedRecord).spec).toEqual(recordByUs.spec);
});

test('every field that the product writes is stored', async () => {
  const spec = {
    zone: 'cn-hangzhou-i',
    target: { nodeName: 'n', instanceID: 'i-1', trunkENIID: 'eni-t' },
    allocations: [
      {
        allocationType: { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '10m' },
        interface: 'eth0',
        ipv4: '10.0.0.1',
        ipv4CIDR: '10.0.0.0/24',
        eni: {
          id: 'eni-1',
          vpcID: 'vpc-1',
          mac: '00:16:3e:00:00:01',
          zone: 'cn-hangzhou-i',
          vSwitchID: 'vsw-1',
          resourceGroupID: 'rg-1',
          securityGroupIDs: ['sg-1'],
          attachmentOptions: { trunk: true },
        },
        intent: {
          attempt: 1,
          clientToken: 'a'.repeat(64),
          createdAt: '2026-01-01T00:00:00Z',
          networking: 'pn',
          networkingGeneration: 3,
        },
      },
    ],
  };
  const created = await api.create(paths.podEnis, podEni(spec, 'all-fields'));
  expect(created).toMatchObject({ spec });
  const status = {
    phase: 'Bind',
    instanceID: 'i-1',
    trunkENIID: 'eni-t',
    podLastSeen: '2026-01-01T00:00:00Z',
    observedGeneration: 1,
    eniInfos: { 'eni-1': { id: 'eni-1', type: 'Member', vid: 7, status: 'Bind' } },
    conditions: [
      { type: 'Ready', status: 'True', reason: 'Bound', message: 'm', lastTransitionTime: '2026-01-01T00:00:00Z' },
    ],
  };
  const written = await api.patch(`${paths.podEnis}/all-fields/status`, 'merge', { status, spec: { zone: 'other' } });
  // The status subresource writes the status and nothing else, the object itself everything but the status.
  expect(written).toMatchObject({ spec: { zone: 'cn-hangzhou-i' }, status });
  const edited = await api.patch(`${paths.podEnis}/all-fields`, 'merge', { status: { phase: 'Unbind' } });
  expect(edited).toMatchObject({ status: { phase: 'Bind' } });
});

describe('identity of a NetworkInterface', () => {
  const create = async (eni: object) => {
    const name = uniqueName('eni');
    await api.create(paths.networkInterfaces, networkInterface({ eni }, name));
    return `${paths.networkInterfaces}/${name}`;
  };
  const ID = 'eni.id cannot be changed';
  const MAC = 'eni.mac cannot be changed once it is set';

  test('the id stays', async () => {
    const path = await create({ id: 'eni-1' });
    expect(await refusal(api.patch(path, 'merge', { spec: { eni: { id: 'eni-2' } } }))).toContain(ID);
    expect(await refusal(api.patch(path, 'merge', { spec: { eni: { id: null } } }))).toContain(ID);
    expect(await refusal(api.patch(path, 'merge', { spec: { eni: null } }))).toContain(ID);
    expect(await refusal(api.patch(path, 'merge', { spec: null }))).toContain(ID);
  });

  test('the MAC can be set once', async () => {
    const path = await create({ id: 'eni-1' });
    await api.patch(path, 'merge', { spec: { eni: { mac: '' } } });
    await api.patch(path, 'merge', { spec: { eni: { mac: '00:16:3e:00:00:01' } } });
    await api.patch(path, 'merge', { spec: { eni: { mac: '00:16:3e:00:00:01' }, ipv4: '10.0.0.1' } });
    expect(await refusal(api.patch(path, 'merge', { spec: { eni: { mac: '00:16:3e:00:00:02' } } }))).toContain(MAC);
    expect(await refusal(api.patch(path, 'merge', { spec: { eni: { mac: '' } } }))).toContain(MAC);
    expect(await refusal(api.patch(path, 'merge', { spec: { eni: { mac: null } } }))).toContain(MAC);
  });

  test('what is not identity can be changed', async () => {
    const path = await create({ id: 'eni-1', mac: '00:16:3e:00:00:01' });
    await api.patch(path, 'merge', { spec: { eni: { securityGroupIDs: ['sg-1'], zone: 'z' }, ipv4: '10.0.0.2' } });
  });
});

describe('kubectl', () => {
  const kubectl = async (...args: string[]) => {
    const { code, stdout, stderr } = await cluster.kubectl(args);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    return stdout;
  };

  test('knows the short names and prints the columns', async () => {
    await api.create(
      paths.podNetworkings,
      podNetworking(
        { vSwitchOptions: ['vsw-1'], allocationType: { type: 'Fixed', releaseStrategy: 'Never' } },
        'shown',
      ),
    );
    const ready = { type: 'Ready', status: 'False', reason: 'VSwitchNotFound', message: '' };
    await api.patch(`${paths.podNetworkings}/shown/status`, 'merge', {
      status: {
        status: 'Fail',
        vSwitches: [{ id: 'vsw-1', zone: 'z', availableIPCount: 42 }],
        availableIPCount: 42,
        conditions: [{ ...ready, lastTransitionTime: '2026-01-01T00:00:00Z' }],
      },
    });
    const [header, row] = (await kubectl('get', 'pn', 'shown', '-o', 'wide')).split('\n');
    expect(header?.split(/\s{2,}/)).toEqual(
      expect.arrayContaining(['NAME', 'STATUS', 'ENI', 'ALLOCATION', 'REASON', 'VSWITCHES', 'FREE', 'MESSAGE']),
    );
    // No pods are counted yet: those columns are empty.
    expect(row?.split(/\s+/).slice(0, 8)).toEqual([
      ...['shown', 'Fail', 'Default', 'Fixed', 'VSwitchNotFound'],
      ...['0', '["vsw-1"]', '42'],
    ]);
  });

  test.each([
    ['pn', 'podnetworkings'],
    ['pe', 'podenis'],
    ['ni', 'networkinterfaces'],
    ['netif', 'networkinterfaces'],
    ['tnode', 'nodes.network.alibabacloud.com'],
    ['nrt', 'noderuntimes'],
  ])('%s means %s', async (short, plural) => {
    expect(await kubectl('get', short, '-A', '--ignore-not-found', '-o', 'name')).toBe(
      await kubectl('get', plural, '-A', '--ignore-not-found', '-o', 'name'),
    );
  });

  test('shows where a pod is bound', async () => {
    const allocation = { ipv4: '10.0.0.9', eni: { id: 'eni-9', vSwitchID: 'vsw-9' } };
    await api.create(
      paths.podEnis,
      podEni({ allocations: [allocation], target: { nodeName: 'n9', instanceID: 'i' } }, 'web-9'),
    );
    await api.patch(`${paths.podEnis}/web-9/status`, 'merge', {
      status: { phase: 'Bind', trunkENIID: 'eni-t', eniInfos: { 'eni-9': { id: 'eni-9', vid: 12 } } },
    });
    const [, row] = (await kubectl('get', 'pe', 'web-9', '-o', 'wide')).split('\n');
    expect(row).toMatch(/^web-9\s+Bind\s+n9\s+10\.0\.0\.9\s+12\s+eni-9\s+.*vsw-9\s+eni-t/);
    await api.create(paths.networkInterfaces, networkInterface({ eni: { id: 'eni-9' } }, 'eni-9'));
    expect(await kubectl('get', 'ni', 'eni-9', '-o', 'wide')).toContain('PODNAME');
  });

  test('explains the fields', async () => {
    expect(await kubectl('explain', 'podnetworking.spec.allocationType.releaseAfter')).toContain('Go duration');
  });

  test('accepts the generated manifests and every sample', async () => {
    const root = join(import.meta.dirname, '..', '..', 'config');
    await kubectl('replace', '--dry-run=server', '-f', join(root, 'crd'));
    const samples = await readdir(join(root, 'samples'));
    for (const sample of samples) {
      const text = await readFile(join(root, 'samples', sample), 'utf8');
      if (text.includes(API_GROUP)) await kubectl('apply', '--dry-run=server', '-f', join(root, 'samples', sample));
    }
    const { stdout } = await cluster.kubectl(['get', 'crd', '-o', 'json']);
    const crds = z.object({
      items: z.array(
        z.object({ status: z.object({ conditions: z.array(z.object({ type: z.string(), status: z.string() })) }) }),
      ),
    });
    for (const { status } of crds.parse(JSON.parse(stdout)).items) {
      expect(status.conditions).not.toContainEqual({ type: 'NonStructuralSchema', status: 'True' });
      expect(status.conditions).toContainEqual(expect.objectContaining({ type: 'Established', status: 'True' }));
    }
  });
});
