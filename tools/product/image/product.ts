import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import * as z from 'zod';
import type { TarEntry } from '../../../src/util/tar.ts';
import { BUSYBOX, busyboxEntries } from './busybox.ts';
import { sharedLibraries } from './libraries.ts';
import { type Layer, writeImageArchive, writeLayer } from './oci.ts';

export interface ProductImageOptions {
  /** Folder with the bundles and native programs. */
  distDir: string;
  /** The Node binary to put into the image. */
  nodePath: string;
  /** Folder for layers. The layer with Node is kept there. */
  cacheDir: string;
  reference: string;
  version: string;
  /** Path of the archive. */
  outPath: string;
}

/** Folder of the product in the image. */
export const PRODUCT_DIR = 'usr/local/lib/terway-controlplane';

const CA_CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';
/** A file of the package that creates {@link CA_CERTIFICATES} when it is installed. */
const CA_CERTIFICATES_PACKAGE = '/usr/sbin/update-ca-certificates';

/**
 * Writes the product's image without a container engine: one layer with Node and its dependencies, and one with the product.
 * Its executables are on the PATH; it has no default command. Equal inputs give equal bytes.
 */
export async function writeProductImage(options: ProductImageOptions): Promise<void> {
  await mkdir(options.cacheDir, { recursive: true });
  const runtime = await runtimeEntries(options.nodePath);
  const runtimeLayer = await cachedLayer(options.cacheDir, runtime);
  const known = new Set(runtime.map(({ path }) => path));
  const product = (await productEntries(options.distDir)).filter(({ path }) => !known.has(path));
  // Another process may be writing an image at the same time.
  const directory = await mkdtemp(join(options.cacheDir, 'product-'));
  try {
    const productLayer = await writeLayer(join(directory, 'layer.tar'), product);
    const config = {
      reference: options.reference,
      env: ['PATH=/usr/local/bin:/bin'],
      workingDirectory: '/',
      labels: {
        'org.opencontainers.image.title': 'terway-controlplane',
        'org.opencontainers.image.version': options.version,
        'org.opencontainers.image.licenses': 'Apache-2.0',
      },
    };
    await writeImageArchive(options.outPath, { layers: [runtimeLayer, productLayer], config });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Files to copy from this machine into the image. */
export async function systemFiles(nodePath: string): Promise<string[]> {
  const certificates = (await hasCertificates()) ? [CA_CERTIFICATES_PACKAGE] : [];
  const libraries = await Promise.all((await sharedLibraries(nodePath)).map((path) => realpath(path)));
  return [BUSYBOX, ...certificates, ...libraries];
}

async function hasCertificates(): Promise<boolean> {
  return (await stat(CA_CERTIFICATES).catch(() => undefined)) !== undefined;
}

async function runtimeEntries(nodePath: string): Promise<TarEntry[]> {
  const text = (path: string, ...lines: string[]): TarEntry => ({
    kind: 'file',
    path,
    content: Buffer.from(`${lines.join('\n')}\n`),
  });
  return [
    ...(await busyboxEntries()),
    text('etc/group', 'root:x:0:', 'nonroot:x:65532:', 'nobody:x:65534:'),
    text('etc/nsswitch.conf', 'hosts: files dns'),
    text(
      'etc/passwd',
      'root:x:0:0:root:/root:/bin/sh',
      'nonroot:x:65532:65532:nonroot:/:/bin/sh',
      'nobody:x:65534:65534:nobody:/:/bin/false',
    ),
    ...((await hasCertificates()) ? [await copyOf(CA_CERTIFICATES, 0o644)] : []),
    ...(await libraryEntries(nodePath)),
    { kind: 'directory', path: 'root', mode: 0o700 },
    { kind: 'directory', path: 'run' },
    { kind: 'directory', path: 'tmp', mode: 0o1777 },
    { kind: 'file', path: 'usr/local/bin/node', mode: 0o755, content: { from: nodePath } },
    { kind: 'directory', path: 'var/lib' },
  ];
}

/** Everything in `dist`, with a link to each executable on the PATH. */
async function productEntries(distDir: string): Promise<TarEntry[]> {
  const files = (await readdir(distDir, { recursive: true, withFileTypes: true }))
    // Node reads source maps only with a flag.
    .filter((entry) => entry.isFile() && !/\.(map|tar)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  const entries = new Map<string, TarEntry>();
  const add = (entry: TarEntry) => entries.set(entry.path, entry);
  for (const file of files) {
    const name = relative(distDir, file).split(sep).join('/');
    const isProgram = ((await stat(file)).mode & 0o100) !== 0;
    const path = `${PRODUCT_DIR}/${name}`;
    add({ kind: 'file', path, mode: isProgram ? 0o755 : 0o644, content: { from: file } });
    if (!isProgram) continue;
    for (const library of await libraryEntries(file)) add(library);
    // The launchers follow links to find the files beside them.
    if (!/[./]/.test(name)) add({ kind: 'symlink', path: `usr/local/bin/${name}`, target: `/${path}` });
  }
  return [...entries.values()].sort((left, right) => (left.path < right.path ? -1 : 1));
}

/** The shared libraries that a program of this machine needs, at their paths on this machine. */
export async function libraryEntries(program: string): Promise<TarEntry[]> {
  return Promise.all((await sharedLibraries(program)).map((path) => copyOf(path, 0o755)));
}

/** The file at the same path in the image. A link is replaced by its target. */
export async function copyOf(path: string, mode: number): Promise<TarEntry> {
  return { kind: 'file', path: path.slice(1), mode, content: { from: await realpath(path) } };
}

const layerSchema = z.object({ path: z.string(), sizeBytes: z.number(), digest: z.string() });

/** A cached layer, written again only when a file in it has changed. */
async function cachedLayer(cacheDir: string, entries: TarEntry[]): Promise<Layer> {
  const hash = createHash('sha256');
  for (const entry of entries) {
    const from = entry.kind === 'file' && !Buffer.isBuffer(entry.content) ? await stat(entry.content.from) : undefined;
    hash.update(JSON.stringify([entry, from?.size, from?.mtimeMs]));
  }
  const path = join(cacheDir, `runtime-${hash.digest('hex').slice(0, 16)}.tar`);
  const about = `${path}.json`;
  const text = await readFile(about, 'utf8').catch(() => 'null');
  const known = layerSchema.safeParse(JSON.parse(text));
  if (known.success) {
    const size = (await stat(path).catch(() => undefined))?.size;
    if (size === known.data.sizeBytes) return { ...known.data, path };
  }
  const layer = await writeLayer(path, entries);
  await writeFile(`${about}.tmp`, JSON.stringify(layer));
  await rename(`${about}.tmp`, about);
  return layer;
}
