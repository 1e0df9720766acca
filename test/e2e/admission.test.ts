import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { pollUntil } from '../../tools/machine/poll.ts';
import { chooseFreePorts } from '../../tools/machine/ports.ts';
import { ApiStatusError } from '../cluster/errors.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import { NODE_SECURITY_GROUP, NODE_VSWITCH, POD_SECURITY_GROUP, POD_VSWITCH } from '../harness/lab.ts';
import {
  applyWebhookConfigurations,
  bundlesOf,
  certificateOf,
  removeWebhookConfigurations,
} from '../harness/webhook.ts';
import { API, OperatorLab, ZONE_H, ZONE_I } from './support.ts';

/** Admission of pods and PodNetworkings by the API server, with a control plane that runs as a process. */

let operator: OperatorLab;
let namespace: TestNamespace;
let ns: string;
let port: number;

const podSchema = z.looseObject({
  metadata: z.object({ name: z.string(), uid: z.string(), annotations: z.record(z.string(), z.string()).default({}) }),
  spec: z.looseObject({
    containers: z.array(z.object({ resources: z.object({ limits: z.record(z.string(), z.string()).optional() }) })),
    affinity: z.unknown().optional(),
  }),
});

const ELASTIC = { 'k8s.aliyun.com/pod-eni': 'true', 'k8s.aliyun.com/pod-networking': 'web' };
const WEB = { selector: { podSelector: { matchLabels: { net: 'web' } } } };

const settings = (changes: object = {}) => ({
  webhook: { port, bindHost: '127.0.0.1', hosts: ['127.0.0.1'], rotationStep: '1s', drain: '500ms', ...changes },
});

beforeAll(async () => {
  const cluster = await sharedCluster();
  [port = 0] = await chooseFreePorts(1);
  operator = await OperatorLab.start(cluster);
  namespace = await withNamespace(cluster, 'admission');
  ns = namespace.name;
  await operator.startControlPlane(settings());
  await webhookIsAsked(true);
  await operator.addNode(ZONE_H);
  await operator.readyNetworking('web', { ...WEB, vSwitchOptions: [POD_VSWITCH[ZONE_H]] });
});

afterAll(async () => {
  if (operator !== undefined) await removeWebhookConfigurations(operator.lab);
  await operator?.close();
  await namespace?.delete();
});

/** Registers the webhook, or takes it away, and waits until the API server has heard of it. */
async function webhookIsAsked(isAsked: boolean): Promise<void> {
  if (isAsked) await applyWebhookConfigurations(operator.lab, port);
  else await removeWebhookConfigurations(operator.lab, { keepSecret: true });
  await pollUntil(
    async () => {
      // Two interfaces with one name, which only the webhook refuses.
      const wrong = { 'k8s.aliyun.com/pod-networks-request': '[]' };
      const refused = await refusal(createPod('probe', { annotations: wrong }, { dryRun: 'All' }));
      return (refused !== undefined) === isAsked ? true : undefined;
    },
    { what: isAsked ? 'the webhook to be asked' : 'the webhook to be left alone', timeoutMs: 30_000 },
  );
}

async function createPod(name: string, metadata: object, query: Record<string, string> = {}, spec: object = {}) {
  const created = await operator.lab.api.create(
    `/api/v1/namespaces/${ns}/pods`,
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, ...metadata },
      spec: { containers: [{ name: 'main', image: 'registry.k8s.io/pause:3.10' }], ...spec },
    },
    { query },
  );
  return podSchema.parse(created);
}

/** Status and message of a request that is refused; undefined when it is not. */
async function refusal(request: Promise<unknown>): Promise<{ status: number; message: string } | undefined> {
  try {
    await request;
    return undefined;
  } catch (error) {
    if (error instanceof ApiStatusError) return { status: error.status, message: error.message };
    throw error;
  }
}

const labelled = { labels: { net: 'web' } };

describe('a pod', () => {
  test('that a PodNetworking selects gets annotations, resources and zone affinity, and is served', async () => {
    const created = await createPod('first', labelled);
    expect(created.metadata.annotations).toEqual(ELASTIC);
    expect(created.spec.containers[0]?.resources.limits).toEqual({ 'aliyun/member-eni': '1' });
    expect(created.spec.affinity).toEqual({
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: 'topology.kubernetes.io/zone', operator: 'In', values: [ZONE_H] }] },
          ],
        },
      },
    });
    await operator.bound(ns, 'first');
  });

  test('#61, #14: that asks for the impossible is refused with a reason', async () => {
    const networks = (...names: string[]) => ({
      annotations: {
        'k8s.aliyun.com/pod-networks-request': JSON.stringify(
          names.map((network, at) => ({ interfaceName: `eth${at}`, network })),
        ),
      },
    });
    expect(await refusal(createPod('unknown', networks('nowhere')))).toMatchObject({
      status: 403,
      message: expect.stringMatching(/names PodNetworking nowhere, which does not exist/),
    });
    const both = { annotations: { ...networks('web').annotations, 'k8s.aliyun.com/pod-networking': 'web' } };
    expect((await refusal(createPod('both', both)))?.message).toMatch(/mutually exclusive/);
    await operator.readyNetworking('far', { vSwitchOptions: [POD_VSWITCH[ZONE_I]] });
    expect((await refusal(createPod('disjoint', networks('web', 'far'))))?.message).toMatch(/no zone in common/);
  });

  test('gets several interfaces by a request, and those that it describes itself', async () => {
    await operator.readyNetworking('second', { vSwitchOptions: [POD_VSWITCH[ZONE_H]] });
    const request = [
      { interfaceName: 'eth0', network: 'web' },
      { interfaceName: 'eth1', network: 'second', defaultRoute: true, routes: [{ dst: '10.99.0.0/16' }] },
    ];
    const asked = await createPod('several', {
      annotations: { 'k8s.aliyun.com/pod-networks-request': JSON.stringify(request) },
    });
    expect(asked.spec.containers[0]?.resources.limits).toEqual({ 'aliyun/member-eni': '2' });
    const { spec } = await operator.bound(ns, 'several');
    expect(
      spec.allocations?.map(({ interface: name, intent, defaultRoute }) => [name, intent?.networking, defaultRoute]),
    ).toEqual([
      ['eth0', 'web', undefined],
      ['eth1', 'second', true],
    ]);
    expect(spec.allocations?.[1]?.extraRoutes).toEqual([{ dst: '10.99.0.0/16' }]);

    const described = { podNetworks: [{ interface: 'eth0', securityGroupIDs: [POD_SECURITY_GROUP] }] };
    await createPod('described', { annotations: { 'k8s.aliyun.com/pod-networks': JSON.stringify(described) } });
    const own = await operator.bound(ns, 'described');
    expect(own.spec.allocations?.[0]?.eni).toMatchObject({
      vSwitchID: NODE_VSWITCH[ZONE_H],
      securityGroupIDs: [POD_SECURITY_GROUP],
    });
  });

  test('#11: that several PodNetworkings select gets an event that names the one serving it', async () => {
    const overlapping = {
      selector: { podSelector: { matchLabels: { net: 'overlap' } } },
      vSwitchOptions: [POD_VSWITCH[ZONE_H]],
    };
    await operator.readyNetworking('a-low', overlapping);
    await operator.readyNetworking('z-high', { ...overlapping, priority: 10 });
    const created = await createPod('overlap', { labels: { net: 'overlap' } });
    expect(created.metadata.annotations).toMatchObject({ 'k8s.aliyun.com/pod-networking': 'z-high' });
    await operator.bound(ns, 'overlap');
    expect((await operator.podEvent(ns, 'overlap', 'PodNetworkingsOverlap')).note).toMatch(
      /z-high serves the pod; a-low also selects it/,
    );
  });
});

describe('a PodNetworking', () => {
  const path = `${API}/podnetworkings`;
  const create = (name: string, spec: object) =>
    operator.lab.api.create(path, {
      apiVersion: 'network.alibabacloud.com/v1beta1',
      kind: 'PodNetworking',
      metadata: { name },
      spec,
    });

  test('gets what it leaves out from eni-config', async () => {
    await create('defaulted', {});
    const { spec } = await operator.networking('defaulted', () => true);
    expect(spec).toMatchObject({
      vSwitchOptions: Object.values(NODE_VSWITCH).sort(),
      securityGroupIDs: [NODE_SECURITY_GROUP],
    });
  });

  test('#58: is checked when it is created and when it is changed', async () => {
    const broken = { selector: { podSelector: { matchExpressions: [{ key: 'a', operator: 'Like' }] } } };
    const message = /spec\.selector\.podSelector\.matchExpressions\[0\]\.operator: "Like" is not one of/;
    expect((await refusal(create('broken', broken)))?.message).toMatch(message);
    const patched = await refusal(operator.lab.api.patch(`${path}/web`, 'merge', { spec: broken }));
    expect(patched).toMatchObject({ status: 422, message: expect.stringMatching(message) });
    // What does not touch the spec always passes.
    await operator.lab.api.patch(`${path}/web`, 'merge', { metadata: { labels: { a: 'b' } } });
  });
});

describe('#12: a pod that the webhook has not seen', () => {
  beforeAll(async () => {
    // Pods of the first seconds of a PodNetworking are not called escaped.
    const { metadata } = await operator.networking('web', () => true);
    const made = Date.parse(metadata.creationTimestamp ?? '');
    await pollUntil(() => Promise.resolve(Date.now() > made + 7000 ? true : undefined), {
      what: 'the PodNetworking to be a little older',
      timeoutMs: 20_000,
    });
  });

  test('in a namespace that opted out has not escaped: it is served when it names a PodNetworking', async () => {
    await using out = await withNamespace(await sharedCluster(), 'out', { 'k8s.aliyun.com/pod-eni': 'false' });
    await operator.createPod(out.name, 'named', { annotations: { 'k8s.aliyun.com/pod-networking': 'web' } });
    await operator.bound(out.name, 'named');
  });

  test('is held with an event that says what to do; recreated, it is served', async () => {
    await webhookIsAsked(false);
    const escaped = await createPod('escaped', labelled);
    expect(escaped.metadata.annotations).toEqual({});
    const event = await operator.podEvent(ns, 'escaped', 'EscapedWebhook');
    expect(event).toMatchObject({
      type: 'Warning',
      note: expect.stringMatching(/gets no network: delete the pod and create it again/),
    });
    expect(await operator.findPodEni(ns, 'escaped')).toBeUndefined();
    await webhookIsAsked(true);
    await operator.deletePod(ns, 'escaped');
    await createPod('escaped', labelled);
    await operator.bound(ns, 'escaped');
  });

  test('is evicted if configured, and its owner creates one that is served; a pod without an owner is not evicted', async () => {
    await operator.stopControlPlane();
    await operator.startControlPlane(settings({ escapedPods: 'evict' }));
    await webhookIsAsked(false);
    await operator.lab.api.create(`/apis/apps/v1/namespaces/${ns}/replicasets`, {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: { name: 'crowd' },
      spec: {
        replicas: 1,
        selector: { matchLabels: { set: 'crowd' } },
        template: {
          metadata: { labels: { net: 'web', set: 'crowd' } },
          spec: {
            terminationGracePeriodSeconds: 0,
            containers: [{ name: 'main', image: 'registry.k8s.io/pause:3.10' }],
          },
        },
      },
    });
    const ofCrowd = async () => {
      const { objects } = await operator.lab.api.list(`/api/v1/namespaces/${ns}/pods`, {
        query: { labelSelector: 'set=crowd' },
      });
      return objects.map((object) => podSchema.parse(object).metadata);
    };
    const first = await pollUntil(async () => (await ofCrowd())[0], { what: 'the first pod', timeoutMs: 20_000 });
    expect(first.annotations).toEqual({});
    await createPod('alone', labelled);
    await webhookIsAsked(true);
    const successor = await pollUntil(
      async () => (await ofCrowd()).find(({ annotations }) => annotations['k8s.aliyun.com/pod-eni'] === 'true'),
      { what: 'a pod that the webhook has seen', timeoutMs: 60_000 },
    );
    expect(successor.uid).not.toBe(first.uid);
    await operator.bound(ns, successor.name);
    expect((await operator.podEvent(ns, 'alone', 'EscapedWebhook')).note).toMatch(/create it again/);
    await operator.lab.api.delete(`/apis/apps/v1/namespaces/${ns}/replicasets/crowd`, {
      query: { propagationPolicy: 'Foreground' },
    });
    await operator.stopControlPlane();
    await operator.startControlPlane(settings());
  });
});

describe('#27: the certificate', () => {
  test('is one for all replicas, which trust nothing but the Secret', async () => {
    const [other = 0] = await chooseFreePorts(1);
    const second = await operator.lab.startControlPlane({ config: settings({ port: other }) });
    try {
      const [mine, theirs] = await Promise.all([certificateOf(port), certificateOf(other)]);
      expect(theirs.fingerprint256).toBe(mine.fingerprint256);
      // A bundle that somebody empties by hand is restored automatically.
      const path = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/terway-controlplane';
      const [wanted] = await bundlesOf(operator.lab);
      await operator.lab.api.patch(path, 'json', [{ op: 'remove', path: '/webhooks/0/clientConfig/caBundle' }]);
      await pollUntil(
        async () => ((await bundlesOf(operator.lab)).every((bundle) => bundle === wanted) ? true : undefined),
        {
          what: 'the bundle to be right again',
          timeoutMs: 20_000,
        },
      );
    } finally {
      await second.process.stop();
    }
  });

  test('#64: that something else provides is awaited before ready, read, and never written', async () => {
    const path = '/api/v1/namespaces/kube-system/secrets/terway-controlplane-webhook-cert';
    const schema = z.looseObject({ data: z.record(z.string(), z.string()), type: z.string() });
    const secret = schema.parse(await operator.lab.api.get(path));
    await operator.stopControlPlane();
    await operator.lab.api.delete(path);
    const [other = 0] = await chooseFreePorts(1);
    const config = settings({ port: other, certificates: 'secret' });
    const reader = await operator.lab.startControlPlane({ config, waitReady: false });
    try {
      const readiness = async () => (await fetch(`${reader.telemetryUrl}/readyz`).catch(() => undefined))?.text();
      await pollUntil(
        async () => ((await readiness())?.includes('the webhook has no certificate yet') ? true : undefined),
        {
          what: '/readyz to say what is missing',
          timeoutMs: 30_000,
        },
      );
      const { 'ca.crt': _ca, ...data } = secret.data;
      await operator.lab.api.create('/api/v1/namespaces/kube-system/secrets', {
        metadata: { name: 'terway-controlplane-webhook-cert' },
        type: secret.type,
        data,
      });
      await pollUntil(async () => ((await readiness()) === 'ok\n' ? true : undefined), {
        what: 'the control plane to be ready',
        timeoutMs: 20_000,
      });
      const shown = new X509Certificate((await certificateOf(other)).raw).fingerprint256;
      expect(shown).toBe(new X509Certificate(Buffer.from(data['tls.crt'] ?? '', 'base64')).fingerprint256);
      expect(schema.parse(await operator.lab.api.get(path)).data).toEqual(data);
    } finally {
      await reader.process.stop();
      await operator.startControlPlane(settings());
    }
  });

  test('is rotated while pods are created, and no admission fails', async () => {
    await operator.stopControlPlane();
    // Renewed ten seconds after it was made.
    await operator.startControlPlane(settings({ certificateValidity: '30s' }));
    const strict = await withNamespace(operator.lab.cluster, 'strict');
    await operator.lab.api.patch(`/api/v1/namespaces/${strict.name}`, 'merge', {
      metadata: { labels: { 'network.alibabacloud.com/webhook-failure-policy': 'Fail' } },
    });
    const seen = new Set<string>();
    const failures: string[] = [];
    let created = 0;
    try {
      await pollUntil(
        async () => {
          created += 1;
          const made = operator.lab.api.create(
            `/api/v1/namespaces/${strict.name}/pods`,
            {
              apiVersion: 'v1',
              kind: 'Pod',
              metadata: { name: `p-${created}`, ...labelled },
              spec: { schedulerName: 'nobody', containers: [{ name: 'main', image: 'registry.k8s.io/pause:3.10' }] },
            },
            { query: { dryRun: 'All' } },
          );
          const pod = podSchema.parse(
            await made.catch((error: unknown) => {
              failures.push(String(error));
              return { metadata: { name: '', uid: '', annotations: ELASTIC }, spec: { containers: [] } };
            }),
          );
          expect(pod.metadata.annotations).toEqual(ELASTIC);
          if (created % 10 === 0) seen.add((await certificateOf(port)).fingerprint256);
          return seen.size >= 3 ? true : undefined;
        },
        { what: 'two rotations', timeoutMs: 55_000, intervalMs: 10 },
      );
    } finally {
      await strict.delete();
    }
    expect(failures).toEqual([]);
    const metrics = await (await fetch(`${operator.controlPlane.telemetryUrl}/metrics`)).text();
    expect(metrics).toMatch(/terway_webhook_requests_total\{kind="Pod",result="patched"\} \d{2,}/);
    const ends = Number(/terway_webhook_certificate_expiry_timestamp_seconds (\d+)/.exec(metrics)?.[1]);
    expect(ends).toBeGreaterThan(Date.now() / 1000);
    // Nothing of a key is ever in the log.
    expect(await operator.controlPlane.process.output()).not.toMatch(/PRIVATE KEY/);
    expect(new X509Certificate((await certificateOf(port)).raw).checkIP('127.0.0.1')).toBe('127.0.0.1');
  }, 90_000);
});
