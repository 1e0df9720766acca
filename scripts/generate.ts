/**
 * Writes what is derived from the code: the CRD manifests of `src/crds` to `config/crd/`, and the reference of reasons to
 * `docs/reference/`. With `--check` it writes nothing and exits 1 when a file differs, so that a forgotten generation
 * cannot land.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import { allCrds } from '../src/crds/all.ts';
import { reasonsPage } from './reasons-page.ts';

const root = join(import.meta.dirname, '..');
const check = process.argv.includes('--check');
const files = new Map<string, string>([['docs/reference/reasons.md', reasonsPage()]]);
for (const crd of allCrds) {
  const manifest = crd.manifest();
  files.set(
    `config/crd/${manifest.metadata.name}.yaml`,
    `# Generated from src/crds by \`make generate\`; do not edit.\n${stringify(manifest, { aliasDuplicateObjects: false, lineWidth: 120 })}`,
  );
}
let drifted = false;
for (const [name, text] of files) {
  const path = join(root, name);
  const current = await readFile(path, 'utf8').catch(() => '');
  if (current === text) continue;
  if (check) {
    drifted = true;
    process.stderr.write(`${name} differs from src/crds: run \`make generate\`\n`);
  } else {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
}
process.exitCode = drifted ? 1 : 0;
