import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';

/**
 * Which folder may import which (docs/design/allocation.md, "Directions"). A folder may always import itself; what is not
 * listed here may import anything.
 */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  'src/util': [],
  'src/crds': ['src/util'],
  'src/config': ['src/crds', 'src/util'],
  'src/allocation': ['src/crds', 'src/util'],
  'src/kube': ['src/util'],
  'src/cloud': ['src/util'],
  'src/telemetry': ['src/util'],
  'src/datapath': ['src/util'],
  'src/agent': ['src/crds', 'src/config', 'src/datapath', 'src/kube', 'src/telemetry', 'src/util'],
  'src/controllers': [
    ...['src/allocation', 'src/cloud', 'src/config', 'src/crds'],
    ...['src/kube', 'src/telemetry', 'src/util'],
  ],
  'src/admission': ['src/allocation', 'src/config', 'src/crds', 'src/kube', 'src/telemetry', 'src/util'],
  'src/kubectl': ['src/allocation', 'src/crds', 'src/config', 'src/kube', 'src/util'],
  'src/cli': [
    ...['src/admission', 'src/agent', 'src/allocation', 'src/cloud', 'src/config', 'src/controllers'],
    ...['src/crds', 'src/datapath', 'src/kube', 'src/kubectl', 'src/telemetry', 'src/util'],
    // The version of the product.
    'package.json',
  ],
  // Runs the shipped client against itself; the other simulators stand for the cloud, which knows nothing of Kubernetes.
  'sim/kube': ['src/kube', 'src/util'],
  sim: ['src/util'],
};

/** Folders below `sim` with rules of their own. */
const SIM_ROOMS = ['kube'];

/** The executable that starts the simulator (architecture 1). */
const EXEMPT: Readonly<Record<string, readonly string[]>> = { 'src/cli/alicloud-sim.ts': ['sim'] };

/** Time and chance are injected; only these files may touch the real ones. */
const CLOCKWORK = ['src/util/clock.ts', 'src/util/random.ts'];
const AMBIENT = /\b(Date\.now|Math\.random|setTimeout|setInterval|setImmediate|performance\.now)\s*\(|\bnew Date\(\)/;

const IMPORT =
  /(?:^|\n)\s*(?:import|export)\b[^'"`;]*?from\s*['"](\.[^'"]+)['"]|\bimport\s*\(\s*['"](\.[^'"]+)['"]|(?:^|\n)\s*import\s+['"](\.[^'"]+)['"]/g;

/**
 * Checks the TypeScript files below `root`.
 *
 * @returns one line per violation, naming file, import and rule.
 */
export async function importViolations(root: string): Promise<string[]> {
  const violations: string[] = [];
  for (const top of ['src', 'sim']) {
    for (const path of await typescriptFiles(join(root, top))) {
      const file = relative(root, path).split(sep).join('/');
      const text = await readFile(path, 'utf8');
      violations.push(...forbiddenImports(root, path, file, text), ...ambientUse(file, text), ...keptWhole(file, text));
    }
  }
  return violations;
}

function forbiddenImports(root: string, path: string, file: string, text: string): string[] {
  const from = areaOf(file);
  // Tests stand beside the code and may use the laboratory.
  if (file.endsWith('.test.ts') || file.includes('/test-support/')) return [];
  const allowed = ALLOWED[from];
  if (allowed === undefined) return [`${file}: the folder ${from} has no rule in scripts/import-rules.ts`];
  const permitted = [from, ...allowed, ...(EXEMPT[file] ?? [])];
  return [...text.matchAll(IMPORT)].flatMap((match) => {
    const specifier = match[1] ?? match[2] ?? match[3] ?? '';
    const target = relative(root, join(dirname(path), specifier))
      .split(sep)
      .join('/');
    return permitted.includes(areaOf(target))
      ? []
      : [`${file}: imports ${target}, but ${from} may import only ${permitted.join(', ')}`];
  });
}

function ambientUse(file: string, text: string): string[] {
  const isTest = file.endsWith('.test.ts') || file.includes('/test-support/');
  if (!file.startsWith('src/') || isTest || CLOCKWORK.includes(file)) return [];
  return text.split('\n').flatMap((line, at) => {
    const code = line.replace(/^\s*(\*|\/\/|\/\*).*$/, '');
    return AMBIENT.test(code)
      ? [`${file}:${at + 1}: uses the machine's own time or chance; take a Clock or a Random`]
      : [];
  });
}

/** Of the object `z` a bundle keeps everything, half of which is never used; of a namespace only what is named. */
function keptWhole(file: string, text: string): string[] {
  return /import\s*(type\s*)?\{[^}]*\bz\b[^}]*\}\s*from\s*['"]zod['"]/.test(text)
    ? [`${file}: imports { z } from zod; write import * as z from 'zod'`]
    : [];
}

/** `src/kube`, `sim/kube`, or the top folder elsewhere. */
function areaOf(file: string): string {
  const [top = '', second = ''] = file.split('/');
  return top === 'src' || (top === 'sim' && SIM_ROOMS.includes(second)) ? `${top}/${second}` : top;
}

async function typescriptFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}
