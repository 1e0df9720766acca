import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { Store } from './store.ts';
import type { HasMetadata } from './types.ts';

interface Thing extends HasMetadata {
  zone: string;
}

function thing(name: string, version: number, zone = 'a', uid = `uid-${name}`): Thing {
  return { metadata: { name, namespace: 'ns', uid, resourceVersion: String(version) }, zone };
}

let store: Store<Thing>;
let log: string[];

beforeEach(() => {
  store = new Store<Thing>({ indexers: { zone: ({ zone }) => [zone] } });
  log = [];
  store.addHandler({
    onAdd: (t, origin) => log.push(`add ${t.metadata.name}@${t.metadata.resourceVersion} ${origin}`),
    onUpdate: (_, t, origin) => log.push(`update ${t.metadata.name}@${t.metadata.resourceVersion} ${origin}`),
    onDelete: (t, origin) => log.push(`delete ${t.metadata.name}@${t.metadata.resourceVersion} ${origin}`),
  });
});

test('a write is visible at once, and its echo is dropped', () => {
  store.replace([thing('x', 10)], '10');
  store.noteWritten(thing('x', 12, 'b'));
  expect(store.get('ns/x')?.zone).toBe('b');
  store.upsert(thing('x', 11, 'stale'));
  store.upsert(thing('x', 12, 'b'));
  expect(store.get('ns/x')?.zone).toBe('b');
  expect(log).toEqual(['add x@10 list', 'update x@12 write']);
});

test('versions are compared as numbers, not as text', () => {
  store.replace([thing('x', 99)], '99');
  store.upsert(thing('x', 100, 'b'));
  expect(store.get('ns/x')?.zone).toBe('b');
});

test('a write that the watch has overtaken changes nothing', () => {
  store.replace([thing('x', 10)], '10');
  store.upsert(thing('x', 13, 'c'));
  store.noteWritten(thing('x', 12, 'b'));
  expect(store.get('ns/x')?.zone).toBe('c');
  store.remove({ ...thing('x', 14).metadata }, undefined);
  store.noteWritten(thing('x', 13, 'c'));
  expect(store.get('ns/x')).toBeUndefined();
});

test('after our own deletion, late watch events of that uid are ignored', () => {
  store.replace([thing('x', 10)], '10');
  store.noteDeleted('ns/x', 'uid-x');
  store.upsert(thing('x', 11));
  expect(store.get('ns/x')).toBeUndefined();
  store.upsert(thing('x', 14, 'a', 'uid-next'));
  expect(store.get('ns/x')?.metadata.uid).toBe('uid-next');
  store.remove({ ...thing('x', 12).metadata }, undefined);
  expect(store.get('ns/x')?.metadata.uid).toBe('uid-next');
});

test('a deletion affects one uid only', () => {
  store.replace([thing('x', 10)], '10');
  store.noteDeleted('ns/x', 'another');
  expect(store.size).toBe(1);
});

test('a new uid under the same name is a deletion and an addition', () => {
  store.replace([thing('x', 10)], '10');
  store.noteWritten(thing('x', 15, 'b', 'uid-next'));
  expect(log.slice(1)).toEqual(['delete x@10 write', 'add x@15 write']);
  // The late events of the first one do not bring it back.
  store.upsert(thing('x', 11));
  store.remove({ ...thing('x', 12).metadata }, undefined);
  expect(store.get('ns/x')?.metadata.uid).toBe('uid-next');
});

test('a list does not undo what was written after its version', () => {
  store.replace([thing('old', 10)], '10');
  store.noteWritten(thing('old', 14, 'b'));
  store.noteWritten(thing('new', 15));
  store.replace([thing('old', 10)], '12');
  expect(store.get('ns/old')?.zone).toBe('b');
  expect(store.get('ns/new')).toBeDefined();
  store.replace([thing('old', 14, 'b')], '20');
  expect(store.get('ns/new')).toBeUndefined();
});

test('a list older than the last known version replaces everything', () => {
  store.replace([thing('x', 50), thing('y', 60)], '60');
  store.replace([thing('x', 20, 'restored')], '30');
  expect(store.list()).toEqual([thing('x', 20, 'restored')]);
});

test('a list at a later version replaces even a newer state, as after a restore that bumped the versions', () => {
  store.replace([thing('x', 50, 'lost')], '60');
  store.noteWritten(thing('y', 1200, 'written'));
  store.replace([thing('x', 20, 'restored')], '1000');
  expect(store.get('ns/x')?.zone).toBe('restored');
  expect(store.get('ns/y')?.zone).toBe('written');
});

test('after a rewind the next list replaces everything, whatever its version', () => {
  store.replace([thing('x', 50, 'lost'), thing('same', 10)], '60');
  store.noteWritten(thing('y', 90, 'lost'));
  store.noteDeleted('ns/same', 'uid-same');
  store.rewound();
  store.replace([thing('x', 50, 'restored'), thing('same', 10)], '70');
  expect(store.get('ns/x')?.zone).toBe('restored');
  expect(store.keys().sort()).toEqual(['ns/same', 'ns/x']);
});

test('indexes follow the objects', () => {
  const indexed = new Store<Thing>({ indexers: { zone: ({ zone }) => (zone === '' ? [] : zone.split(',')) } });
  const keys = (zone: string) =>
    indexed
      .byIndex('zone', zone)
      .map(({ metadata }) => metadata.name)
      .sort();
  indexed.replace([thing('x', 1, 'a,b'), thing('y', 2, 'b'), thing('z', 3, '')], '3');
  expect([keys('a'), keys('b'), keys('')]).toEqual([['x'], ['x', 'y'], []]);
  indexed.upsert(thing('x', 4, 'c'));
  expect([keys('a'), keys('b'), keys('c')]).toEqual([[], ['y'], ['x']]);
  indexed.noteDeleted('ns/y', 'uid-y');
  expect(indexed.indexValues('zone')).toEqual(['c']);
  expect(() => indexed.byIndex('typo', 'a')).toThrow("no index 'typo'");
});

test('an indexer that throws leaves the object in the store', () => {
  const reported: string[] = [];
  const fragile = new Store<Thing>({
    indexers: {
      zone: ({ zone }) => {
        if (zone === 'bad') throw new Error('bad');
        return [zone];
      },
    },
    onHandlerError: (_, key) => reported.push(key),
  });
  fragile.replace([thing('x', 1, 'bad'), thing('y', 2)], '2');
  expect(fragile.size).toBe(2);
  expect(reported).toEqual(['ns/x']);
});

test('a late handler is called for the existing objects', () => {
  store.replace([thing('x', 1)], '1');
  const seen: string[] = [];
  const stop = store.addHandler({ onAdd: (t) => seen.push(t.metadata.name) });
  stop();
  store.upsert(thing('y', 2));
  expect(seen).toEqual(['x']);
});

test('in any order of writes and echoes, the store ends in sync and handlers see every state once', () => {
  const step = fc.record({
    name: fc.constantFrom('x', 'y'),
    kind: fc.constantFrom('write', 'delete', 'other'),
    lag: fc.nat(4),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const local = new Store<Thing>({ indexers: { zone: ({ zone }) => [zone] } });
      const mirror = new Map<string, Thing>();
      local.addHandler({
        onAdd: (t) => {
          expect(mirror.has(t.metadata.name)).toBe(false);
          mirror.set(t.metadata.name, t);
        },
        onUpdate: (before, t) => {
          expect(mirror.get(t.metadata.name)).toBe(before);
          expect(before.metadata.uid).toBe(t.metadata.uid);
          mirror.set(t.metadata.name, t);
        },
        onDelete: (t) => expect(mirror.delete(t.metadata.name)).toBe(true),
      });
      local.replace([], '1');
      const server = new Map<string, Thing>();
      const watch: (() => void)[] = [];
      const answers: { due: number; deliver: () => void }[] = [];
      let version = 1;
      for (const [i, { name, kind, lag }] of steps.entries()) {
        version += 1;
        const before = server.get(name);
        const at = version;
        if (kind === 'delete') {
          if (before === undefined) continue;
          server.delete(name);
          watch.push(() => local.remove({ ...before.metadata, resourceVersion: String(at) }, undefined));
          answers.push({ due: i + lag, deliver: () => local.noteDeleted(`ns/${name}`, before.metadata.uid ?? '') });
        } else {
          const after = thing(name, at, String(at), before?.metadata.uid ?? `uid-${name}-${at}`);
          server.set(name, after);
          watch.push(() => local.upsert(after));
          if (kind === 'write') answers.push({ due: i + lag, deliver: () => local.noteWritten(after) });
        }
        for (const answer of answers.filter(({ due }) => due === i)) answer.deliver();
        if (lag % 2 === 0) watch.shift()?.();
      }
      for (const answer of answers.filter(({ due }) => due >= steps.length)) answer.deliver();
      for (const deliver of watch) deliver();
      const byName = (a: Thing, b: Thing) => a.metadata.name.localeCompare(b.metadata.name);
      expect(local.list().sort(byName)).toEqual([...server.values()].sort(byName));
      expect([...mirror.values()].sort(byName)).toEqual(local.list().sort(byName));
      for (const t of local.list()) expect(local.byIndex('zone', t.zone)).toEqual([t]);
    }),
  );
});
