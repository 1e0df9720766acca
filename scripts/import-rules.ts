import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';

/** For what runs in a laboratory: the product, the simulators, a cluster. */
const LABORATORY = ['sim', 'sim/*', 'src/*', 'test/cluster', 'test/harness', 'tools'];

/**
 * Which folder may import which (docs/design/allocation.md, "Directions"). A folder may always import itself.
 * `src/*` stands for all folders of src.
 */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  'src/util': [],
  // Types only, so that allocation and cloud share them without importing each other.
  'src/ecs': [],
  // Messages on the sockets between our programs: one schema for both ends.
  'src/wire': [],
  'src/crds': ['src/util'],
  'src/config': ['src/crds', 'src/util'],
  'src/allocation': ['src/crds', 'src/ecs', 'src/util'],
  'src/kube': ['src/util'],
  'src/cloud': ['src/ecs', 'src/util'],
  'src/telemetry': ['src/util'],
  'src/datapath': ['src/util'],
  'src/agent': [...['src/crds', 'src/config', 'src/datapath', 'src/kube', 'src/telemetry', 'src/util', 'src/wire']],
  // The control plane's view of the cluster; nothing in it belongs to a term of leadership.
  'src/cluster': ['src/allocation', 'src/config', 'src/crds', 'src/kube', 'src/telemetry', 'src/util'],
  'src/controllers': [
    'src/cluster',
    ...['src/allocation', 'src/cloud', 'src/config', 'src/crds', 'src/ecs'],
    ...['src/kube', 'src/telemetry', 'src/util', 'src/wire'],
  ],
  'src/admission': ['src/allocation', 'src/config', 'src/crds', 'src/kube', 'src/telemetry', 'src/util'],
  'src/kubectl': ['src/allocation', 'src/crds', 'src/config', 'src/kube', 'src/util', 'src/wire'],
  'src/cli': [
    ...['src/admission', 'src/agent', 'src/allocation', 'src/cloud', 'src/cluster', 'src/config', 'src/controllers'],
    ...['src/crds', 'src/datapath', 'src/kube', 'src/kubectl', 'src/telemetry', 'src/util', 'src/wire'],
    // The version of the product.
    'package.json',
  ],
  // Runs the shipped client against itself; the other simulators model the cloud, which is independent of Kubernetes.
  'sim/kube': ['src/kube', 'src/util'],
  // Runs the shipped control plane and node agents on both models.
  'sim/world': [
    ...['sim', 'sim/kube', 'src/agent', 'src/allocation', 'src/cloud', 'src/config', 'src/controllers'],
    ...['src/crds', 'src/datapath', 'src/kube', 'src/telemetry', 'src/util'],
    // Its reports become a page of the documentation.
    'tools',
  ],
  sim: ['src/util', 'tools'],
  // What scripts, tests, benchmarks and the demo share: processes of the machine, programs in the cache, the built product.
  tools: ['src/util'],
  scripts: ['src/*', 'tools', 'package.json'],
  'test/cluster': ['sim', 'src/util', 'tools'],
  'test/harness': ['sim', 'sim/*', 'src/*', 'test/cluster', 'tools'],
  'test/acceptance': LABORATORY,
  'test/conformance': LABORATORY,
  'test/e2e': LABORATORY,
  'test/faults': LABORATORY,
  'test/integration': LABORATORY,
  'test/sdk': LABORATORY,
  'test/vm': LABORATORY,
  demo: LABORATORY,
  bench: LABORATORY,
};

/** Folders of `sim` with their own rules. */
const SIM_ROOMS = ['kube', 'world'];

/** `make` runs the scripts; nothing else may depend on them, nor they on what they run. Holds for tests as well. */
const NOT_FOR_SCRIPTS = ['bench', 'demo', 'sim', 'test'];

/** The executable that starts the simulator, so the only one that may import it. */
const EXEMPT: Readonly<Record<string, readonly string[]>> = { 'src/cli/alicloud-sim.ts': ['sim'] };

/**
 * Time, randomness and I/O are injected, so that a simulation can run the shipped code. These are the patterns that touch the
 * machine, and the only places that may use them.
 */
const AMBIENT: readonly { found: RegExp; only: readonly string[]; instead: string }[] = [
  {
    found:
      /\b(Date\.now|Math\.random|setTimeout|setInterval|setImmediate|performance\.now|AbortSignal\.timeout|process\.(hrtime(\.bigint)?|uptime))\s*\(|\bnew Date\(\)|(?<!new )\bDate\(\)|['"]node:(timers|perf_hooks)\b/,
    only: ['src/util/clock.ts', 'src/util/random.ts'],
    instead: "uses the machine's own time or chance; take a Clock or a Random",
  },
  {
    found:
      /\b(randomUUID|randomBytes|randomInt|randomFill(Sync)?|getRandomValues|generate(KeyPair|Key|Prime)(Sync)?)\s*\(/,
    only: ['src/util/x509.ts', 'src/cli/'],
    instead: 'makes a name or a key of its own; take it from whoever builds this',
  },
  {
    found: /(?<![.\w])fetch\s*\(/,
    only: ['src/cloud/metadata.ts'],
    instead: 'sends a request of its own; go through src/cloud/metadata.ts',
  },
  {
    found: /\bsystem(Clock|Random)\b/,
    only: ['src/util/clock.ts', 'src/util/random.ts', 'src/cli/'],
    instead: "chooses the machine's clock or chance itself; let the executable pass it",
  },
];

/** Folders that a simulation runs, and their files that touch the machine. Other folders of src exist to do so. */
const SIMULATED = [
  ...['src/util', 'src/crds', 'src/config', 'src/allocation', 'src/kube', 'src/cloud', 'src/telemetry'],
  ...['src/cluster', 'src/controllers', 'src/admission', 'src/agent'],
];
const PORTS = [
  // Used by the executables: files, sockets, addresses.
  ...['src/util/tar.ts', 'src/util/unix-socket.ts', 'src/util/ip.ts'],
  ...['src/config/config-file.ts', 'src/config/reload.ts', 'src/telemetry/http-server.ts', 'src/admission/server.ts'],
  // Below ApiTransport and KubeConfig.
  ...['src/kube/config.ts', 'src/kube/connection.ts', 'src/kube/credentials.ts', 'src/kube/kubeconfig-file.ts'],
  // Below RpcSender and CredentialSource.
  ...['src/cloud/rpc-sender.ts', 'src/cloud/credentials.ts'],
  // Below AgentHost, or used by the executable.
  ...['src/agent/record-files.ts', 'src/agent/sandbox-netns.ts', 'src/agent/cni/server.ts'],
  ...['src/agent/cni-files.ts', 'src/agent/node-lock.ts'],
];
const MACHINE =
  /(?:^|\n)import (?!type\b)[^;'"]*?from\s*['"](node:(?:fs|fs\/promises|net|dgram|dns|dns\/promises|tls|http|https|http2|os|child_process|worker_threads|cluster|readline)|@alicloud\/(?:credentials|openapi-core))['"]/g;

/** Only the driver of ENIs makes changes in the cloud; these are the ways to make one, and the only places that may use them. */
const CHANGES_CLOUD: readonly { found: RegExp; only: readonly string[] }[] = [
  {
    found: /\.(?:createEni|attachEni|detachEni|deleteEni|modifyEniSecurityGroups|(?:un)?assignIpv[46])\b/,
    only: ['src/cloud/', 'src/controllers/eni/driver.ts'],
  },
  {
    found:
      /(?:^|\n)(?:import|export)\b[^;]*?\b(?:Cloud|CloudChanges|AlibabaCloud)\b[^;]*?from\s*['"][^'"]*\bcloud\/(?:port|alibaba-cloud)\.ts['"]/,
    only: [
      ...['src/cloud/', 'src/controllers/eni/driver.ts'],
      // They hand it to the driver.
      ...['src/cli/connect-cloud.ts', 'src/controllers/replica.ts', 'src/controllers/term.ts'],
    ],
  },
];

const IMPORT =
  /(?:^|\n)\s*(?:import|export)\b[^'"`;]*?from\s*['"](\.[^'"]+)['"]|\bimport\s*\(\s*['"](\.[^'"]+)['"]|(?:^|\n)\s*import\s+['"](\.[^'"]+)['"]/g;

/**
 * Checks the TypeScript files below `root`.
 *
 * @returns one line per violation, naming file, import and rule.
 */
export async function importViolations(root: string): Promise<string[]> {
  const violations: string[] = [];
  for (const top of ['src', 'sim', 'tools', 'scripts', 'test', 'demo', 'bench']) {
    for (const { path, text } of await sourceFiles(root, top)) {
      const file = relative(root, path).split(sep).join('/');
      violations.push(
        ...forbiddenImports(root, path, file, text),
        ...ambientUse(file, text),
        ...cloudChanges(file, text),
        ...keptWhole(file, text),
      );
    }
  }
  return violations;
}

function forbiddenImports(root: string, path: string, file: string, text: string): string[] {
  const from = areaOf(file);
  const imports = importsOf(root, path, text);
  // Tests are next to the code and may use the test harness.
  if (isTest(file)) {
    return imports
      .filter((target) => isOfScripts(file, target))
      .map((target) => `${file}: imports ${target}; what scripts and others share belongs in tools`);
  }
  const allowed = ALLOWED[from];
  if (allowed === undefined) return [`${file}: the folder ${from} has no rule in scripts/import-rules.ts`];
  const permitted = [from, ...allowed, ...(EXEMPT[file] ?? [])];
  return imports
    .filter((target) => !permitted.includes(areaOf(target)) && !permitted.includes(`${topOf(target)}/*`))
    .map((target) => `${file}: imports ${target}, but ${from} may import only ${permitted.join(', ')}`);
}

function isOfScripts(file: string, target: string): boolean {
  if (topOf(file) === 'scripts') return NOT_FOR_SCRIPTS.includes(topOf(target));
  return topOf(target) === 'scripts';
}

function topOf(file: string): string {
  return file.split('/')[0] ?? '';
}

/** Files that a file of `root` imports, types included, as paths below `root`. */
export function importsOf(root: string, path: string, text: string): string[] {
  return [...text.matchAll(IMPORT)].map((match) => {
    const specifier = match[1] ?? match[2] ?? match[3] ?? '';
    return relative(root, join(dirname(path), specifier))
      .split(sep)
      .join('/');
  });
}

export function isTest(file: string): boolean {
  return file.endsWith('.test.ts') || file.includes('/test-support/');
}

function ambientUse(file: string, text: string): string[] {
  if (!file.startsWith('src/') || isTest(file)) return [];
  const rules = AMBIENT.filter(({ only }) => !only.some((place) => file === place || isBelow(file, place)));
  const uses = text.split('\n').flatMap((line, at) => {
    const code = line.replace(/^\s*(\*|\/\/|\/\*).*$/, '');
    return rules.filter(({ found }) => found.test(code)).map(({ instead }) => `${file}:${at + 1}: ${instead}`);
  });
  if (!SIMULATED.includes(areaOf(file)) || PORTS.includes(file)) return uses;
  const modules = [...text.matchAll(MACHINE)].map(
    ([, module]) => `${file}: imports ${module}, but is not among the files that may reach the machine`,
  );
  return [...uses, ...modules];
}

function cloudChanges(file: string, text: string): string[] {
  if (topOf(file) !== 'src' || isTest(file)) return [];
  const rules = CHANGES_CLOUD.filter(({ only }) => !only.some((place) => file === place || isBelow(file, place)));
  return rules.some(({ found }) => found.test(text))
    ? [`${file}: can change the cloud; take CloudReads, and leave changes to src/controllers/eni/driver.ts`]
    : [];
}

/** @param place a folder with a trailing slash, or a file */
function isBelow(file: string, place: string): boolean {
  return place.endsWith('/') && file.startsWith(place);
}

/** A bundle keeps all of the object `z`, half of which is never used, but only the used names of a namespace import. */
function keptWhole(file: string, text: string): string[] {
  return topOf(file) === 'src' && /import\s*(type\s*)?\{[^}]*\bz\b[^}]*\}\s*from\s*['"]zod['"]/.test(text)
    ? [`${file}: imports { z } from zod; write import * as z from 'zod'`]
    : [];
}

/** `src/kube`, `sim/kube`, `test/cluster`, or the top folder elsewhere. */
export function areaOf(file: string): string {
  const [top = '', second = ''] = file.split('/');
  const isDivided = top === 'src' || top === 'test' || (top === 'sim' && SIM_ROOMS.includes(second));
  return isDivided ? `${top}/${second}` : top;
}

/** TypeScript files below a folder of `root`, by path; none when there is no such folder. */
export async function sourceFiles(root: string, folder: string): Promise<{ path: string; text: string }[]> {
  if (!existsSync(join(root, folder))) return [];
  const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith('.ts'));
  const paths = files.map((entry) => join(entry.parentPath, entry.name)).sort();
  return Promise.all(paths.map(async (path) => ({ path, text: await readFile(path, 'utf8') })));
}
