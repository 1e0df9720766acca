import { expect, test } from 'vitest';
import { overtaken, percentOf } from './report.ts';

const created = new Map(['a', 'b', 'c', 'd'].map((name) => [name, 0]));
const bound = (a: number, b: number, c: number, d: number) => new Map(Object.entries({ a, b, c, d }));

test('nobody is overtaken when all are bound in the order of their creation, or nearly so', () => {
  expect(overtaken(created, bound(1, 2, 3, 4), 0)).toEqual({ count: 0, worstMs: 0 });
  expect(overtaken(created, bound(3, 1, 4, 4), 2)).toEqual({ count: 0, worstMs: 2 });
});

test('everybody is overtaken before whom somebody created later is bound', () => {
  expect(overtaken(created, bound(70, 60, 5, 61), 10)).toEqual({ count: 2, worstMs: 65 });
});

test('when no call was made, none was throttled', () => {
  expect(percentOf(0, 0)).toBe(0);
  expect(percentOf(1, 50)).toBe(2);
});
