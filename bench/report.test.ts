import { expect, test } from 'vitest';
import { overtaken, percentOf } from './report.ts';

const created = new Map(['a', 'b', 'c', 'd'].map((name) => [name, 0]));
const bound = (a: number, b: number, c: number, d: number) => new Map(Object.entries({ a, b, c, d }));

test('no pod counts as overtaken when all are bound roughly in order of creation', () => {
  expect(overtaken(created, bound(1, 2, 3, 4), 0)).toEqual({ count: 0, worstMs: 0 });
  expect(overtaken(created, bound(3, 1, 4, 4), 2)).toEqual({ count: 0, worstMs: 2 });
});

test('a pod counts as overtaken when one created later is bound first', () => {
  expect(overtaken(created, bound(70, 60, 5, 61), 10)).toEqual({ count: 2, worstMs: 65 });
});

test('without calls the throttled share is zero', () => {
  expect(percentOf(0, 0)).toBe(0);
  expect(percentOf(1, 50)).toBe(2);
});
