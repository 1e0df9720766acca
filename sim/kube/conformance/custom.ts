import { expect } from 'vitest';
import {
  type Cases,
  CUSTOM_VERSION,
  call,
  causesOf,
  expectRefusal,
  GROUP,
  jsonPatch,
  merge,
  paths,
  podEni,
  podEniResource,
  succeed,
  versionOf,
} from './server.ts';

const condition = {
  type: 'Ready',
  status: 'True',
  reason: 'Ok',
  message: '',
  lastTransitionTime: '2026-01-01T00:00:00Z',
};
const intent = { attempt: 1, clientToken: 't', createdAt: '2026-01-01T00:00:00Z' };

/** Custom kinds: schema, status subresource, generation. */
export const customCases: Cases = {
  'defaults are filled in and unknown fields dropped': async (server) => {
    const spec = { zone: 'z', unknown: 1, allocations: [{ unknown: 1, allocationType: {} }] };
    const { body } = await succeed(server, 'POST', paths(server).podEnis, podEni('a', { spec, unknown: 1 }));
    expect(body['spec']).toEqual({
      zone: 'z',
      allocations: [{ allocationType: { type: 'Elastic' }, eni: { id: '' } }],
    });
    expect(body).not.toHaveProperty('unknown');
  },

  'defaults are filled in on a patch': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a'));
    const { body } = await merge(server, `${podEnis}/a`, { spec: { allocations: [{ ipv4: '10.0.0.1', x: 1 }] } });
    expect(body['spec']).toEqual({ allocations: [{ ipv4: '10.0.0.1', eni: { id: '' } }] });
  },

  'a null counts as absent, and gets the default': async (server) => {
    const { podEnis } = paths(server);
    const spec = { zone: null, allocations: [{ eni: null, allocationType: null, ipv4: null }] };
    const { body } = await succeed(server, 'POST', podEnis, podEni('a', { spec }));
    expect(body['spec']).toEqual({ allocations: [{ eni: { id: '' } }] });
    const without = await succeed(server, 'POST', podEnis, podEni('b', { spec: null }));
    expect(without.body).not.toHaveProperty('spec');
    const inList = await call(server, 'POST', podEnis, podEni('c', { spec: { allocations: [null] } }));
    expect(causesOf(inList)).toEqual(['spec.allocations[0] FieldValueTypeInvalid']);
  },

  'defaults of a cluster-scoped kind': async (server) => {
    const { podNetworkings } = paths(server);
    const name = `pn-${server.namespace}`;
    const sent = { apiVersion: CUSTOM_VERSION, kind: 'PodNetworking', metadata: { name, namespace: 'x' }, spec: {} };
    const { body, metadata } = await succeed(server, 'POST', podNetworkings, sent);
    expect(metadata).not.toHaveProperty('namespace');
    expect(body['spec']).toEqual({
      allocationType: { type: 'Elastic' },
      eniOptions: { eniType: 'Default' },
      priority: 0,
      securityGroupRolloutPolicy: 'Immediate',
      vSwitchSelectOptions: { vSwitchSelectionPolicy: 'ordered' },
    });
    await succeed(server, 'DELETE', `${podNetworkings}/${name}`);
  },

  'everything that violates the schema is named': async (server) => {
    const spec = {
      zone: 5,
      target: { nodeName: 'n' },
      allocations: [
        { allocationType: { type: 'Nope' }, intent: { attempt: 'x', clientToken: 't', createdAt: 'yesterday' } },
      ],
    };
    const refused = await call(server, 'POST', paths(server).podEnis, podEni('a', { spec }));
    expectRefusal(refused, { code: 422, reason: 'Invalid', details: { name: 'a', group: GROUP, kind: 'PodENI' } });
    expect(causesOf(refused)).toEqual([
      'spec.allocations[0].allocationType.type FieldValueNotSupported',
      'spec.allocations[0].intent.attempt FieldValueTypeInvalid',
      'spec.allocations[0].intent.createdAt FieldValueTypeInvalid',
      'spec.target.instanceID FieldValueRequired',
      'spec.zone FieldValueTypeInvalid',
    ]);
  },

  'one violation is the message': async (server) => {
    const { podEnis } = paths(server);
    const kinds = [
      [{ zone: 5 }, 'spec.zone: Invalid value: "integer": spec.zone in body must be of type string: "integer"'],
      [
        { allocations: {} },
        'spec.allocations: Invalid value: "object": spec.allocations in body must be of type array: "object"',
      ],
      [{ target: { nodeName: 'n' } }, 'spec.target.instanceID: Required value'],
      [
        { allocations: [{ allocationType: { type: 'No' } }] },
        'spec.allocations[0].allocationType.type: Unsupported value: "No": supported values: "Elastic", "Fixed"',
      ],
    ] as const;
    for (const [spec, why] of kinds) {
      const message = `PodENI.${GROUP} "a" is invalid: ${why}`;
      expectRefusal(await call(server, 'POST', podEnis, podEni('a', { spec })), {
        code: 422,
        reason: 'Invalid',
        message,
      });
    }
  },

  'patterns are enforced': async (server) => {
    const spec = { securityGroupIDs: ['nope'], vSwitchOptions: ['vsw-1', 'bad'] };
    const sent = { apiVersion: CUSTOM_VERSION, kind: 'PodNetworking', metadata: { name: 'p' }, spec };
    const refused = await call(server, 'POST', paths(server).podNetworkings, sent);
    expect(causesOf(refused)).toEqual([
      'spec.securityGroupIDs[0] FieldValueInvalid',
      'spec.vSwitchOptions[1] FieldValueInvalid',
    ]);
  },

  'the status is validated too: lengths, enums, keys of lists': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a'));
    const long = { ...condition, reason: 'x'.repeat(1025) };
    const status = { eniInfos: { x: { type: 'Nope' } }, conditions: [{ ...long, status: 'Maybe' }, condition] };
    const refused = await merge(server, `${podEnis}/a/status`, { status });
    expect(causesOf(refused)).toEqual([
      'status.conditions[0].reason FieldValueTooLong',
      'status.conditions[0].status FieldValueNotSupported',
      'status.conditions[1] FieldValueDuplicate',
      'status.eniInfos.x.type FieldValueNotSupported',
    ]);
  },

  'the kind must be said, and be the right one': async (server) => {
    const { podEnis } = paths(server);
    const bare = await call(server, 'POST', podEnis, { metadata: { name: 'a' } });
    expectRefusal(bare, { code: 400, reason: 'BadRequest' });
    const foreign = await call(server, 'POST', podEnis, { ...podEni('a'), kind: 'Other' });
    expectRefusal(foreign, { code: 422, reason: 'Invalid', details: { name: 'a', group: GROUP, kind: 'Other' } });
    const newer = await call(server, 'POST', podEnis, { ...podEni('a'), apiVersion: `${GROUP}/v2` });
    expectRefusal(newer, { code: 400, reason: 'BadRequest' });
  },

  'refusals name the group': async (server) => {
    const { podEnis } = paths(server);
    const details = { name: 'a', group: GROUP, kind: 'podenis' };
    const message = `podenis.${GROUP} "a" not found`;
    expectRefusal(await call(server, 'GET', `${podEnis}/a`), { code: 404, reason: 'NotFound', message, details });
    await succeed(server, 'POST', podEnis, podEni('a'));
    const taken = await call(server, 'POST', podEnis, podEni('a'));
    expectRefusal(taken, {
      code: 409,
      reason: 'AlreadyExists',
      message: `podenis.${GROUP} "a" already exists`,
      details,
    });
    const stale = await merge(server, `${podEnis}/a`, { metadata: { resourceVersion: '1' } });
    expectRefusal(stale, { code: 409, reason: 'Conflict', details });
  },

  'a new object has no status': async (server) => {
    const { body } = await succeed(server, 'POST', paths(server).podEnis, podEni('a', { status: { phase: 'Bind' } }));
    expect(body).not.toHaveProperty('status');
  },

  'a write of the object leaves the status alone': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a'));
    const before = await merge(server, `${podEnis}/a/status`, { status: { phase: 'Bind' } });
    const nothing = await merge(server, `${podEnis}/a`, { status: { phase: 'Unbind' } });
    expect(versionOf(nothing)).toBe(versionOf(before));
    const sent = { ...before.body, spec: { zone: 'z' }, status: { phase: 'Unbind' } };
    const replaced = await succeed(server, 'PUT', `${podEnis}/a`, sent);
    expect(replaced.body).toMatchObject({ spec: { zone: 'z' }, status: { phase: 'Bind' } });
  },

  'a write of the status leaves everything else alone': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a', { spec: { zone: 'z' } }, { labels: { l: '1' } }));
    const sent = {
      metadata: { labels: { l: '2' }, finalizers: ['e.com/f'] },
      spec: { zone: 'y' },
      status: { phase: 'Bind' },
    };
    const { body, metadata } = await merge(server, `${podEnis}/a/status`, sent);
    expect(body).toMatchObject({ spec: { zone: 'z' }, status: { phase: 'Bind' } });
    expect(metadata).toMatchObject({ labels: { l: '1' } });
    expect(metadata).not.toHaveProperty('finalizers');
  },

  'a write of the status with an old version conflicts': async (server) => {
    const { podEnis } = paths(server);
    const created = await succeed(server, 'POST', podEnis, podEni('a'));
    await merge(server, `${podEnis}/a`, { spec: { zone: 'z' } });
    const sent = { metadata: { resourceVersion: versionOf(created) }, status: { phase: 'Bind' } };
    expectRefusal(await merge(server, `${podEnis}/a/status`, sent), { code: 409, reason: 'Conflict' });
  },

  'a JSON patch of the status': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a'));
    await merge(server, `${podEnis}/a/status`, { status: { phase: 'Bind' } });
    const { body } = await jsonPatch(server, `${podEnis}/a/status`, [
      { op: 'test', path: '/status/phase', value: 'Bind' },
      { op: 'add', path: '/status/msg', value: 'hi' },
    ]);
    expect(body['status']).toEqual({ phase: 'Bind', msg: 'hi' });
  },

  'a null takes a member out of the status': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a'));
    await merge(server, `${podEnis}/a/status`, { status: { phase: 'Bind', msg: 'x', conditions: [condition] } });
    const { body } = await merge(server, `${podEnis}/a/status`, { status: { msg: null } });
    expect(body['status']).toEqual({ phase: 'Bind', conditions: [condition] });
  },

  'the status can be read by itself': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a', { spec: { zone: 'z' } }));
    expect((await succeed(server, 'GET', `${podEnis}/a/status`)).body).toMatchObject({ spec: { zone: 'z' } });
    expectRefusal(await merge(server, `${podEnis}/a/bogus`, {}), { code: 404, reason: 'NotFound' });
  },

  'the generation counts changes of the spec': async (server) => {
    const { podEnis } = paths(server);
    const created = await succeed(server, 'POST', podEnis, podEni('a', {}, { generation: 7 }));
    expect(created.metadata['generation']).toBe(1);
    const spec = await merge(server, `${podEnis}/a`, { spec: { zone: 'z' } });
    expect(spec.metadata['generation']).toBe(2);
    const labels = await merge(server, `${podEnis}/a`, { metadata: { labels: { a: 'b' }, generation: 9 } });
    expect(labels.metadata['generation']).toBe(2);
    const status = await merge(server, `${podEnis}/a/status`, { status: { phase: 'Bind' } });
    expect(status.metadata['generation']).toBe(2);
  },

  'a replacement must name the version that it replaces': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a'));
    const refused = await call(server, 'PUT', `${podEnis}/a`, podEni('a'));
    expectRefusal(refused, { code: 422, reason: 'Invalid', details: { name: 'a', group: GROUP, kind: 'podenis' } });
    expect(causesOf(refused)).toEqual(['metadata.resourceVersion FieldValueInvalid']);
  },

  'what is required is required within what is optional': async (server) => {
    const { podEnis } = paths(server);
    const good = podEni('a', { spec: { allocations: [{ intent }] } });
    expect((await call(server, 'POST', podEnis, good)).status).toBe(201);
    const { clientToken: _clientToken, ...rest } = intent;
    const refused = await merge(server, `${podEnis}/a`, { spec: { allocations: [{ intent: rest }] } });
    expect(causesOf(refused)).toEqual(['spec.allocations[0].intent.clientToken FieldValueRequired']);
  },

  'maps take any key, and values of one schema': async (server) => {
    const { podEnis } = paths(server);
    await succeed(server, 'POST', podEnis, podEni('a'));
    const status = { eniInfos: { 'eni-1': { id: 'eni-1', vid: 5, unknown: 1 }, 'eni-2': {} } };
    const { body } = await merge(server, `${podEnis}/a/status`, { status });
    expect(body['status']).toEqual({ eniInfos: { 'eni-1': { id: 'eni-1', vid: 5 }, 'eni-2': {} } });
    const wrong = await merge(server, `${podEnis}/a/status`, { status: { eniInfos: { 'eni-1': { vid: '5' } } } });
    expect(causesOf(wrong)).toEqual(['status.eniInfos.eni-1.vid FieldValueTypeInvalid']);
  },

  'the client writes the status with the version that it read': async ({ client, namespace }) => {
    const key = { namespace, name: 'a' };
    const { metadata } = await client.create(podEniResource, { metadata: key, spec: { zone: 'z' } });
    const { uid, resourceVersion } = metadata;
    const body = { metadata: { uid, resourceVersion }, status: { phase: 'Bind' } };
    const written = await client.patchStatus(podEniResource, key, { type: 'merge', body });
    expect(written.status).toEqual({ phase: 'Bind' });
    const stale = client.patchStatus(podEniResource, key, { type: 'merge', body });
    await expect(stale).rejects.toMatchObject({ code: 409, reason: 'Conflict' });
  },
};
