import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SlotLedger } from './slots.ts';

test('a release tells where room came about, and only once', () => {
  const ledger = new SlotLedger();
  ledger.reserve('default/a', 'eni-1', 2);
  expect(ledger.release('default/a')).toBe('eni-1');
  expect(ledger.release('default/a')).toBeUndefined();
  expect(ledger.used('eni-1')).toBe(0);
});

test('a reservation replaces the one before, on the same trunk or another', () => {
  const ledger = new SlotLedger();
  ledger.reserve('default/a', 'eni-1', 2);
  ledger.reserve('default/a', 'eni-1', 1);
  expect(ledger.used('eni-1')).toBe(1);
  ledger.reserve('default/a', 'eni-2', 1);
  expect([ledger.used('eni-1'), ledger.used('eni-2')]).toEqual([0, 1]);
});

test('the sums are those of the owners, whatever happened', () => {
  const change = fc.record({
    owner: fc.constantFrom('a', 'b', 'c', 'd'),
    trunk: fc.option(fc.constantFrom('eni-1', 'eni-2')),
    count: fc.integer({ min: 1, max: 3 }),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 50 }), (changes) => {
      const ledger = new SlotLedger();
      const held = new Map<string, { trunk: string; count: number }>();
      for (const { owner, trunk, count } of changes) {
        if (trunk === null) {
          ledger.release(owner);
          held.delete(owner);
        } else {
          ledger.reserve(owner, trunk, count);
          held.set(owner, { trunk, count });
        }
        for (const id of ['eni-1', 'eni-2']) {
          const on = [...held].filter(([, entry]) => entry.trunk === id);
          const sum = on.reduce((total, [, entry]) => total + entry.count, 0);
          expect(ledger.used(id)).toBe(sum);
          for (const [name, entry] of on) expect(ledger.usedByOthers(id, name)).toBe(sum - entry.count);
          expect(ledger.usedByOthers(id, 'nobody')).toBe(sum);
        }
      }
    }),
  );
});
