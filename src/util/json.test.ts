import fc from 'fast-check';
import { expect, test } from 'vitest';
import { applyMergePatch, isRecord } from './json.ts';

test.each<[unknown, unknown, unknown]>([
  [
    { a: 1, b: 2 },
    { b: null, c: 3 },
    { a: 1, c: 3 },
  ],
  [{ a: { b: 1, c: 2 } }, { a: { b: 3, c: null } }, { a: { b: 3 } }],
  [{ a: [1, 2, 3] }, { a: [4] }, { a: [4] }],
  [{ a: [1] }, { a: { b: null, c: { d: null } } }, { a: { c: {} } }],
  [{ a: { b: 1 } }, { a: 'text' }, { a: 'text' }],
  [{ a: 1 }, { b: null }, { a: 1 }],
  [{ a: 1 }, ['b'], ['b']],
  [[1, 2], { a: 1 }, { a: 1 }],
])('%j, patched with %j, is %j', (target, patch, result) => {
  expect(applyMergePatch(target, patch)).toEqual(result);
});

const json = fc.jsonValue({ maxDepth: 4 });

test('the result has the members of the patch without its nulls, and otherwise those of the original', () => {
  fc.assert(
    fc.property(json, json, (target, patch) => {
      const frozen = JSON.stringify([target, patch]);
      const result = applyMergePatch(target, patch);
      holds(target, patch, result);
      // A second time changes nothing.
      expect(applyMergePatch(result, patch)).toEqual(result);
      expect(JSON.stringify([target, patch])).toBe(frozen);
    }),
  );
});

function holds(target: unknown, patch: unknown, result: unknown): void {
  if (!isRecord(patch)) {
    expect(result).toEqual(patch);
    return;
  }
  if (!isRecord(result)) throw new Error('an object makes an object');
  const before = isRecord(target) ? target : {};
  const own = (object: Record<string, unknown>, key: string) => (Object.hasOwn(object, key) ? object[key] : undefined);
  for (const key of new Set([...Object.keys(before), ...Object.keys(patch), ...Object.keys(result)])) {
    if (!Object.hasOwn(patch, key)) expect(own(result, key)).toBe(own(before, key));
    else if (own(patch, key) === null) expect(Object.hasOwn(result, key)).toBe(false);
    else holds(own(before, key), own(patch, key), own(result, key));
  }
}

test('a member named __proto__ is treated like any other', () => {
  const patched = applyMergePatch({}, JSON.parse('{"__proto__": {"a": 1}}'));
  expect(JSON.stringify(patched)).toBe('{"__proto__":{"a":1}}');
  expect(Object.getPrototypeOf(patched)).toBe(Object.prototype);
});
