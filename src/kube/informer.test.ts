import { afterEach, beforeEach, expect, test } from 'vitest';
import { seededRandom } from '../util/random.ts';
import { machine } from '../util/test-support/machine.ts';
import { connectKube, type KubeClient } from './client.ts';
import { Informer, type InformerOptions } from './informer.ts';
import { failure, TestApiServer } from './test-support/api-server.ts';
import { TcpProxy } from './test-support/tcp-proxy.ts';
import { eventually, pause } from './test-support/wait.ts';
import type { HasMetadata, Resource } from './types.ts';

interface Pod extends HasMetadata {
  value?: string;
}

const PODS = '/api/v1/pods';
const podResource: Resource<Pod> = { group: '', version: 'v1', plural: 'pods', kind: 'Pod', namespaced: true };
const parsePod = (raw: unknown): Pod => {
  const pod = raw as Pod;
  if (pod.value === 'bad') throw new Error('bad value');
  return pod;
};
/** The defaults, scaled down for tests. */
const timing = { minBackOffMs: 5, maxBackOffMs: 40, silenceLimitMs: 60_000, initialSilenceLimitMs: 60_000 };

let server: TestApiServer;
let abort: AbortController;
const clients: KubeClient[] = [];
const runs: Promise<void>[] = [];
let errors: unknown[];

beforeEach(async () => {
  server = new TestApiServer();
  await server.start();
  abort = new AbortController();
  errors = [];
});

afterEach(async () => {
  abort.abort();
  await Promise.all(runs.splice(0));
  for (const client of clients.splice(0)) client.close();
  await server.stop();
});

function connect(port = server.port): KubeClient {
  const client = connectKube(server.configFor(port), { ...machine, pingIntervalMs: 200, pingTimeoutMs: 100 });
  clients.push(client);
  return client;
}

function start(options: Partial<InformerOptions<Pod>> = {}): Informer<Pod> {
  const informer = new Informer<Pod>({
    client: connect(),
    resource: podResource,
    clock: machine.clock,
    random: seededRandom(1),
    onError: (error) => errors.push(error),
    timing,
    ...options,
  });
  runs.push(informer.run(abort.signal));
  return informer;
}

/** Ends the server's watches with `cut`, and waits for the next one. */
async function nextWatchAfter(cut: () => void): Promise<void> {
  const before = server.requestsOf('watch').length;
  cut();
  await eventually(() => server.requestsOf('watch').length > before && server.watchers.size === 1);
}

/** Lists with limit 1, which only ask for the server's current version. */
function looks(): number {
  return server.requestsOf('list').filter(({ query }) => query.get('limit') === '1').length;
}

/** The handler calls, as short lines. */
function record(informer: Informer<Pod>): string[] {
  const log: string[] = [];
  informer.addHandler({
    onAdd: (pod, origin) => log.push(`add ${pod.metadata.name} ${pod.value} ${origin}`),
    onUpdate: (before, pod, origin) => log.push(`update ${pod.metadata.name} ${before.value}->${pod.value} ${origin}`),
    onDelete: (pod, origin) => log.push(`delete ${pod.metadata.name} ${pod.value} ${origin}`),
  });
  return log;
}

test('fills the store by watch-list and follows', async () => {
  server.put(PODS, 'a', 'one', { value: '1' });
  server.put(PODS, 'b', 'two', { value: '1' });
  const informer = start();
  const log = record(informer);
  await informer.synced(abort.signal);
  expect(informer.store.keys().sort()).toEqual(['a/one', 'b/two']);
  server.put(PODS, 'a', 'one', { value: '2' });
  server.remove(PODS, 'b', 'two');
  server.put(PODS, 'a', 'three', { value: '1' });
  await eventually(() => log.length === 5);
  expect(log.slice(2)).toEqual(['update one 1->2 watch', 'delete two 1 watch', 'add three 1 watch']);
  expect(informer.lastSyncedResourceVersion).toBe(String(server.version));
  expect(server.requestsOf('list')).toHaveLength(0);
  expect(server.requestsOf('watch')[0]?.query.toString()).toContain(
    'sendInitialEvents=true&resourceVersionMatch=NotOlderThan',
  );
  expect(errors).toEqual([]);
});

test('what changes or goes while the initial objects are still coming is not a ghost in the store', async () => {
  server.intercept = (_, stream) => {
    const pod = (name: string, resourceVersion: string, value = '1') => ({
      metadata: { namespace: 'a', name, uid: name, resourceVersion },
      value,
    });
    const end = { resourceVersion: '9', annotations: { 'k8s.io/initial-events-end': 'true' } };
    stream.respond({ ':status': 200, 'content-type': 'application/json' });
    for (const [type, object] of [
      ['ADDED', pod('goes', '1')],
      ['ADDED', pod('changes', '2')],
      ['ADDED', pod('spoilt', '3', 'bad')],
      ['DELETED', pod('goes', '4')],
      ['MODIFIED', pod('changes', '5', '2')],
      ['DELETED', pod('spoilt', '6', 'bad')],
      ['BOOKMARK', { metadata: end }],
    ]) {
      stream.write(`${JSON.stringify({ type, object })}\n`);
    }
    return 'handled';
  };
  const informer = start({ resource: { ...podResource, parse: parsePod } });
  const log = record(informer);
  await informer.synced(abort.signal);
  expect(log).toEqual(['add changes 2 list']);
  expect([...informer.store.unreadableKeys]).toEqual([]);
});

test('lists in pages when the server has no watch-list', async () => {
  server.supportsWatchList = false;
  for (let i = 0; i < 25; i++) server.put(PODS, 'a', `pod-${i}`, { value: '1' });
  const informer = start({ timing: { ...timing, pageSize: 10 } });
  await informer.synced(abort.signal);
  expect(informer.store.size).toBe(25);
  expect(server.requestsOf('list')).toHaveLength(3);
  await eventually(() => server.watchers.size === 1);
  server.put(PODS, 'a', 'pod-0', { value: '2' });
  await eventually(() => informer.store.get('a/pod-0')?.value === '2');
  expect(errors).toEqual([]);
});

test('lists in pages when the server ignores the watch-list parameters', async () => {
  server.put(PODS, 'a', 'one');
  server.intercept = ({ query }, stream) => {
    if (query.get('sendInitialEvents') !== 'true') return undefined;
    stream.respond({ ':status': 200 });
    return 'handled';
  };
  const informer = start({ timing: { ...timing, initialSilenceLimitMs: 50 } });
  await informer.synced(abort.signal);
  expect(informer.store.size).toBe(1);
});

test('a continue token that expires in the middle restarts the list', async () => {
  server.supportsWatchList = false;
  for (let i = 0; i < 25; i++) server.put(PODS, 'a', `pod-${i}`);
  let expired = 0;
  server.intercept = ({ query }) => {
    if (!query.has('continue') || expired > 0) return undefined;
    expired += 1;
    return failure(410, 'Expired', 'the provided continue parameter is too old');
  };
  const informer = start({ timing: { ...timing, pageSize: 10 } });
  await informer.synced(abort.signal);
  expect(informer.store.size).toBe(25);
  expect(expired).toBe(1);
});

test('resumes an ended watch from the last version, without a list', async () => {
  server.put(PODS, 'a', 'one', { value: '1' });
  const informer = start();
  const log = record(informer);
  await informer.synced(abort.signal);
  server.bookmark();
  const { version } = server;
  await pause(20);
  server.cutWatches();
  server.put(PODS, 'a', 'one', { value: '2' });
  await eventually(() => log.length === 2);
  expect(server.requestsOf('watch')[1]?.query.get('resourceVersion')).toBe(String(version));
  expect(looks()).toBe(server.requestsOf('list').length);
});

test('410 leads to a new list; deletions and re-creations meanwhile reach the handlers', async () => {
  server.put(PODS, 'a', 'stays', { value: '1' });
  server.put(PODS, 'a', 'goes', { value: '1' });
  server.put(PODS, 'a', 'reborn', { value: '1' });
  const informer = start();
  const log = record(informer);
  await informer.synced(abort.signal);
  const uid = informer.store.get('a/reborn')?.metadata.uid;
  // While there is no watch.
  server.intercept = ({ query }) => (query.has('watch') ? failure(503, 'ServiceUnavailable', 'not now') : undefined);
  server.cutWatches();
  await eventually(() => server.watchers.size === 0);
  server.remove(PODS, 'a', 'goes');
  server.remove(PODS, 'a', 'reborn');
  server.put(PODS, 'a', 'reborn', { value: '2' });
  server.compactedBefore = server.version;
  server.intercept = undefined;
  await eventually(() => log.length === 6);
  expect(log.slice(3)).toEqual(['delete goes 1 list', 'delete reborn 1 list', 'add reborn 2 list']);
  expect(informer.store.get('a/reborn')?.metadata.uid).not.toBe(uid);
  // The expired version is not requested a second time.
  expect(errors.filter((error) => String(error).includes('too old resource version'))).toHaveLength(1);
});

test('continues after every kind of failure', async () => {
  server.put(PODS, 'a', 'one', { value: '0' });
  const informer = start();
  await informer.synced(abort.signal);
  const failures = [
    () => failure(500, 'InternalError', 'boom'),
    () => failure(429, 'TooManyRequests', 'slow down'),
    () => failure(403, 'Forbidden', 'no'),
    () => failure(401, 'Unauthorized', 'no'),
    () => failure(504, 'Timeout', 'Too large resource version: 5, current: 4'),
    () => failure(400, 'BadRequest', 'nonsense'),
    () => ({ status: 502, body: '<html>bad gateway' }),
  ];
  for (const [i, fail] of failures.entries()) {
    let count = 0;
    server.intercept = ({ query }) => (query.has('watch') && count++ < 7 ? fail() : undefined);
    server.cutWatches();
    await eventually(() => count >= 7 && server.watchers.size === 1);
    server.put(PODS, 'a', 'one', { value: String(i + 1) });
    await eventually(() => informer.store.get('a/one')?.value === String(i + 1));
  }
  for (const line of ['{"type":', '{"type":"ADDED"}', '{"type":"ODD","object":{}}']) {
    await eventually(() => server.watchers.size === 1);
    await nextWatchAfter(() => server.sendLine(line));
    server.put(PODS, 'a', 'one', { value: line });
    await eventually(() => informer.store.get('a/one')?.value === line);
  }
});

test('survives a restart of the server', async () => {
  server.put(PODS, 'a', 'one', { value: '1' });
  const informer = start();
  await informer.synced(abort.signal);
  await server.stop();
  await pause(50);
  server.put(PODS, 'a', 'one', { value: '2' });
  await server.start();
  await eventually(() => informer.store.get('a/one')?.value === '2');
  expect(looks()).toBe(server.requestsOf('list').length);
});

test('notices a black-holed connection', async () => {
  const proxy = new TcpProxy(server.port);
  const port = await proxy.start();
  const informer = start({ client: connect(port) });
  await informer.synced(abort.signal);
  proxy.swallowPresentConnections();
  server.put(PODS, 'a', 'one', { value: '1' });
  await eventually(() => informer.store.get('a/one')?.value === '1', 2000);
  abort.abort();
  await proxy.stop();
});

test('replaces a watch that stays open but sends nothing', async () => {
  const informer = start({ timing: { ...timing, silenceLimitMs: 100 } });
  await informer.synced(abort.signal);
  // The server forgets its watcher without closing the stream.
  server.watchers.clear();
  server.put(PODS, 'a', 'one', { value: '1' });
  await eventually(() => informer.store.get('a/one')?.value === '1', 1000);
  expect(errors.map(String).join()).toContain('nothing came in 100 ms');
});

test('a relist shows what a late watch has not brought yet', async () => {
  server.put(PODS, 'ns', 'a', { value: '1' });
  const informer = start();
  await informer.synced(abort.signal);
  const log = record(informer);
  // The server forgets its watcher without closing the stream.
  server.watchers.clear();
  server.put(PODS, 'ns', 'a', { value: '2' });
  server.put(PODS, 'ns', 'b', {});
  expect(informer.store.get('ns/b')).toBeUndefined();
  await informer.relist(abort.signal);
  expect(informer.store.get('ns/a')?.value).toBe('2');
  expect(informer.store.get('ns/b')).toBeDefined();
  expect(log.length).toBeGreaterThan(0);
  expect(errors).toEqual([]);
  // It follows again.
  server.put(PODS, 'ns', 'c', {});
  await eventually(() => informer.store.get('ns/c') !== undefined);
  const waiting = informer.relist(abort.signal);
  abort.abort(new Error('over'));
  await expect(waiting).rejects.toThrow('over');
});

test('ends a watch that the server does not end', async () => {
  server.put(PODS, 'a', 'one');
  const informer = start({ timing: { ...timing, minWatchSeconds: 0, watchGraceMs: 60 } });
  await informer.synced(abort.signal);
  await eventually(() => server.requestsOf('watch').length >= 3, 1000);
});

test('a history that goes backwards replaces the store', async () => {
  server.put(PODS, 'a', 'old', { value: '1' });
  const backup = server.version;
  const informer = start();
  await informer.synced(abort.signal);
  server.put(PODS, 'a', 'lost', { value: '1' });
  await eventually(() => informer.store.size === 2);
  await nextWatchAfter(() => server.rewind(backup - 1, (object) => object.metadata.name !== 'lost'));
  server.put(PODS, 'a', 'new', { value: '1' });
  expect(server.version).toBe(backup);
  await eventually(() => informer.store.keys().sort().join() === 'a/new,a/old');
});

test('an object that cannot be parsed is reported, keeps its last state, and does not count as deleted', async () => {
  server.put(PODS, 'a', 'turns-bad', { value: '1' });
  server.put(PODS, 'a', 'always-bad', { value: 'bad' });
  server.put(PODS, 'a', 'good', { value: '1' });
  const informer = start({ resource: { ...podResource, parse: parsePod } });
  await informer.synced(abort.signal);
  expect([...informer.store.unreadableKeys]).toEqual(['a/always-bad']);
  server.put(PODS, 'a', 'turns-bad', { value: 'bad' });
  server.put(PODS, 'a', 'good', { value: '2' });
  await eventually(() => informer.store.get('a/good')?.value === '2');
  expect(informer.store.get('a/turns-bad')?.value).toBe('1');
  server.compactedBefore = server.version + 1;
  server.cutWatches();
  await eventually(() => errors.some((error) => String(error).includes('too old')));
  server.compactedBefore = 0;
  await eventually(() => server.watchers.size === 1);
  expect(informer.store.get('a/turns-bad')?.value).toBe('1');
  expect(informer.store.unreadableKeys.size).toBe(2);
  server.put(PODS, 'a', 'always-bad', { value: 'healed' });
  await eventually(() => informer.store.get('a/always-bad')?.value === 'healed');
  expect([...informer.store.unreadableKeys]).toEqual(['a/turns-bad']);
});

test('a handler that throws is reported and stops nothing', async () => {
  const informer = start();
  informer.addHandler({
    onAdd: () => {
      throw new Error('clumsy');
    },
  });
  const log = record(informer);
  await informer.synced(abort.signal);
  server.put(PODS, 'a', 'one', { value: '1' });
  server.put(PODS, 'a', 'two', { value: '1' });
  await eventually(() => log.length === 2);
  expect(errors).toHaveLength(2);
});

test('lines split over chunks, and many lines in one chunk', async () => {
  const informer = start();
  await informer.synced(abort.signal);
  const value = 'ä€😀'.repeat(30_000);
  server.put(PODS, 'a', 'big', { value });
  for (let i = 0; i < 200; i++) server.put(PODS, 'a', `small-${i}`, { value: String(i) });
  await eventually(() => informer.store.size === 201);
  expect(informer.store.get('a/big')?.value).toBe(value);
});

test('staleness grows without contact and resets with it', async () => {
  const informer = start();
  await informer.synced(abort.signal);
  await pause(60);
  expect(informer.staleForMs).toBeGreaterThan(40);
  server.bookmark();
  await eventually(() => informer.staleForMs < 30);
});

test('synced gives up when its signal aborts', async () => {
  server.intercept = () => failure(500, 'InternalError', 'boom');
  const informer = start();
  const waiting = new AbortController();
  const synced = informer.synced(waiting.signal);
  waiting.abort(new Error('enough'));
  await expect(synced).rejects.toThrow('enough');
});
