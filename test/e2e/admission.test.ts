import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { chooseFreePorts } from '../cluster/ports.ts';
import { pollUntil } from '../cluster/poll.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import { applyWebhookConfigurations, removeWebhookConfigurations } from '../lab/webhook.ts';
import { Bed, ZONE_H } from './support.ts';

/** Pods and PodNetworkings as the API server admits them, asking a control plane that runs as a process. */

let bed: Bed;
let namespace: TestNamespace;
let ns: string;
let port: number;

const podSchema = z.object({
  metadata: z.object({ annotations: z.record(z.string(), z.string()).default({}) }),
  spec: z.looseObject({
    containers: z.array(z.object({ resources: z.object({ limits: z.record(z.string(), z.string()).optional() }) })),
    affinity: z.unknown(),
  }),
});

const webhook = (changes: object = {}) => ({
  webhook: { port, bindHost: '127.0.0.1', hosts: ['127.0.0.1'], rotationStep: '1s', drain: '1s', ...changes },
});

beforeAll(async () => {
  const cluster = await sharedCluster();
  [port = 0] = await chooseFreePorts(1);
  bed = await Bed.start(cluster);
  namespace = await withNamespace(cluster, 'admission');
  ns = namespace.name;
  await bed.startControlPlane(webhook());
  await applyWebhookConfigurations(bed.lab, port);
  await pollUntil(async () => (await bundles()).every((bundle) => bundle !== '') || undefined, {
    what: 'the CA bundles',
    timeoutMs: 20_000,
  });
  await bed.addNode(ZONE_H);
  await bed.readyNetworking('web', { selector: { podSelector: { matchLabels: { net: 'web' } } } });
});

afterAll(async () => {
  if (bed !== undefined) await removeWebhookConfigurations(bed.lab);
  await bed?.close();
  await namespace?.delete();
});

async function bundles(): Promise<string[]> {
  const schema = z.object({ webhooks: z.array(z.object({ clientConfig: z.object({ caBundle: z.string().default('') }) })) });
  const all = await Promise.all(
    ['mutating', 'validating'].map(async (kind) => {
      const path = `/apis/admissionregistration.k8s.io/v1/${kind}webhookconfigurations/terway-controlplane`;
      return schema.parse(await bed.lab.api.get(path)).webhooks.map(({ clientConfig }) => clientConfig.caBundle);
    }),
  );
  return all.flat();
}

async function pod(name: string) {
  return podSchema.parse(await bed.lab.api.get(`/api/v1/namespaces/${ns}/pods/${name}`));
}

describe('a pod', () => {
  test('that a PodNetworking picks is told so, counted and kept to its zones, and served', async () => {
    await bed.createPod(ns, 'first', { labels: { net: 'web' } });
    const created = await pod('first');
    expect(created.metadata.annotations).toEqual({
      'k8s.aliyun.com/pod-eni': 'true',
      'k8s.aliyun.com/pod-networking': 'web',
    });
    expect(created.spec.containers[0]?.resources.limits).toEqual({ 'aliyun/member-eni': '1' });
    expect(JSON.stringify(created.spec.affinity)).toContain('topology.kubernetes.io/zone');
    await bed.bound(ns, 'first');
  });
});
