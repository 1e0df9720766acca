import { afterAll, beforeAll, expect, test } from 'vitest';
import * as z from 'zod';
import { pollUntil } from '../../../tools/machine/poll.ts';
import { type TestNamespace, withNamespace } from '../../cluster/shared.ts';
import { ZONES } from '../../harness/lab.ts';
import { NodeLab } from '../../harness/node-lab.ts';
import { CHART, RELEASE } from '../../harness/product.ts';
import { API, ask, deletePod, podTemplate, type RunningPod, readyNetworking, running } from './support.ts';

/*
 * The life of a release on real nodes: helm install, test, upgrade, rollback and uninstall, with pods that go on talking.
 * Webhooks are called through their Service here, with the certificate that the control plane made.
 */

let lab: NodeLab;
let namespace: TestNamespace;
let ns: string;
let web: RunningPod;

beforeAll(async () => {
  lab = await NodeLab.start({
    nodes: [{ zone: ZONES[0] }, { zone: ZONES[0] }],
    latencies: { attachMs: 300, detachMs: 300 },
    installer: 'helm',
    replicas: 2,
    controlPlaneConfig: { leaseDuration: '4s', renewDeadline: '3s', retryPeriod: '500ms' },
  });
  await lab.install();
  namespace = await withNamespace(lab.cluster, 'chart');
  ns = namespace.name;
}, 900_000);

afterAll(async () => {
  await lab?.close();
}, 60_000);

/** A pod that asks for nothing: the webhook gives it what it needs. */
async function createPlainPod(name: string): Promise<RunningPod> {
  const { metadata, spec } = podTemplate({ networking: 'web' });
  const { resources: _resources, ...container } = spec.containers[0] ?? { resources: {} };
  await lab.api.create(`/api/v1/namespaces/${ns}/pods`, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { ...metadata.labels, pod: name } },
    spec: { ...spec, containers: [container] },
  });
  return running(lab, ns, name);
}

const revisions = async () => {
  const history = await lab.product.helmChecked(['history', RELEASE, '-o', 'json']);
  return z.array(z.object({ revision: z.number(), status: z.string() })).parse(JSON.parse(history));
};

/** What the control plane that leads says of its configuration. */
const configMap = async () => {
  const found = await lab.api.get('/api/v1/namespaces/kube-system/configmaps/terway-controlplane');
  return z.object({ data: z.object({ 'ctrl-config.yaml': z.string() }) }).parse(found).data['ctrl-config.yaml'];
};

test('helm install brings everything up; helm test agrees', async () => {
  expect(await revisions()).toEqual([{ revision: 1, status: 'deployed' }]);
  expect(await lab.product.helmChecked(['test', RELEASE, '--timeout', '60s'])).toMatch(/Phase: +Succeeded/);
});

test('a pod that asks for nothing is admitted through the Service of the webhook, runs, and answers', async () => {
  await readyNetworking(lab, 'web', { selector: { podSelector: { matchLabels: { app: 'wire' } } } });
  web = await createPlainPod('web');
  const other = await createPlainPod('other');
  const pod = z
    .object({
      metadata: z.object({ annotations: z.record(z.string(), z.string()) }),
      spec: z.object({ containers: z.array(z.object({ resources: z.unknown() })) }),
    })
    .parse(await lab.api.get(`/api/v1/namespaces/${ns}/pods/web`));
  expect(pod.metadata.annotations).toMatchObject({
    'k8s.aliyun.com/pod-eni': 'true',
    'k8s.aliyun.com/pod-networking': 'web',
  });
  expect(pod.spec.containers[0]?.resources).toMatchObject({ limits: { 'aliyun/member-eni': '1' } });
  expect(await ask(lab, ns, 'other', web.ip)).toBe('web');
  expect(other.vlanId).toBeGreaterThan(0);
});

test('Upgrade: helm upgrade and rollback change the configuration while pods go on talking', async () => {
  const before = await configMap();
  const values = await lab.product.chartValues();
  const stdout = await lab.product.helmChecked(
    [
      ...['upgrade', RELEASE, CHART, '--wait', '--timeout', '120s'],
      ...[
        '--set-json',
        'controlPlane.config.rateLimitShare=0.5',
        '--set-json',
        'controlPlane.podAnnotations={"a":"b"}',
      ],
    ],
    values,
  );
  expect(stdout).toContain('STATUS: deployed');
  expect(await configMap()).toContain('rateLimitShare: 0.5');
  expect(await ask(lab, ns, 'other', web.ip)).toBe('web');

  await lab.product.helmChecked(['rollback', RELEASE, '1', '--wait', '--timeout', '120s']);
  expect(await configMap()).toBe(before);
  expect((await revisions()).map(({ status }) => status)).toEqual(['superseded', 'superseded', 'deployed']);
  const third = await createPlainPod('third');
  expect(await ask(lab, ns, 'other', third.ip)).toBe('third');
});

test('invalid values change nothing, and helm names them', async () => {
  const { code, stderr } = await lab.product.helm(
    ['upgrade', RELEASE, CHART, '--set-json', 'controlPlane.config.rateLimitShar=0.5'],
    await lab.product.chartValues(),
  );
  expect(code).not.toBe(0);
  expect(stderr).toContain("additional properties 'rateLimitShar' not allowed");
  expect((await revisions()).at(-1)).toMatchObject({ revision: 3, status: 'deployed' });
});

test('next to Terway’s own daemon the agent is installed only on selected nodes', async () => {
  const path = '/apis/apps/v1/namespaces/kube-system/daemonsets';
  const labels = { app: 'terway-eniip' };
  await lab.api.create(path, {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: 'terway-eniip' },
    spec: {
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: { nodeSelector: { none: 'such' }, containers: [{ name: 'terway', image: 'none' }] },
      },
    },
  });
  const rehearse = async (...flags: string[]) =>
    lab.product.helm(['upgrade', RELEASE, CHART, '--dry-run=server', ...flags], await lab.product.chartValues());
  const refused = await rehearse();
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain("kube-system has Terway's own daemon");
  expect(await rehearse('--set', 'agent.nodeSelector.network=terway-agent')).toMatchObject({ code: 0 });
  expect(await rehearse('--set', 'agent.enabled=false')).toMatchObject({ code: 0 });
  await lab.api.delete(`${path}/terway-eniip`);
});

test('helm uninstall leaves CRDs and their objects; an ENI is given back once the pods are gone', async () => {
  for (const name of ['web', 'other', 'third']) await deletePod(lab, ns, name);
  await pollUntil(async () => ((await lab.api.list(`${API}/podenis`)).objects.length === 0 ? true : undefined), {
    what: 'the release of every ENI',
    timeoutMs: 60_000,
  });
  await lab.product.helmChecked(['uninstall', RELEASE, '--wait', '--timeout', '60s']);
  const { stdout } = await lab.cluster.kubectl(['get', 'crd,podnetworkings', '-o', 'name']);
  expect(stdout).toContain('podnetworkings.network.alibabacloud.com');
  expect(stdout).toContain('podnetworking.network.alibabacloud.com/web');
  const left = await lab.cluster.kubectl([
    ...['get', 'deployments,daemonsets,services,configmaps,secrets,leases', '-n', 'kube-system'],
    ...['-l', 'app.kubernetes.io/part-of=terway-controlplane', '-o', 'name'],
  ]);
  expect(left.stdout).toBe('');
  // No webhook that nobody answers stays behind.
  const webhooks = await lab.cluster.kubectl(['get', 'mutatingwebhookconfigurations', '-o', 'name']);
  expect(webhooks.stdout).toBe('');
});
