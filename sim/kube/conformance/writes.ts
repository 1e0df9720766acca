import { expect } from 'vitest';
import { patchObject } from '../../../src/kube/patch.ts';
import {
  type Cases,
  call,
  causesOf,
  configMap,
  expectRefusal,
  jsonPatch,
  merge,
  paths,
  podEni,
  podEniResource,
  succeed,
  versionOf,
} from './server.ts';

/** Writes as the product makes them. */
export const writeCases: Cases = {
  'one counter numbers the writes of all resources': async (server) => {
    const { configMaps, podEnis } = paths(server);
    const first = await succeed(server, 'POST', configMaps, configMap('a'));
    const second = await succeed(server, 'POST', podEnis, podEni('a'));
    const third = await merge(server, `${configMaps}/a`, { data: { a: '1' } });
    const versions = [first, second, third].map((answer) => Number(versionOf(answer)));
    expect(versions.toSorted((a, b) => a - b)).toEqual(versions);
  },

  'a patch with the uid and version that are there is taken': async (server) => {
    const { podEnis } = paths(server);
    const { metadata } = await succeed(server, 'POST', podEnis, podEni('a'));
    const { uid, resourceVersion } = metadata;
    const patched = await merge(server, `${podEnis}/a`, { metadata: { uid, resourceVersion }, spec: { zone: 'z' } });
    expect(patched.status).toBe(200);
  },

  'a null among texts is the empty text, and data that is null is no data': async (server) => {
    const { podEnis, configMaps } = paths(server);
    const { metadata } = await succeed(
      server,
      'POST',
      podEnis,
      podEni('a', {}, { labels: { l: null }, annotations: null }),
    );
    expect(metadata['labels']).toEqual({ l: '' });
    const { body } = await succeed(server, 'POST', configMaps, configMap('a', { data: { x: null } }));
    expect(body['data']).toEqual({ x: '' });
    const without = await succeed(server, 'POST', configMaps, configMap('b', { data: null, unknown: 1 }));
    expect(without.body).not.toHaveProperty('data');
    expect(without.body).not.toHaveProperty('unknown');
  },

  'a label that is no text cannot be read, also where there is no object': async (server) => {
    const { podEnis } = paths(server);
    const odd = podEni('a', {}, { labels: { l: 5 } });
    expectRefusal(await call(server, 'POST', podEnis, odd), { code: 400, reason: 'BadRequest' });
    expectRefusal(await call(server, 'PUT', `${podEnis}/a`, odd), { code: 400, reason: 'BadRequest' });
    await succeed(server, 'POST', podEnis, podEni('a'));
    const patched = await merge(server, `${podEnis}/a`, { metadata: { labels: { l: 5 } } });
    expectRefusal(patched, { code: 422, reason: 'Invalid' });
    expect(causesOf(patched)).toEqual(['patch FieldValueInvalid']);
  },

  'a finalizer of a custom kind needs no domain': async (server) => {
    const { podEnis, configMaps } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a', {}, { finalizers: ['bare'] }));
    const refused = await call(server, 'POST', configMaps, configMap('a', {}, { finalizers: ['bare'] }));
    expect(causesOf(refused)).toEqual(['metadata.finalizers[0] FieldValueInvalid']);
  },

  'a copy of a member that is not there is null': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a', { spec: { zone: 'z' } }));
    const copied = await jsonPatch(server, `${podEnis}/a`, [{ op: 'copy', from: '/metadata/labels', path: '/spec' }]);
    expect(copied.status).toBe(200);
    expect(copied.body).not.toHaveProperty('spec');
    const below = [{ op: 'copy', from: '/metadata/labels/l', path: '/spec' }];
    expect((await jsonPatch(server, `${podEnis}/a`, below)).status).toBe(422);
  },

  'an empty patch is no write': async (server) => {
    const { podEnis } = paths(server);
    const created = await succeed(server, 'POST', podEnis, podEni('a'));
    expect(versionOf(await merge(server, `${podEnis}/a`, {}))).toBe(versionOf(created));
    expect(versionOf(await merge(server, `${podEnis}/a/status`, {}))).toBe(versionOf(created));
    expect(versionOf(await jsonPatch(server, `${podEnis}/a`, []))).toBe(versionOf(created));
  },

  'a null takes away one annotation, or all': async (server) => {
    const { configMaps } = paths(server);
    await succeed(server, 'POST', configMaps, configMap('a', {}, { annotations: { a: '1', b: '2', c: '3' } }));
    const one = await merge(server, `${configMaps}/a`, { metadata: { annotations: { a: null } } });
    expect(one.metadata['annotations']).toEqual({ b: '2', c: '3' });
    const all = await merge(server, `${configMaps}/a`, { metadata: { annotations: null } });
    expect(all.metadata).not.toHaveProperty('annotations');
  },

  'the last label that goes takes the labels along': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a', {}, { labels: { a: '1' } }));
    const { metadata } = await merge(server, `${podEnis}/a`, { metadata: { labels: { a: null } } });
    expect(metadata).not.toHaveProperty('labels');
  },

  'owners are kept': async (server) => {
    const { configMaps, podEnis } = paths(server);
    const { metadata } = await succeed(server, 'POST', configMaps, configMap('owner'));
    const owner = { apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: metadata['uid'] };
    const created = await succeed(server, 'POST', podEnis, podEni('a', {}, { ownerReferences: [owner] }));
    expect(created.metadata['ownerReferences']).toEqual([owner]);
    const changed = await merge(server, `${podEnis}/a`, { spec: { zone: 'z' } });
    expect(changed.metadata['ownerReferences']).toEqual([owner]);
  },

  'nothing is created as being deleted': async (server) => {
    const { podEnis } = paths(server);
    const sent = podEni('a', {}, { deletionTimestamp: '2020-01-01T00:00:00Z', deletionGracePeriodSeconds: 5 });
    const { metadata } = await succeed(server, 'POST', podEnis, sent);
    expect(metadata).not.toHaveProperty('deletionTimestamp');
    expect(metadata).not.toHaveProperty('deletionGracePeriodSeconds');
  },

  'keys of a secret come and go by a merge patch': async (server) => {
    const { secrets } = paths(server);
    const secret = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'a' },
      data: { old: 'b2xk', kept: 'a2VwdA==' },
    };
    const created = await succeed(server, 'POST', secrets, { ...secret, type: 'Opaque' });
    expect(created.body['data']).toEqual(secret.data);
    const { body } = await merge(server, `${secrets}/a`, { data: { old: null, new: 'bmV3' } });
    expect(body['data']).toEqual({ kept: 'a2VwdA==', new: 'bmV3' });
  },

  'a status is replaced as a whole': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a', { spec: { zone: 'z' } }));
    const { body } = await merge(server, `${podEnis}/a/status`, { status: { phase: 'Bind', msg: 'm' } });
    const sent = { ...body, spec: { zone: 'ignored' }, status: { phase: 'Unbind' } };
    const replaced = await succeed(server, 'PUT', `${podEnis}/a/status`, sent);
    expect(replaced.body).toMatchObject({ spec: { zone: 'z' } });
    expect(replaced.body['status']).toEqual({ phase: 'Unbind' });
  },

  'a finalizer comes and goes with the version that was read': async (server) => {
    const { client, namespace } = server;
    const created = await client.create(podEniResource, { metadata: { namespace, name: 'a' } });
    const held = await patchObject(client, podEniResource, created, (draft) => {
      draft.metadata.finalizers = ['e.com/a'];
    });
    const stale = patchObject(client, podEniResource, created, (draft) => {
      draft.spec = { zone: 'z' };
    });
    await expect(stale).rejects.toMatchObject({ code: 409, reason: 'Conflict' });
    const free = await patchObject(client, podEniResource, held, (draft) => {
      draft.metadata.finalizers = [];
    });
    expect(free.metadata).not.toHaveProperty('finalizers');
  },

  'an object that was made anew is not taken for the old one': async (server) => {
    const { client, namespace } = server;
    const key = { namespace, name: 'a' };
    const first = await client.create(podEniResource, { metadata: key });
    await client.delete(podEniResource, key);
    await client.create(podEniResource, { metadata: key });
    const uid = first.metadata.uid;
    await expect(client.delete(podEniResource, key, { preconditions: { uid } })).rejects.toMatchObject({ code: 409 });
    const status = (draft: { status?: Record<string, unknown> }) => {
      draft.status = { phase: 'Bind' };
    };
    const options = { subresource: 'status' } as const;
    const late = patchObject(client, podEniResource, first, status, options);
    await expect(late).rejects.toMatchObject({ code: 409, reason: 'Conflict' });
  },

  'a status for another uid, without a version': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a'));
    const uid = '00000000-0000-0000-0000-000000000000';
    const answer = await merge(server, `${podEnis}/a/status`, { metadata: { uid }, status: { phase: 'Bind' } });
    // The status of a custom kind takes nothing of the metadata, so the uid is no precondition here.
    expect(answer.body['status']).toEqual({ phase: 'Bind' });
  },

  'a webhook configuration counts its changes, and is patched by place': async (server) => {
    const path = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations';
    const name = `hook-${server.namespace}`;
    const clientConfig = { url: 'https://127.0.0.1:1/' };
    const hook = { name: 'a.e.com', clientConfig, sideEffects: 'None', admissionReviewVersions: ['v1'] };
    const sent = { apiVersion: 'admissionregistration.k8s.io/v1', kind: 'MutatingWebhookConfiguration' };
    await succeed(server, 'POST', path, { ...sent, metadata: { name }, webhooks: [hook] });
    const { body, metadata } = await jsonPatch(server, `${path}/${name}`, [
      { op: 'test', path: '/webhooks/0/name', value: 'a.e.com' },
      { op: 'add', path: '/webhooks/0/clientConfig/url', value: 'https://127.0.0.1:2/' },
    ]);
    expect(metadata['generation']).toBe(2);
    expect(body['webhooks']).toMatchObject([{ clientConfig: { url: 'https://127.0.0.1:2/' } }]);
    await succeed(server, 'DELETE', `${path}/${name}`);
  },

  'a kind that does not exist is not found, in whatever words': async ({ client, namespace }) => {
    const resource = { ...podEniResource, plural: 'nothings' };
    await expect(client.watch(resource, { resourceVersion: '0' })).rejects.toMatchObject({ code: 404 });
    await expect(client.get(resource, { namespace, name: 'a' })).rejects.toMatchObject({ code: 404, reason: '' });
    const core = { ...resource, group: '', version: 'v1' };
    await expect(client.list(core, { namespace })).rejects.toMatchObject({ code: 404, reason: 'NotFound' });
  },

  'a collection in a namespace that does not exist is empty': async (server) => {
    const { body } = await succeed(server, 'GET', '/api/v1/namespaces/nowhere/configmaps');
    expect(body['items']).toEqual([]);
    const missing = await call(server, 'GET', '/api/v1/namespaces/nowhere/configmaps/a');
    expectRefusal(missing, { code: 404, reason: 'NotFound', details: { name: 'a', kind: 'configmaps' } });
  },

  'a deleted collection leaves those that finalizers hold': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a'));
    await succeed(server, 'POST', podEnis, podEni('b', {}, { finalizers: ['e.com/b'] }));
    await succeed(server, 'DELETE', podEnis);
    expect((await call(server, 'GET', `${podEnis}/a`)).status).toBe(404);
    expect((await succeed(server, 'GET', `${podEnis}/b`)).metadata).toHaveProperty('deletionTimestamp');
  },
};
