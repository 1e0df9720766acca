/**
 * Writes what `kubectl apply` needs without Helm, from the chart, which is the one source: config/rbac and config/deploy. With
 * `--check` it writes nothing and exits 1 when a file differs.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { chartManifests, MANIFEST_FILES } from './manifests/render.ts';

const root = join(import.meta.dirname, '..');
const check = process.argv.includes('--check');
let drifted = false;
const manifests = await chartManifests();
for (const path of MANIFEST_FILES) {
  const target = join(root, 'config', path);
  const text = manifests.get(path);
  const current = await readFile(target, 'utf8').catch(() => undefined);
  if (current === text) continue;
  if (check) {
    drifted = true;
    process.stderr.write(`config/${path} is not what the chart gives: run \`make manifests\`\n`);
  } else if (text === undefined) {
    await rm(target, { force: true });
  } else {
    await writeFile(target, text);
  }
}
process.exitCode = drifted ? 1 : 0;
