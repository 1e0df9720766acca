import { expect } from 'vitest';
import {
  type Cases,
  call,
  causesOf,
  configMap,
  configMapResource,
  expectRefusal,
  jsonPatch,
  merge,
  paths,
  succeed,
  versionOf,
} from './server.ts';

const detailsOfA = { name: 'a', kind: 'configmaps' };

/** Creating, reading and changing objects of a built-in kind. */
export const objectCases: Cases = {
  'a new object gets a uid, a version and a time, whatever it came with': async (server) => {
    const { configMaps } = paths(server);
    const sent = configMap('a', {}, { uid: 'mine', creationTimestamp: '2020-01-01T00:00:00Z', selfLink: '/x' });
    const { status, body, metadata } = await call(server, 'POST', configMaps, sent);
    expect(status).toBe(201);
    expect(body).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
    expect(metadata).toMatchObject({ name: 'a', namespace: server.namespace });
    expect(metadata['uid']).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(metadata['resourceVersion']).toMatch(/^\d+$/);
    expect(metadata['creationTimestamp']).toMatch(/^20(?!20)\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(metadata).not.toHaveProperty('generation');
  },

  'a name that is taken is refused': async (server) => {
    const { configMaps } = paths(server);
    await succeed(server, 'POST', configMaps, configMap('a'));
    const message = 'configmaps "a" already exists';
    const refused = await call(server, 'POST', configMaps, configMap('a'));
    expectRefusal(refused, { code: 409, reason: 'AlreadyExists', message, details: detailsOfA });
  },

  'an object that is not there is named': async (server) => {
    const { configMaps } = paths(server);
    const expected = { code: 404, reason: 'NotFound', message: 'configmaps "a" not found', details: detailsOfA };
    expectRefusal(await call(server, 'GET', `${configMaps}/a`), expected);
    expectRefusal(await merge(server, `${configMaps}/a`, { data: {} }), expected);
    expectRefusal(await call(server, 'PUT', `${configMaps}/a`, configMap('a')), expected);
    expectRefusal(await call(server, 'DELETE', `${configMaps}/a`), expected);
  },

  'nothing is created in a namespace that is not there': async (server) => {
    const refused = await call(server, 'POST', '/api/v1/namespaces/nowhere/configmaps', configMap('a'));
    const details = { name: 'nowhere', kind: 'namespaces' };
    expectRefusal(refused, { code: 404, reason: 'NotFound', message: 'namespaces "nowhere" not found', details });
  },

  'a name must be a subdomain': async (server) => {
    const refused = await call(server, 'POST', paths(server).configMaps, configMap('A_b'));
    expectRefusal(refused, { code: 422, reason: 'Invalid', details: { name: 'A_b', kind: 'ConfigMap' } });
    expect(causesOf(refused)).toEqual(['metadata.name FieldValueInvalid']);
  },

  'a name is needed, or the beginning of one': async (server) => {
    const { configMaps } = paths(server);
    const refused = await call(server, 'POST', configMaps, { ...configMap('a'), metadata: {} });
    expect(causesOf(refused)).toEqual(['metadata.name FieldValueRequired']);
    const generated = { ...configMap('a'), metadata: { generateName: 'gen-' } };
    const { metadata } = await succeed(server, 'POST', configMaps, generated);
    expect(metadata['name']).toMatch(/^gen-[a-z0-9]{5}$/);
    expect(metadata['generateName']).toBe('gen-');
  },

  'a version may not be given to what is new': async (server) => {
    const sent = configMap('a', {}, { resourceVersion: '5' });
    const { status, body } = await call(server, 'POST', paths(server).configMaps, sent);
    expect([status, body['message']]).toEqual([500, 'resourceVersion should not be set on objects to be created']);
  },

  'the namespaces of path and object must agree': async (server) => {
    const { configMaps } = paths(server);
    const elsewhere = configMap('a', {}, { namespace: 'default' });
    expectRefusal(await call(server, 'POST', configMaps, elsewhere), { code: 400, reason: 'BadRequest' });
    await succeed(server, 'POST', configMaps, configMap('a'));
    const moved = await merge(server, `${configMaps}/a`, { metadata: { namespace: 'default' } });
    expectRefusal(moved, { code: 400, reason: 'BadRequest' });
  },

  'an object of another kind or version is refused': async (server) => {
    const { configMaps } = paths(server);
    const expected = { code: 400, reason: 'BadRequest' };
    expectRefusal(await call(server, 'POST', configMaps, { ...configMap('a'), kind: 'Pod' }), expected);
    expectRefusal(await call(server, 'POST', configMaps, { ...configMap('a'), apiVersion: 'v2' }), expected);
    expectRefusal(await call(server, 'POST', configMaps, '{oops'), expected);
  },

  'a built-in kind need not be said': async (server) => {
    const { body } = await succeed(server, 'POST', paths(server).configMaps, { metadata: { name: 'a' } });
    expect(body).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
  },

  'paths and methods that the server does not have': async (server) => {
    const core = `/api/v1/namespaces/${server.namespace}`;
    const message = 'the server could not find the requested resource';
    expectRefusal(await call(server, 'GET', `${core}/nothings`), { code: 404, reason: 'NotFound', message });
    const noMethod = await merge(server, `${core}/configmaps`, {});
    expectRefusal(noMethod, { code: 405, reason: 'MethodNotAllowed' });
  },

  'every write has a higher version, and one that changes nothing is none': async (server) => {
    const { configMaps } = paths(server);
    const created = await succeed(server, 'POST', configMaps, configMap('a', { data: { a: '1' } }));
    const changed = await merge(server, `${configMaps}/a`, { data: { a: '2' } });
    expect(Number(versionOf(changed))).toBeGreaterThan(Number(versionOf(created)));
    const again = await merge(server, `${configMaps}/a`, { data: { a: '2' } });
    expect(versionOf(again)).toBe(versionOf(changed));
  },

  'a merge patch merges members and takes away those that are null': async (server) => {
    const { configMaps } = paths(server);
    await succeed(server, 'POST', configMaps, configMap('a', { data: { a: '1', b: '2' } }));
    const { body } = await merge(server, `${configMaps}/a`, { data: { a: null, c: '3' } });
    expect(body['data']).toEqual({ b: '2', c: '3' });
  },

  'a patch with a version is refused once the object has another': async (server) => {
    const { configMaps } = paths(server);
    const created = await succeed(server, 'POST', configMaps, configMap('a'));
    await succeed(server, 'PUT', `${configMaps}/a`, configMap('a', { data: { a: '1' } }));
    const stale = { metadata: { resourceVersion: versionOf(created) }, data: { a: '2' } };
    const why = 'the object has been modified; please apply your changes to the latest version and try again';
    const message = `Operation cannot be fulfilled on configmaps "a": ${why}`;
    const expected = { code: 409, reason: 'Conflict', message, details: detailsOfA };
    expectRefusal(await merge(server, `${configMaps}/a`, stale), expected);
    const replaced = configMap('a', {}, { resourceVersion: versionOf(created) });
    expectRefusal(await call(server, 'PUT', `${configMaps}/a`, replaced), expected);
  },

  'a patch for another uid is invalid, a replacement conflicts': async (server) => {
    const { configMaps } = paths(server);
    await succeed(server, 'POST', configMaps, configMap('a'));
    const uid = '00000000-0000-0000-0000-000000000000';
    const patched = await merge(server, `${configMaps}/a`, { metadata: { uid } });
    expectRefusal(patched, { code: 422, reason: 'Invalid' });
    expect(causesOf(patched)).toEqual(['metadata.uid FieldValueInvalid']);
    const replaced = await call(server, 'PUT', `${configMaps}/a`, configMap('a', {}, { uid }));
    expectRefusal(replaced, { code: 409, reason: 'Conflict', details: detailsOfA });
  },

  'an object keeps its name': async (server) => {
    const { configMaps } = paths(server);
    await succeed(server, 'POST', configMaps, configMap('a'));
    const message = 'the name of the object (b) does not match the name on the URL (a)';
    const expected = { code: 400, reason: 'BadRequest', message };
    expectRefusal(await merge(server, `${configMaps}/a`, { metadata: { name: 'b' } }), expected);
    expectRefusal(await call(server, 'PUT', `${configMaps}/a`, configMap('b')), expected);
  },

  'nobody sets the time of creation, and only a delete that of deletion': async (server) => {
    const { configMaps } = paths(server);
    const { metadata } = await succeed(server, 'POST', configMaps, configMap('a'));
    const time = '2020-01-01T00:00:00Z';
    const created = await merge(server, `${configMaps}/a`, { metadata: { creationTimestamp: time } });
    expect(created.metadata['creationTimestamp']).toBe(metadata['creationTimestamp']);
    const deleted = await merge(server, `${configMaps}/a`, { metadata: { deletionTimestamp: time } });
    expect(causesOf(deleted)).toEqual(['metadata.deletionTimestamp FieldValueInvalid']);
  },

  'a built-in object may be replaced without naming its version': async (server) => {
    const { configMaps } = paths(server);
    await succeed(server, 'POST', configMaps, configMap('a', { data: { a: '1' } }, { labels: { l: '1' } }));
    const { body, metadata } = await succeed(server, 'PUT', `${configMaps}/a`, configMap('a', { data: { b: '2' } }));
    expect(body['data']).toEqual({ b: '2' });
    expect(metadata).not.toHaveProperty('labels');
  },

  'labels, annotations and finalizers must be well formed': async (server) => {
    const { configMaps } = paths(server);
    const wrong = {
      labels: { 'a/b/c': 'x', ok: 'not ok' },
      annotations: { '!': 'x' },
      finalizers: ['unqualified', 'example.com/fine'],
    };
    const refused = await call(server, 'POST', configMaps, configMap('a', {}, wrong));
    expect(causesOf(refused)).toEqual([
      'metadata.annotations FieldValueInvalid',
      'metadata.finalizers[0] FieldValueInvalid',
      'metadata.labels FieldValueInvalid',
    ]);
  },

  'empty labels and annotations are not stored': async (server) => {
    const sent = configMap('a', {}, { labels: {}, annotations: {}, finalizers: [], ownerReferences: [] });
    const { metadata } = await succeed(server, 'POST', paths(server).configMaps, sent);
    for (const field of ['labels', 'annotations', 'finalizers', 'ownerReferences']) {
      expect(metadata).not.toHaveProperty(field);
    }
  },

  'a key of a ConfigMap must be one of a file': async (server) => {
    const { configMaps } = paths(server);
    await succeed(server, 'POST', configMaps, configMap('a'));
    const refused = await merge(server, `${configMaps}/a`, { data: { 'no/key': 'x' } });
    expect(causesOf(refused)).toEqual(['data[no/key] FieldValueInvalid']);
  },

  'a JSON patch adds, replaces, removes, moves and copies': async (server) => {
    const { configMaps } = paths(server);
    await succeed(server, 'POST', configMaps, configMap('a', { data: { a: '1', b: '2' } }));
    const { body } = await jsonPatch(server, `${configMaps}/a`, [
      { op: 'test', path: '/data/a', value: '1' },
      { op: 'add', path: '/data/c', value: '3' },
      { op: 'replace', path: '/data/b', value: '4' },
      { op: 'copy', from: '/data/b', path: '/data/d' },
      { op: 'move', from: '/data/c', path: '/data/e' },
      { op: 'remove', path: '/data/a' },
      { op: 'add', path: '/metadata/labels', value: { 'x.y/z': '1' } },
      { op: 'replace', path: '/metadata/labels/x.y~1z', value: '2' },
    ]);
    expect(body['data']).toEqual({ b: '4', d: '4', e: '3' });
    expect(body['metadata']).toMatchObject({ labels: { 'x.y/z': '2' } });
  },

  'a JSON patch changes lists by place': async (server) => {
    const { configMaps } = paths(server);
    await succeed(server, 'POST', configMaps, configMap('a', {}, { finalizers: ['e.com/b'] }));
    const list = (body: unknown) => jsonPatch(server, `${configMaps}/a`, body);
    const added = await list([
      { op: 'add', path: '/metadata/finalizers/0', value: 'e.com/a' },
      { op: 'add', path: '/metadata/finalizers/-', value: 'e.com/c' },
    ]);
    expect(added.metadata['finalizers']).toEqual(['e.com/a', 'e.com/b', 'e.com/c']);
    const removed = await list([
      { op: 'test', path: '/metadata/finalizers/1', value: 'e.com/b' },
      { op: 'remove', path: '/metadata/finalizers/1' },
    ]);
    expect(removed.metadata['finalizers']).toEqual(['e.com/a', 'e.com/c']);
    expect((await list([{ op: 'remove', path: '/metadata/finalizers/7' }])).status).toBe(422);
  },

  'a JSON patch that does not fit changes nothing': async (server) => {
    const { configMaps } = paths(server);
    const created = await succeed(server, 'POST', configMaps, configMap('a', { data: { a: '1' } }));
    const message = 'the server rejected our request due to an error in our request';
    const misfits = [
      { op: 'test', path: '/data/a', value: '2' },
      { op: 'test', path: '/metadata/resourceVersion', value: '1' },
      { op: 'remove', path: '/data/zzz' },
      { op: 'add', path: '/nowhere/a', value: '1' },
      { op: 'bogus', path: '/data/a', value: '1' },
    ];
    for (const misfit of misfits) {
      const refused = await jsonPatch(server, `${configMaps}/a`, [{ op: 'add', path: '/data/b', value: '1' }, misfit]);
      expectRefusal(refused, { code: 422, reason: 'Invalid', message });
    }
    const left = await succeed(server, 'GET', `${configMaps}/a`);
    expect([versionOf(left), left.body['data']]).toEqual([versionOf(created), { a: '1' }]);
  },

  'a patch of the wrong form is a bad request': async (server) => {
    const { configMaps } = paths(server);
    await succeed(server, 'POST', configMaps, configMap('a'));
    const expected = { code: 400, reason: 'BadRequest' };
    expectRefusal(await jsonPatch(server, `${configMaps}/a`, { op: 'add' }), expected);
    expectRefusal(await call(server, 'PATCH', `${configMaps}/a`, [1], 'application/merge-patch+json'), expected);
    expectRefusal(await call(server, 'PATCH', `${configMaps}/a`, '{oops', 'application/merge-patch+json'), expected);
    const plain = await call(server, 'PATCH', `${configMaps}/a`, {}, 'application/json');
    expectRefusal(plain, { code: 415, reason: 'UnsupportedMediaType' });
  },

  'the client creates, reads, patches and deletes': async ({ client, namespace }) => {
    const key = { namespace, name: 'a' };
    const created = await client.create(configMapResource, { metadata: key, data: { a: '1' } });
    expect(await client.get(configMapResource, key)).toEqual(created);
    const patched = await client.patch(configMapResource, key, { type: 'merge', body: { data: { b: '2' } } });
    expect(patched.data).toEqual({ a: '1', b: '2' });
    expect((await client.list(configMapResource, { namespace })).items.map(({ kind }) => kind)).toContain('ConfigMap');
    expect(await client.delete(configMapResource, key)).toEqual({ state: 'gone' });
  },
};
