import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as z from 'zod';
import { createAuthority, issueCertificate } from '../../../src/util/x509.ts';
import { pollUntil } from '../../../tools/machine/poll.ts';
import { BUSYBOX_IMAGE } from '../../../tools/product/image/busybox.ts';
import { ApiStatusError } from '../../cluster/errors.ts';
import { type TestNamespace, withNamespace } from '../../cluster/shared.ts';
import { ZONES } from '../../harness/lab.ts';
import { NodeLab } from '../../harness/node-lab.ts';
import { PRODUCT_IMAGE } from '../../harness/product.ts';
import { primaryAddresses } from '../../harness/vpc-host.ts';
import { PORT, podTemplate, readyNetworking } from './support.ts';

/** A cluster as users have one: pods that talk with the API server, names that resolve, and an API server that talks with pods. */

let lab: NodeLab;
let namespace: TestNamespace;
let ns: string;

beforeAll(async () => {
  lab = await NodeLab.start({
    nodes: [{ zone: ZONES[0] }, { zone: ZONES[1] }],
    latencies: { attachMs: 300, detachMs: 300 },
    installer: 'helm',
  });
  await lab.install();
  await lab.installDns();
  namespace = await withNamespace(lab.cluster, 'whole');
  ns = namespace.name;
  await readyNetworking(lab, 'whole', { selector: { namespaceSelector: { matchLabels: NAMESPACE_LABELS() } } });
  await create('page', { command: podTemplate({ networking: '' }).spec.containers[0]?.command ?? [] });
  await lab.podReady(ns, 'page');
}, 900_000);

afterAll(async () => {
  await lab?.close();
}, 60_000);

const NAMESPACE_LABELS = () => ({ 'kubernetes.io/metadata.name': ns });

/** A pod that nothing but its namespace gives a member ENI; kubectl of its node is in it. */
async function create(
  name: string,
  container: { image?: string; command: readonly string[]; ports?: unknown[]; volumeMounts?: unknown[] },
  spec: { serviceAccountName?: string; volumes?: unknown[] } = {},
): Promise<void> {
  const tools = { name: 'tools', hostPath: { path: '/opt/kubernetes/bin' } };
  await lab.api.create(`/api/v1/namespaces/${ns}/pods`, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { pod: name } },
    spec: {
      terminationGracePeriodSeconds: 0,
      ...spec,
      containers: [
        {
          name: 'main',
          image: BUSYBOX_IMAGE,
          imagePullPolicy: 'Never',
          ...container,
          volumeMounts: [{ name: tools.name, mountPath: '/tools', readOnly: true }, ...(container.volumeMounts ?? [])],
        },
      ],
      volumes: [tools, ...(spec.volumes ?? [])],
    },
  });
}

test('nodes are known by the addresses of their primary ENIs', async () => {
  for (const { name, instanceId } of lab.nodes) {
    const { status } = z
      .object({ status: z.object({ addresses: z.array(z.object({ type: z.string(), address: z.string() })) }) })
      .parse(await lab.api.get(`/api/v1/nodes/${name}`));
    const [ipv4] = await primaryAddresses(lab.lab.cloud, instanceId);
    expect(status.addresses.filter(({ type }) => type === 'InternalIP')).toEqual([
      { type: 'InternalIP', address: ipv4 },
    ]);
  }
});

test('CoreDNS runs on interfaces of ours, and pods resolve names', async () => {
  const { objects } = await lab.api.list('/apis/network.alibabacloud.com/v1beta1/namespaces/kube-system/podenis');
  expect(objects.length).toBe(2);
  for (const name of ['kubernetes.default.svc.cluster.local', 'kube-dns.kube-system.svc.cluster.local']) {
    const { code, stdout } = await lab.inPod(ns, 'page', 'nslookup', name);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/Address: 10\.96\.0\.(1|10)\n/)]);
  }
  // The search path of the pod.
  expect(await lab.inPod(ns, 'page', 'ping', '-c', '1', '-W', '1', 'kubernetes.default')).toMatchObject({
    stdout: expect.stringContaining('10.96.0.1'),
  });
});

test('a client in a pod uses the API server at its Service’s name and address', async () => {
  await lab.cluster.kubectl(['create', 'serviceaccount', 'client', '-n', ns]);
  await create('client', { command: ['sleep', '1000000'] }, { serviceAccountName: 'client' });
  await lab.podReady(ns, 'client');
  const user = `system:serviceaccount:${ns}:client`;
  const account = '/var/run/secrets/kubernetes.io/serviceaccount';
  const byName = `--server https://kubernetes.default.svc --certificate-authority ${account}/ca.crt --token "$(cat ${account}/token)"`;
  // Without options kubectl finds the address in its environment.
  for (const options of ['', byName]) {
    const kubectl = `/tools/kubectl ${options} auth whoami -o jsonpath='{.status.userInfo.username}'`;
    expect(await lab.inPod(ns, 'client', 'sh', '-c', kubectl)).toMatchObject({ code: 0, stdout: user });
  }
});

test('the API server reaches pods through the VPC: its proxy', async () => {
  await using capture = await lab.vpc.capture();
  const text = await lab.api.requestText('GET', `/api/v1/namespaces/${ns}/pods/page:${PORT}/proxy/`);
  expect(text).toBe('page\n');
  const hub = lab.cluster.hub?.address;
  const frames = (await capture.all()).filter(({ src, dst }) => src === hub || dst === hub);
  expect(new Set(frames.filter(({ dstPort }) => dstPort === PORT).map(({ vlan }) => vlan > 0))).toEqual(
    // Untagged from the API server, tagged to the node.
    new Set([false, true]),
  );
});

test('kubectl port-forward', async () => {
  const child = spawn(
    lab.cluster.binaries.path('kubectl'),
    ['port-forward', '--kubeconfig', lab.cluster.kubeconfigPath, '-n', ns, 'pod/page', `:${PORT}`],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  try {
    const [line] = z
      .tuple([z.string()])
      .rest(z.unknown())
      .parse(await once(createInterface(child.stdout), 'line'));
    const port = /127\.0\.0\.1:(\d+)/.exec(line)?.[1];
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('page\n');
  } finally {
    child.kill();
    await once(child, 'exit');
  }
});

test('a webhook of somebody else’s runs as an ordinary pod', async () => {
  const host = `hook.${ns}.svc`;
  const nowMs = Date.now();
  const validity = { notBeforeMs: nowMs - 60_000, notAfterMs: nowMs + 3_600_000 };
  const authority = createAuthority('hook', validity);
  const pair = issueCertificate(authority, { commonName: host, usage: 'server', hosts: [host] }, validity);
  await lab.api.create(`/api/v1/namespaces/${ns}/configmaps`, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'hook' },
    data: { 'tls.crt': pair.certificatePem, 'tls.key': pair.privateKeyPem, 'hook.mjs': HOOK },
  });
  await create(
    'hook',
    {
      image: PRODUCT_IMAGE,
      command: ['node', '/hook/hook.mjs'],
      volumeMounts: [{ name: 'hook', mountPath: '/hook' }],
    },
    { volumes: [{ name: 'hook', configMap: { name: 'hook' } }] },
  );
  await lab.podReady(ns, 'hook');
  await lab.api.create(`/api/v1/namespaces/${ns}/services`, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'hook' },
    spec: { selector: { pod: 'hook' }, ports: [{ port: 443, targetPort: 8443 }] },
  });
  await lab.api.create('/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations', {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'ValidatingWebhookConfiguration',
    metadata: { name: 'hook' },
    webhooks: [
      {
        name: 'hook.example.test',
        clientConfig: {
          service: { namespace: ns, name: 'hook' },
          caBundle: Buffer.from(authority.certificatePem).toString('base64'),
        },
        rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }],
        namespaceSelector: { matchLabels: NAMESPACE_LABELS() },
        admissionReviewVersions: ['v1'],
        sideEffects: 'None',
        failurePolicy: 'Ignore',
      },
    ],
  });
  const refusal = await pollUntil(
    () =>
      lab.api
        .create(`/api/v1/namespaces/${ns}/configmaps?dryRun=All`, { metadata: { name: 'refused' } })
        .then(() => undefined)
        .catch((error: unknown) => (error instanceof ApiStatusError ? error : undefined)),
    { what: 'the webhook to be asked', timeoutMs: 30_000 },
  );
  expect(refusal.message).toContain('the pod says no');
});

const HOOK = `
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
createServer({ cert: readFileSync('/hook/tls.crt'), key: readFileSync('/hook/tls.key') }, async (request, response) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  const { apiVersion, kind, request: { uid } } = JSON.parse(text);
  const answer = { uid, allowed: false, status: { message: 'the pod says no' } };
  response.setHeader('content-type', 'application/json').end(JSON.stringify({ apiVersion, kind, response: answer }));
}).listen(8443);
`;
