import { expect } from 'vitest';
import { isRecord } from '../../../src/util/json.ts';
import {
  type Answer,
  type Cases,
  CUSTOM_VERSION,
  call,
  causesOf,
  expectRefusal,
  MERGE,
  merge,
  paths,
  podEni,
  type Server,
  succeed,
  versionOf,
} from './server.ts';

/** Server-side apply. JSON is YAML. */
const APPLY = 'application/apply-patch+yaml';
const ALONE = {};
const condition = {
  status: 'True',
  reason: 'Ok',
  message: '',
  lastTransitionTime: '2026-01-01T00:00:00Z',
};

/** Fields of each `manager operation subresource`. */
function ownersIn({ metadata }: Answer): Record<string, unknown> {
  const entries: unknown[] = Array.isArray(metadata['managedFields']) ? metadata['managedFields'] : [];
  return Object.fromEntries(
    entries.filter(isRecord).map(({ manager, operation, apiVersion, subresource, fieldsType, fieldsV1, time }) => {
      expect({ apiVersion, fieldsType }).toEqual({ apiVersion: CUSTOM_VERSION, fieldsType: 'FieldsV1' });
      if (typeof time === 'string') expect(Date.parse(time)).not.toBeNaN();
      const who = [manager, operation, subresource].filter((part) => typeof part === 'string');
      return [who.join(' '), fieldsV1];
    }),
  );
}

/** Those of them that have a time: an apply that changed nothing has none. */
function timedIn({ metadata }: Answer): unknown[] {
  const entries: unknown[] = Array.isArray(metadata['managedFields']) ? metadata['managedFields'] : [];
  return entries.filter(isRecord).flatMap(({ manager, time }) => (time === undefined ? [] : [manager]));
}

const createAs = (server: Server, manager: string, body: object) =>
  succeed(server, 'POST', `${paths(server).podEnis}?fieldManager=${manager}`, body);

const mergeAs = (server: Server, manager: string, body: object, subresource = '') =>
  succeed(server, 'PATCH', `${paths(server).podEnis}/a${subresource}?fieldManager=${manager}`, body, MERGE);

/** @param query further members of the query */
const applyAs = (server: Server, manager: string, body: object, query = '') =>
  call(server, 'PATCH', `${paths(server).podEnis}/a?fieldManager=${manager}${query}`, podEni('a', body), APPLY);

/** Who has written which fields of a custom object. */
export const ownerCases: Cases = {
  'who makes an object has its fields, and the metadata of the server is nobody’s': async (server) => {
    const metadata = { labels: { app: 'x' }, finalizers: ['e.com/a'] };
    const created = await createAs(server, 'maker', podEni('a', { spec: { zone: 'z' } }, metadata));
    expect(ownersIn(created)).toEqual({
      'maker Update': {
        'f:metadata': {
          'f:labels': { '.': ALONE, 'f:app': ALONE },
          'f:finalizers': { '.': ALONE, 'v:"e.com/a"': ALONE },
        },
        'f:spec': { '.': ALONE, 'f:zone': ALONE },
      },
    });
  },

  'without a name of its own, a client is called by its user agent': async (server) => {
    const created = await succeed(server, 'POST', paths(server).podEnis, podEni('a', { spec: { zone: 'z' } }));
    expect(Object.keys(ownersIn(created))).toEqual(['terway-controlplane Update']);
  },

  'an empty name is none': async (server) => {
    const created = await createAs(server, '', podEni('a', { spec: { zone: 'z' } }));
    expect(Object.keys(ownersIn(created))).toEqual(['terway-controlplane Update']);
  },

  'who changes a field takes it from its owner': async (server) => {
    await createAs(server, 'maker', podEni('a', { spec: { zone: 'z', allocations: [{ ipv4: '10.0.0.1' }] } }));
    const changed = await mergeAs(server, 'editor', { spec: { zone: 'y' } });
    expect(ownersIn(changed)).toEqual({
      'maker Update': { 'f:spec': { '.': ALONE, 'f:allocations': ALONE } },
      'editor Update': { 'f:spec': { 'f:zone': ALONE } },
    });
  },

  'a list without keys belongs as a whole to who has changed it': async (server) => {
    const allocations = [{ ipv4: '10.0.0.1' }, { ipv4: '10.0.0.2' }];
    await createAs(server, 'maker', podEni('a', { spec: { allocations } }));
    const spec = { allocations: [{ ipv4: '10.0.0.1' }, { ipv4: '10.0.0.3' }] };
    const changed = await mergeAs(server, 'editor', { spec });
    expect(ownersIn(changed)).toEqual({
      'maker Update': { 'f:spec': ALONE },
      'editor Update': { 'f:spec': { 'f:allocations': ALONE } },
    });
  },

  'a write that leaves a value as it is takes nothing, and changes no version': async (server) => {
    const created = await createAs(server, 'maker', podEni('a', { spec: { zone: 'z' } }));
    const patched = await mergeAs(server, 'editor', { spec: { zone: 'z' } });
    const path = `${paths(server).podEnis}/a?fieldManager=editor`;
    const replaced = await succeed(server, 'PUT', path, created.body);
    for (const answer of [patched, replaced]) {
      expect(ownersIn(answer)).toEqual(ownersIn(created));
      expect(versionOf(answer)).toBe(versionOf(created));
    }
  },

  'who replaces an object has what differs': async (server) => {
    const { body } = await createAs(server, 'maker', podEni('a', { spec: { zone: 'z', allocations: [] } }));
    const sent = { ...body, spec: { zone: 'y', allocations: [] } };
    const replaced = await succeed(server, 'PUT', `${paths(server).podEnis}/a?fieldManager=daemon`, sent);
    expect(ownersIn(replaced)).toEqual({
      'maker Update': { 'f:spec': { '.': ALONE, 'f:allocations': ALONE } },
      'daemon Update': { 'f:spec': { 'f:zone': ALONE } },
    });
  },

  'a field that is removed has no owner any more': async (server) => {
    await createAs(server, 'maker', podEni('a', { spec: { zone: 'z' } }, { labels: { app: 'x' } }));
    const removed = await mergeAs(server, 'editor', { spec: null });
    expect(ownersIn(removed)).toEqual({
      'maker Update': { 'f:metadata': { 'f:labels': { '.': ALONE, 'f:app': ALONE } } },
    });
    const back = await mergeAs(server, 'editor', { spec: { zone: 'z' } });
    expect(ownersIn(back)).toMatchObject({ 'editor Update': { 'f:spec': { '.': ALONE, 'f:zone': ALONE } } });
  },

  'the status has owners of its own': async (server) => {
    await createAs(server, 'maker', podEni('a', { spec: { zone: 'z' }, status: { phase: 'Bind' } }));
    const status = { phase: 'Bind', eniInfos: { 'eni-1': { vid: 1 } } };
    await mergeAs(server, 'maker', { status, spec: { zone: 'y' } }, '/status');
    const conditions = [{ ...condition, type: 'Ready' }];
    const told = await mergeAs(server, 'teller', { status: { conditions } }, '/status');
    expect(ownersIn(told)).toEqual({
      'maker Update': { 'f:spec': { '.': ALONE, 'f:zone': ALONE } },
      'maker Update status': {
        'f:status': {
          '.': ALONE,
          'f:eniInfos': { '.': ALONE, 'f:eni-1': { '.': ALONE, 'f:vid': ALONE } },
          'f:phase': ALONE,
        },
      },
      'teller Update status': {
        'f:status': {
          'f:conditions': {
            '.': ALONE,
            'k:{"type":"Ready"}': {
              '.': ALONE,
              'f:lastTransitionTime': ALONE,
              'f:message': ALONE,
              'f:reason': ALONE,
              'f:status': ALONE,
              'f:type': ALONE,
            },
          },
        },
      },
    });
  },

  'an element of a list with keys is taken by itself': async (server) => {
    await createAs(server, 'maker', podEni('a', { spec: { zone: 'z' } }));
    const [ready, other] = [
      { ...condition, type: 'Ready' },
      { ...condition, type: 'Other' },
    ];
    await mergeAs(server, 'first', { status: { conditions: [ready, other] } }, '/status');
    const conditions = [{ ...ready, reason: 'Else' }, other];
    const changed = await mergeAs(server, 'second', { status: { conditions } }, '/status');
    expect(ownersIn(changed)['second Update status']).toEqual({
      'f:status': { 'f:conditions': { 'k:{"type":"Ready"}': { 'f:reason': ALONE } } },
    });
  },

  'an object that was made without anything to own has no owners until something is applied to it': async (server) => {
    const created = await createAs(server, 'maker', podEni('a'));
    expect(created.metadata).not.toHaveProperty('managedFields');
    const changed = await mergeAs(server, 'editor', { spec: { zone: 'z' } });
    expect(changed.metadata).not.toHaveProperty('managedFields');
    const applied = await applyAs(server, 'person', { spec: { zone: 'z' } });
    expect(ownersIn(applied)).toEqual({
      'person Apply': { 'f:spec': { 'f:zone': ALONE } },
      'before-first-apply Update': { 'f:spec': { '.': ALONE, 'f:zone': ALONE } },
    });
    expect(timedIn(applied)).toEqual(['before-first-apply']);
  },

  'what is applied makes the object if there is none': async (server) => {
    const applied = await applyAs(server, 'person', { spec: { zone: 'z' } });
    expect(applied.status).toBe(201);
    expect(ownersIn(applied)).toEqual({ 'person Apply': { 'f:spec': { 'f:zone': ALONE } } });
  },

  'who applies has what he names, together with those who have set the same': async (server) => {
    await createAs(server, 'maker', podEni('a', { spec: { zone: 'z', allocations: [] } }));
    const applied = await applyAs(server, 'person', { spec: { zone: 'z' } });
    expect(applied.status).toBe(200);
    expect(ownersIn(applied)).toEqual({
      'maker Update': { 'f:spec': { '.': ALONE, 'f:allocations': ALONE, 'f:zone': ALONE } },
      'person Apply': { 'f:spec': { 'f:zone': ALONE } },
    });
    expect(timedIn(applied)).toEqual(['maker']);
  },

  'what is applied against another owner is refused, unless it is forced': async (server) => {
    await createAs(server, 'maker', podEni('a', { spec: { zone: 'z' } }));
    const refused = await applyAs(server, 'person', { spec: { zone: 'y' } });
    expectRefusal(refused, { code: 409, reason: 'Conflict' });
    expect(causesOf(refused)).toEqual(['.spec.zone FieldManagerConflict']);
    const forced = await applyAs(server, 'person', { spec: { zone: 'y' } }, '&force=true');
    expect(forced.body['spec']).toEqual({ zone: 'y' });
    expect(ownersIn(forced)).toEqual({
      'maker Update': { 'f:spec': ALONE },
      'person Apply': { 'f:spec': { 'f:zone': ALONE } },
    });
  },

  'what is not applied any more goes, unless somebody else has it': async (server) => {
    const metadata = { labels: { app: 'x', tier: 'y' } };
    const sent = podEni('a', { spec: { zone: 'z' } }, metadata);
    await call(server, 'PATCH', `${paths(server).podEnis}/a?fieldManager=person`, sent, APPLY);
    await mergeAs(server, 'editor', { metadata: { labels: { tier: 'other' } } });
    const applied = await applyAs(server, 'person', {});
    expect(applied.body).not.toHaveProperty('spec');
    expect(applied.metadata['labels']).toEqual({ tier: 'other' });
    expect(ownersIn(applied)).toEqual({
      'editor Update': { 'f:metadata': { 'f:labels': { 'f:tier': ALONE } } },
    });
  },

  'who applies a status has nothing but the status': async (server) => {
    await createAs(server, 'maker', podEni('a', { spec: { zone: 'z' } }, { labels: { app: 'x' } }));
    const sent = podEni(
      'a',
      { spec: { zone: 'y' }, status: { phase: 'Bind' } },
      { labels: { app: 'other', tier: 'y' } },
    );
    const path = `${paths(server).podEnis}/a/status?fieldManager=person`;
    const applied = await call(server, 'PATCH', path, sent, APPLY);
    expect(applied).toMatchObject({ status: 200, body: { spec: { zone: 'z' } } });
    expect(applied.metadata['labels']).toEqual({ app: 'x' });
    expect(ownersIn(applied)['person Apply status']).toEqual({ 'f:status': { 'f:phase': ALONE } });
    // So nothing of it goes when they are not applied any more.
    await mergeAs(server, 'editor', { metadata: { labels: { tier: 'y' } } });
    const next = await call(server, 'PATCH', path, podEni('a', { status: { phase: 'Bind' } }), APPLY);
    expect(next.metadata['labels']).toEqual({ app: 'x', tier: 'y' });
  },

  'nobody applies without a name': async (server) => {
    const answer = await call(server, 'PATCH', `${paths(server).podEnis}/a`, podEni('a'), APPLY);
    expectRefusal(answer, { code: 422, reason: 'Invalid' });
    expect(causesOf(answer)).toEqual(['fieldManager FieldValueRequired']);
  },

  'what a status gets from who writes the object is not his': async (server) => {
    const created = await createAs(server, 'maker', podEni('a', { spec: { zone: 'z' }, status: { phase: 'Bind' } }));
    const ignored = await merge(server, `${paths(server).podEnis}/a?fieldManager=editor`, {
      status: { phase: 'Bind' },
    });
    expect(ownersIn(ignored)).toEqual(ownersIn(created));
  },

  'owners do not go with a change of the metadata, and no client makes them': async (server) => {
    await createAs(server, 'maker', podEni('a', { spec: { zone: 'z' } }));
    const labelled = await mergeAs(server, 'editor', { metadata: { labels: { app: 'x' }, managedFields: [] } });
    expect(Object.keys(ownersIn(labelled)).sort()).toEqual(['editor Update', 'maker Update']);
    const { status } = await applyAs(server, 'person', { metadata: { name: 'a', managedFields: [{}] } });
    expect(status).toBe(400);
  },
};
