import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import * as z from 'zod';
import { chartManifests, MANIFEST_FILES, renderChart } from '../../tools/product/render-chart.ts';
import { ensureHelm } from '../../tools/programs/helm.ts';

/* The rendered chart, without a cluster. */

const root = join(import.meta.dirname, '..', '..');
const CHART = join(root, 'charts', 'terway-controlplane');

const objectSchema = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), annotations: z.record(z.string(), z.string()).optional() }),
});

/** Enables everything. */
const EVERYTHING = {
  'controlPlane.config.clusterID': 'c1',
  'image.digest': `sha256:${'0'.repeat(64)}`,
  imagePullSecrets: [{ name: 'registry' }],
  'controlPlane.replicas': 3,
  'controlPlane.config.regionID': 'cn-hangzhou',
  'controlPlane.config.rateLimit': { CreateNetworkInterface: 800 },
  'controlPlane.config.nodeConfigMaps': ['gpu-nodes', 'edge-nodes'],
  'controlPlane.credential.existingSecret': 'mine',
  'controlPlane.hostNetwork': false,
  'controlPlane.nodeSelector': { role: 'system' },
  'controlPlane.topologySpreadConstraints': [
    { maxSkew: 1, topologyKey: 'topology.kubernetes.io/zone', whenUnsatisfiable: 'ScheduleAnyway' },
  ],
  'controlPlane.extraEnv': [{ name: 'TZ', value: 'UTC' }],
  'controlPlane.networkPolicy.enabled': true,
  'webhook.certManager.enabled': true,
  'webhook.failurePolicy': 'Fail',
  'agent.config': { logLevel: 'debug', podIPsAnnotation: true },
  'eniConfig.create': true,
  'eniConfig.eni_conf': { vswitches: { 'cn-hangzhou-h': ['vsw-1'] }, security_group: 'sg-1' },
  'metrics.serviceMonitor.enabled': true,
  'metrics.podMonitor.enabled': true,
  'metrics.prometheusRule.enabled': true,
  'metrics.dashboards.enabled': true,
  'rbac.operator.create': true,
  'rbac.operator.subjects': [{ kind: 'Group', name: 'network-team', apiGroup: 'rbac.authorization.k8s.io' }],
  'flowSchema.enabled': true,
  extraObjects: [
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: '{{ .Release.Name }}-extra', namespace: 'kube-system' },
      data: { a: 'b' },
    },
  ],
};

function objectsOf(text: string) {
  return parseAllDocuments(text).flatMap((document) => {
    const object: unknown = document.toJS();
    return object === null ? [] : [objectSchema.parse(object)];
  });
}

/** Helm's error message for refused values. */
async function refusal(values: Record<string, unknown>): Promise<string> {
  const error: unknown = await renderChart(values).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return z.object({ stderr: z.string() }).parse(error).stderr;
}

beforeAll(async () => {
  await ensureHelm();
}, 600_000);

describe('the chart', () => {
  test('passes helm lint', async () => {
    const run = promisify(execFile)(await ensureHelm(), ['lint', '--strict', CHART]);
    expect((await run).stdout).toContain('0 chart(s) failed');
  });

  test.each(MANIFEST_FILES)('and config/%s are the same', async (path) => {
    const manifests = await chartManifests();
    expect(await readFile(join(root, 'config', path), 'utf8')).toBe(manifests.get(path));
  });

  test.each([
    ['with its defaults', 'default', {}],
    ['with everything turned on', 'everything', EVERYTHING],
    ['for Terway’s own daemon', 'terway-daemon', { 'agent.enabled': false }],
    ['without webhook', 'no-webhook', { 'webhook.enabled': false }],
  ])('%s renders what was looked at', async (_title, name, values) => {
    const rendered = await renderChart({ ...values, 'crds.install': false });
    await expect(rendered).toMatchFileSnapshot(`golden/${name}.yaml`);
  });

  test('keeps its CRDs when it is uninstalled, and they carry their version', async () => {
    const crds = objectsOf(await renderChart({})).filter(({ kind }) => kind === 'CustomResourceDefinition');
    expect(crds.map(({ metadata }) => metadata.name).sort()).toHaveLength(5);
    for (const { metadata } of crds) {
      expect(metadata.annotations?.['helm.sh/resource-policy']).toBe('keep');
      expect(metadata.annotations?.['crd.network.alibabacloud.com/version']).toMatch(/^v\d+\.\d+\.\d+$/);
    }
  });

  test('has no duplicate names', async () => {
    const names = objectsOf(await renderChart(EVERYTHING)).map(
      ({ apiVersion, kind, metadata }) => `${apiVersion} ${kind} ${String(metadata['namespace'])} ${metadata.name}`,
    );
    expect(names).toEqual([...new Set(names)]);
  });
});

describe('addresses and paths of the configuration files', () => {
  const podSchema = z.looseObject({
    spec: z.looseObject({
      template: z.looseObject({ spec: z.looseObject({ containers: z.tuple([z.unknown()]), volumes: z.unknown() }) }),
    }),
  });
  const podOf = async (kind: 'Deployment' | 'DaemonSet', values: Record<string, unknown>) => {
    const found = objectsOf(await renderChart(values)).find((object) => object.kind === kind);
    const { containers, volumes } = podSchema.parse(found).spec.template.spec;
    return { container: containers[0], volumes };
  };

  test('a disabled listener has no port and no probe', async () => {
    const { container } = await podOf('Deployment', {
      'controlPlane.config.healthzBindAddress': '0',
      'controlPlane.config.metricsBindAddress': '0',
    });
    expect(container).toMatchObject({ ports: [{ name: 'webhook', containerPort: 4443 }] });
    expect(container).not.toHaveProperty('livenessProbe');
    expect((await podOf('DaemonSet', { 'agent.config.healthzBindAddress': '0' })).container).not.toHaveProperty(
      'readinessProbe',
    );
  });

  test.each([
    ['127.0.0.1:9300', { host: '127.0.0.1', port: 9300 }],
    [':9300', { host: '127.0.0.1', port: 9300 }],
    ['[::1]:9300', { host: '::1', port: 9300 }],
  ])('the agent is probed where it listens: %s', async (address, httpGet) => {
    const { container } = await podOf('DaemonSet', { 'agent.config.healthzBindAddress': address });
    expect(container).toMatchObject({ readinessProbe: { httpGet }, livenessProbe: { httpGet } });
  });

  test('the agent mounts the node folders in its configuration', async () => {
    const paths = { cniBin: '/opt/cni-bin', cniConf: '/etc/cni-conf', state: '/data/agent' };
    const { container, volumes } = await podOf('DaemonSet', { 'agent.config.paths': paths });
    for (const path of Object.values(paths)) {
      expect(container).toMatchObject({
        volumeMounts: expect.arrayContaining([expect.objectContaining({ mountPath: path })]),
      });
      expect(volumes).toContainEqual(expect.objectContaining({ hostPath: { path, type: 'DirectoryOrCreate' } }));
    }
  });
});

describe('invalid values are refused by name', () => {
  test.each([
    ['an unknown value', { replicas: 2 }, "additional properties 'replicas' not allowed"],
    ['a misspelt key', { 'controlPlane.replica': 2 }, "additional properties 'replica' not allowed"],
    [
      'an unknown key of the configuration file',
      { 'controlPlane.config.rateLimits': {} },
      "at '/controlPlane/config': additional properties 'rateLimits' not allowed",
    ],
    ['a number for a text', { 'controlPlane.config.regionID': 1 }, 'got number, want string'],
    ['no replica', { 'controlPlane.replicas': 0 }, 'minimum: got 0, want 1'],
    ['a policy that there is not', { 'webhook.failurePolicy': 'Maybe' }, "at '/webhook/failurePolicy'"],
    ['a digest that is none', { 'image.digest': 'sha256:1' }, "at '/image/digest'"],
    ['half a credential', { 'controlPlane.credential.file': { accessKey: 'a' } }, '/credential/file'],
    [
      'a PodMonitor for agents without metrics',
      { 'metrics.podMonitor.enabled': true, 'agent.config.metricsBindAddress': '0' },
      'agent.config.metricsBindAddress "0" turns off what it scrapes',
    ],
    ['a port that there is not', { 'metrics.podMonitor.port': 0 }, "at '/metrics/podMonitor/port'"],
    ['an agent key that there is not', { 'agent.config': { mtuu: 1 } }, "'mtuu' not allowed"],
  ])('%s', async (_title, values, words) => {
    expect(await refusal(values)).toContain(words);
  });
});
