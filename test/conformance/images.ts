import { mkdtemp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { TarEntry } from '../../src/util/tar.ts';
import { createAuthority, issueCertificate } from '../../src/util/x509.ts';
import { busyboxEntries } from '../../tools/product/image/busybox.ts';
import { type ImageConfig, writeImageArchive, writeLayer } from '../../tools/product/image/oci.ts';
import { libraryEntries } from '../../tools/product/image/product.ts';
import type { ConformancePrograms } from '../../tools/programs/conformance.ts';

const REGISTRY = 'registry.k8s.io/e2e-test-images';

/** Programs of this machine that the specs run in their pods, by the names that the specs use. */
const TOOLS: Readonly<Record<string, string>> = {
  curl: '/usr/bin/curl',
  dig: '/usr/bin/dig',
  getent: '/usr/bin/getent',
  // The specs use options of OpenBSD's netcat: nc -v -t -w 2.
  nc: '/usr/bin/nc.openbsd',
  seq: '/usr/bin/seq',
  // The shell of busybox would run its own nc instead of the one above.
  sh: '/usr/bin/dash',
};

const PATH = ['PATH=/bin'];
/** Covers any time at which the tests may run. */
const VALIDITY = { notBeforeMs: Date.UTC(2020, 0), notAfterMs: Date.UTC(2049, 0) };

/** Every image that the network specs name. All have the same files; they differ in what they run by default. */
const IMAGES: readonly ImageConfig[] = [
  ...['2.55', '2.63.0'].map((tag) => ({
    reference: `${REGISTRY}/agnhost:${tag}`,
    env: PATH,
    entrypoint: ['/agnhost'],
    command: ['pause'],
  })),
  { reference: `${REGISTRY}/busybox:1.37.0-1`, env: PATH, command: ['sh'] },
  { reference: `${REGISTRY}/glibc-dns-testing:2.0.0`, env: PATH, command: ['sh'] },
  // Only has to run.
  { reference: `${REGISTRY}/nginx:1.15-4`, env: PATH, entrypoint: ['/agnhost'], command: ['pause'] },
  { reference: 'registry.k8s.io/pause:3.10.2', env: PATH, entrypoint: ['/agnhost'], command: ['pause'] },
];

/** Writes the archive of the images to `path`. Its folder must exist. */
export async function writeConformanceImages(path: string, { agnhost }: ConformancePrograms): Promise<void> {
  const directory = await mkdtemp(join(dirname(path), 'images-'));
  try {
    const layer = await writeLayer(join(directory, 'layer.tar'), await files(agnhost));
    await writeImageArchive(path, ...IMAGES.map((config) => ({ layers: [layer], config })));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function files(agnhost: string): Promise<TarEntry[]> {
  const entries = new Map<string, TarEntry>();
  const add = (entry: TarEntry) => entries.set(entry.path, entry);
  for (const entry of await busyboxEntries()) add(entry);
  for (const [name, from] of Object.entries(TOOLS)) {
    add({ kind: 'file', path: `bin/${name}`, mode: 0o755, content: { from } });
    for (const library of await libraryEntries(from)) add(library);
  }
  add({ kind: 'file', path: 'agnhost', mode: 0o755, content: { from: agnhost } });
  add({ kind: 'file', path: 'etc/passwd', content: Buffer.from('root:x:0:0:root:/:/bin/sh\n') });
  add({ kind: 'file', path: 'etc/group', content: Buffer.from('root:x:0:\n') });
  add({ kind: 'file', path: 'etc/nsswitch.conf', content: Buffer.from('hosts: files dns\n') });
  add({ kind: 'directory', path: 'tmp', mode: 0o1777 });
  add({ kind: 'directory', path: 'uploads' });
  // agnhost serves TLS with these; no client checks the issuer.
  const { certificatePem, privateKeyPem } = issueCertificate(
    createAuthority('conformance', VALIDITY),
    { commonName: 'localhost', usage: 'server', hosts: ['127.0.0.1', '::1'] },
    VALIDITY,
  );
  add({ kind: 'file', path: 'localhost.crt', content: Buffer.from(certificatePem) });
  add({ kind: 'file', path: 'localhost.key', content: Buffer.from(privateKeyPem) });
  return [...entries.values()];
}
