import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type TarEntry, tarStream } from '../../../src/util/tar.ts';

/** A tar archive on disk that is one layer of an image; uncompressed, so that its bytes do not depend on a zlib version. */
export interface Layer {
  path: string;
  sizeBytes: number;
  /** `sha256:…` */
  digest: string;
}

export interface ImageConfig {
  /** Fully qualified, as container runtimes store it, such as `docker.io/library/name:tag`. */
  reference: string;
  env?: readonly string[];
  entrypoint?: readonly string[];
  command?: readonly string[];
  workingDirectory?: string;
  labels?: Readonly<Record<string, string>>;
}

const MEDIA_TYPE = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
} as const;

/** Writes the entries to `path` as one layer. */
export async function writeLayer(path: string, entries: Iterable<TarEntry>): Promise<Layer> {
  const hash = createHash('sha256');
  await writeWhole(path, async function* () {
    for await (const chunk of tarStream(entries)) {
      hash.update(chunk);
      yield chunk;
    }
  });
  return { path, sizeBytes: (await stat(path)).size, digest: `sha256:${hash.digest('hex')}` };
}

/** An image: its layers, lowest first, and its configuration. */
export interface Image {
  layers: readonly Layer[];
  config: ImageConfig;
}

/**
 * Writes images as an archive in the OCI image layout (image-spec v1.1) that also has Docker's `manifest.json`, so that
 * `ctr images import`, `docker load` and `podman load` can read it. linux/amd64. Layers that images share are stored once.
 */
export async function writeImageArchive(path: string, ...images: readonly Image[]): Promise<void> {
  const described = images.map(describeImage);
  const index = json({
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.index,
    manifests: described.map(({ indexEntry }) => indexEntry),
  });
  const blobs = new Map(described.flatMap((image) => image.blobs));
  const entries: TarEntry[] = [
    { kind: 'file', path: 'oci-layout', content: json({ imageLayoutVersion: '1.0.0' }) },
    { kind: 'file', path: 'index.json', content: index },
    { kind: 'file', path: 'manifest.json', content: json(described.map(({ dockerEntry }) => dockerEntry)) },
    ...[...blobs]
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([digest, content]): TarEntry => ({ kind: 'file', path: blobPath(digest), content })),
  ];
  await writeWhole(path, () => tarStream(entries));
}

/** Like {@link writeImageArchive}, for one image with one layer of these entries. */
export async function writeSingleLayerImage(
  path: string,
  entries: Iterable<TarEntry>,
  config: ImageConfig,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'terway-image-'));
  try {
    const layer = await writeLayer(join(directory, 'layer.tar'), entries);
    await writeImageArchive(path, { layers: [layer], config });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** One image of an archive: its blobs by digest, and its entries in both indexes. */
function describeImage({ layers, config: image }: Image) {
  const config = json({
    architecture: 'amd64',
    os: 'linux',
    created: '1970-01-01T00:00:00Z',
    config: {
      ...(image.env === undefined ? {} : { Env: image.env }),
      ...(image.entrypoint === undefined ? {} : { Entrypoint: image.entrypoint }),
      ...(image.command === undefined ? {} : { Cmd: image.command }),
      ...(image.workingDirectory === undefined ? {} : { WorkingDir: image.workingDirectory }),
      ...(image.labels === undefined ? {} : { Labels: image.labels }),
    },
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
    history: layers.map(() => ({ created: '1970-01-01T00:00:00Z' })),
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.manifest,
    config: { mediaType: MEDIA_TYPE.config, digest: digestOf(config), size: config.length },
    layers: layers.map(({ digest, sizeBytes }) => ({ mediaType: MEDIA_TYPE.layer, digest, size: sizeBytes })),
  });
  const blobs: [digest: string, content: Buffer | { from: string }][] = [
    [digestOf(config), config],
    [digestOf(manifest), manifest],
    ...layers.map(({ digest, path }): [string, { from: string }] => [digest, { from: path }]),
  ];
  return {
    blobs,
    indexEntry: {
      mediaType: MEDIA_TYPE.manifest,
      digest: digestOf(manifest),
      size: manifest.length,
      platform: { architecture: 'amd64', os: 'linux' },
      annotations: {
        // The first name is for containerd, the second for everything else.
        'io.containerd.image.name': image.reference,
        'org.opencontainers.image.ref.name': image.reference.slice(image.reference.lastIndexOf(':') + 1),
      },
    },
    dockerEntry: {
      Config: blobPath(digestOf(config)),
      RepoTags: [image.reference],
      Layers: layers.map(({ digest }) => blobPath(digest)),
    },
  };
}

/** Writes atomically, so that no reader sees a partial file. */
async function writeWhole(path: string, chunks: () => AsyncGenerator<Buffer>): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await pipeline(Readable.from(chunks()), createWriteStream(temporary));
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`;
}

function digestOf(content: Buffer): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
