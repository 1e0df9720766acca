import { beforeEach, expect, test } from 'vitest';
import { KubeClient } from '../../src/kube/client.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../src/kube/errors.ts';
import type { HasMetadata, Resource } from '../../src/kube/types.ts';
import { seededRandom } from '../../src/util/random.ts';
import { VirtualClock } from '../../src/util/test-support/virtual-clock.ts';
import { KubeModel } from './model/model.ts';
import { SimulatedTransport } from './transport.ts';

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

let clock: VirtualClock;
let model: KubeModel;
let transport: SimulatedTransport;
let client: KubeClient;

beforeEach(() => {
  clock = new VirtualClock();
  model = new KubeModel();
  transport = new SimulatedTransport({ model, clock, replica: 'a' });
  client = new KubeClient({ transport, clock, random: seededRandom(1) });
});

/** Lets virtual time pass until the call has its answer. */
async function during<T>(call: Promise<T>, limitMs = 60_000): Promise<T> {
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  call.then(over, over);
  for (let passedMs = 0; passedMs <= limitMs && !isOver; passedMs++) await clock.advance(1);
  return call;
}

const key = { namespace: 'default', name: 'a' };

test('an object is created, read, listed, changed and deleted', async () => {
  const created = await during(client.create(configMaps, { metadata: key, data: { a: '1' } }));
  expect(created.metadata).toMatchObject({ ...key, creationTimestamp: '2026-01-01T00:00:00Z' });
  await expect(during(client.create(configMaps, { metadata: key }))).rejects.toSatisfy(isAlreadyExists);
  expect(await during(client.get(configMaps, key))).toEqual(created);
  expect((await during(client.list(configMaps))).items).toEqual([created]);

  const patch = { data: { b: '2' }, metadata: { resourceVersion: created.metadata.resourceVersion } };
  const patched = await during(client.patch(configMaps, key, { type: 'merge', body: patch }));
  expect(patched.data).toEqual({ a: '1', b: '2' });
  const stale = client.patch(configMaps, key, { type: 'merge', body: patch });
  await expect(during(stale)).rejects.toSatisfy(isConflict);

  expect(await during(client.delete(configMaps, key))).toEqual({ state: 'gone' });
  await expect(during(client.get(configMaps, key))).rejects.toSatisfy(isNotFound);
});

test('a watch shows what is there, then each change', async () => {
  await during(client.create(configMaps, { metadata: key }));
  const abort = new AbortController();
  const events = await during(client.watch(configMaps, { sendInitialEvents: true, signal: abort.signal }));
  const seen: string[] = [];
  const reading = (async () => {
    for await (const event of events) {
      seen.push(event.type === 'BOOKMARK' ? `BOOKMARK ${event.initialEventsEnd}` : event.type);
    }
  })();
  await during(client.patch(configMaps, key, { type: 'merge', body: { data: { a: '1' } } }));
  await during(client.delete(configMaps, key));
  await clock.advance(60_000);
  expect(seen).toEqual(['ADDED', 'BOOKMARK true', 'MODIFIED', 'DELETED', 'BOOKMARK false']);
  abort.abort(new Error('enough'));
  await expect(reading).rejects.toThrow('enough');
});

test('what is under way when the server goes away is lost', async () => {
  const lost = client.create(configMaps, { metadata: key });
  transport.breakConnections();
  await expect(during(lost)).rejects.toThrow('the connection broke');
  await expect(during(client.get(configMaps, key))).rejects.toSatisfy(isNotFound);
  const unanswered = client.create(configMaps, { metadata: key });
  await clock.advance(1);
  transport.breakConnections();
  await expect(during(unanswered)).rejects.toThrow('the connection broke');
  expect((await during(client.get(configMaps, key))).metadata).toMatchObject(key);
});
