import { expect } from 'vitest';
import {
  atLeast,
  type Cases,
  call,
  causesOf,
  configMap,
  expectRefusal,
  merge,
  paths,
  pod,
  podEni,
  podEniResource,
  podResource,
  succeed,
  summary,
  versionOf,
  watch,
} from './server.ts';

const held = { finalizers: ['e.com/hold'] };
const options = (rest: object = {}) => ({ kind: 'DeleteOptions', apiVersion: 'v1', ...rest });

/** Deletion: preconditions, finalizers, grace, eviction. */
export const deletionCases: Cases = {
  'an object that nothing holds is gone at once': async (server) => {
    const { configMaps } = paths(server);
    const { metadata } = await succeed(server, 'POST', configMaps, configMap('a'));
    const { body } = await succeed(server, 'DELETE', `${configMaps}/a`, options());
    const details = { name: 'a', kind: 'configmaps', uid: metadata['uid'] };
    expect(body).toMatchObject({ kind: 'Status', status: 'Success', details });
    expect((await call(server, 'GET', `${configMaps}/a`)).status).toBe(404);
  },

  'a delete for another uid or version conflicts': async (server) => {
    const { podEnis } = paths(server);
    const { metadata } = await succeed(server, 'POST', podEnis, podEni('a'));
    const uid = await call(server, 'DELETE', `${podEnis}/a`, options({ preconditions: { uid: 'x' } }));
    const expected = { code: 409, reason: 'Conflict' };
    const why = `the UID in the precondition (x) does not match the UID in record (${String(metadata['uid'])})`;
    expectRefusal(uid, { ...expected, details: { name: 'a', kind: 'PodENI' } });
    expect(uid.body['message']).toContain(why);
    const old = options({ preconditions: { resourceVersion: '1' } });
    expectRefusal(await call(server, 'DELETE', `${podEnis}/a`, old), expected);
    const { uid: right, resourceVersion } = metadata;
    const fits = options({ preconditions: { uid: right, resourceVersion } });
    expect((await call(server, 'DELETE', `${podEnis}/a`, fits)).status).toBe(200);
  },

  'a policy of propagation is checked first, and leaves its finalizer': async (server) => {
    const { podEnis } = paths(server);
    const options = (propagationPolicy: string) => ({ kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy });
    const odd = await call(server, 'DELETE', `${podEnis}/a`, options('Odd'));
    expectRefusal(odd, { code: 422, reason: 'Invalid', details: { group: 'meta.k8s.io', kind: 'DeleteOptions' } });
    await succeed(server, 'POST', podEnis, podEni('a'));
    const foreground = await succeed(server, 'DELETE', `${podEnis}/a`, options('Foreground'));
    expect(foreground.metadata['finalizers']).toEqual(['foregroundDeletion']);
    const orphan = await succeed(server, 'DELETE', `${podEnis}/a`, options('Orphan'));
    expect(orphan.metadata['finalizers']).toEqual(['orphan']);
    await succeed(server, 'DELETE', `${podEnis}/a`, options('Background'));
    expect((await call(server, 'GET', `${podEnis}/a`)).status).toBe(404);
  },

  'a finalizer holds an object, and its deletion counts a generation': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a', {}, held));
    const deleting = await succeed(server, 'DELETE', `${podEnis}/a`, options());
    expect(deleting.metadata).toMatchObject({ ...held, generation: 2, deletionGracePeriodSeconds: 0 });
    expect(deleting.metadata['deletionTimestamp']).toMatch(/Z$/);
    const again = await succeed(server, 'DELETE', `${podEnis}/a`, options());
    expect(versionOf(again)).toBe(versionOf(deleting));
    const changed = await merge(server, `${podEnis}/a`, { spec: { zone: 'z' } });
    expect(changed.metadata['generation']).toBe(3);
  },

  'the last finalizer lets it go, and the answer still shows it': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a', {}, { finalizers: ['e.com/a', 'e.com/b'] }));
    const deleting = await succeed(server, 'DELETE', `${podEnis}/a`, options());
    const first = await merge(server, `${podEnis}/a`, { metadata: { finalizers: ['e.com/b'] } });
    expect(Number(versionOf(first))).toBeGreaterThan(Number(versionOf(deleting)));
    const last = await merge(server, `${podEnis}/a`, { metadata: { finalizers: [] } });
    expect(last.status).toBe(200);
    expect(versionOf(last)).toBe(versionOf(first));
    expect(last.metadata).not.toHaveProperty('finalizers');
    expect((await call(server, 'GET', `${podEnis}/a`)).status).toBe(404);
  },

  'a watch shows the end of what was held with its last stored state': async (server) => {
    const { podEnis } = paths(server);
    const created = await succeed(server, 'POST', podEnis, podEni('a', {}, held));
    await succeed(server, 'DELETE', `${podEnis}/a`, options());
    const zone = { metadata: { finalizers: null }, spec: { zone: 'z' } };
    const last = await merge(server, `${podEnis}/a`, zone);
    const events = await watch(server, `${podEnis}?watch=true&resourceVersion=${versionOf(created)}`, atLeast(2));
    expect(summary(events)).toEqual(['MODIFIED a', 'DELETED a']);
    expect(events[1]?.metadata).toMatchObject(held);
    expect(events[1]?.object).not.toHaveProperty('spec');
    expect(Number(events[1]?.metadata['resourceVersion'])).toBeGreaterThan(Number(versionOf(last)));
  },

  'an object that is being deleted takes no new finalizer': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a', {}, held));
    await succeed(server, 'DELETE', `${podEnis}/a`, options());
    const finalizers = [...held.finalizers, 'e.com/new'];
    const refused = await merge(server, `${podEnis}/a`, { metadata: { finalizers } });
    expectRefusal(refused, { code: 422, reason: 'Invalid' });
    expect(causesOf(refused)).toEqual(['metadata.finalizers FieldValueForbidden']);
  },

  'a status can still be written while a finalizer holds': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a', {}, held));
    await succeed(server, 'DELETE', `${podEnis}/a`, options());
    const { body } = await merge(server, `${podEnis}/a/status`, { status: { phase: 'Deleting' } });
    expect(body['status']).toEqual({ phase: 'Deleting' });
  },

  'a name is free again once its object is gone, with another uid': async (server) => {
    const { podEnis } = paths(server);
    const first = await succeed(server, 'POST', podEnis, podEni('a', {}, held));
    await succeed(server, 'DELETE', `${podEnis}/a`, options());
    expectRefusal(await call(server, 'POST', podEnis, podEni('a')), { code: 409, reason: 'AlreadyExists' });
    await merge(server, `${podEnis}/a`, { metadata: { finalizers: null } });
    const second = await succeed(server, 'POST', podEnis, podEni('a'));
    expect(second.metadata['uid']).not.toBe(first.metadata['uid']);
  },

  'a deleted collection answers with what was there': async (server) => {
    const { configMaps } = paths(server);
    for (const name of ['a', 'b', 'c']) {
      await succeed(server, 'POST', configMaps, configMap(name, {}, { labels: { of: name === 'c' ? 'c' : 'ab' } }));
    }
    const { body } = await succeed(server, 'DELETE', `${configMaps}?labelSelector=of%3Dab`);
    expect(body['items']).toHaveLength(2);
    expect((await call(server, 'GET', `${configMaps}/a`)).status).toBe(404);
    expect((await call(server, 'GET', `${configMaps}/c`)).status).toBe(200);
  },

  'the client tells gone from deleting': async ({ client, namespace }) => {
    const key = { namespace, name: 'a' };
    await client.create(podEniResource, { metadata: { ...key, ...held } });
    expect(await client.delete(podEniResource, key)).toMatchObject({ state: 'deleting' });
    await client.patch(podEniResource, key, { type: 'merge', body: { metadata: { finalizers: null } } });
    await expect(client.delete(podEniResource, key)).rejects.toMatchObject({ code: 404 });
  },

  'a pod that no node has is gone at once': async (server) => {
    const { pods } = paths(server);
    const created = await succeed(server, 'POST', pods, pod('a'));
    const deleted = await succeed(server, 'DELETE', `${pods}/a`, options());
    expect(deleted.metadata).toMatchObject({ name: 'a', deletionGracePeriodSeconds: 0, generation: 2 });
    const events = await watch(server, `${pods}?watch=true&resourceVersion=${versionOf(created)}`, atLeast(2));
    expect(summary(events)).toEqual(['MODIFIED a', 'DELETED a']);
    expect(events[1]?.metadata['resourceVersion']).toBe(versionOf(deleted));
  },

  'a pod on a node ends in its own time': async (server) => {
    const { pods } = paths(server);
    await succeed(server, 'POST', pods, pod('a', { nodeName: 'n', terminationGracePeriodSeconds: 7 }));
    const deleting = await succeed(server, 'DELETE', `${pods}/a`, options());
    expect(deleting.metadata).toMatchObject({ deletionGracePeriodSeconds: 7, generation: 2 });
    const again = await succeed(server, 'DELETE', `${pods}/a`, options({ gracePeriodSeconds: 60 }));
    expect(versionOf(again)).toBe(versionOf(deleting));
    const sooner = await succeed(server, 'DELETE', `${pods}/a`, options({ gracePeriodSeconds: 2 }));
    expect(sooner.metadata).toMatchObject({ deletionGracePeriodSeconds: 2, generation: 2 });
    const seconds = [deleting, sooner].map(({ metadata }) => Date.parse(String(metadata['deletionTimestamp'])) / 1000);
    expect((seconds[0] ?? 0) - (seconds[1] ?? 0)).toBe(5);
    await succeed(server, 'DELETE', `${pods}/a`, options({ gracePeriodSeconds: 0 }));
    expect((await call(server, 'GET', `${pods}/a`)).status).toBe(404);
  },

  'a pod that has ended is gone at once': async (server) => {
    const { pods } = paths(server);
    await succeed(server, 'POST', pods, pod('a', { nodeName: 'n' }));
    await merge(server, `${pods}/a/status`, { status: { phase: 'Succeeded' } });
    await succeed(server, 'DELETE', `${pods}/a`, options());
    expect((await call(server, 'GET', `${pods}/a`)).status).toBe(404);
  },

  'a pod with a finalizer outlives its grace': async (server) => {
    const { pods } = paths(server);
    await succeed(server, 'POST', pods, pod('a', { nodeName: 'n' }, held));
    await succeed(server, 'DELETE', `${pods}/a`, options());
    const ended = await succeed(server, 'DELETE', `${pods}/a`, options({ gracePeriodSeconds: 0 }));
    expect(ended.metadata).toMatchObject({ ...held, deletionGracePeriodSeconds: 0 });
    await merge(server, `${pods}/a`, { metadata: { finalizers: null } });
    expect((await call(server, 'GET', `${pods}/a`)).status).toBe(404);
  },

  'a pod whose finalizer went first waits for its grace': async (server) => {
    const { pods } = paths(server);
    await succeed(server, 'POST', pods, pod('a', { nodeName: 'n' }, held));
    await succeed(server, 'DELETE', `${pods}/a`, options());
    await merge(server, `${pods}/a`, { metadata: { finalizers: null } });
    expect((await call(server, 'GET', `${pods}/a`)).status).toBe(200);
    await succeed(server, 'DELETE', `${pods}/a`, options({ gracePeriodSeconds: 0 }));
    expect((await call(server, 'GET', `${pods}/a`)).status).toBe(404);
  },

  'an eviction for another uid conflicts, one for nobody finds nothing': async ({ client, namespace }) => {
    const key = { namespace, name: 'a' };
    await expect(client.evict(key, 'x')).rejects.toMatchObject({ code: 404 });
    const spec = { containers: [{ name: 'main', image: 'pause' }], nodeName: 'n' };
    await client.create(podResource, { metadata: key, spec });
    await expect(client.evict(key, 'x')).rejects.toMatchObject({ code: 409, reason: 'Conflict' });
  },

  'an eviction marks the pod and deletes it with its grace': async ({ client, namespace }) => {
    const key = { namespace, name: 'a' };
    const spec = { containers: [{ name: 'main', image: 'pause' }], nodeName: 'n' };
    const { metadata } = await client.create(podResource, { metadata: key, spec });
    await client.evict(key, metadata.uid ?? '');
    const evicted = await client.get(podResource, key);
    expect(evicted.metadata).toMatchObject({ deletionGracePeriodSeconds: 30 });
    const reason = { type: 'DisruptionTarget', status: 'True', reason: 'EvictionByEvictionAPI' };
    expect(evicted.status?.['conditions']).toMatchObject([reason]);
    await client.evict(key, metadata.uid ?? '');
    expect((await client.get(podResource, key)).metadata.resourceVersion).toBe(evicted.metadata.resourceVersion);
  },

  'a namespace that is being deleted takes no new objects': async (server) => {
    const name = `gone-${server.namespace}`;
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
    const created = await succeed(server, 'POST', '/api/v1/namespaces', namespace);
    expect(created.body).toMatchObject({ spec: { finalizers: ['kubernetes'] }, status: { phase: 'Active' } });
    expect(created.metadata['labels']).toEqual({ 'kubernetes.io/metadata.name': name });
    const { body } = await succeed(server, 'DELETE', `/api/v1/namespaces/${name}`);
    expect(body).toMatchObject({ kind: 'Namespace', status: { phase: 'Terminating' } });
    const late = await call(server, 'POST', `/api/v1/namespaces/${name}/configmaps`, configMap('a'));
    expectRefusal(late, { code: 403, reason: 'Forbidden', details: { name: 'a', kind: 'configmaps' } });
    expect(causesOf(late)).toEqual(['metadata.namespace NamespaceTerminating']);
    const finalized = { ...namespace, spec: { finalizers: [] } };
    await succeed(server, 'PUT', `/api/v1/namespaces/${name}/finalize`, finalized);
    expect((await call(server, 'GET', `/api/v1/namespaces/${name}`)).status).toBe(404);
  },

  'some namespaces may not be deleted': async (server) => {
    const refused = await call(server, 'DELETE', '/api/v1/namespaces/default');
    expectRefusal(refused, { code: 403, reason: 'Forbidden', details: { name: 'default', kind: 'namespaces' } });
  },
};
