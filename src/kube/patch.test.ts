import fc from 'fast-check';
import { expect, test } from 'vitest';
import { applyMergePatch } from '../util/json.ts';
import { machine } from '../util/test-support/machine.ts';
import { connectKube } from './client.ts';
import { isConflict } from './errors.ts';
import { cloneJson, diffMergePatch, patchObject } from './patch.ts';
import { TestApiServer } from './test-support/api-server.ts';
import type { HasMetadata, Resource } from './types.ts';

/** JSON objects without null (Kubernetes treats it as absent) and without `__proto__`. */
const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.string({ maxLength: 3 }),
    fc.integer(),
    fc.boolean(),
    fc.array(tie('value'), { maxLength: 3 }),
    tie('object'),
  ),
  object: fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), tie('value'), { maxKeys: 4, noNullPrototype: true }),
})).object;

test('applying the patch gives the other object', () => {
  fc.assert(
    fc.property(json, json, (before, after) => {
      if (!isObject(before) || !isObject(after)) throw new Error('not an object');
      const frozen = JSON.stringify([before, after]);
      const patch = diffMergePatch(before, after);
      expect(applyMergePatch(before, patch ?? {})).toEqual(after);
      expect(JSON.stringify([before, after])).toBe(frozen);
      expect(patch === undefined).toBe(JSON.stringify(sorted(before)) === JSON.stringify(sorted(after)));
    }),
    { numRuns: 500 },
  );
});

test('the patch contains only differences', () => {
  const before = { spec: { a: 1, list: [1, 2], gone: 'x' }, status: { phase: 'Bind' } };
  const after = { spec: { a: 1, list: [1, 3], gone: undefined }, status: { phase: 'Bind' } };
  expect(diffMergePatch(before, after)).toEqual({ spec: { list: [1, 3], gone: null } });
});

test('undefined, null and absent are the same', () => {
  expect(diffMergePatch({ a: null }, { a: undefined })).toBeUndefined();
  expect(diffMergePatch({}, { a: undefined, b: null })).toBeUndefined();
});

test('a clone is equal and shares no structure', () => {
  fc.assert(
    fc.property(json, (value) => {
      const clone = cloneJson(value);
      expect(clone).toEqual(value);
      if (isObject(value) && isObject(clone)) clone['new'] = 1;
      expect(isObject(value) && value['new']).toBeUndefined();
    }),
  );
});

interface Thing extends HasMetadata {
  spec?: { size?: number; color?: string };
  status?: { phase?: string };
}

const thingResource: Resource<Thing> = {
  group: 'example.com',
  version: 'v1',
  plural: 'things',
  kind: 'Thing',
  namespaced: true,
};
const THINGS = '/apis/example.com/v1/things';

test('patchObject writes the differences only, keeps unknown fields, and notices a stale object', async () => {
  const server = new TestApiServer();
  await server.start();
  const client = connectKube(server.configFor(), machine);
  try {
    server.put(THINGS, 'ns', 'x', { spec: { size: 1, color: 'red', future: true }, status: { phase: 'New' } });
    const read = await client.get(thingResource, { namespace: 'ns', name: 'x' });
    const grown = await patchObject(client, thingResource, read, (draft) => {
      draft.spec = { ...draft.spec, size: 2 };
    });
    expect(grown.spec).toEqual({ size: 2, color: 'red', future: true });
    expect(read.spec?.size).toBe(1);
    const { uid, resourceVersion } = read.metadata;
    expect(server.requests.at(-1)?.body).toEqual({ metadata: { uid, resourceVersion }, spec: { size: 2 } });

    const sent = server.requests.length;
    expect(await patchObject(client, thingResource, grown, () => {})).toBe(grown);
    expect(server.requests.length).toBe(sent);

    const stale = patchObject(client, thingResource, read, (draft) => {
      draft.status = { phase: 'Lost' };
    });
    expect(isConflict(await stale.catch((error: unknown) => error))).toBe(true);

    const setBind = (draft: Thing) => {
      draft.status = { phase: 'Bind' };
    };
    await patchObject(client, thingResource, grown, setBind, { subresource: 'status' });
    expect(server.requests.at(-1)?.path).toBe('/apis/example.com/v1/namespaces/ns/things/x/status');
    await patchObject(client, thingResource, read, setBind, { optimisticLock: false });
    expect(server.requests.at(-1)?.body).toEqual({ metadata: { uid }, status: { phase: 'Bind' } });
  } finally {
    client.close();
    await server.stop();
  }
});

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => [k, sorted(v)]),
  );
}
