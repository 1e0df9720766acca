/**
 * Renders config/rbac and config/deploy from the chart, for `kubectl apply` without Helm. With `--check` it writes nothing and
 * exits with 1 when a file is out of date.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { chartManifests, MANIFEST_FILES } from '../tools/product/render-chart.ts';

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
    process.stderr.write(`config/${path} is out of date: run \`make manifests\`\n`);
  } else if (text === undefined) {
    await rm(target, { force: true });
  } else {
    await writeFile(target, text);
  }
}
process.exitCode = drifted ? 1 : 0;
