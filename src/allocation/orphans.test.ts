import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { judgeOrphans, type ListedEni } from './orphans.ts';

const NOW_MS = 1_000_000_000;
const options = { minimumAgeMs: 600_000, nowMs: NOW_MS };

function list(count: number, ageMs: number, prefix = 'eni'): ListedEni[] {
  return Array.from({ length: count }, (_, at) => ({
    id: `${prefix}-${at}`,
    type: 'Secondary',
    status: 'Available',
    createdAtMs: NOW_MS - ageMs,
  }));
}
const owned = list(90, 3600_000, 'owned');
const isOwned = (eni: ListedEni) => eni.id.startsWith('owned');
const idsOf = (enis: ListedEni[]) => new Set(enis.map((eni) => eni.id));

describe('an ENI that no object names is released', () => {
  const old = list(3, 601_000);

  test('when it was seen in two rounds', () => {
    expect(judgeOrphans([...owned, ...old], isOwned, new Set(), options)).toEqual({
      orphans: ['eni-0', 'eni-1', 'eni-2'],
      release: [],
      braked: false,
    });
    expect(judgeOrphans([...owned, ...old], isOwned, new Set(['eni-1']), options).release).toEqual(['eni-1']);
  });

  test('when it is old enough, although the cloud says only in which second it was made', () => {
    const young = list(3, 600_999);
    expect(judgeOrphans([...owned, ...young], isOwned, idsOf(young), options)).toMatchObject({ release: [] });
    expect(judgeOrphans([...owned, ...old], isOwned, idsOf(old), options).release).toHaveLength(3);
  });

  test('in its second round when its age is unknown', () => {
    const ageless = { id: 'eni-9', type: 'Secondary', status: 'Available' };
    expect(judgeOrphans([ageless], isOwned, new Set(), options).release).toEqual([]);
    expect(judgeOrphans([ageless], isOwned, idsOf([ageless]), options).release).toEqual(['eni-9']);
  });
});

describe('implausibly many at once release nothing', () => {
  test.each([
    [10, 0, false],
    [11, 0, true],
    [11, 44, false],
    [11, 43, true],
    [200, 800, false],
    [201, 800, true],
  ])('%i beside %i with an owner: %s', (orphans, others, braked) => {
    const old = list(orphans, 3600_000);
    const verdict = judgeOrphans([...list(others, 0, 'owned'), ...old], isOwned, idsOf(old), options);
    expect(verdict.braked).toBe(braked);
    expect(verdict.release).toHaveLength(braked ? 0 : orphans);
    expect(verdict.orphans).toHaveLength(orphans);
  });
});

test('nothing that has an owner or is new is ever released', () => {
  const eni = fc.record({ id: fc.nat(30), ageMs: fc.nat(1_200_000), owned: fc.boolean(), known: fc.boolean() });
  fc.assert(
    fc.property(fc.uniqueArray(eni, { selector: (item) => item.id, maxLength: 25 }), (items) => {
      const listed = items.map(({ id, ageMs }) => ({
        id: `eni-${id}`,
        type: 'Member',
        status: 'InUse',
        createdAtMs: Math.floor((NOW_MS - ageMs) / 1000) * 1000,
      }));
      const ownedIds = new Set(items.filter((item) => item.owned).map((item) => `eni-${item.id}`));
      const known = new Set(items.filter((item) => item.known).map((item) => `eni-${item.id}`));
      const verdict = judgeOrphans(listed, (item) => ownedIds.has(item.id), known, options);
      for (const id of verdict.release) {
        expect(ownedIds.has(id)).toBe(false);
        expect(known.has(id)).toBe(true);
        expect(items.find((item) => `eni-${item.id}` === id)?.ageMs).toBeGreaterThanOrEqual(options.minimumAgeMs);
      }
      expect(verdict.orphans).toHaveLength(items.length - ownedIds.size);
    }),
  );
});
