import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { allCrds } from '../all.ts';
import { podEniSchema } from '../pod-eni.ts';
import { REASONS, reasonEntry } from './catalogue.ts';

const src = join(import.meta.dirname, '..', '..');

test('every reason in the catalogue is written somewhere', async () => {
  const files = (await readdir(src, { recursive: true })).filter(
    (name) => name.endsWith('.ts') && !name.endsWith('.test.ts') && !name.startsWith('crds/reasons/'),
  );
  const code = (await Promise.all(files.map((name) => readFile(join(src, name), 'utf8')))).join('\n');
  expect(Object.keys(REASONS).filter((reason) => !code.includes(`'${reason}'`))).toEqual([]);
});

test('each reason has a place, a cause, and a remedy if something is wrong', () => {
  for (const [name, { on, cause, remedy, pod }] of Object.entries(REASONS)) {
    expect(name).toMatch(/^[A-Z][A-Za-z0-9]+$/);
    expect(on.length, name).toBeGreaterThan(0);
    expect(cause, name).toMatch(/\.$/);
    const isWarning = pod !== undefined || on.some((place) => 'event' in place && place.event === 'Warning');
    if (isWarning) expect(remedy, name).toMatch(/\.$/);
  }
});

test('every kind in a place exists', () => {
  const kinds = new Set(allCrds.map(({ kind }) => kind));
  for (const { on } of Object.values(REASONS)) {
    for (const { kind } of on) expect(kind === 'Pod' || kinds.has(kind.replace(' CR', '')), kind).toBe(true);
  }
});

test('a reason of another version is accepted', () => {
  expect(reasonEntry('OfTomorrow')).toBeUndefined();
  expect(reasonEntry('toString')).toBeUndefined();
});

test('operations of another version do not prevent parsing a record', () => {
  const read = (operations: unknown) =>
    podEniSchema.parse({ metadata: { name: 'a' }, status: { phase: 'Bind', operations } }).status;
  expect(read([{ time: 't', action: 'A', ofTomorrow: 1 }])?.operations).toEqual([
    { time: 't', action: 'A', ofTomorrow: 1 },
  ]);
  expect(read([{ action: 7 }])).toMatchObject({ phase: 'Bind', operations: [] });
  expect(read('text')).toMatchObject({ phase: 'Bind', operations: [] });
});
