import { expect, test } from 'vitest';
import { PendingPods } from './pending-pods.ts';

const slot = { kind: 'slot', nodeName: 'node-1' } as const;

function pending() {
  const woken: string[] = [];
  return { woken, waiting: new PendingPods((key) => woken.push(key)) };
}

test('pods that wait for the same thing are woken in order of arrival and keep their place until they leave', () => {
  const { woken, waiting } = pending();
  for (const key of ['a', 'b', 'c', 'a']) waiting.park(key, slot);
  waiting.park('elsewhere', { kind: 'slot', nodeName: 'node-2' });
  waiting.wake(slot);
  expect(woken).toEqual(['a', 'b', 'c']);
  expect(['a', 'b', 'c', 'new'].map((key) => waiting.ahead(key, slot))).toEqual([0, 1, 2, 3]);
  expect(waiting.counts()).toMatchObject({ slot: 4, vSwitch: 0 });
});

test('when a pod gives up, the next one is woken, because nothing else may wake it', () => {
  const { woken, waiting } = pending();
  for (const key of ['a', 'b', 'c']) waiting.park(key, slot);
  waiting.leave('a');
  expect(woken).toEqual(['b']);
  waiting.leave('b');
  waiting.leave('c');
  waiting.leave('c');
  expect(woken).toEqual(['b', 'c']);
  expect(waiting.counts()).toMatchObject({ slot: 0 });
});

test('a pod that now waits for something else does not block its former queue', () => {
  const { woken, waiting } = pending();
  waiting.park('a', slot);
  waiting.park('b', slot);
  waiting.park('a', { kind: 'networking', name: 'n' });
  expect(woken).toEqual(['b']);
  expect(waiting.ahead('b', slot)).toBe(0);
});

test('a waiting pod without a PodENI is counted for the PodNetworking that will serve it', () => {
  const changed: string[] = [];
  const pending = new PendingPods(
    () => {},
    (name) => changed.push(name),
  );
  pending.park('default/a', { kind: 'slot', nodeName: 'n' }, ['web']);
  pending.park('default/b', { kind: 'vSwitch', zone: 'z', ids: ['vsw-1'] }, ['web', 'db']);
  pending.park('default/b', { kind: 'vSwitch', zone: 'z', ids: ['vsw-1'] }, ['web', 'db']);
  pending.park('default/c', { kind: 'vSwitch', zone: 'y', ids: ['vsw-2'] });
  expect(changed).toEqual(['web', 'web', 'db']);
  expect(pending.unserved('web')).toEqual({ pods: 2, zonesWithoutAddress: new Set(['z']) });
  expect(pending.unserved('db').pods).toBe(1);
  pending.leave('default/b');
  expect(pending.unserved('web')).toEqual({ pods: 1, zonesWithoutAddress: new Set() });
  // It has a PodENI now, which is counted separately.
  pending.park('default/a', { kind: 'slot', nodeName: 'n' });
  expect(pending.unserved('web').pods).toBe(0);
});

test('the place in line is reported where pods are served in turn', () => {
  const pending = new PendingPods(() => {});
  for (const key of ['default/a', 'default/b', 'default/c']) pending.park(key, { kind: 'slot', nodeName: 'n' });
  pending.park('default/d', { kind: 'networking', name: 'web' });
  expect(['a', 'c', 'd', 'e'].map((name) => pending.placeOf(`default/${name}`))).toEqual([
    'place 1 of 3 in line',
    'place 3 of 3 in line',
    undefined,
    undefined,
  ]);
});

test('queues are listed longest first, each in order of arrival', () => {
  const pending = new PendingPods(() => {});
  pending.park('a/1', { kind: 'vSwitch', zone: 'z', ids: ['vsw-1'] });
  pending.park('a/2', { kind: 'slot', nodeName: 'n' });
  pending.park('a/3', { kind: 'slot', nodeName: 'n' });
  expect(pending.places()).toEqual([
    { waitsFor: { kind: 'slot', nodeName: 'n' }, pods: ['a/2', 'a/3'] },
    { waitsFor: { kind: 'vSwitch', zone: 'z', ids: ['vsw-1'] }, pods: ['a/1'] },
  ]);
  pending.leave('a/1');
  expect(pending.places()).toHaveLength(1);
});

test('no more pods are woken than there are addresses, and one that leaves without an address wakes the next', () => {
  const woken: string[] = [];
  const pending = new PendingPods((key) => woken.push(key));
  const since = () => woken.splice(0);
  const both = { kind: 'vSwitch', zone: 'z', ids: ['vsw-1', 'vsw-2'] } as const;
  for (const name of ['a', 'b', 'c', 'd']) pending.park(`x/${name}`, both);
  pending.park('y/other', { kind: 'vSwitch', zone: 'z', ids: ['vsw-3'] });
  pending.wakeForAddress('vsw-2', 2);
  expect(since()).toEqual(['x/a', 'x/b']);
  pending.leave('x/a');
  expect(since()).toEqual(['x/b']);
  pending.park('x/b', { kind: 'slot', nodeName: 'n' });
  expect(since()).toEqual(['x/c']);
  pending.wakeForAddress('vsw-3', 10);
  expect(since()).toEqual(['y/other']);
  pending.wakeForAddress('vsw-1', 0);
  expect(since()).toEqual([]);
});
