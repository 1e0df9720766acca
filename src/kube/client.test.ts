import { afterEach, beforeEach, expect, test } from 'vitest';
import { machine } from '../util/test-support/machine.ts';
import { type ConnectOptions, connectKube, type KubeClient } from './client.ts';
import type { RequestObservation } from './client-types.ts';
import {
  isAlreadyExists,
  isConflict,
  isExpired,
  isInvalid,
  isNotFound,
  isTimeout,
  isTooManyRequests,
  KubeApiError,
} from './errors.ts';
import { failure, TestApiServer } from './test-support/api-server.ts';
import type { HasMetadata, Resource } from './types.ts';

interface Thing extends HasMetadata {
  spec?: { size?: number };
}

const things: Resource<Thing> = {
  group: 'example.com',
  version: 'v1',
  plural: 'things',
  kind: 'Thing',
  namespaced: true,
};
const nodes: Resource<HasMetadata> = { group: '', version: 'v1', plural: 'nodes', kind: 'Node', namespaced: false };
const THINGS = '/apis/example.com/v1/things';
const x = { namespace: 'ns', name: 'x' };

let server: TestApiServer;
let client: KubeClient;
const seen: RequestObservation[] = [];

beforeEach(async () => {
  server = new TestApiServer();
  await server.start();
  seen.length = 0;
  client = connect();
});

afterEach(async () => {
  client.close();
  await server.stop();
});

function connect(options: Partial<ConnectOptions> = {}): KubeClient {
  const onRequest = (observation: RequestObservation) => seen.push(observation);
  return connectKube(server.configFor(), { ...machine, onRequest, ...options });
}

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it did not fail');
}

test('creates, reads, lists, patches and deletes', async () => {
  const created = await client.create(things, { metadata: x, spec: { size: 1 } }, { fieldManager: 'me' });
  expect(created).toMatchObject({ apiVersion: 'example.com/v1', kind: 'Thing', spec: { size: 1 } });
  expect(await client.get(things, x)).toEqual(created);
  await client.patch(things, x, { type: 'merge', body: { spec: { size: 2 } } });
  await client.patchStatus(things, x, { type: 'merge', body: { status: { phase: 'Up' } } });
  expect((await client.list(things, { namespace: 'ns' })).items[0]).toMatchObject({
    spec: { size: 2 },
    status: { phase: 'Up' },
  });
  expect(await client.delete(things, x)).toEqual({ state: 'gone' });
  expect(isNotFound(await errorOf(client.get(things, x)))).toBe(true);
  expect(server.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
    'POST /apis/example.com/v1/namespaces/ns/things',
    'GET /apis/example.com/v1/namespaces/ns/things/x',
    'PATCH /apis/example.com/v1/namespaces/ns/things/x',
    'PATCH /apis/example.com/v1/namespaces/ns/things/x/status',
    'GET /apis/example.com/v1/namespaces/ns/things',
    'DELETE /apis/example.com/v1/namespaces/ns/things/x',
    'GET /apis/example.com/v1/namespaces/ns/things/x',
  ]);
  expect(seen.map(({ verb, subresource, code }) => `${verb}${subresource} ${code}`)).toEqual([
    'create 201',
    'get 200',
    'patch 200',
    'patchstatus 200',
    'list 200',
    'delete 200',
    'get 404',
  ]);
  expect(client.counts).toEqual({ get: 2, list: 1, create: 1, patch: 2, delete: 1, watch: 0 });
});

test('the result of a delete says whether finalizers hold the object', async () => {
  server.put(THINGS, 'ns', 'x', { metadata: { finalizers: ['example.com/hold'] } });
  expect(await client.delete(things, x)).toMatchObject({ state: 'deleting', object: { metadata: { name: 'x' } } });
});

test('patches carry their content type', async () => {
  server.put(THINGS, 'ns', 'x');
  server.intercept = ({ method }) => (method === 'PATCH' ? { status: 200, body: { metadata: x } } : undefined);
  await client.patch(things, x, { type: 'merge', body: {} });
  await client.patch(things, x, { type: 'json', body: [{ op: 'remove', path: '/spec' }] });
  await client.patch(things, x, { type: 'apply', body: {}, fieldManager: 'me', force: true });
  expect(server.requests.map(({ headers }) => headers['content-type'])).toEqual([
    'application/merge-patch+json',
    'application/json-patch+json',
    'application/apply-patch+yaml',
  ]);
  expect(server.requests.at(-1)?.query.toString()).toBe('fieldManager=me&force=true');
});

test('an incomplete key never addresses the collection', async () => {
  await expect(client.delete(things, { namespace: 'ns', name: '' })).rejects.toThrow('incomplete key');
  await expect(client.delete(things, { name: 'x' })).rejects.toThrow('incomplete key');
  expect(server.requests).toHaveLength(0);
});

test('list items have apiVersion and kind, and pages their token', async () => {
  for (const name of ['a', 'b', 'c']) server.put('/api/v1/nodes', undefined, name);
  const page = await client.list(nodes, { limit: 2, labelSelector: 'a=b,c in (d)' });
  expect(page.items[0]).toMatchObject({ apiVersion: 'v1', kind: 'Node' });
  expect(server.requests[0]?.query.get('labelSelector')).toBe('a=b,c in (d)');
  const rest = await client.list(nodes, { limit: 2, continueToken: page.continueToken });
  expect(rest.items).toHaveLength(1);
  expect(rest.continueToken).toBeUndefined();
});

test('errors can be told apart', async () => {
  const cases: [number, string, (error: unknown) => boolean][] = [
    [404, 'NotFound', isNotFound],
    [409, 'Conflict', isConflict],
    [409, 'AlreadyExists', isAlreadyExists],
    [410, 'Expired', isExpired],
    [422, 'Invalid', isInvalid],
    [429, 'TooManyRequests', isTooManyRequests],
    [504, 'Timeout', isTimeout],
  ];
  for (const [code, reason, holds] of cases) {
    server.intercept = () => failure(code, reason, 'the message');
    const error = await errorOf(client.get(things, x, { maxTries: 1 }));
    expect(cases.filter(([, , other]) => other(error)).map(([, , other]) => other)).toEqual([holds]);
    expect(error).toMatchObject({ code, reason, message: 'get things: the message' });
  }
  server.intercept = () => ({ status: 502, body: '<html>' });
  expect(await errorOf(client.get(things, x, { maxTries: 1 }))).toBeInstanceOf(KubeApiError);
});

test('reads are retried after 5xx; writes are not', async () => {
  server.put(THINGS, 'ns', 'x');
  let failures = 2;
  server.intercept = () => (failures-- > 0 ? failure(503, 'ServiceUnavailable', 'later') : undefined);
  expect((await client.get(things, x)).metadata.name).toBe('x');
  expect(server.requests).toHaveLength(3);
  failures = 1;
  await expect(client.patch(things, x, { type: 'merge', body: {} })).rejects.toMatchObject({ code: 503 });
  expect(server.requests).toHaveLength(4);
});

test('writes are retried after 429, no sooner than Retry-After says', async () => {
  server.put(THINGS, 'ns', 'x');
  let failures = 1;
  const busy = () => failure(429, 'TooManyRequests', 'slow down', { 'retry-after': '1' });
  server.intercept = () => (failures-- > 0 ? busy() : undefined);
  const startedMs = performance.now();
  await client.patch(things, x, { type: 'merge', body: {} });
  expect(performance.now() - startedMs).toBeGreaterThan(1000);
  failures = 99;
  const error = await errorOf(client.patch(things, x, { type: 'merge', body: {} }, { maxTries: 1 }));
  expect(error).toMatchObject({ code: 429, retryAfterMs: 1000 });
});

test('writes are retried when nothing was sent', async () => {
  server.put(THINGS, 'ns', 'x');
  await server.stop();
  const patched = client.patch(things, x, { type: 'merge', body: { spec: { size: 9 } } });
  setTimeout(() => void server.start(), 100);
  expect((await patched).spec).toEqual({ size: 9 });
  expect(server.requests).toHaveLength(1);
});

test('a write whose response was lost is not retried', async () => {
  server.put(THINGS, 'ns', 'x');
  server.intercept = (_, stream) => {
    stream.session?.destroy();
    return 'handled';
  };
  await expect(client.patch(things, x, { type: 'merge', body: {} })).rejects.toMatchObject({
    failure: 'broken',
    sent: true,
  });
  expect(server.requests).toHaveLength(1);
});

test('an abort ends the wait between tries', async () => {
  server.intercept = () => failure(429, 'TooManyRequests', 'slow down', { 'retry-after': '60' });
  const abort = new AbortController();
  const failed = errorOf(client.get(things, x, { signal: abort.signal }));
  setTimeout(() => abort.abort(new Error('enough')), 50);
  expect(String(await failed)).toContain('enough');
});

test('parse is applied to responses', async () => {
  const parse = (): Thing => ({ metadata: { name: 'parsed' } });
  server.put(THINGS, 'ns', 'x');
  expect((await client.get({ ...things, parse }, x)).metadata.name).toBe('parsed');
});

test('leaving a watch closes its stream', async () => {
  server.put(THINGS, 'ns', 'x');
  for await (const event of await client.watch(things, { sendInitialEvents: true })) {
    expect(event).toMatchObject({ type: 'ADDED', object: { metadata: { name: 'x' } } });
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(server.watchers.size).toBe(0);
});
