import { expect, test } from 'vitest';
import type { RecordFiles } from '../../../src/agent/record-files.ts';
import { seededRandom } from '../../../src/util/random.ts';
import { VirtualClock } from '../../../src/util/test-support/virtual-clock.ts';
import { DiskModel } from './disk.ts';
import { ProcessLife } from './process.ts';

/** Carries out `work` on a new disk, which has the file `a`, and loses power. @returns what the disk has then */
async function afterCrash(seed: number, work: (files: RecordFiles) => Promise<void>): Promise<Record<string, string>> {
  const clock = new VirtualClock();
  const disk = new DiskModel();
  const life = new ProcessLife({ name: 'agent', clock, onCall: () => undefined, onKilled: () => undefined });
  const files = disk.filesOf(life);
  const whole = (async () => {
    await write(files, 'a', 'old', true);
    await files.sync();
    await work(files);
  })();
  await clock.advance(1000);
  await whole;
  disk.crash(seededRandom(seed));
  const found: Record<string, string> = {};
  const read = Promise.all(disk.names().map(async (name) => (found[name] = await files.read(name))));
  await clock.advance(1000);
  await read;
  return found;
}

async function write(files: RecordFiles, name: string, text: string, isSynced: boolean): Promise<void> {
  await using file = await files.create(name);
  await file.write(text);
  if (isSynced) await file.sync();
}

/** Every outcome of many crashes, as JSON. */
async function outcomes(work: (files: RecordFiles) => Promise<void>): Promise<string[]> {
  const all = new Set<string>();
  for (let seed = 1; seed <= 60; seed += 1) all.add(JSON.stringify(await afterCrash(seed, work)));
  return [...all].sort();
}

test('what is synced, its folder included, is there after a crash of the machine', async () => {
  const all = await outcomes(async (files) => {
    await write(files, 'a.tmp', 'new', true);
    await files.rename('a.tmp', 'a');
    await files.sync();
  });
  expect(all).toEqual(['{"a":"new"}']);
});

test('a renaming in a folder that is not synced may be undone, and the old file is there then', async () => {
  const all = await outcomes(async (files) => {
    await write(files, 'a.tmp', 'new', true);
    await files.rename('a.tmp', 'a');
  });
  expect(all).toEqual(['{"a":"new"}', '{"a":"old","a.tmp":"new"}', '{"a":"old"}']);
});

test('content that is not synced may be lost or torn, also under a name that is durable', async () => {
  const all = await outcomes(async (files) => {
    await write(files, 'a.tmp', 'new', false);
    await files.rename('a.tmp', 'a');
    await files.sync();
  });
  expect(all).toEqual(['{"a":""}', '{"a":"n"}', '{"a":"ne"}', '{"a":"new"}']);
});

test('a removal in a folder that is not synced may be undone', async () => {
  expect(await outcomes((files) => files.remove('a'))).toEqual(['{"a":"old"}', '{}']);
});
