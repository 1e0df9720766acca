import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import * as z from 'zod';
import { installConflist, installPlugin, removeCniFiles } from './cni-files.ts';

let directory: string;
let bin: string;
let conf: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'terway-cni-files-'));
  [bin, conf] = [join(directory, 'bin'), join(directory, 'net.d')];
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const install = (masqueradeMark = 0x4000) => installConflist(conf, { binDirectory: bin, masqueradeMark });

test('the conflist asks for CNI 1.1, else STATUS and GC are never called; it is written once', async () => {
  expect(await install()).toBe(true);
  expect(JSON.parse(await readFile(join(conf, '10-terway.conflist'), 'utf8'))).toEqual({
    cniVersion: '1.1.0',
    name: 'terway',
    plugins: [{ type: 'terway', capabilities: { bandwidth: true } }],
  });
  expect(await install()).toBe(false);
  // Nothing else lies where runtimes look.
  expect(await readdir(conf)).toEqual(['10-terway.conflist']);
});

test("upstream's conflist with a chained Cilium stays as it is", async () => {
  await install();
  const upstream = JSON.stringify({
    cniVersion: '0.4.0',
    name: 'terway-chainer',
    plugins: [{ type: 'terway', eniip_virtual_type: 'datapathv2' }, { type: 'cilium-cni' }],
  });
  await writeFile(join(conf, '10-terway.conflist'), upstream);
  expect(await install()).toBe(false);
  expect(await readFile(join(conf, '10-terway.conflist'), 'utf8')).toBe(upstream);
});

test.each(['', '{', '{"plugins":[{"type":"other"}]}', '[]'])('a conflist that is %j is replaced', async (text) => {
  await install();
  await writeFile(join(conf, '10-terway.conflist'), text);
  expect(await install()).toBe(true);
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
  await install();
  await removeCniFiles(bin, conf);
  expect([await readdir(bin), await readdir(conf)]).toEqual([[], []]);
});

test('portmap is chained while the node has it, and masquerades by the mark of the node', async () => {
  const plugins = async () =>
    z
      .object({ plugins: z.array(z.looseObject({ type: z.string() })) })
      .parse(JSON.parse(await readFile(join(conf, '10-terway.conflist'), 'utf8'))).plugins;
  await install();
  await mkdir(bin, { recursive: true });
  await writeFile(join(bin, 'portmap'), '', { mode: 0o755 });
  expect(await install()).toBe(true);
  expect((await plugins()).slice(1)).toEqual([
    // Bit 14 is 0x4000.
    { type: 'portmap', capabilities: { portMappings: true }, markMasqBit: 14 },
  ]);
  expect(await install()).toBe(false);
  await rm(join(bin, 'portmap'));
  expect(await install()).toBe(true);
  expect((await plugins()).map(({ type }) => type)).toEqual(['terway']);
});

test('where nobody masquerades, portmap keeps clear of the bits that number ENIs', async () => {
  await mkdir(bin, { recursive: true });
  await writeFile(join(bin, 'portmap'), '', { mode: 0o755 });
  await install(0);
  expect(await readFile(join(conf, '10-terway.conflist'), 'utf8')).toContain('"markMasqBit": 14');
});
