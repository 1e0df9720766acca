import { execFile } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as z from 'zod';
import { ensureHelm } from '../../tools/programs/helm.ts';

/** The output of `make release`, verified with its users' tools. */

const execute = promisify(execFile);
const root = join(import.meta.dirname, '..', '..');
const NAME = 'terway-controlplane-0.1.0';

let folder: string;
let release: string;

const run = async (command: string, ...args: string[]) =>
  (await execute(command, args, { cwd: release, maxBuffer: 1 << 26 })).stdout;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'terway-release-'));
  release = join(folder, 'release');
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await writeFile(join(folder, 'key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  await writeFile(join(folder, 'key.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
  const dist = join(folder, 'dist');
  for (const script of ['scripts/build.ts', 'tools/product/native.ts']) {
    await execute(process.execPath, [join(root, script), '--outdir', dist], { cwd: root });
  }
  await execute(process.execPath, [join(root, 'scripts', 'release.ts'), '--dist', dist, '--out', release], {
    cwd: root,
    env: { ...process.env, SIGNING_KEY: join(folder, 'key.pem') },
  });
});

afterAll(async () => {
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

test('every file has its checksum, and the checksums have a signature', async () => {
  const lines = (await run('sha256sum', '--check', 'SHA256SUMS')).trim().split('\n');
  expect(lines).toEqual(
    ['-image.tar', '.tgz', '-sbom.cdx.json', '-provenance.json'].map((suffix) => `${NAME}${suffix}: OK`),
  );
  const signature = Buffer.from(await readFile(join(release, 'SHA256SUMS.sig'), 'utf8'), 'base64');
  await writeFile(join(folder, 'signature'), signature);
  const check = ['dgst', '-sha256', '-verify', join(folder, 'key.pub'), '-signature', join(folder, 'signature')];
  expect(await run('openssl', ...check, 'SHA256SUMS')).toBe('Verified OK\n');
  await writeFile(join(folder, 'forged'), 'something else');
  await expect(run('openssl', ...check, join(folder, 'forged'))).rejects.toThrow();
});

test('the image has all programs of control plane and agent', async () => {
  const manifest = z
    .array(z.object({ Layers: z.array(z.string()) }))
    .parse(JSON.parse(await run('tar', '-xOf', `${NAME}-image.tar`, 'manifest.json')));
  const files: string[] = [];
  for (const layer of manifest.flatMap(({ Layers }) => Layers)) {
    const listed = await run('sh', '-c', `tar -xOf ${NAME}-image.tar ${layer} | tar -tf -`);
    files.push(...listed.trim().split('\n'));
  }
  const programs = ['terway-controlplane', 'terway-agent', 'terway-kernel', 'terway-cni', 'terway.bpf.o'];
  expect(files).toEqual(
    expect.arrayContaining([
      ...programs.map((name) => `usr/local/lib/terway-controlplane/${name}`),
      ...['usr/local/bin/node', 'usr/local/bin/terway-controlplane', 'usr/local/bin/terway-agent', 'bin/busybox'],
    ]),
  );
});

test('the chart is a package that helm installs from', async () => {
  const helm = await ensureHelm();
  expect(await run(helm, 'show', 'chart', `${NAME}.tgz`)).toMatch(/^name: terway-controlplane$/m);
  const values = ['--set', 'controlPlane.config.clusterID=c-1'];
  expect(await run(helm, 'template', 'terway', `${NAME}.tgz`, ...values)).toContain('kind: DaemonSet');
});

test('the SBOM names packages, Node and what comes from Debian; the provenance has digests and commit', async () => {
  const sbom = z
    .object({ components: z.array(z.object({ name: z.string(), version: z.string(), purl: z.string() })) })
    .parse(JSON.parse(await readFile(join(release, `${NAME}-sbom.cdx.json`), 'utf8')));
  const names = sbom.components.map(({ name }) => name);
  expect(names).toEqual(
    expect.arrayContaining(['zod', 'yaml', '@kubernetes/client-node', 'node', 'busybox-static', 'libc6']),
  );
  expect(names).not.toContain('vitest');
  const provenance = z
    .object({
      subject: z.array(z.object({ name: z.string(), digest: z.object({ sha256: z.string() }) })),
      predicate: z.object({
        buildDefinition: z.object({
          resolvedDependencies: z.array(z.object({ digest: z.record(z.string(), z.string()) })),
        }),
      }),
    })
    .parse(JSON.parse(await readFile(join(release, `${NAME}-provenance.json`), 'utf8')));
  const chart = createHash('sha256').update(await readFile(join(release, `${NAME}.tgz`)));
  expect(provenance.subject).toContainEqual({ name: `${NAME}.tgz`, digest: { sha256: chart.digest('hex') } });
  const [source] = provenance.predicate.buildDefinition.resolvedDependencies;
  expect(source?.digest['gitCommit']).toMatch(/^[0-9a-f]{40}$/);
});

test('an unreadable key is reported before anything is built', async () => {
  const failed = execute(process.execPath, [join(root, 'scripts', 'release.ts'), '--out', join(folder, 'none')], {
    env: { ...process.env, SIGNING_KEY: '/nowhere/key.pem' },
  });
  await expect(failed).rejects.toMatchObject({ stderr: expect.stringContaining('SIGNING_KEY=/nowhere/key.pem') });
});
