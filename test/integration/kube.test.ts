import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { connectKube, type KubeClient } from '../../src/kube/client.ts';
import { loadKubeConfig } from '../../src/kube/config.ts';
import { isAlreadyExists, isConflict, isExpired, isInvalid, isNotFound } from '../../src/kube/errors.ts';
import { EventRecorder, eventResource } from '../../src/kube/events.ts';
import { Informer } from '../../src/kube/informer.ts';
import { runWithLease } from '../../src/kube/lease.ts';
import { patchObject } from '../../src/kube/patch.ts';
import { eventually, pause } from '../../src/kube/test-support/wait.ts';
import type { HasMetadata, Resource } from '../../src/kube/types.ts';
import { machine } from '../../src/util/test-support/machine.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { startApiServer } from './crd-cluster.ts';

interface ConfigMap extends HasMetadata {
  data?: Record<string, string>;
}

const configMaps: Resource<ConfigMap> = {
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
};

let cluster: Cluster;
let client: KubeClient;
let abort: AbortController;
const runs: Promise<void>[] = [];

beforeAll(async () => {
  cluster = await startApiServer();
  client = connectKube(await loadKubeConfig({ path: cluster.kubeconfigPath, clock: machine.clock }), machine);
}, 900_000);

afterAll(async () => {
  client?.close();
  await cluster?.stop();
}, 60_000);

beforeEach(() => {
  abort = new AbortController();
});

afterEach(async () => {
  abort.abort();
  await Promise.all(runs.splice(0));
});

function key(name: string): { namespace: string; name: string } {
  return { namespace: 'default', name };
}

function startInformer(errors: unknown[] = []): Informer<ConfigMap> {
  const informer = new Informer({
    client,
    resource: configMaps,
    ...machine,
    namespace: 'default',
    onError: (error) => errors.push(error),
    timing: { minBackOffMs: 50, maxBackOffMs: 500 },
  });
  runs.push(informer.run(abort.signal));
  return informer;
}

test('reads, writes, and tells errors apart', async () => {
  const created = await client.create(configMaps, { metadata: key('crud'), data: { a: '1' } });
  expect(isAlreadyExists(await failureOf(client.create(configMaps, { metadata: key('crud') })))).toBe(true);
  const patched = await client.patch(configMaps, key('crud'), { type: 'merge', body: { data: { b: '2' } } });
  expect(patched.data).toEqual({ a: '1', b: '2' });
  const apply = { apiVersion: 'v1', kind: 'ConfigMap', data: { c: '3' } };
  await client.patch(configMaps, key('crud'), { type: 'apply', body: apply, fieldManager: 'test', force: true });
  await client.patch(configMaps, key('crud'), { type: 'json', body: [{ op: 'remove', path: '/data/a' }] });
  expect((await client.get(configMaps, key('crud'))).data).toEqual({ b: '2', c: '3' });

  const stale = patchObject(client, configMaps, created, (draft) => {
    draft.data = { a: 'stale' };
  });
  expect(isConflict(await failureOf(stale))).toBe(true);
  const wrongUid = { uid: '00000000-0000-0000-0000-000000000000' };
  const foreign = { ...created, metadata: { ...created.metadata, ...wrongUid } };
  const claim = (draft: ConfigMap) => {
    draft.data = { a: 'foreign' };
  };
  const refused = await failureOf(patchObject(client, configMaps, foreign, claim, { optimisticLock: false }));
  expect(isConflict(refused) || isInvalid(refused)).toBe(true);
  const invalid = client.patch(configMaps, key('crud'), { type: 'merge', body: { data: { 'no/key': 'x' } } });
  expect(isInvalid(await failureOf(invalid))).toBe(true);
  expect(isConflict(await failureOf(client.delete(configMaps, key('crud'), { preconditions: wrongUid })))).toBe(true);
  expect(await client.delete(configMaps, key('crud'))).toEqual({ state: 'gone' });
  expect(isNotFound(await failureOf(client.get(configMaps, key('crud'))))).toBe(true);
});

test('an object with a finalizer is being deleted, until its writer lets it go', async () => {
  await client.create(configMaps, { metadata: { ...key('held'), finalizers: ['example.com/hold'] } });
  const deletion = await client.delete(configMaps, key('held'));
  if (deletion.state !== 'deleting') throw new Error('the finalizer was overlooked');
  await patchObject(client, configMaps, deletion.object, (draft) => {
    draft.metadata.finalizers = [];
  });
  expect(isNotFound(await failureOf(client.get(configMaps, key('held'))))).toBe(true);
});

test('lists in pages', async () => {
  for (let i = 0; i < 5; i++) await client.create(configMaps, { metadata: key(`page-${i}`) });
  const first = await client.list(configMaps, { namespace: 'default', limit: 3 });
  expect(first.items).toHaveLength(3);
  expect(first.items[0]).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
  const rest = await client.list(configMaps, { namespace: 'default', limit: 3, continueToken: first.continueToken });
  expect(rest.items.length).toBeGreaterThan(0);
});

test('an informer starts with a watch-list, sees own writes at once, and survives a crash of the server', async () => {
  const errors: unknown[] = [];
  const informer = startInformer(errors);
  const events: string[] = [];
  informer.addHandler({
    onAdd: ({ metadata }, origin) => events.push(`add ${metadata.name} ${origin}`),
    onUpdate: (_, { metadata }, origin) => events.push(`update ${metadata.name} ${origin}`),
    onDelete: ({ metadata }, origin) => events.push(`delete ${metadata.name} ${origin}`),
  });
  await informer.synced(abort.signal);
  expect(client.counts.watch).toBeGreaterThan(0);
  events.length = 0;
  const written = await client.create(configMaps, { metadata: key('seen'), data: { a: '1' } });
  informer.store.noteWritten(written);
  expect(informer.store.get('default/seen')?.data).toEqual({ a: '1' });
  await client.patch(configMaps, key('seen'), { type: 'merge', body: { data: { a: '2' } } });
  await eventually(() => informer.store.get('default/seen')?.data?.['a'] === '2');
  expect(events.filter((event) => event.includes('seen')).at(-1)).toBe('update seen watch');

  await cluster.killApiServer();
  await eventually(() => errors.length > 0, 20_000);
  await cluster.restartApiServer();
  await client.patch(configMaps, key('seen'), { type: 'merge', body: { data: { a: '3' } } });
  await eventually(() => informer.store.get('default/seen')?.data?.['a'] === '3', 20_000);
  const { metadata } = await client.get(configMaps, key('seen'));
  await client.delete(configMaps, key('seen'));
  informer.store.noteDeleted('default/seen', metadata.uid ?? '');
  expect(informer.store.get('default/seen')).toBeUndefined();
}, 120_000);

test('a watch from a forgotten version is told apart', async () => {
  const read = async () => {
    for await (const event of await client.watch(configMaps, { resourceVersion: '1' })) return event;
    return undefined;
  };
  expect(isExpired(await failureOf(read()))).toBe(true);
});

test('a lease is taken, held, and given back', async () => {
  const stop = new AbortController();
  let isLeading = false;
  const outcome = runWithLease({
    client,
    namespace: 'default',
    name: 'test-lease',
    identity: 'one',
    ...machine,
    signal: stop.signal,
    onLead: async (signal) => {
      isLeading = true;
      await new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    },
  });
  await eventually(() => isLeading);
  await pause(5000);
  stop.abort();
  expect(await outcome).toBe('stopped');
  const again = await runWithLease({
    client,
    namespace: 'default',
    name: 'test-lease',
    identity: 'another',
    ...machine,
    signal: new AbortController().signal,
    onLead: () => Promise.resolve(),
  });
  expect(again).toBe('finished');
}, 30_000);

test('events and their series are accepted by the server', async () => {
  const errors: unknown[] = [];
  const onError = (error: unknown) => errors.push(error);
  const recorder = new EventRecorder({
    client,
    controller: 'pod',
    instance: 'test',
    clock: machine.clock,
    onError,
    seriesIntervalMs: 100,
  });
  const regarding = await client.create(configMaps, { metadata: key('told') });
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'worker', uid: 'abc' } };
  const input = { type: 'Warning', reason: 'AttachFailed', action: 'Attach', note: 'ä'.repeat(2000) } as const;
  for (let i = 0; i < 4; i++) {
    recorder.event(regarding, { ...input, related: node });
    recorder.event(node, input);
    await pause(60);
  }
  await recorder.close(5000);
  expect(errors).toEqual([]);
  const events = (await client.list(eventResource, { namespace: 'default' })).items;
  expect(events.filter(({ reason }) => reason === 'AttachFailed').map(({ series }) => series?.count)).toEqual([4, 4]);
});

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => new Error('it did not fail'),
    (error: unknown) => error,
  );
}
