/**
 * Writes the CRD manifests of `src/crds` to `config/crd/`. With `--check` it writes nothing and exits 1 when a file
 * differs, so that a forgotten generation cannot land.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { allCrds } from '../src/crds/all.ts';

const directory = join(import.meta.dirname, '..', 'config', 'crd');
const check = process.argv.includes('--check');
let drifted = false;

for (const crd of allCrds) {
  const manifest = crd.manifest();
  const path = join(directory, `${manifest.metadata.name}.yaml`);
  const text = `# Generated from src/crds by \`make generate\`; do not edit.\n${stringify(manifest, { aliasDuplicateObjects: false, lineWidth: 120 })}`;
  const current = await readFile(path, 'utf8').catch(() => '');
  if (current === text) continue;
  if (check) {
    drifted = true;
    process.stderr.write(`config/crd/${manifest.metadata.name}.yaml differs from src/crds: run \`make generate\`\n`);
  } else {
    await writeFile(path, text);
  }
}
process.exitCode = drifted ? 1 : 0;
