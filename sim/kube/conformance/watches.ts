import { expect } from 'vitest';
import { isExpired } from '../../../src/kube/errors.ts';
import { Informer } from '../../../src/kube/informer.ts';
import { seededRandom } from '../../../src/util/random.ts';
import {
  atLeast,
  type Cases,
  call,
  causesOf,
  configMap,
  configMapResource,
  eventually,
  expectRefusal,
  merge,
  paths,
  podEni,
  type RawEvent,
  refusedWatch,
  type Server,
  succeed,
  summary,
  versionOf,
  watch,
} from './server.ts';

const WATCH_LIST = 'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
const END = 'k8s.io/initial-events-end';

async function two(server: Server): Promise<{ path: string; from: string }> {
  const { configMaps: path } = paths(server);
  await succeed(server, 'POST', path, configMap('a', {}, { labels: { n: 'a' } }));
  const last = await succeed(server, 'POST', path, configMap('b', {}, { labels: { n: 'b' } }));
  return { path, from: versionOf(last) };
}

/** Watches: where they start, what they show, how they end. */
export const watchCases: Cases = {
  'a watch from a version shows what happened since, in order': async (server) => {
    const { path, from } = await two(server);
    await succeed(server, 'POST', path, configMap('c'));
    await merge(server, `${path}/a`, { data: { x: '1' } });
    await succeed(server, 'DELETE', `${path}/b`);
    const events = await watch(server, `${path}?watch=true&resourceVersion=${from}`, atLeast(3));
    expect(summary(events)).toEqual(['ADDED c', 'MODIFIED a', 'DELETED b']);
    const versions = events.map(({ metadata }) => Number(metadata['resourceVersion']));
    expect(versions.toSorted((a, b) => a - b)).toEqual(versions);
    expect(new Set(versions).size).toBe(3);
    expect(events[1]?.object).toMatchObject({ kind: 'ConfigMap', apiVersion: 'v1', data: { x: '1' } });
  },

  'a watch shows what happens while it is open': async (server) => {
    const { path, from } = await two(server);
    const watching = watch(server, `${path}?watch=true&resourceVersion=${from}`, atLeast(2));
    await succeed(server, 'POST', path, configMap('c'));
    await succeed(server, 'DELETE', `${path}/c`);
    expect(summary(await watching)).toEqual(['ADDED c', 'DELETED c']);
  },

  'a deletion shows the last state with the version of the deletion': async (server) => {
    const { path, from } = await two(server);
    await merge(server, `${path}/b`, { data: { x: '1' } });
    const before = await succeed(server, 'GET', `${path}/b`);
    await succeed(server, 'DELETE', `${path}/b`);
    const [, deleted] = await watch(server, `${path}?watch=true&resourceVersion=${from}`, atLeast(2));
    expect(deleted).toMatchObject({ type: 'DELETED', object: { data: { x: '1' } } });
    expect(Number(deleted?.metadata['resourceVersion'])).toBeGreaterThan(Number(versionOf(before)));
  },

  'a write that changes nothing is no event': async (server) => {
    const { path, from } = await two(server);
    await merge(server, `${path}/a`, { metadata: { labels: { n: 'a' } } });
    await succeed(server, 'POST', path, configMap('c'));
    const events = await watch(server, `${path}?watch=true&resourceVersion=${from}`, atLeast(1));
    expect(summary(events)).toEqual(['ADDED c']);
  },

  'a watch without a version begins with what is there': async (server) => {
    const { path } = await two(server);
    expect(summary(await watch(server, `${path}?watch=true`, atLeast(2)))).toEqual(['ADDED a', 'ADDED b']);
    const zero = await watch(server, `${path}?watch=true&resourceVersion=0`, atLeast(2));
    expect(summary(zero)).toEqual(['ADDED a', 'ADDED b']);
  },

  'a watch-list begins with what is there, and says where that ends': async (server) => {
    const { path, from } = await two(server);
    const begun = Promise.withResolvers<void>();
    const watching = watch(server, `${path}?watch=true&${WATCH_LIST}`, (events) => {
      if (events.length >= 3) begun.resolve();
      return events.length >= 4 && events.at(-1)?.type !== 'BOOKMARK';
    });
    await begun.promise;
    await succeed(server, 'POST', path, configMap('c'));
    const [first, second, bookmark, ...later] = await watching;
    expect(summary([first, second, bookmark].flatMap((event) => event ?? []))).toEqual([
      'ADDED a',
      'ADDED b',
      'BOOKMARK',
    ]);
    // The server may send further bookmarks at any time.
    expect(summary(later.filter(({ type }) => type !== 'BOOKMARK'))).toEqual(['ADDED c']);
    expect(bookmark?.object).toMatchObject({ kind: 'ConfigMap', apiVersion: 'v1' });
    expect(bookmark?.metadata['annotations']).toEqual({ [END]: 'true' });
    expect(Number(bookmark?.metadata['resourceVersion'])).toBeGreaterThanOrEqual(Number(from));
  },

  'a watch-list of a custom kind': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a'));
    const events = await watch(server, `${podEnis}?watch=true&${WATCH_LIST}`, atLeast(2));
    expect(summary(events)).toEqual(['ADDED a', 'BOOKMARK']);
    expect(events[1]?.object).toMatchObject({ kind: 'PodENI', metadata: { annotations: { [END]: 'true' } } });
  },

  'a watch-list of nothing is a bookmark': async (server) => {
    const { configMaps } = paths(server);
    const query = `watch=true&${WATCH_LIST}&labelSelector=n%3Dnothing`;
    expect(summary(await watch(server, `${configMaps}?${query}`, atLeast(1)))).toEqual(['BOOKMARK']);
  },

  'a watch-list must be asked for in full': async (server) => {
    const { path, from } = await two(server);
    const bare = await refusedWatch(server, `${path}?watch=true&sendInitialEvents=true`);
    expectRefusal(bare, { code: 422, reason: 'Invalid' });
    expect(causesOf(bare)).toEqual(['resourceVersionMatch FieldValueForbidden']);
    const match = `watch=true&resourceVersionMatch=NotOlderThan&resourceVersion=${from}`;
    expect(causesOf(await refusedWatch(server, `${path}?${match}`))).toEqual([
      'resourceVersionMatch FieldValueForbidden',
    ]);
  },

  'a watch ends in good order after its time, with a bookmark shortly before': async (server) => {
    const { path, from } = await two(server);
    const selector = 'labelSelector=n%3Dnothing';
    const query = `watch=true&allowWatchBookmarks=true&timeoutSeconds=4&${selector}&resourceVersion=${from}`;
    const watching = watch(server, `${path}?${query}`);
    // Without any change there is nothing to tell.
    for (let i = 0; i < 15; i++) {
      await server.clock.sleep(100);
      await merge(server, `${path}/a`, { data: { i: String(i) } });
    }
    const events = await watching;
    expect(events.length).toBeGreaterThan(0);
    for (const { type, metadata } of events) {
      expect(type).toBe('BOOKMARK');
      expect(Number(metadata['resourceVersion'])).toBeGreaterThan(Number(from));
      expect(metadata).not.toHaveProperty('annotations');
    }
  },

  'who does not ask for bookmarks gets none': async (server) => {
    const { path, from } = await two(server);
    expect(await watch(server, `${path}?watch=true&timeoutSeconds=4&resourceVersion=${from}`)).toEqual([]);
  },

  'a watch of a selection shows what enters and leaves it': async (server) => {
    const { path, from } = await two(server);
    await merge(server, `${path}/a`, { metadata: { labels: { n: 'z' } }, data: { x: '1' } });
    await merge(server, `${path}/a`, { metadata: { labels: { n: 'a' } } });
    await merge(server, `${path}/a`, { data: { x: '2' } });
    await merge(server, `${path}/b`, { data: { x: '2' } });
    await succeed(server, 'DELETE', `${path}/a`);
    const query = `watch=true&labelSelector=n%3Da&resourceVersion=${from}`;
    const events = await watch(server, `${path}?${query}`, atLeast(4));
    expect(summary(events)).toEqual(['DELETED a', 'ADDED a', 'MODIFIED a', 'DELETED a']);
    // As it was while it belonged to the selection.
    expect(events[0]?.object).not.toHaveProperty('data');
    expect(events[0]?.metadata['labels']).toEqual({ n: 'a' });
  },

  'a watch of one name': async (server) => {
    const { path, from } = await two(server);
    await merge(server, `${path}/a`, { data: { x: '1' } });
    await merge(server, `${path}/b`, { data: { x: '1' } });
    const query = `watch=true&fieldSelector=metadata.name%3Db&resourceVersion=${from}`;
    expect(summary(await watch(server, `${path}?${query}`, atLeast(1)))).toEqual(['MODIFIED b']);
  },

  'a watch of all namespaces': async (server) => {
    const { path, from } = await two(server);
    await merge(server, `${path}/a`, { data: { x: '1' } });
    const all = `/api/v1/configmaps?watch=true&resourceVersion=${from}`;
    const isOurs = ({ metadata }: RawEvent) => metadata['namespace'] === server.namespace;
    const event = (await watch(server, all, (events) => events.some(isOurs))).find(isOurs);
    expect(event?.metadata).toMatchObject({ name: 'a', namespace: server.namespace });
  },

  'a watch from a version that is still to come waits for it': async (server) => {
    const { path, from } = await two(server);
    const future = Number(from) + 20;
    const watching = watch(server, `${path}?watch=true&resourceVersion=${future}`, atLeast(1));
    await server.clock.sleep(500);
    for (let i = 0; i < 30; i++) await merge(server, `${path}/a`, { data: { i: String(i) } });
    const [first] = await watching;
    expect(Number(first?.metadata['resourceVersion'])).toBeGreaterThan(future);
  },

  'a version that is no number is refused': async (server) => {
    const { path } = await two(server);
    expect((await refusedWatch(server, `${path}?watch=true&resourceVersion=x`)).status).toBe(500);
  },

  'a watch from a version that is forgotten is told so by an event': async (server) => {
    const { secrets } = paths(server);
    const secret = (name: string) => ({ apiVersion: 'v1', kind: 'Secret', metadata: { name } });
    const created = await succeed(server, 'POST', secrets, secret('a'));
    await succeed(server, 'POST', secrets, secret('b'));
    server.forgetHistory();
    const from = `${secrets}?watch=true&resourceVersion=${versionOf(created)}`;
    const events = await eventually(
      server,
      () => watch(server, from, atLeast(1)),
      ([event]) => event?.type === 'ERROR',
    );
    expect(events).toHaveLength(1);
    expect(events[0]?.object).toMatchObject({ kind: 'Status', status: 'Failure', code: 410, reason: 'Expired' });
  },

  'the client reads a forgotten version as expired': async (server) => {
    const { secrets } = paths(server);
    const resource = { ...configMapResource, plural: 'secrets', kind: 'Secret' };
    const created = await succeed(server, 'POST', secrets, { metadata: { name: 'a' } });
    await succeed(server, 'POST', secrets, { metadata: { name: 'b' } });
    server.forgetHistory();
    const from = { namespace: server.namespace, resourceVersion: versionOf(created), timeoutSeconds: 1 };
    const failure = async () => {
      try {
        const events = await server.client.watch(resource, from);
        await events[Symbol.asyncIterator]().next();
        return undefined;
      } catch (error) {
        return error;
      }
    };
    expect(await eventually(server, failure, (error) => error !== undefined)).toSatisfy(isExpired);
  },

  'an informer fills its store and follows': async (server) => {
    const { path } = await two(server);
    const { client, clock, namespace } = server;
    const abort = new AbortController();
    const resource = configMapResource;
    const informer = new Informer({ client, resource, clock, random: seededRandom(1), namespace });
    const running = informer.run(abort.signal);
    try {
      await eventually(
        server,
        async () => informer.store.size,
        (size) => size === 2,
      );
      await succeed(server, 'DELETE', `${path}/a`);
      await succeed(server, 'POST', path, configMap('c'));
      const keys = async () => informer.store.keys().sort();
      await eventually(server, keys, (found) => found.join() === `${namespace}/b,${namespace}/c`);
    } finally {
      abort.abort();
      await running;
    }
    expect((await call(server, 'GET', `${path}/c`)).status).toBe(200);
  },
};
