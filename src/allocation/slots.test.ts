import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SlotLedger } from './slots.ts';

test('every drop in the used slots of an instance is reported, and nothing else', () => {
  const freed: string[] = [];
  const ledger = new SlotLedger((instanceId) => freed.push(instanceId));
  const since = () => freed.splice(0);
  ledger.reserve('default/a', 'i-1', 2);
  ledger.reserve('default/a', 'i-1', 2);
  expect(since()).toEqual([]);
  ledger.reserve('default/a', 'i-1', 1);
  expect(since()).toEqual(['i-1']);
  ledger.reserve('default/a', 'i-2', 3);
  expect(since()).toEqual(['i-1']);
  ledger.release('default/a');
  ledger.release('default/a');
  expect(since()).toEqual(['i-2']);
  expect([ledger.used('i-1'), ledger.used('i-2')]).toEqual([0, 0]);
});

test('the report comes after the sum has changed', () => {
  const sums: number[] = [];
  const ledger: SlotLedger = new SlotLedger((instanceId) => sums.push(ledger.used(instanceId)));
  ledger.reserve('default/a', 'i-1', 2);
  ledger.reserve('default/b', 'i-1', 1);
  ledger.reserve('default/a', 'i-2', 2);
  ledger.release('default/b');
  expect(sums).toEqual([1, 0]);
});

test('the sums match the owners after any sequence', () => {
  const change = fc.record({
    owner: fc.constantFrom('a', 'b', 'c', 'd'),
    instance: fc.option(fc.constantFrom('i-1', 'i-2')),
    count: fc.integer({ min: 1, max: 3 }),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 50 }), (changes) => {
      const ledger = new SlotLedger(() => undefined);
      const held = new Map<string, { instance: string; count: number }>();
      for (const { owner, instance, count } of changes) {
        if (instance === null) {
          ledger.release(owner);
          held.delete(owner);
        } else {
          ledger.reserve(owner, instance, count);
          held.set(owner, { instance, count });
        }
        for (const id of ['i-1', 'i-2']) {
          const on = [...held].filter(([, entry]) => entry.instance === id);
          const sum = on.reduce((total, [, entry]) => total + entry.count, 0);
          expect(ledger.used(id)).toBe(sum);
          for (const [name, entry] of on) expect(ledger.usedByOthers(id, name)).toBe(sum - entry.count);
          expect(ledger.usedByOthers(id, 'nobody')).toBe(sum);
        }
      }
    }),
  );
});
