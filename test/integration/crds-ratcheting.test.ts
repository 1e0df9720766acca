import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { API_GROUP, API_VERSION, type CrdManifest } from '../../src/crds/define.ts';
import { podNetworkingSchema } from '../../src/crds/pod-networking.ts';
import type { ApiClient } from '../cluster/api.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { accepts, installCrds, manifests, paths, refusal, startApiServer } from './crd-cluster.ts';

/**
 * Objects from before a rule must stay editable: a controller that cannot write the status of a PodNetworking, or a user
 * who cannot set a label on it, is worse off than without the rule. The API server forgives a field that an update leaves
 * as it is, if the schema is cut so that the field can be told apart.
 */

const apiVersion = `${API_GROUP}/${API_VERSION}`;
const START_TIMEOUT_MS = 900_000;

let cluster: Cluster;
let api: ApiClient;

/** A schema without any of the rules that a definition of upstream does not have. */
function loosened(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(loosened);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => !STRICT_KEYS.has(key))
      .map(([key, inner]) => [key, loosened(inner)]),
  );
}
const STRICT_KEYS = new Set(['x-kubernetes-validations', 'pattern', 'maxItems', 'maxLength', 'maximum', 'minLength']);

function loose(manifest: CrdManifest): CrdManifest {
  return { ...manifest, spec: Object.fromEntries(Object.entries(manifest.spec).map(([k, v]) => [k, loosened(v)])) };
}

const podNetworking = (name: string, spec: object) => ({
  apiVersion,
  kind: 'PodNetworking',
  metadata: { name },
  spec,
});

const groups = (n: number) => Array.from({ length: n }, (_, at) => `sg-${at}`);

interface LegacyCase {
  name: string;
  spec: object;
  /** Another spec field. */
  edit: object;
  /** Another bad value of the same field. */
  worse: object;
  /** What mends it. */
  better: object;
}

const LONG = `${'1h'.repeat(40)}`;

const cases: LegacyCase[] = [
  {
    name: 'fixed-without-strategy',
    spec: { allocationType: { type: 'Fixed' } },
    edit: { vSwitchOptions: ['vsw-new'] },
    worse: { allocationType: { type: 'Fixed', releaseAfter: '10m' } },
    better: { allocationType: { type: 'Fixed', releaseStrategy: 'Never' } },
  },
  {
    name: 'ttl-of-a-minute',
    spec: { allocationType: { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '1m' } },
    edit: { securityGroupIDs: ['sg-new'] },
    worse: { allocationType: { releaseAfter: '2m' } },
    better: { allocationType: { releaseAfter: '5m' } },
  },
  {
    name: 'ttl-that-is-none',
    spec: { allocationType: { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '10x' } },
    edit: { vSwitchSelectOptions: { vSwitchSelectionPolicy: 'most' } },
    worse: { allocationType: { releaseAfter: '11x' } },
    better: { allocationType: { releaseAfter: '10m' } },
  },
  {
    name: 'ttl-that-is-long',
    spec: { allocationType: { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: LONG } },
    edit: { vSwitchOptions: ['vsw-new'] },
    worse: { allocationType: { releaseAfter: `1m${LONG}` } },
    better: { allocationType: { releaseAfter: '40h' } },
  },
  {
    name: 'duration-without-ttl',
    spec: { allocationType: { type: 'Elastic', releaseAfter: '10m' } },
    edit: { selector: { podSelector: { matchLabels: { app: 'a' } } } },
    worse: { allocationType: { releaseAfter: '20m' } },
    better: { allocationType: { releaseAfter: null } },
  },
  {
    name: 'group-twice',
    spec: { securityGroupIDs: ['sg-1', 'sg-1'] },
    edit: { vSwitchOptions: ['vsw-new'] },
    worse: { securityGroupIDs: ['sg-1', 'sg-1', 'sg-1'] },
    better: { securityGroupIDs: ['sg-1'] },
  },
  {
    name: 'eleven-groups',
    spec: { securityGroupIDs: groups(11) },
    edit: { allocationType: { type: 'Fixed', releaseStrategy: 'Never' } },
    worse: { securityGroupIDs: groups(12) },
    better: { securityGroupIDs: groups(10) },
  },
  {
    name: 'ids-of-another-form',
    spec: { securityGroupIDs: ['default_group'], vSwitchOptions: ['VSW-1', 'vsw-1', 'vsw-1'] },
    edit: { eniOptions: { eniType: 'Trunk' } },
    worse: { securityGroupIDs: ['default_group', 'sg-1'] },
    better: { securityGroupIDs: ['sg-1'], vSwitchOptions: ['vsw-1'] },
  },
];

beforeAll(async () => {
  cluster = await startApiServer();
  api = await cluster.client();
  const legacy = podNetworking('probe', { allocationType: { type: 'Fixed' } });
  await installCrds(api, manifests().map(loose), () => accepts(api, paths.podNetworkings, legacy));
  for (const { name, spec } of cases) await api.create(paths.podNetworkings, podNetworking(name, spec));
  await api.create(paths.podEnis, {
    apiVersion,
    kind: 'PodENI',
    metadata: { name: 'legacy', namespace: 'default' },
    spec: {
      allocations: [
        { allocationType: { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: LONG }, eni: { id: 'eni-1' } },
      ],
    },
  });
  await installCrds(api, manifests(), async () => !(await accepts(api, paths.podNetworkings, legacy)));
}, START_TIMEOUT_MS);

afterAll(async () => {
  api?.close();
  await cluster?.stop();
}, 30_000);

describe.each(cases)('a PodNetworking from before the rules, $name,', ({ name, spec, edit, worse, better }) => {
  const path = `${paths.podNetworkings}/${name}`;

  test('is read by the control plane', async () => {
    expect(podNetworkingSchema.parse(await api.get(path)).spec).toMatchObject(spec);
  });

  test('could not be created now', async () => {
    await refusal(api.create(paths.podNetworkings, podNetworking(`${name}-again`, spec)));
  });

  test('takes a label and an annotation', async () => {
    await api.patch(path, 'merge', { metadata: { labels: { edited: 'yes' }, annotations: { edited: 'yes' } } });
  });

  test('takes a status', async () => {
    const status = { status: 'Fail', message: 'm', observedGeneration: 1 };
    expect(await api.patch(`${path}/status`, 'merge', { status })).toMatchObject({ status });
  });

  test('takes another spec field', async () => {
    expect(await api.patch(path, 'merge', { spec: edit }, { query: { dryRun: 'All' } })).toMatchObject({ spec: edit });
  });

  test('can be replaced by itself', async () => {
    await api.replace(path, await api.get(path));
  });

  test('does not take another bad value', async () => {
    await refusal(api.patch(path, 'merge', { spec: worse }));
  });

  test('can be mended, and deleted', async () => {
    await api.patch(path, 'merge', { spec: better });
    await refusal(api.patch(path, 'merge', { spec: worse }));
    await api.delete(path);
  });
});

test('the control plane can rewrite the allocations of a PodENI from before the rules', async () => {
  const path = `${paths.podEnis}/legacy`;
  const allocation = { allocationType: { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: LONG } };
  await api.patch(`${path}/status`, 'merge', { status: { phase: 'Detaching' } });
  await api.patch(path, 'merge', {
    spec: {
      allocations: [{ ...allocation, ipv4: '10.0.0.1', eni: { id: 'eni-1' } }],
      target: { nodeName: 'n', instanceID: 'i' },
    },
  });
});
