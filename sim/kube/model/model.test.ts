import { expect, test } from 'vitest';
import { allCrds } from '../../../src/crds/all.ts';
import { seededRandom } from '../../../src/util/random.ts';
import { answer, openServerWatch, parseRequest } from '../handler.ts';
import { resourceOfCrd } from './crd.ts';
import { StatusError } from './errors.ts';
import { KubeModel, type KubeModelOptions } from './model.ts';

const startMs = Date.UTC(2026, 0, 1);
const configMaps = { resource: 'configmaps', namespace: 'default' };
const caller = { actor: 'user', nowMs: startMs };

function newModel(options: KubeModelOptions = {}): KubeModel {
  return new KubeModel({ resources: allCrds.map((crd) => resourceOfCrd(crd.manifest())), startMs, ...options });
}

function object(name: string) {
  return { ...configMaps, name, subresource: '' };
}

/** Requests as a seed has them, and every byte of the answers. */
function transcript(seed: number): string[] {
  const model = newModel({ seed, historyLimit: 20 });
  const random = seededRandom(seed);
  const lines: string[] = [];
  const watched = parseRequest({ method: 'GET', path: '/api/v1/configmaps?watch=true' });
  openServerWatch(model, watched, ({ text }) => lines.push(text));
  const pick = <T>(from: readonly T[]) => from[Math.floor(random.next() * from.length)];
  for (let step = 0; step < 300; step++) {
    const name = `c-${Math.floor(random.next() * 10)}`;
    const collection = '/api/v1/namespaces/default/configmaps';
    const value = String(Math.floor(random.next() * 3));
    const finalizers = random.next() < 0.3 ? ['e.com/f'] : null;
    const request = pick([
      { method: 'POST', path: collection, body: JSON.stringify({ metadata: { name, finalizers } }) },
      { method: 'POST', path: collection, body: JSON.stringify({ metadata: { generateName: 'g-' } }) },
      { method: 'PATCH', path: `${collection}/${name}`, body: JSON.stringify({ data: { a: value } }) },
      { method: 'PATCH', path: `${collection}/${name}`, body: JSON.stringify({ metadata: { finalizers } }) },
      { method: 'DELETE', path: `${collection}/${name}`, body: undefined },
      { method: 'GET', path: `${collection}?limit=3`, body: undefined },
    ]);
    if (request === undefined) continue;
    const contentType = request.method === 'PATCH' ? 'application/merge-patch+json' : undefined;
    const { status, body } = answer(model, { ...request, contentType }, { actor: 'a', nowMs: startMs + step * 1000 });
    lines.push(`${status} ${body}`);
  }
  return lines;
}

test('the same calls give the same bytes, and another seed other uids', () => {
  expect(transcript(1)).toEqual(transcript(1));
  expect(transcript(1)).not.toEqual(transcript(2));
});

test('a watch that follows every line has what a list has, whatever happened', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const followed = new Map<string, string>();
    const random = seededRandom(seed);
    const model = newModel({ seed });
    const query = { method: 'GET', path: '/api/v1/configmaps?watch=true&labelSelector=l%3D1' };
    openServerWatch(model, parseRequest(query), ({ type, key, text }) => {
      if (type === 'DELETED') expect(followed.delete(key)).toBe(true);
      else expect(followed.has(key)).toBe(type === 'MODIFIED');
      if (type !== 'DELETED') followed.set(key, JSON.stringify(JSON.parse(text).object.metadata));
    });
    for (let step = 0; step < 100; step++) {
      const name = `c-${Math.floor(random.next() * 5)}`;
      const labels = { l: random.next() < 0.5 ? '1' : '2' };
      try {
        if (random.next() < 0.3) model.create(configMaps, { metadata: { name, labels } }, caller);
        if (random.next() < 0.3) model.delete(object(name), {}, caller);
        else model.patch(object(name), 'application/merge-patch+json', { metadata: { labels } }, caller);
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
      }
    }
    const listed = model.objects('configmaps').filter(({ metadata }) => metadata.labels?.['l'] === '1');
    const expected = listed.map(({ metadata }) => [`default/${metadata.name}`, JSON.stringify(metadata)] as const);
    expect(followed).toEqual(new Map(expected));
  }
});

test('history is bounded: what is older is gone for watches and pages', () => {
  const model = newModel({ historyLimit: 10 });
  const from = String(model.version);
  const watchFrom = () => {
    const path = `/api/v1/configmaps?watch=true&resourceVersion=${from}`;
    return openServerWatch(model, parseRequest({ method: 'GET', path }), () => {}).initial.map(({ type }) => type);
  };
  for (let i = 0; i < 10; i++) model.create(configMaps, { metadata: { name: `c-${i}` } }, caller);
  expect(watchFrom()).toEqual(Array.from({ length: 10 }, () => 'ADDED'));
  for (let i = 10; i < 40; i++) model.create(configMaps, { metadata: { name: `c-${i}` } }, caller);
  expect(watchFrom()).toEqual(['ERROR']);
});

test('the journal records who did what, with the state before and after', () => {
  const model = newModel({ journalCapacity: 3 });
  const seen: number[] = [];
  const end = model.subscribe(({ seq }) => seen.push(seq));
  const { seq: last = 0 } = model.journal().at(-1) ?? {};
  model.create(configMaps, { metadata: { name: 'a' } }, { actor: 'r1', nowMs: startMs + 1 });
  model.patch(object('a'), 'application/merge-patch+json', { data: { a: '1' } }, { actor: 'r2', nowMs: startMs + 2 });
  model.delete(object('a'), {}, { actor: 'r3', nowMs: startMs + 3 });
  end();
  model.create(configMaps, { metadata: { name: 'b' } }, caller);
  const base = { resource: 'configmaps', subresource: '', key: 'default/a' };
  expect(model.journal(last)).toMatchObject([
    { ...base, actor: 'r2', verb: 'patch', timeMs: startMs + 2, before: {}, after: { data: { a: '1' } } },
    { ...base, actor: 'r3', verb: 'delete', before: { data: { a: '1' } }, after: undefined },
    { actor: 'user', verb: 'create', before: undefined },
  ]);
  expect(seen).toEqual([last + 1, last + 2, last + 3]);
});

test('a namespace goes once its content is gone', () => {
  const model = newModel({ namespaces: ['n'] });
  const inside = { resource: 'configmaps', namespace: 'n' };
  model.create(inside, { metadata: { name: 'free' } }, caller);
  model.create(inside, { metadata: { name: 'held', finalizers: ['e.com/f'] } }, caller);
  const namespace = { resource: 'namespaces', namespace: undefined, name: 'n', subresource: '' };
  expect(model.delete(namespace, {}, caller).state).toBe('held');
  expect(model.sweepNamespace('n', caller)).toBe(false);
  expect(model.peek('configmaps', { namespace: 'n', name: 'free' })).toBeUndefined();
  const held = { ...inside, name: 'held', subresource: '' };
  model.patch(held, 'application/merge-patch+json', { metadata: { finalizers: null } }, caller);
  expect(model.sweepNamespace('n', caller)).toBe(true);
  expect(model.peek('namespaces', namespace)).toBeUndefined();
});

test('an object that is valid only under an older schema can be written if the invalid part is unchanged', () => {
  const current = allCrds.map((crd) => resourceOfCrd(crd.manifest())).find(({ kind }) => kind === 'PodNetworking');
  if (current === undefined) throw new Error('there is no PodNetworking');
  const model = new KubeModel({ resources: [{ ...current, schema: undefined }], startMs });
  const target = { resource: 'podnetworkings.network.alibabacloud.com', namespace: undefined };
  const type = { apiVersion: 'network.alibabacloud.com/v1beta1', kind: 'PodNetworking' };
  model.create(target, { ...type, metadata: { name: 'a' }, spec: { vSwitchOptions: ['old'] } }, caller);
  model.define(current);
  const place = { ...target, name: 'a', subresource: '' };
  const merge = 'application/merge-patch+json';
  const changed = model.patch(place, merge, { spec: { priority: 3 } }, caller);
  expect(changed['spec']).toMatchObject({ priority: 3, vSwitchOptions: ['old'] });
  expect(() => model.patch(place, merge, { spec: { vSwitchOptions: ['old', 'x'] } }, caller)).toThrow('vSwitchOptions');
});

test('a watch gets no bookmark while nothing is written anywhere', () => {
  const model = newModel();
  const path = `/api/v1/configmaps?watch=true&allowWatchBookmarks=true&resourceVersion=${model.version}`;
  const opened = openServerWatch(model, parseRequest({ method: 'GET', path }), () => {});
  expect(opened.bookmark()).toBeUndefined();
  model.create({ resource: 'secrets', namespace: 'default' }, { metadata: { name: 'a' } }, caller);
  expect(opened.bookmark()?.text).toContain(`"resourceVersion":"${model.version}"`);
});

test('a restored backup has the objects, and the version, of its time', () => {
  const model = newModel();
  model.create(configMaps, { metadata: { name: 'kept' }, data: { a: '1' } }, caller);
  const backup = model.backup();
  const before = model.objects('configmaps');
  model.patch(object('kept'), 'application/merge-patch+json', { data: { a: '2' } }, caller);
  const late = model.create(configMaps, { metadata: { name: 'late' } }, caller);
  const lines: string[] = [];
  const path = '/api/v1/configmaps?watch=true';
  openServerWatch(model, parseRequest({ method: 'GET', path }), ({ text }) => lines.push(text));
  model.restore(backup);
  expect(model.objects('configmaps')).toEqual(before);
  expect(model.version).toBe(backup.version);
  const again = model.create(configMaps, { metadata: { name: 'late' } }, caller);
  expect(again.metadata.uid).not.toBe(late.metadata.uid);
  expect(lines).toEqual([]);
});

test('a listener for writes must not write', () => {
  const model = newModel();
  model.subscribe(() => model.create(configMaps, { metadata: { name: 'b' } }, caller));
  expect(() => model.create(configMaps, { metadata: { name: 'a' } }, caller)).toThrow('must not write');
});

test('twenty thousand pods are written, listed and watched at the cost of their number', () => {
  const model = newModel({ journalCapacity: 100, historyLimit: 1000 });
  const pods = { resource: 'pods', namespace: 'default' };
  const count = 20_000;
  for (let i = 0; i < count; i++) {
    model.create(pods, { metadata: { name: `p-${i}` }, spec: { nodeName: `n-${i % 500}` } }, caller);
  }
  const list = answer(model, { method: 'GET', path: '/api/v1/pods', body: undefined, contentType: undefined }, caller);
  expect(JSON.parse(list.body).items).toHaveLength(count);
  const query = 'watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
  const opened = openServerWatch(model, parseRequest({ method: 'GET', path: `/api/v1/pods?${query}` }), () => {});
  expect(opened.initial).toHaveLength(count + 1);
});
