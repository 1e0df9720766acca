import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { assignmentOf } from './assignment.ts';
import { recordFilesIn } from './record-files.ts';
import { RecordStore, type SandboxRecord } from './records.ts';
import { aNode, aPod, aPodEni, aRequest } from './test-support/fixtures.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'terway-records-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function aRecord(name = 'web-0'): SandboxRecord {
  const assignment = assignmentOf({
    request: aRequest(name),
    pod: aPod(name),
    podEni: aPodEni(name),
    node: aNode(),
    mtu: 1500,
  });
  if (assignment.state !== 'ready') throw new Error(assignment.reason);
  return { phase: 'adding', ifName: 'eth0', network: 'terway', attachment: assignment.attachment };
}

test('what was put is there for the next process', async () => {
  const { store } = await RecordStore.open(recordFilesIn(directory));
  await store.put(aRecord());
  await store.put({
    ...aRecord(),
    phase: 'ready',
    attached: [{ pod: { name: 'eth0', mac: 'a', mtu: 1500 }, routes: [] }],
  });
  await store.put(aRecord('web-1'));
  await store.remove('sandbox-web-1.eth0');
  const next = await RecordStore.open(recordFilesIn(directory));
  expect(next.unreadable).toEqual([]);
  expect(next.store.all()).toEqual([
    { ...aRecord(), phase: 'ready', attached: [{ pod: { name: 'eth0', mac: 'a', mtu: 1500 }, routes: [] }] },
  ]);
});

test('a record that was cut off, mixed up or of another shape is kept for people, and known to each process until it is replaced', async () => {
  const { store } = await RecordStore.open(recordFilesIn(directory));
  await store.put(aRecord());
  const good = await readFile(join(directory, 'sandbox-web-0.eth0.json'), 'utf8');
  await writeFile(join(directory, 'cut.eth0.json'), good.slice(0, 40));
  await writeFile(join(directory, 'mixed.eth0.json'), good);
  await writeFile(join(directory, 'shape.eth0.json'), '{"version":1}');
  await writeFile(join(directory, 'half.eth0.json.tmp'), good.slice(0, 10));
  const { store: next, unreadable } = await RecordStore.open(recordFilesIn(directory));
  expect(next.all()).toHaveLength(1);
  expect(unreadable.map(({ key }) => key).sort()).toEqual(['cut.eth0', 'mixed.eth0', 'shape.eth0']);
  for (const { message } of unreadable) expect(message).not.toBe('');
  expect((await readdir(join(directory, 'corrupt'))).sort()).toEqual([
    'cut.eth0.json',
    'mixed.eth0.json',
    'shape.eth0.json',
  ]);
  expect(await readdir(directory)).not.toContain('half.eth0.json.tmp');
  await next.remove('cut.eth0');
  const { store: last } = await RecordStore.open(recordFilesIn(directory));
  expect([...last.unreadable].sort()).toEqual(['mixed.eth0', 'shape.eth0']);
});

/** A folder with one file, which cannot be read as a record. */
async function unreadable(files = recordFilesIn(directory)): Promise<RecordStore> {
  await writeFile(join(directory, 'sandbox-web-0.eth0.json'), '{"version":1');
  return (await RecordStore.open(files)).store;
}

test('that the sandbox of a record which could not be read has ended is known to the next process, until the record is removed', async () => {
  const store = await unreadable();
  await Promise.all([store.end('sandbox-web-0.eth0'), store.end('sandbox-web-0.eth0'), store.end('another.eth0')]);
  expect([...store.ended]).toEqual(['sandbox-web-0.eth0']);
  const next = await RecordStore.open(recordFilesIn(directory));
  expect([next.unreadable, [...next.store.unreadable], [...next.store.ended]]).toEqual([
    [],
    ['sandbox-web-0.eth0'],
    ['sandbox-web-0.eth0'],
  ]);
  await next.store.remove('sandbox-web-0.eth0');
  expect([next.store.unreadable.size, next.store.ended.size, await readdir(directory)]).toEqual([0, 0, ['corrupt']]);
});

test('a sandbox that has ended and is added again has one file', async () => {
  const store = await unreadable();
  await store.end('sandbox-web-0.eth0');
  await store.put(aRecord());
  expect([store.unreadable.size, store.ended.size]).toEqual([0, 0]);
  expect(await readdir(directory)).toEqual(['corrupt', 'sandbox-web-0.eth0.json']);
  await store.end('sandbox-web-0.eth0');
  expect((await RecordStore.open(recordFilesIn(directory))).store.all()).toHaveLength(1);
});

test('the end of a sandbox is not confirmed before it is on the disk, and can be asked for again', async () => {
  const failing = { sync: true };
  const files = recordFilesIn(directory);
  const sync = () => (failing.sync ? Promise.reject(new Error('EIO: i/o error')) : files.sync());
  const store = await unreadable({ ...files, sync });
  await expect(store.end('sandbox-web-0.eth0')).rejects.toThrow('EIO');
  failing.sync = false;
  await store.end('sandbox-web-0.eth0');
  expect(await readdir(directory)).toEqual(['corrupt', 'sandbox-web-0.eth0.ended']);
});

test('a sandbox whose record somebody has removed can end', async () => {
  const store = await unreadable();
  await rm(join(directory, 'sandbox-web-0.eth0.json'));
  await store.end('sandbox-web-0.eth0');
  expect([...store.ended]).toEqual(['sandbox-web-0.eth0']);
  await store.remove('sandbox-web-0.eth0');
  expect(store.unreadable.size).toBe(0);
});

test('a record that could not be written leaves no half-written file', async () => {
  const files = recordFilesIn(directory);
  const full = () => Promise.reject(new Error('ENOSPC: no space left on device'));
  const { store } = await RecordStore.open({
    ...files,
    create: async (name) => ({ ...(await files.create(name)), write: full }),
  });
  await expect(store.put(aRecord())).rejects.toThrow('ENOSPC');
  expect(await readdir(directory)).toEqual([]);
});

test('a record whose folder could not be synced is known, as it may be on the disk', async () => {
  const { store } = await RecordStore.open({
    ...recordFilesIn(directory),
    sync: () => Promise.reject(new Error('EIO: i/o error')),
  });
  await expect(store.put(aRecord())).rejects.toThrow('EIO');
  expect(store.all()).toEqual([aRecord()]);
});
