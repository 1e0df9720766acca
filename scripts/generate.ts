/**
 * Writes what is derived from the code: the CRD manifests of `src/crds` to `config/crd/` and the chart, schemas of the
 * configuration, the references of reasons and of custom resources, the tables of figures, and the page of random histories. With `--check` it writes nothing
 * and exits with 1 when a file is out of date.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import { allCrds } from '../src/crds/all.ts';
import { performancePages } from '../tools/docs/performance.ts';
import { worldPage } from '../tools/docs/world.ts';
import { chartFiles } from './chart-files.ts';
import { crdsPage } from './crds-page.ts';
import { dashboardFiles } from './dashboards.ts';
import { metricsPage } from './metrics-page.ts';
import { reasonsPage } from './reasons-page.ts';

const root = join(import.meta.dirname, '..');
const check = process.argv.includes('--check');
const crds = new Map(
  allCrds.map((crd) => {
    const manifest = crd.manifest();
    const text = stringify(manifest, { aliasDuplicateObjects: false, lineWidth: 120 });
    return [`${manifest.metadata.name}.yaml`, `# Generated from src/crds by \`make generate\`; do not edit.\n${text}`];
  }),
);
const files = new Map([
  ['docs/reference/reasons.md', reasonsPage()],
  ['docs/reference/crds.md', crdsPage()],
  ['docs/reference/metrics.md', metricsPage()],
  ...(await performancePages(root)),
  await worldPage(root),
  ...dashboardFiles(),
  ...[...crds].map(([name, text]): [string, string] => [`config/crd/${name}`, text]),
  ...(await chartFiles(crds)),
]);
let drifted = false;
for (const [name, text] of files) {
  const path = join(root, name);
  const current = await readFile(path, 'utf8').catch(() => '');
  if (current === text) continue;
  if (check) {
    drifted = true;
    process.stderr.write(`${name} is out of date: run \`make generate\`\n`);
  } else {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
}
process.exitCode = drifted ? 1 : 0;
