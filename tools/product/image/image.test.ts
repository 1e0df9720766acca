import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { type TarEntry, tarStream } from '../../../src/util/tar.ts';
import { writeImageArchive, writeLayer } from './oci.ts';
import { PRODUCT_DIR, writeProductImage } from './product.ts';

const run = promisify(execFile);

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'terway-image-test-'));
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

/** Unpacks with the system's tar, independent of our own code. @returns the folder */
async function unpack(archive: string, name: string): Promise<string> {
  const folder = join(directory, name);
  await mkdir(folder);
  await run('tar', ['-xpf', archive, '-C', folder]);
  return folder;
}

async function archiveOf(entries: TarEntry[], name: string): Promise<string> {
  const path = join(directory, name);
  const chunks = [];
  for await (const chunk of tarStream(entries)) chunks.push(chunk);
  await writeFile(path, Buffer.concat(chunks));
  return path;
}

describe('a tar archive', () => {
  test('has files, links and folders with their modes, even below long paths', async () => {
    const source = join(directory, 'source');
    await writeFile(source, Buffer.alloc(3_000_001, 7));
    const long = `${'folder-with-a-long-name/'.repeat(6)}${'f'.repeat(90)}`;
    const archive = await archiveOf(
      [
        { kind: 'file', path: 'a/empty', content: Buffer.alloc(0) },
        { kind: 'file', path: 'a/block', mode: 0o755, content: Buffer.alloc(512, 1) },
        { kind: 'file', path: long, content: { from: source } },
        { kind: 'symlink', path: 'a/link', target: '../elsewhere' },
        { kind: 'directory', path: 'tmp', mode: 0o1777 },
      ],
      'x.tar',
    );
    const folder = await unpack(archive, 'x');
    expect((await stat(join(folder, 'a/empty'))).size).toBe(0);
    expect(await readFile(join(folder, 'a/block'))).toEqual(Buffer.alloc(512, 1));
    expect((await stat(join(folder, 'a/block'))).mode & 0o7777).toBe(0o755);
    expect((await readFile(join(folder, long))).equals(await readFile(source))).toBe(true);
    expect(await readlink(join(folder, 'a/link'))).toBe('../elsewhere');
    expect((await stat(join(folder, 'tmp'))).mode & 0o7777).toBe(0o1777);
    expect((await stat(join(folder, 'a/block'))).mtimeMs).toBe(0);
  });

  test('refuses names that are too long for ustar', async () => {
    const path = 'x'.repeat(101);
    await expect(archiveOf([{ kind: 'directory', path }], 'x.tar')).rejects.toBeInstanceOf(RangeError);
    const link: TarEntry = { kind: 'symlink', path: 'x', target: 'x'.repeat(101) };
    await expect(archiveOf([link], 'x.tar')).rejects.toBeInstanceOf(RangeError);
  });
});

const descriptor = z.object({ digest: z.string(), size: z.number(), mediaType: z.string() });
const indexSchema = z.object({
  manifests: z.tuple([descriptor.extend({ annotations: z.record(z.string(), z.string()) })]),
});
const manifestSchema = z.object({ config: descriptor, layers: z.array(descriptor) });
const configSchema = z.object({
  architecture: z.string(),
  os: z.string(),
  config: z.object({ Env: z.array(z.string()).optional(), Cmd: z.array(z.string()).optional() }),
  rootfs: z.object({ diff_ids: z.array(z.string()) }),
});

/** Reads an unpacked image layout, and checks size and digest of every blob on the way. */
async function readLayout(folder: string) {
  const blob = async ({ digest, size }: z.infer<typeof descriptor>) => {
    const content = await readFile(join(folder, 'blobs', digest.replace(':', '/')));
    expect(content.length).toBe(size);
    expect(`sha256:${createHash('sha256').update(content).digest('hex')}`).toBe(digest);
    return content;
  };
  const parse = async <T>(schema: z.ZodType<T>, content: Promise<Buffer>) =>
    schema.parse(JSON.parse((await content).toString()));
  const index = await parse(indexSchema, readFile(join(folder, 'index.json')));
  const manifest = await parse(manifestSchema, blob(index.manifests[0]));
  const config = await parse(configSchema, blob(manifest.config));
  for (const layer of manifest.layers) await blob(layer);
  return { index, manifest, config };
}

describe('an image', () => {
  test("is an OCI layout with correct digests, and has Docker's manifest", async () => {
    const layers = await Promise.all(
      ['one', 'two'].map((name) =>
        writeLayer(join(directory, `${name}.tar`), [{ kind: 'file', path: name, content: Buffer.from(name) }]),
      ),
    );
    const path = join(directory, 'image.tar');
    const reference = 'example.test/some/image:1.2';
    await writeImageArchive(path, { layers, config: { reference, env: ['PATH=/bin'], command: ['/bin/x'] } });
    const folder = await unpack(path, 'image');

    expect(JSON.parse(await readFile(join(folder, 'oci-layout'), 'utf8'))).toEqual({ imageLayoutVersion: '1.0.0' });
    const { index, manifest, config } = await readLayout(folder);
    expect(index.manifests[0].annotations).toEqual({
      'io.containerd.image.name': reference,
      'org.opencontainers.image.ref.name': '1.2',
    });
    expect(manifest.layers.map(({ digest }) => digest)).toEqual(layers.map(({ digest }) => digest));
    expect(config).toMatchObject({
      architecture: 'amd64',
      os: 'linux',
      config: { Env: ['PATH=/bin'], Cmd: ['/bin/x'] },
    });
    expect(config.rootfs.diff_ids).toEqual(layers.map(({ digest }) => digest));

    const blobPath = (digest: string) => `blobs/${digest.replace(':', '/')}`;
    expect(JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8'))).toEqual([
      {
        Config: blobPath(manifest.config.digest),
        RepoTags: [reference],
        Layers: manifest.layers.map(({ digest }) => blobPath(digest)),
      },
    ]);
  });
});

describe('the image of the product', () => {
  const place = async (path: string, content: string, mode = 0o644) => {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
    await chmod(path, mode);
  };

  const options = (distDir: string, outPath: string) => ({
    distDir,
    // Any Node will do, so use the one that runs this test.
    nodePath: process.execPath,
    cacheDir: join(directory, 'cache'),
    reference: 'docker.io/library/terway-controlplane:1.0.0',
    version: '1.0.0',
    outPath,
  });

  test('has a layer with Node and its libraries, one with the product, and its programs on the PATH', async () => {
    const dist = join(directory, 'dist');
    await place(
      join(dist, 'terway-x'),
      '#!/bin/sh\nexec node "$(dirname "$(readlink -f "$0")")/terway-x.mjs"\n',
      0o755,
    );
    await place(join(dist, 'terway-x.mjs'), "import('./chunks/y.mjs').then(({ y }) => console.log(y));\n", 0o755);
    await place(join(dist, 'terway-x.mjs.map'), '{}');
    await place(join(dist, 'chunks/y.mjs'), "export const y = 'it runs';\n");
    await place(join(dist, 'old-image.tar'), 'x');
    const path = join(directory, 'image.tar');
    await writeProductImage(options(dist, path));

    const folder = await unpack(path, 'image');
    const { manifest } = await readLayout(folder);
    expect(manifest.layers).toHaveLength(2);
    const root = join(directory, 'root');
    await mkdir(root);
    for (const { digest } of manifest.layers) {
      await run('tar', ['-xpf', join(folder, 'blobs', digest.replace(':', '/')), '-C', root]);
    }
    expect((await readdir(join(root, PRODUCT_DIR))).sort()).toEqual(['chunks', 'terway-x', 'terway-x.mjs']);
    expect(await readlink(join(root, 'usr/local/bin/terway-x'))).toBe(`/${PRODUCT_DIR}/terway-x`);
    expect((await readdir(join(root, 'usr/local/bin'))).sort()).toEqual(['node', 'terway-x']);
    expect((await lstat(join(root, 'usr/local/bin/node'))).mode & 0o777).toBe(0o755);
    expect((await stat(join(root, 'tmp'))).mode & 0o7777).toBe(0o1777);
    // A container gets such a folder as its root. Only root can call chroot.
    if (process.getuid?.() === 0) {
      const env = { PATH: '/usr/local/bin:/bin:/usr/sbin:/sbin' };
      expect((await run('chroot', [root, 'terway-x'], { env })).stdout).toBe('it runs\n');
    }
  }, 60_000);

  test('has the same bytes for the same inputs', async () => {
    const dist = join(directory, 'dist');
    await place(join(dist, 'a.mjs'), 'a');
    const [first, second] = [join(directory, '1.tar'), join(directory, '2.tar')];
    await writeProductImage(options(dist, first));
    await rm(join(directory, 'cache'), { recursive: true });
    await place(join(dist, 'a.mjs'), 'a');
    await writeProductImage(options(dist, second));
    expect((await readFile(first)).equals(await readFile(second))).toBe(true);
    await place(join(dist, 'a.mjs'), 'b');
    await writeProductImage(options(dist, second));
    expect((await readFile(first)).equals(await readFile(second))).toBe(false);
  }, 60_000);
});
