import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { Kernel } from '../kernel/kernel.ts';
import { buildTools, DatapathLab, run } from '../test-support/datapath-lab.ts';

beforeAll(buildTools);

const HASH = 1;
const LRU_HASH = 9;

test.each([
  ['room for one entry', { type: HASH, maxEntries: 1 }],
  ['another type', { type: LRU_HASH, maxEntries: 65_536 }],
])('a pinned map with our name and %s is replaced, and the pods that run keep their tags', async (_, wrong) => {
  using lab = new DatapathLab();
  const pods = [lab.pod([lab.member(5, 101)]), lab.pod([lab.member(6, 102)])];
  {
    await using datapath = lab.datapath();
    for (const pod of pods) await datapath.add(pod);
  }
  const maps = join(lab.bpfDirectory, 'maps');
  const pin =
    run('ls', maps)
      .split('\n')
      .find((name) => name.startsWith('tag4_')) ?? '';
  const [, keySize, valueSize] = pin.split('_').map(Number);
  const kernel = new Kernel(lab.port());
  const handle = await kernel.createMap({
    ...wrong,
    keySize: keySize ?? 0,
    valueSize: valueSize ?? 0,
    flags: wrong.type === HASH ? 1 : 0,
    name: 'other',
  });
  run('rm', join(maps, pin));
  await kernel.pin(handle, join(maps, pin));
  await kernel.close();
  await using datapath = lab.datapath();
  const fresh = lab.pod([lab.member(7, 103)]);
  // The tags of the others have to be there before the programs are switched.
  await expect(datapath.add(fresh)).rejects.toThrow('the first sync has to fill them');
  expect((await datapath.sync(() => pods)).failed).toEqual([]);
  await datapath.add(fresh);
  for (const pod of [...pods, fresh]) expect(await datapath.check(pod)).toEqual([]);
  expect(run('ls', maps)).not.toContain('replaced');
});
