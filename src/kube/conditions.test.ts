import { expect, test } from 'vitest';
import { findCondition, setCondition } from './conditions.ts';

const T0 = Date.parse('2026-01-01T00:00:00Z');
const T1 = Date.parse('2026-01-01T00:01:00Z');
const ready = {
  type: 'Ready',
  status: 'False',
  reason: 'Attaching',
  message: 'attaching',
  observedGeneration: 1,
} as const;

test('a new condition is added with the present time', () => {
  const list = setCondition(undefined, ready, T0);
  expect(list).toEqual([{ ...ready, lastTransitionTime: '2026-01-01T00:00:00Z' }]);
  expect(findCondition(list, 'Ready')?.reason).toBe('Attaching');
  expect(findCondition(list, 'Other')).toBeUndefined();
});

test('an equal condition leaves the very same list', () => {
  const list = setCondition(undefined, ready, T0);
  expect(setCondition(list, { ...ready }, T1)).toBe(list);
});

test('the transition time changes only with the status', () => {
  const list = setCondition(undefined, ready, T0);
  const reworded = setCondition(list, { ...ready, message: 'still attaching' }, T1);
  expect(reworded[0]).toMatchObject({ message: 'still attaching', lastTransitionTime: '2026-01-01T00:00:00Z' });
  const turned = setCondition(reworded, { ...ready, status: 'True' }, T1);
  expect(turned[0]?.lastTransitionTime).toBe('2026-01-01T00:01:00Z');
  expect(list[0]?.message).toBe('attaching');
});

test('the others keep their place', () => {
  const two = setCondition(setCondition(undefined, ready, T0), { ...ready, type: 'Other' }, T0);
  const changed = setCondition(two, { ...ready, status: 'True' }, T1);
  expect(changed.map(({ type }) => type)).toEqual(['Ready', 'Other']);
});
