import { expect, test } from 'vitest';
import { WaitingRoom } from './waiting-room.ts';

const slot = { kind: 'slot', nodeName: 'node-1' } as const;

function room() {
  const woken: string[] = [];
  return { woken, waiting: new WaitingRoom((key) => woken.push(key)) };
}

test('who waits for the same is looked at in the order of arrival, and keeps its place until it leaves', () => {
  const { woken, waiting } = room();
  for (const key of ['a', 'b', 'c', 'a']) waiting.park(key, slot);
  waiting.park('elsewhere', { kind: 'slot', nodeName: 'node-2' });
  waiting.wake(slot);
  expect(woken).toEqual(['a', 'b', 'c']);
  expect(['a', 'b', 'c', 'new'].map((key) => waiting.ahead(key, slot))).toEqual([0, 1, 2, 3]);
  expect(waiting.size).toBe(4);
});

test('who stands behind one that gives up is looked at, as nobody else may come to wake it', () => {
  const { woken, waiting } = room();
  for (const key of ['a', 'b', 'c']) waiting.park(key, slot);
  waiting.leave('a');
  expect(woken).toEqual(['b']);
  waiting.leave('b');
  waiting.leave('c');
  waiting.leave('c');
  expect(woken).toEqual(['b', 'c']);
  expect(waiting.size).toBe(0);
});

test('who waits for something else from now on holds nobody up where it was', () => {
  const { woken, waiting } = room();
  waiting.park('a', slot);
  waiting.park('b', slot);
  waiting.park('a', { kind: 'networking', name: 'n' });
  expect(woken).toEqual(['b']);
  expect(waiting.ahead('b', slot)).toBe(0);
});
