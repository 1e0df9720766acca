import { mkdtemp, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { pollUntil } from '../../tools/machine/poll.ts';
import type { ClusterAccess } from '../cluster/access.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import { type LabNode, POD_VSWITCH } from '../harness/lab.ts';
import { Plugin } from './plugin.ts';
import { API, addressOf, idOf, OperatorLab, SMALL_TYPE, TRUNKLESS_TYPE, ZONE_H } from './support.ts';

/** Output and effects of the `kubectl terway` commands, against a running control plane. */

let cluster: ClusterAccess;
let operator: OperatorLab;
let plugin: Plugin;
let node: LabNode;
let small: LabNode;
let namespace: TestNamespace;
let ns: string;
let folder: string;

beforeAll(async () => {
  cluster = await sharedCluster();
  // The commands release orphans, not rounds of the collector in between.
  operator = await OperatorLab.start(cluster, { collector: { interval: '20s', minimumAge: '1s' } });
  await operator.startControlPlane();
  plugin = new Plugin(cluster, operator);
  namespace = await withNamespace(cluster, 'kubectl');
  ns = namespace.name;
  folder = await mkdtemp(join(tmpdir(), 'terway-kubectl-'));
  node = await operator.addNode();
  small = await operator.addNode(ZONE_H, SMALL_TYPE);
  await operator.readyNetworking('web');
});

afterAll(async () => {
  await operator?.close();
  await namespace?.delete();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

const explained = z.object({
  podNetworking: z.string(),
  interfaces: z.array(z.string()),
  notPickedBy: z.array(z.string()).optional(),
  timeline: z.array(z.object({ time: z.string(), source: z.string(), what: z.string() })),
  verdict: z.object({
    well: z.boolean(),
    text: z.string(),
    reason: z.string().optional(),
    remedy: z.string().optional(),
  }),
});

const explain = (name: string) => plugin.json(['explain', 'pod', `${ns}/${name}`], explained);

async function runPod(name: string, ip: string): Promise<void> {
  const now = new Date().toISOString();
  await operator.lab.api.patch(`/api/v1/namespaces/${ns}/pods/${name}/status`, 'merge', {
    status: {
      phase: 'Running',
      podIP: ip,
      podIPs: [{ ip }],
      conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: now }],
      containerStatuses: [
        {
          name: 'main',
          image: 'pause',
          imageID: 'pause',
          ready: true,
          restartCount: 0,
          state: { running: { startedAt: now } },
        },
      ],
    },
  });
}

describe('explain pod', () => {
  test('a running pod: one timeline from the pod, its record, the cloud and events', async () => {
    await operator.createPod(ns, 'web-0', { node: node.name, networking: 'web' });
    const podEni = await operator.bound(ns, 'web-0');
    await runPod('web-0', addressOf(podEni));
    await operator.podEvent(ns, 'web-0', 'AttachENISucceed');
    const { code, data } = await explain('web-0');
    expect(data.verdict).toEqual({
      well: true,
      text: `All is well. The pod has its ENI, with the address ${addressOf(podEni)}.`,
    });
    expect(code).toBe(0);
    const told = data.timeline.map(({ source, what }) => `${source} ${what}`);
    const { operations = [] } = podEni.status ?? {};
    for (const { action, requestID } of operations) {
      expect(told).toContainEqual(expect.stringMatching(new RegExp(`^Cloud ${action} .* in [0-9.]+ s .*${requestID}`)));
    }
    expect(told).toContainEqual('Pod created');
    expect(told).toContainEqual(expect.stringContaining(`Event AttachENISucceed`));
    expect(told).toContainEqual('Pod container main started');
    expect(told.findIndex((line) => line.includes('CreateNetworkInterface'))).toBeLessThan(
      told.findIndex((line) => line.includes('AttachNetworkInterface')),
    );
    const times = data.timeline.map(({ time }) => Date.parse(time));
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(data.podNetworking).toBe('web');
    expect(data.interfaces[0]).toContain(idOf(podEni));
    const other = await plugin.run(['-n', ns, 'explain', 'pod', 'web-0']);
    expect(other).toMatchObject({ code: 0, stderr: '' });
    expect(other.stdout).toMatch(/^UTC \d{4}-\d\d-\d\d +AFTER +WHO +WHAT$/m);
  });

  test('a pod that waits for a slot: the reason, its place and the remedy of the catalogue', async () => {
    for (const at of [0, 1, 2]) {
      await operator.createPod(ns, `small-${at}`, { node: small.name, networking: 'web' });
      await operator.bound(ns, `small-${at}`);
    }
    await operator.createPod(ns, 'small-3', { node: small.name, networking: 'web' });
    await operator.podEvent(ns, 'small-3', 'NoMemberSlot');
    const { code, data } = await explain('small-3');
    expect(code).toBe(1);
    expect(data.verdict).toMatchObject({
      well: false,
      reason: 'NoMemberSlot',
      remedy: expect.stringContaining('Wait, add nodes'),
    });
    expect(data.verdict.text).toContain('place 1 of 1 in line');
  });

  test.each([
    ['is not there', 'nowhere', undefined, /There is no pod .*nowhere/],
    [
      'names a PodNetworking that is not there',
      'typo',
      { networking: 'wbe' },
      /names PodNetworking wbe, which does not exist/,
    ],
    ['is picked by nothing', 'plain', {}, /No PodNetworking picks the pod/],
    ['was opted out', 'ignored', { labels: { 'k8s.aliyun.com/ignore-by-terway': 'true' } }, /ignore-by-terway=true/],
  ] as const)('a pod that %s', async (_, name, options, text) => {
    if (options !== undefined) await operator.createPod(ns, name, { node: node.name, ...options });
    const { code, data } = await explain(name);
    expect(data.verdict.text).toMatch(text);
    expect(code).toBe(1);
  });

  test('a pod in the network of its node, and one that nobody scheduled', async () => {
    const manifest = (name: string, spec: object) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: { containers: [{ name: 'main', image: 'registry.k8s.io/pause:3.10' }], ...spec },
    });
    const path = `/api/v1/namespaces/${ns}/pods`;
    await operator.lab.api.create(path, manifest('host', { nodeName: node.name, hostNetwork: true }));
    await operator.lab.api.create(path, manifest('homeless', { nodeSelector: { there: 'is-none' } }));
    expect((await explain('host')).data.verdict.text).toContain('hostNetwork');
    expect((await explain('homeless')).data.verdict.text).toMatch(/^The pod waits for the scheduler/);
  });

  test('an address that is kept without its pod is not a problem', async () => {
    await operator.readyNetworking('db', { allocationType: { type: 'Fixed', releaseStrategy: 'Never' } });
    await operator.createPod(ns, 'db-0', { node: node.name, networking: 'db' });
    const address = addressOf(await operator.bound(ns, 'db-0'));
    await operator.deletePod(ns, 'db-0');
    await operator.podEni(ns, 'db-0', ({ status }) => status?.phase === 'Unbind');
    const { code, data } = await explain('db-0');
    expect(data.verdict).toEqual({
      well: true,
      text: `There is no such pod now. Its fixed address ${address} is kept until its PodENI is deleted, for the next pod of the name.`,
    });
    expect(code).toBe(0);
    await operator.lab.api.delete(`${API}/namespaces/${ns}/podenis/db-0`);
  });
});

test('tables of nodes, vSwitches and quota show the same data as their JSON', async () => {
  await operator.lab.addNode(ZONE_H, TRUNKLESS_TYPE);
  const nodes = z.object({
    nodes: z.array(
      z.object({
        name: z.string(),
        mode: z.string(),
        used: z.number(),
        limit: z.number(),
        waiting: z.number(),
        trunkENIID: z.string().optional(),
      }),
    ),
  });
  const rows = await pollUntil(
    async () => {
      const { data, code } = await plugin.json(['nodes'], nodes);
      return code === 0 && data.nodes.some(({ mode }) => mode === 'none') ? data.nodes : undefined;
    },
    { what: 'three nodes', timeoutMs: 20_000 },
  );
  expect(rows.find(({ name }) => name === small.name)).toMatchObject({ mode: 'trunk', used: 3, limit: 3, waiting: 1 });
  const table = await plugin.run(['nodes']);
  expect(table.stdout.split('\n')[0]).toMatch(
    /^NODE +ZONE +INSTANCE +TYPE +MODE +TRUNK +MEMBERS +WAITING +AGENT SEEN$/,
  );
  for (const { name, trunkENIID = '' } of rows)
    expect(table.stdout).toMatch(new RegExp(`^${name} .*${trunkENIID}`, 'm'));

  const vSwitches = await plugin.run(['vswitches', '-o', 'yaml']);
  expect(vSwitches.stdout).toContain(`id: ${POD_VSWITCH[ZONE_H]}`);
  const quota = await plugin.json(
    ['quota'],
    z.object({ apis: z.array(z.object({ api: z.string(), usedThisMinute: z.number(), limitPerMinute: z.number() })) }),
  );
  expect(quota.data.apis.find(({ api }) => api === 'AttachNetworkInterface')?.limitPerMinute).toBe(500);
});

test('status finds what is wrong, and only that', async () => {
  const schema = z.object({ lines: z.array(z.object({ what: z.string(), state: z.string(), text: z.string() })) });
  const { code, data } = await plugin.json(['status'], schema);
  expect(code).toBe(1);
  const bad = data.lines.filter(({ state }) => state === 'bad').map(({ what, text }) => `${what}: ${text}`);
  expect(bad).toEqual([expect.stringMatching(/^Pods: \d+ with their ENI, \d waiting: .*for a slot of /)]);
  expect(data.lines.find(({ what }) => what === 'Control plane')?.text).toContain(`${hostname()} leads`);
  const unasked = await plugin.json(['status'], schema, { socket: join(folder, 'nobody.sock') });
  expect(unasked.data.lines.find(({ what }) => what === 'Cloud')).toMatchObject({
    state: 'unknown',
    text: /nobody answers at/,
  });
});

test('gc shows what it would release and what it keeps, then releases it', async () => {
  const plan = z.object({
    listed: z.number(),
    orphans: z.array(
      z.object({ eniID: z.string(), decision: z.string(), why: z.string(), madeFor: z.string().optional() }),
    ),
    released: z.array(z.object({ eniID: z.string(), call: z.string() })).optional(),
  });
  expect((await plugin.run(['gc', '--plan'])).stdout).toMatch(/^No orphans: each of the \d+ ENIs/);
  await operator.createPod(ns, 'orphan', { node: node.name, networking: 'web' });
  const eniId = idOf(await operator.bound(ns, 'orphan'));
  await operator.stopControlPlane();
  await operator.deletePod(ns, 'orphan');
  await operator.strip(`${API}/namespaces/${ns}/podenis/orphan`);
  await operator.strip(`${API}/networkinterfaces/${eniId}`);
  await operator.startControlPlane();
  const look = async (decision: string, why = '') =>
    pollUntil(
      async () => {
        const { stdout } = await plugin.run(['gc', '--plan', '-o', 'json']);
        // There is no leader at first.
        const found =
          stdout === '' ? undefined : plan.parse(JSON.parse(stdout)).orphans.find((orphan) => orphan.eniID === eniId);
        return found?.decision === decision && found.why.includes(why) ? found : undefined;
      },
      { what: `${eniId} in the plan`, timeoutMs: 60_000 },
    );
  // For its first two seconds it is too young.
  expect(await look('keep', 'one round only')).toMatchObject({ madeFor: `${ns}/orphan` });
  const early = await plugin.json(['gc', '--apply'], plan);
  expect(early.data.released).toEqual([]);
  expect(await operator.eni(eniId)).toMatchObject({ status: 'InUse' });
  const adoption = await plugin.json(
    ['adopt'],
    z.object({ adoptees: z.array(z.object({ name: z.string(), hindrance: z.string().optional() })) }),
  );
  expect(adoption.code).toBe(1);
  expect(adoption.data.adoptees).toContainEqual({
    name: eniId,
    hindrance: expect.stringContaining(`the record of ${ns}/orphan`),
  });

  await look('release');
  const applied = await plugin.json(['gc', '--apply'], plan);
  expect(applied).toMatchObject({ code: 0, data: { released: [{ eniID: eniId, call: 'detach' }] } });
  await pollUntil(async () => ((await operator.eni(eniId)) === undefined ? true : undefined), {
    what: `${eniId} to go`,
    timeoutMs: 60_000,
  });
});

test('adopt lists which records of another control plane are adopted, and what blocks the others', async () => {
  for (const name of ['theirs', 'damaged']) {
    await operator.createPod(ns, name, { node: node.name, networking: 'web' });
    const found = await operator.bound(ns, name);
    const [{ intent: _intent, ...allocation } = { eni: { id: '' } }] = found.spec.allocations ?? [];
    // Without what only this control plane writes.
    await operator.lab.api.patch(`${API}/namespaces/${ns}/podenis/${name}`, 'merge', {
      spec: {
        target: null,
        allocations: [
          name === 'theirs' ? allocation : { ...allocation, eni: { ...allocation.eni, vSwitchID: 'vsw-bp1other' } },
        ],
      },
    });
  }
  const schema = z.object({
    adoptees: z.array(
      z.object({ kind: z.string(), name: z.string(), state: z.string(), hindrance: z.string().optional() }),
    ),
  });
  const adoptees = await pollUntil(
    async () => {
      const { data } = await plugin.json(['adopt', '--apply'], schema);
      const records = data.adoptees.filter(({ kind }) => kind === 'PodENI');
      return records.length === 2 ? records : undefined;
    },
    { what: 'two records', timeoutMs: 20_000 },
  );
  expect(adoptees).toContainEqual({ kind: 'PodENI', name: `${ns}/theirs`, state: 'adopted' });
  expect(adoptees).toContainEqual({
    kind: 'PodENI',
    name: `${ns}/damaged`,
    state: 'hindered',
    hindrance: expect.stringContaining('the record says vsw-bp1other'),
  });
  expect((await plugin.run(['adopt'])).stdout).toMatch(/1 adopted, \d+ not/);
  const { data } = await plugin.json(['explain', 'pod', `${ns}/theirs`], explained);
  expect(data.verdict.text).toMatch(/^The ENI is attached/);
});

test('a bundle has everything about the network, and no secret', async () => {
  const SECRET = 'hunter2hunter2';
  const path = '/api/v1/namespaces/kube-system';
  await operator.lab.api.create(`${path}/secrets`, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'terway-controlplane-credential' },
    stringData: { 'ctrl-secret.yaml': `accessSecret: ${SECRET}` },
  });
  await operator.lab.api.create(`${path}/configmaps`, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'terway-controlplane' },
    data: { 'ctrl-config.yaml': `regionID: cn-hangzhou\naccessSecret: ${SECRET}\n` },
  });
  await operator.lab.api.create(`${path}/pods`, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'bundled', labels: { 'app.kubernetes.io/part-of': 'terway-controlplane' } },
    spec: {
      nodeName: node.name,
      containers: [
        {
          name: 'controlplane',
          image: 'ours',
          env: [
            { name: 'POD_NAME', value: 'bundled' },
            { name: 'API_TOKEN', value: SECRET },
          ],
        },
        {
          name: 'sidecar',
          image: 'theirs',
          env: [{ name: 'HARMLESS', value: SECRET }],
          args: [`--password=${SECRET}`],
        },
      ],
    },
  });
  await operator.lab.api.create(`${path}/configmaps`, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'special-nodes' },
    data: { eni_conf: '{}' },
  });
  const labelNode = (name: string | null) =>
    operator.lab.api.patch(`/api/v1/nodes/${node.name}`, 'merge', { metadata: { labels: { 'terway-config': name } } });
  await labelNode('special-nodes');
  const file = join(folder, 'bundle.tar.gz');
  try {
    const { code, stdout } = await plugin.run(['bundle', '-o', file]);
    expect(code).toBe(0);
    expect(stdout).toContain(file);
    const names = (await cluster.run('tar', ['-tzf', file])).stdout
      .split('\n')
      .map((name) => name.replace(/^[^/]*\//, ''));
    expect(names).toEqual(
      expect.arrayContaining([
        ...['objects/podenis.json', 'objects/podnetworkings.json', 'objects/kubernetes-nodes.json', 'events.json'],
        ...[
          'pods/bundled/pod.json',
          'configuration/terway-controlplane.json',
          'configuration/eni-config.json',
          'configuration/special-nodes.json',
          'versions.json',
        ],
        ...[
          'control-plane/status.json',
          'control-plane/metrics.txt',
          'control-plane/configuration.json',
          'errors.json',
        ],
      ]),
    );
    const all = (await cluster.run('tar', ['-xzOf', file])).stdout;
    expect(all).toContain('web-0');
    expect(all).toContain('terway_leader 1');
    expect(all).toContain('"POD_NAME"');
    expect(all).not.toContain(SECRET);
    expect(all).not.toContain('"HARMLESS"');
    expect(all).not.toContain(Buffer.from(SECRET).toString('base64'));
  } finally {
    await labelNode(null);
    for (const object of [
      ...['secrets/terway-controlplane-credential', 'configmaps/terway-controlplane', 'configmaps/special-nodes'],
      'pods/bundled',
    ]) {
      await operator.strip(`${path}/${object}`);
    }
  }
});

test('uninstall --check proves that nothing is left, or says how to remove it', async () => {
  const schema = z.object({
    proven: z.boolean(),
    enis: z.array(z.object({ eniID: z.string(), remedy: z.string() })),
    problem: z.string().optional(),
  });
  const before = await plugin.json(['uninstall', '--check'], schema);
  expect(before).toMatchObject({ code: 1, data: { proven: false } });
  const podEni = await operator.findPodEni(ns, 'web-0');
  if (podEni === undefined) throw new Error('web-0 has its record');
  expect(before.data.enis.find(({ eniID }) => eniID === idOf(podEni))?.remedy).toMatch(/^delete the pod/);
  expect(before.data.enis.some(({ remedy }) => remedy.startsWith('remove the node'))).toBe(true);
  const blind = await plugin.json(['uninstall', '--check'], schema, { socket: join(folder, 'nobody.sock') });
  expect(blind).toMatchObject({ code: 1, data: { proven: false, problem: expect.stringContaining('nobody answers') } });

  const pods = await operator.lab.api.list(`/api/v1/namespaces/${ns}/pods`);
  const named = z.object({ metadata: z.object({ name: z.string() }) });
  for (const pod of pods.objects) await operator.deletePod(ns, named.parse(pod).metadata.name);
  await operator.lab.api.delete('/api/v1/nodes');
  const after = await pollUntil(
    async () => {
      const asked = await plugin.json(['uninstall', '--check'], schema);
      return asked.code === 0 ? asked.data : undefined;
    },
    { what: 'the last ENI to go', timeoutMs: 60_000 },
  );
  expect(after).toMatchObject({ proven: true, enis: [] });
  expect((await operator.world()).cloud.enis.filter(({ type }) => type !== 'Primary')).toEqual([]);
});
