import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import * as z from 'zod';
import { pollUntil } from '../../tools/machine/poll.ts';
import { renderChart } from '../../tools/product/render-chart.ts';
import type { ApiClient } from '../cluster/api.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { ApiStatusError } from '../cluster/errors.ts';
import { installCrds, manifests, paths, startApiServer } from './crd-cluster.ts';

/* What the token of one node's agent may write, under config/rbac/agent.yaml as it is installed. */

const RBAC = join(import.meta.dirname, '../../config/rbac/agent.yaml');
const ACCOUNT = { namespace: 'kube-system', name: 'terway-agent' };
const EVENTS = '/apis/events.k8s.io/v1/namespaces/default/events';

const metadataSchema = z.looseObject({ name: z.string() });
const objectSchema = z.looseObject({
  kind: z.string(),
  metadata: metadataSchema.extend({ uid: z.string() }),
});
const COLLECTIONS: Readonly<Record<string, string>> = {
  ServiceAccount: `/api/v1/namespaces/${ACCOUNT.namespace}/serviceaccounts`,
  ClusterRole: '/apis/rbac.authorization.k8s.io/v1/clusterroles',
  ClusterRoleBinding: '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
  ValidatingAdmissionPolicy: '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies',
  ValidatingAdmissionPolicyBinding: '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings',
};

let cluster: Cluster;
let admin: ApiClient;
/** The agents of two nodes, as their pods' tokens let them speak, and one whose token is bound to nothing. */
const agents = new Map<string, ApiClient>();

function agent(node: string): ApiClient {
  const found = agents.get(node);
  if (found === undefined) throw new Error(`no agent of ${node}`);
  return found;
}

async function client(boundTo?: { apiVersion: 'v1'; kind: 'Pod' | 'Node'; name: string; uid: string }) {
  const kubeconfig = await cluster.writeKubeconfig({
    serviceAccount: ACCOUNT,
    ...(boundTo === undefined ? {} : { boundTo }),
  });
  return cluster.client({ kubeconfig });
}

beforeAll(async () => {
  cluster = await startApiServer();
  admin = await cluster.client();
  await installCrds(admin, manifests(), () =>
    admin.list(paths.nodeRuntimes).then(
      () => true,
      () => false,
    ),
  );
  for (const document of parseAllDocuments(await readFile(RBAC, 'utf8'))) {
    const object = z
      .looseObject({ kind: z.string(), metadata: z.looseObject({ name: z.string() }) })
      .parse(document.toJS());
    await admin.create(COLLECTIONS[object.kind] ?? object.kind, object);
  }
  for (const node of ['node-a', 'node-b']) {
    await admin.create('/api/v1/nodes', { metadata: { name: node } });
    const pod = await admin.create(`/api/v1/namespaces/${ACCOUNT.namespace}/pods`, {
      metadata: { name: `agent-of-${node}` },
      spec: { nodeName: node, serviceAccountName: ACCOUNT.name, containers: [{ name: 'agent', image: 'none' }] },
    });
    const { name, uid } = objectSchema.parse({ kind: 'Pod', ...z.looseObject({}).parse(pod) }).metadata;
    agents.set(node, await client({ apiVersion: 'v1', kind: 'Pod', name, uid }));
  }
  agents.set('nowhere', await client());
  // A policy takes effect some time after it was accepted.
  await pollUntil(
    async () => {
      const refused = await outcome(agent('nowhere').create(paths.nodeRuntimes, runtime('probe'), DRY_RUN));
      return refused.startsWith('403') || undefined;
    },
    { what: 'the policy to be in force', timeoutMs: 30_000, intervalMs: 100 },
  );
}, 120_000);

afterAll(async () => {
  for (const api of [...agents.values(), admin]) api?.close();
  await cluster?.stop();
});

const DRY_RUN = { query: { dryRun: 'All' } };
const runtime = (name: string) => ({
  apiVersion: 'network.alibabacloud.com/v1beta1',
  kind: 'NodeRuntime',
  metadata: { name },
  spec: {},
});
const event = (name: string, reportingInstance: string) => ({
  apiVersion: 'events.k8s.io/v1',
  kind: 'Event',
  metadata: { name },
  eventTime: new Date().toISOString().replace('Z', '000Z'),
  type: 'Warning',
  reason: 'AllocIPFailed',
  action: 'AttachNetwork',
  note: 'no PodENI',
  reportingController: 'terway-agent',
  reportingInstance,
  regarding: { apiVersion: 'v1', kind: 'Pod', namespace: 'default', name: 'web-0' },
});

/** `done`, or the status and the message of the refusal. */
async function outcome(request: Promise<unknown>): Promise<string> {
  try {
    await request;
    return 'done';
  } catch (error) {
    if (error instanceof ApiStatusError) return `${error.status} ${error.message}`;
    throw error;
  }
}

describe('the agent of a node', () => {
  test('makes, marks and fills the NodeRuntime of its own node', async () => {
    for (const node of ['node-a', 'node-b']) {
      await agent(node).create(paths.nodeRuntimes, runtime(node));
      const path = `${paths.nodeRuntimes}/${node}`;
      await agent(node).patch(path, 'merge', { metadata: { annotations: { checked: 'true' } } });
      await agent(node).patch(`${path}/status`, 'merge', { status: { pods: { uid1: { podID: 'shop/web-0' } } } });
    }
  });

  test('neither makes nor changes that of another node', async () => {
    const message = /^403 .*the node agent of node node-a may write only NodeRuntime node-a, not node-/;
    const path = `${paths.nodeRuntimes}/node-b`;
    const forged = { status: { pods: { uid1: { status: { deleted: { lastUpdateTime: '2026-01-01T00:00:00Z' } } } } } };
    expect(await outcome(agent('node-a').patch(`${path}/status`, 'merge', forged))).toMatch(message);
    expect(await outcome(agent('node-a').patch(path, 'merge', { metadata: { annotations: { x: 'y' } } }))).toMatch(
      message,
    );
    expect(await outcome(agent('node-a').create(paths.nodeRuntimes, runtime('node-c')))).toMatch(message);
    expect(JSON.stringify(await admin.get(path))).not.toContain('deleted');
  });

  test('sends events in its own name only', async () => {
    expect(await outcome(agent('node-a').create(EVENTS, event('own', 'node-a')))).toBe('done');
    const message = /^403 .*may write only events with reportingInstance node-a/;
    expect(await outcome(agent('node-a').create(EVENTS, event('forged', 'node-b')))).toMatch(message);
    await agent('node-b').create(EVENTS, event('others', 'node-b'));
    const series = { count: 100, lastObservedTime: new Date().toISOString().replace('Z', '000Z') };
    expect(await outcome(agent('node-a').patch(`${EVENTS}/others`, 'merge', { series }))).toMatch(message);
    expect(await outcome(agent('node-b').patch(`${EVENTS}/others`, 'merge', { series }))).toBe('done');
  });

  test('reads what belongs to other nodes, and writes no PodENI and no Node CR, not even its own', async () => {
    const { podEnis, nodes } = paths;
    const kinds: [string, string, object][] = [
      [podEnis, 'PodENI', { spec: { allocations: [] } }],
      [nodes, 'Node', { spec: {} }],
    ];
    for (const [path, kind, body] of kinds) {
      const object = { apiVersion: 'network.alibabacloud.com/v1beta1', kind, metadata: { name: 'node-a' }, ...body };
      await admin.create(path, object);
      expect(JSON.stringify(await agent('node-b').list(path)), kind).toContain('node-a');
      const refusal = new RegExp(`^403 .* cannot (create|patch) resource "${kind.toLowerCase()}s`);
      expect(await outcome(agent('node-a').create(path, { ...object, metadata: { name: 'other' } })), kind).toMatch(
        refusal,
      );
      expect(
        await outcome(agent('node-a').patch(`${path}/node-a`, 'merge', { metadata: { labels: {} } })),
        kind,
      ).toMatch(refusal);
    }
  });

  test('whose token names no node writes nothing', async () => {
    expect(await outcome(agent('nowhere').create(paths.nodeRuntimes, runtime('node-d')))).toMatch(
      /^403 .*names no node; it must be bound to a pod or to a Node/,
    );
  });

  test('may have a token that is bound to its Node', async () => {
    const node = objectSchema.parse({
      kind: 'Node',
      ...z.looseObject({}).parse(await admin.get('/api/v1/nodes/node-b')),
    });
    const bound = await client({ apiVersion: 'v1', kind: 'Node', name: 'node-b', uid: node.metadata.uid });
    const path = `${paths.nodeRuntimes}/node-b`;
    await bound.patch(path, 'merge', { metadata: { annotations: { bound: 'node' } } });
    expect(await outcome(bound.patch(`${paths.nodeRuntimes}/node-a`, 'merge', { metadata: {} }))).toMatch(/^403/);
    bound.close();
  });
});

describe('the agent of a node with podIPsAnnotation', () => {
  const PODS = '/api/v1/namespaces/default/pods';
  const own = `${PODS}/of-a/status`;
  const annotated = (annotations: Record<string, string | null>) => ({ metadata: { annotations } });
  const says = (address: string) => annotated({ 'k8s.aliyun.com/pod-ips': address });
  const write = (path: string, body: object) => outcome(agent('node-a').patch(path, 'merge', body));

  beforeAll(async () => {
    for (const [name, nodeName] of [
      ['of-a', 'node-a'],
      ['of-b', 'node-b'],
    ]) {
      await admin.create(PODS, {
        metadata: { name, labels: { app: 'web' }, annotations: { theirs: 'kept' } },
        spec: { nodeName, containers: [{ name: 'main', image: 'none' }] },
      });
    }
    // As it is installed by default, there is no such right.
    expect(await write(own, says('10.1.0.5'))).toMatch(/^403 .* cannot patch resource "pods\/status"/);
    const rendered = await renderChart({ 'agent.config': { podIPsAnnotation: true }, 'crds.install': false });
    for (const document of parseAllDocuments(rendered)) {
      const { data } = z
        .looseObject({ kind: z.enum(['ClusterRole', 'ValidatingAdmissionPolicy']), metadata: metadataSchema })
        .safeParse(document.toJS());
      const collection = COLLECTIONS[data?.kind ?? ''];
      if (data === undefined || collection === undefined || !data.metadata.name.startsWith(ACCOUNT.name)) continue;
      await admin.patch(`${collection}/${data.metadata.name}`, 'merge', data);
    }
    await pollUntil(
      async () => {
        const label = { metadata: { labels: { probe: 'x' } } };
        const refused = await outcome(agent('node-a').patch(own, 'merge', label, DRY_RUN));
        return refused.includes('only the annotation') || undefined;
      },
      { what: 'the policy to be in force', timeoutMs: 30_000, intervalMs: 100 },
    );
  }, 60_000);

  test('writes, changes and removes that annotation of the pods of its node', async () => {
    expect(await write(own, says('10.1.0.5'))).toBe('done');
    expect(await write(own, says('10.1.0.5,fd00::5'))).toBe('done');
    expect(await admin.get(`${PODS}/of-a`)).toMatchObject({
      metadata: { annotations: { theirs: 'kept', 'k8s.aliyun.com/pod-ips': '10.1.0.5,fd00::5' } },
    });
    expect(await write(own, annotated({ 'k8s.aliyun.com/pod-ips': null }))).toBe('done');
  });

  test('writes on no other pod, and none that has taken the name', async () => {
    expect(await write(`${PODS}/of-b/status`, says('10.1.0.5'))).toMatch(/^403 .*only on pods of its node/);
    const other = { metadata: { uid: 'of-the-one-before', ...says('10.1.0.5').metadata } };
    expect(await write(own, other)).toMatch(/^(409|422) .*(UID|uid)/);
  });

  test.each([
    ['another annotation', annotated({ 'k8s.aliyun.com/pod-ips': '10.1.0.5', mine: 'x' })],
    ['an annotation of others', annotated({ theirs: 'changed' })],
    ['an annotation of others away', annotated({ theirs: null })],
    ['a label', { metadata: { labels: { app: 'other' } } }],
    ['a finalizer', { metadata: { finalizers: ['example.com/stays'] } }],
    ['a phase', { status: { phase: 'Running' } }],
    ['an address', { status: { podIPs: [{ ip: '10.1.0.9' }], podIP: '10.1.0.9' } }],
  ])('does not write %s', async (_, body) => {
    expect(await write(own, body)).toMatch(/^403 .*only the annotation k8s.aliyun.com\/pod-ips of a pod/);
  });

  test('does not change what a pod runs', async () => {
    const image = { spec: { containers: [{ name: 'main', image: 'other' }] } };
    expect(await write(`${PODS}/of-a`, image)).toMatch(/^403 .* cannot patch resource "pods"/);
    expect(await write(own, { ...image, ...says('10.1.0.6') })).toBe('done');
    expect(await admin.get(`${PODS}/of-a`)).toMatchObject({ spec: { containers: [{ image: 'none' }] } });
  });
});

test('others are not concerned: who may write NodeRuntimes by RBAC still does', async () => {
  await admin.patch(`${paths.nodeRuntimes}/node-a`, 'merge', { metadata: { annotations: { by: 'admin' } } });
});
