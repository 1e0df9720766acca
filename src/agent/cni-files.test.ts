import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { installConflist, installPlugin, removeCniFiles } from './cni-files.ts';

let directory: string;
let bin: string;
let conf: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'terway-cni-files-'));
  [bin, conf] = [join(directory, 'bin'), join(directory, 'net.d')];
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test('the conflist asks for CNI 1.1, else STATUS and GC are never called; it is written once', async () => {
  expect(await installConflist(conf)).toBe(true);
  expect(JSON.parse(await readFile(join(conf, '10-terway.conflist'), 'utf8'))).toEqual({
    cniVersion: '1.1.0',
    name: 'terway',
    plugins: [{ type: 'terway', capabilities: { bandwidth: true } }],
  });
  expect(await installConflist(conf)).toBe(false);
  // Nothing else lies where runtimes look.
  expect(await readdir(conf)).toEqual(['10-terway.conflist']);
});

test("upstream's conflist with a chained Cilium stays as it is", async () => {
  await installConflist(conf);
  const upstream = JSON.stringify({
    cniVersion: '0.4.0',
    name: 'terway-chainer',
    plugins: [{ type: 'terway', eniip_virtual_type: 'datapathv2' }, { type: 'cilium-cni' }],
  });
  await writeFile(join(conf, '10-terway.conflist'), upstream);
  expect(await installConflist(conf)).toBe(false);
  expect(await readFile(join(conf, '10-terway.conflist'), 'utf8')).toBe(upstream);
});

test.each(['', '{', '{"plugins":[{"type":"other"}]}', '[]'])('a conflist that is %j is replaced', async (text) => {
  await installConflist(conf);
  await writeFile(join(conf, '10-terway.conflist'), text);
  expect(await installConflist(conf)).toBe(true);
});

test('the plugin is put in place, replaced when it differs, and both are taken away', async () => {
  const source = join(directory, 'terway-cni');
  await writeFile(source, 'first', { mode: 0o600 });
  await installPlugin(source, bin);
  const { mode, ino } = await stat(join(bin, 'terway'));
  expect(mode & 0o777).toBe(0o755);
  await installPlugin(source, bin);
  expect((await stat(join(bin, 'terway'))).ino).toBe(ino);
  await writeFile(source, 'second');
  await installPlugin(source, bin);
  expect(await readFile(join(bin, 'terway'), 'utf8')).toBe('second');
  await installConflist(conf);
  await removeCniFiles(bin, conf);
  expect([await readdir(bin), await readdir(conf)]).toEqual([[], []]);
});
