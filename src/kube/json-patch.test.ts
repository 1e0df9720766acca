import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { diffJsonPatch } from './json-patch.ts';
import { applyJsonPatch } from './test-support/json-patch.ts';

/** Like API objects, without null members: the server treats null as absent. */
const json = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom('a', 'b/c', 'd~e', '', 1, 2.5, true),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom('a', 'b/c', '~1', '~', 'constructor', ''), tie('value'), { maxKeys: 4 }),
  ),
})).value;

describe('a JSON patch', () => {
  test('turns the first into the second', () => {
    fc.assert(
      fc.property(json, json, (before, after) => {
        expect(applyJsonPatch(before, diffJsonPatch(before, after))).toEqual(after);
      }),
    );
  });

  test('is empty when nothing changes', () => {
    fc.assert(
      fc.property(json, (value) => {
        expect(diffJsonPatch(value, structuredClone(value))).toEqual([]);
      }),
    );
  });

  test('changes the deepest place that differs', () => {
    expect(
      diffJsonPatch(
        { metadata: { name: 'x' }, list: [{ a: 1, unknown: { deep: true } }] },
        {
          metadata: { name: 'x', annotations: { 'k8s.aliyun.com/pod-eni': 'true' } },
          list: [{ a: 1, unknown: { deep: true }, b: 2 }, 3],
        },
      ),
    ).toEqual([
      { op: 'add', path: '/metadata/annotations', value: { 'k8s.aliyun.com/pod-eni': 'true' } },
      { op: 'add', path: '/list/0/b', value: 2 },
      { op: 'add', path: '/list/-', value: 3 },
    ]);
    expect(diffJsonPatch({ a: { 'x/y': '1' } }, { a: { 'x/y': '2' } })).toEqual([
      { op: 'replace', path: '/a/x~1y', value: '2' },
    ]);
  });
});
