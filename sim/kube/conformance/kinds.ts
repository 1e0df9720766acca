import { expect } from 'vitest';
import {
  type Cases,
  call,
  causesOf,
  expectRefusal,
  jsonPatch,
  merge,
  namesOf,
  paths,
  pod,
  podEni,
  STRATEGIC_MERGE,
  succeed,
  versionOf,
} from './server.ts';

function lease(rest: object = {}, metadata: object = {}): object {
  const spec = { holderIdentity: 'a', leaseDurationSeconds: 15, renewTime: '2026-01-01T00:00:00.000000Z', ...rest };
  return { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'l', ...metadata }, spec };
}

/** What is special about some built-in kinds. */
export const kindCases: Cases = {
  'a new pod is pending, with a generation': async (server) => {
    const sent = { ...pod('a'), status: { phase: 'Running' } };
    const { body, metadata } = await succeed(server, 'POST', paths(server).pods, sent);
    expect(body).toMatchObject({ status: { phase: 'Pending' }, spec: { terminationGracePeriodSeconds: 30 } });
    expect(metadata['generation']).toBe(1);
  },

  'the place of a pod is for life': async (server) => {
    const { pods } = paths(server);
    await succeed(server, 'POST', pods, pod('a', { nodeName: 'n' }));
    const refused = await merge(server, `${pods}/a`, { spec: { nodeName: 'other' } });
    expectRefusal(refused, { code: 422, reason: 'Invalid', details: { name: 'a', kind: 'Pod' } });
    expect(causesOf(refused)).toEqual(['spec FieldValueForbidden']);
    const host = await merge(server, `${pods}/a`, { spec: { hostNetwork: true } });
    expect(causesOf(host)).toEqual(['spec FieldValueForbidden']);
  },

  'the status of a pod takes labels and annotations along, and no spec': async (server) => {
    const { pods } = paths(server);
    await succeed(server, 'POST', pods, pod('a', { nodeName: 'n' }));
    const sent = { metadata: { annotations: { a: '1' } }, spec: { nodeName: 'x' }, status: { phase: 'Running' } };
    const { body } = await merge(server, `${pods}/a/status`, sent);
    expect(body).toMatchObject({ spec: { nodeName: 'n' }, status: { phase: 'Running' } });
    expect(body['metadata']).toMatchObject({ annotations: { a: '1' }, generation: 1 });
  },

  'a write of a pod leaves its status alone': async (server) => {
    const { pods } = paths(server);
    await succeed(server, 'POST', pods, pod('a'));
    const sent = { metadata: { annotations: { a: '1' } }, status: { phase: 'Failed' } };
    const { body } = await merge(server, `${pods}/a`, sent);
    expect(body).toMatchObject({ metadata: { annotations: { a: '1' } }, status: { phase: 'Pending' } });
  },

  'a pod is bound once': async (server) => {
    const { pods } = paths(server);
    const binding = { apiVersion: 'v1', kind: 'Binding', metadata: { name: 'a' }, target: { kind: 'Node', name: 'n' } };
    await succeed(server, 'POST', pods, pod('a'));
    expect((await call(server, 'POST', `${pods}/a/binding`, binding)).status).toBe(201);
    const { body } = await succeed(server, 'GET', `${pods}/a`);
    expect(body).toMatchObject({ spec: { nodeName: 'n' }, status: { conditions: [{ type: 'PodScheduled' }] } });
    const details = { name: 'a', kind: 'pods/binding' };
    const twice = await call(server, 'POST', `${pods}/a/binding`, binding);
    expectRefusal(twice, { code: 409, reason: 'Conflict', details });
  },

  'an annotation of a pod is added by a JSON patch': async (server) => {
    const { pods } = paths(server);
    await succeed(server, 'POST', pods, pod('a', {}, { annotations: { a: '1' } }));
    const patch = [{ op: 'add', path: '/metadata/annotations/x.y~1z', value: '2' }];
    const { metadata } = await jsonPatch(server, `${pods}/a`, patch);
    expect(metadata['annotations']).toEqual({ a: '1', 'x.y/z': '2' });
  },

  'pods are found by their node and phase': async (server) => {
    const { pods } = paths(server);
    await succeed(server, 'POST', pods, pod('a', { nodeName: 'n1' }));
    await succeed(server, 'POST', pods, pod('b', { nodeName: 'n2' }));
    await succeed(server, 'POST', pods, pod('c'));
    const found = async (selector: string) =>
      namesOf(await succeed(server, 'GET', `${pods}?fieldSelector=${encodeURIComponent(selector)}`));
    expect(await found('spec.nodeName=n1')).toEqual(['a']);
    expect(await found('spec.nodeName!=n1')).toEqual(['b', 'c']);
    expect(await found('spec.nodeName=')).toEqual(['c']);
    expect(await found('status.phase==Pending,metadata.name!=b')).toEqual(['a', 'c']);
  },

  'a node comes with its status, which later writes leave alone': async (server) => {
    const name = `node-${server.namespace}`;
    const sent = { apiVersion: 'v1', kind: 'Node', metadata: { name }, spec: { providerID: 'p' } };
    const created = await succeed(server, 'POST', '/api/v1/nodes', { ...sent, status: { capacity: { cpu: '1' } } });
    expect(created.body).toMatchObject({ status: { capacity: { cpu: '1' } } });
    const patch = { status: { capacity: { cpu: '2' } }, metadata: { annotations: { a: '1' } } };
    const main = await merge(server, `/api/v1/nodes/${name}`, patch);
    expect(main.body).toMatchObject({ status: { capacity: { cpu: '1' } } });
    const status = await merge(server, `/api/v1/nodes/${name}/status`, patch);
    expect(status.body).toMatchObject({ status: { capacity: { cpu: '2' } }, spec: { providerID: 'p' } });
    const { body } = await succeed(server, 'DELETE', `/api/v1/nodes/${name}`);
    expect(body).toMatchObject({ status: 'Success', details: { name, kind: 'nodes' } });
  },

  'conditions of a node are merged one by one, those of a custom object are not': async (server) => {
    const name = `node-${server.namespace}`;
    const ready = { type: 'Ready', status: 'True', reason: 'KubeletReady' };
    const sent = { apiVersion: 'v1', kind: 'Node', metadata: { name }, status: { conditions: [ready] } };
    await succeed(server, 'POST', '/api/v1/nodes', sent);
    const state = (condition: object) =>
      call(server, 'PATCH', `/api/v1/nodes/${name}/status`, { status: { conditions: [condition] } }, STRATEGIC_MERGE);
    const added = await state({ type: 'Ours', status: 'True', reason: 'A' });
    expect(added.body).toMatchObject({
      status: { conditions: [{ type: 'Ours', status: 'True', reason: 'A' }, ready] },
    });
    const changed = await state({ type: 'Ours', status: 'False' });
    expect(changed.body).toMatchObject({
      status: { conditions: [{ type: 'Ours', status: 'False', reason: 'A' }, ready] },
    });
    const removed = await state({ type: 'Ours', $patch: 'delete' });
    expect(removed.body).toMatchObject({ status: { conditions: [ready] } });
    const removedAgain = await state({ type: 'Ours', $patch: 'delete' });
    expect(removedAgain.body).toMatchObject({ status: { conditions: [ready] } });
    await succeed(server, 'DELETE', `/api/v1/nodes/${name}`);
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a'));
    const custom = await call(server, 'PATCH', `${podEnis}/a`, {}, STRATEGIC_MERGE);
    expectRefusal(custom, { code: 415, reason: 'UnsupportedMediaType' });
  },

  'a lease changes hands by version': async (server) => {
    const { leases } = paths(server);
    const created = await succeed(server, 'POST', leases, lease());
    const claim = (holderIdentity: string) =>
      merge(server, `${leases}/l`, { metadata: { resourceVersion: versionOf(created) }, spec: { holderIdentity } });
    const won = await claim('b');
    expect(won.body).toMatchObject({ spec: { holderIdentity: 'b', leaseDurationSeconds: 15 } });
    const details = { name: 'l', group: 'coordination.k8s.io', kind: 'leases' };
    expectRefusal(await claim('c'), { code: 409, reason: 'Conflict', details });
  },

  'a lease lasts a while, and is not replaced blindly': async (server) => {
    const { leases } = paths(server);
    const refused = await call(server, 'POST', leases, lease({ leaseDurationSeconds: 0 }));
    expect(causesOf(refused)).toEqual(['spec.leaseDurationSeconds FieldValueInvalid']);
    await succeed(server, 'POST', leases, lease());
    const blind = await call(server, 'PUT', `${leases}/l`, lease());
    expect(causesOf(blind)).toEqual(['metadata.resourceVersion FieldValueInvalid']);
  },

  'an event is written, found by its object, and becomes a series': async (server) => {
    const { events } = paths(server);
    const event = {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name: 'e' },
      eventTime: '2026-01-01T00:00:00.000000Z',
      type: 'Normal',
      action: 'A',
      reason: 'R',
      note: 'n',
      regarding: { kind: 'Pod', namespace: server.namespace, name: 'a' },
      reportingController: 'e.com/c',
      reportingInstance: 'i',
    };
    await succeed(server, 'POST', events, event);
    const series = { count: 2, lastObservedTime: '2026-01-01T00:00:01.000000Z' };
    expect((await merge(server, `${events}/e`, { series })).body['series']).toEqual(series);
    expect(namesOf(await succeed(server, 'GET', `${events}?fieldSelector=regarding.name%3Da`))).toEqual(['e']);
    expect(namesOf(await succeed(server, 'GET', `${events}?fieldSelector=regarding.name%3Db`))).toEqual([]);
  },

  'a deployment counts generations, and its status is apart': async (server) => {
    const path = `/apis/apps/v1/namespaces/${server.namespace}/deployments`;
    const template = { metadata: { labels: { app: 'd' } }, spec: { containers: [{ name: 'main', image: 'pause' }] } };
    const spec = { replicas: 1, selector: { matchLabels: { app: 'd' } }, template };
    const sent = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'd' }, spec };
    expect((await succeed(server, 'POST', path, sent)).metadata['generation']).toBe(1);
    const scaled = await merge(server, `${path}/d`, { spec: { replicas: 2 }, status: { replicas: 5 } });
    expect(scaled.metadata['generation']).toBe(2);
    expect(scaled.body['status']).not.toMatchObject({ replicas: 5 });
    const status = await merge(server, `${path}/d/status`, { status: { replicas: 2 }, spec: { replicas: 9 } });
    expect(status.body).toMatchObject({ spec: { replicas: 2 }, status: { replicas: 2 }, metadata: { generation: 2 } });
  },
};
