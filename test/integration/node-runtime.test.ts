import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CoreNode, coreNodeResource } from '../../src/agent/resources.ts';
import { RuntimeReporter } from '../../src/agent/runtime-reporter.ts';
import { nodeRuntimeResource } from '../../src/crds/node-runtime.ts';
import { connectKube, type KubeClient } from '../../src/kube/client.ts';
import { loadKubeConfig } from '../../src/kube/config.ts';
import { Informer } from '../../src/kube/informer.ts';
import { machine } from '../../src/util/test-support/machine.ts';
import { VirtualClock } from '../../src/util/test-support/virtual-clock.ts';
import type { ApiClient } from '../cluster/api.ts';
import { sharedCluster } from '../cluster/shared.ts';
import { installCrds, manifests, paths } from './crd-cluster.ts';

/** The hand-shake by which the control plane learns which pods a node has let go. */

const NODE = 'runtime-node';
let api: ApiClient;
let client: KubeClient;
let clock: VirtualClock;
let reporter: RuntimeReporter;
let newReporter: () => RuntimeReporter;
const sandboxes = new Set<string>();
/** Pods that may get one. */
const alive = new Set<string>();
const errors: unknown[] = [];

beforeAll(async () => {
  const cluster = await sharedCluster();
  api = await cluster.client();
  client = connectKube(await loadKubeConfig({ path: cluster.kubeconfigPath, clock: machine.clock }), machine);
  await installCrds(api, manifests(), async () =>
    api.list(paths.nodeRuntimes).then(
      () => true,
      () => false,
    ),
  );
  await api.create('/api/v1/nodes', { metadata: { name: NODE } });
  clock = new VirtualClock();
  const coreNode = new Informer<CoreNode>({ client, ...machine, resource: coreNodeResource });
  coreNode.store.upsert(await client.get(coreNodeResource, { name: NODE }));
  newReporter = () =>
    new RuntimeReporter({
      client,
      nodeName: NODE,
      view: { coreNode },
      clock,
      isUsed: ({ uid }) => sandboxes.has(uid) || alive.has(uid),
      hasSandbox: (uid) => sandboxes.has(uid),
      withSandbox: () => [],
      hasAddress: () => false,
      recordUid: () => 'record-uid',
      onError: (error) => errors.push(error),
    });
  reporter = newReporter();
});

afterAll(async () => {
  await api?.delete(`${paths.nodeRuntimes}/${NODE}`).catch(() => undefined);
  await api?.delete(`/api/v1/nodes/${NODE}`).catch(() => undefined);
  client?.close();
  api?.close();
});

/** State by uid, as the API server has it. */
async function states(): Promise<Record<string, string[]>> {
  await reporter.flush();
  const { status } = await client.get(nodeRuntimeResource, { name: NODE });
  return Object.fromEntries(
    Object.entries(status?.pods ?? {}).map(([uid, pod]) => [uid, [pod.podID ?? '', ...Object.keys(pod.status ?? {})]]),
  );
}

const pod = (uid: string, name = 'web-0') => ({ namespace: 'shop', name, uid });

test('the object is made when it is needed, and belongs to the node', async () => {
  reporter.report(pod('u1'), 'initial');
  expect(await states()).toEqual({ u1: ['shop/web-0', 'initial'] });
  const { metadata } = await client.get(nodeRuntimeResource, { name: NODE });
  expect(metadata).toMatchObject({
    labels: { name: NODE },
    annotations: { 'terway.alibabacloud.com/reports-release': 'true' },
    ownerReferences: [{ kind: 'Node', name: NODE }],
  });
});

test('a pod has one state: a sandbox that is made again is not taken for one that is gone (weak spots 10, 11)', async () => {
  reporter.report(pod('u1'), 'deleted');
  expect(await states()).toEqual({ u1: ['shop/web-0', 'deleted'] });
  // Within the same second.
  reporter.report(pod('u1'), 'initial');
  expect(await states()).toEqual({ u1: ['shop/web-0', 'initial'] });
  reporter.report(pod('u1'), 'initial');
  reporter.report(pod('u1'), 'deleted');
  expect(await states()).toEqual({ u1: ['shop/web-0', 'deleted'] });
});

test('the earlier pod of a name has its own entry (weak spot 12)', async () => {
  reporter.report(pod('u2'), 'initial');
  expect(await states()).toEqual({ u1: ['shop/web-0', 'deleted'], u2: ['shop/web-0', 'initial'] });
});

test('many reports are one write; obsolete ones are dropped', async () => {
  const before = client.counts.patch;
  for (let at = 0; at < 50; at += 1) reporter.report(pod(`crowd-${at}`, `crowd-${at}`), 'initial');
  await clock.advance(1000);
  expect(Object.keys(await states())).toHaveLength(52);
  expect(client.counts.patch - before).toBe(1);
  await clock.advance(3_600_000);
  reporter.report(pod('u3', 'late'), 'initial');
  const left = await states();
  expect(left['u1']).toBeUndefined();
  expect(Object.keys(left)).toHaveLength(52);
  expect(errors).toEqual([]);
});

test('a release does not wait for the batch: `deleted` is written at once', async () => {
  reporter.report(pod('crowd-1'), 'initial');
  reporter.report(pod('crowd-0'), 'deleted');
  await clock.advance(100);
  await expect
    .poll(async () => (await client.get(nodeRuntimeResource, { name: NODE })).status?.pods?.['crowd-0']?.status)
    .toHaveProperty('deleted');
});

test('that a sandbox is gone is said once, and taken back before the pod gets another', async () => {
  await reporter.flush();
  const before = client.counts.patch;
  reporter.released(pod('crowd-0'));
  expect(await states()).toMatchObject({ 'crowd-0': ['shop/web-0', 'deleted'] });
  expect(client.counts.patch - before).toBe(0);
  await expect(reporter.takeBack(pod('crowd-0'))).rejects.toThrow('pod shop/web-0 with uid crowd-0 is gone');
  alive.add('crowd-0');
  await reporter.takeBack(pod('crowd-0'));
  expect((await client.get(nodeRuntimeResource, { name: NODE })).status?.pods?.['crowd-0']?.status).toHaveProperty(
    'initial',
  );
  await reporter.takeBack(pod('crowd-0'));
  expect(client.counts.patch - before).toBe(1);
});

test('the next process of the agent marks the object, and says what the one before could not', async () => {
  reporter.report(pod('crowd-2'), 'deleted');
  await reporter.flush();
  await client.patch(
    nodeRuntimeResource,
    { name: NODE },
    { type: 'merge', body: { metadata: { annotations: { 'terway.alibabacloud.com/reports-release': null } } } },
  );
  sandboxes.add('crowd-3');
  reporter = newReporter();
  reporter.start();
  await clock.advance(0);
  const said = await states();
  expect(said['crowd-3']).toContain('initial');
  expect(said['crowd-4']).toContain('deleted');
  const { metadata } = await client.get(nodeRuntimeResource, { name: NODE });
  expect(metadata.annotations).toEqual({
    'terway.alibabacloud.com/reports-release': 'true',
    'terway.alibabacloud.com/reported-for': 'record-uid',
  });
  // It knows what was said before it.
  alive.add('crowd-2');
  await reporter.takeBack(pod('crowd-2'));
  expect(await states()).toMatchObject({ 'crowd-2': ['shop/web-0', 'initial'] });
});

test('an object that somebody deleted is made again, and an ADD that cannot take back fails', async () => {
  reporter.report(pod('crowd-2'), 'deleted');
  await reporter.flush();
  await api.delete(`${paths.nodeRuntimes}/${NODE}`);
  await expect(reporter.takeBack(pod('crowd-2'))).rejects.toThrow(/NodeRuntime runtime-node could not be written/);
  await reporter.takeBack(pod('crowd-2'));
  const said = await states();
  expect(said['crowd-2']).toEqual(['shop/web-0', 'initial']);
  // What was said before is said again: a release may wait for it.
  expect(said['crowd-4']).toContain('deleted');
});
