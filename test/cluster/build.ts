import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, constants, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { BuildFailedError, MissingToolError } from './errors.ts';
import { acquireLock } from './lock.ts';
import { BuildProgress } from './progress.ts';

export const COMPONENTS = [
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kubelet',
  'kubectl',
] as const;
export type ComponentName = (typeof COMPONENTS)[number];

/** Where the programs of a test cluster are. */
export interface KubeBinaries {
  directory: string;
  /** `assets`: given by KUBEBUILDER_ASSETS, perhaps without some of the components. `built`: all of them, by us. */
  origin: 'built' | 'assets';
  available: ReadonlySet<ComponentName>;
  path(component: ComponentName): string;
}

export interface BuildOptions {
  signal?: AbortSignal | undefined;
  /** Told, line by line, what goes on. Default: standard error, where a terminal gets one line that updates. */
  log?: ((line: string) => void) | undefined;
}

const SOURCE = fileURLToPath(new URL('kube/', import.meta.url));
const PROGRAM = 'kube';
const KUBERNETES_VERSION = 'v1.36.3';

/** Clients refuse a server that says v0.0.0, which is what an unlinked version comes to. */
const LINKER_FLAGS = [
  '-s',
  '-w',
  ...['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version'].flatMap((path) => [
    `-X ${path}.gitVersion=${KUBERNETES_VERSION}`,
    `-X ${path}.gitMajor=1`,
    `-X ${path}.gitMinor=36`,
  ]),
].join(' ');

/**
 * Finds the programs of the test cluster: in `KUBEBUILDER_ASSETS` if that is set, else in the cache, else by building
 * them from Go modules into the cache (minutes, once).
 *
 * The cache is `TERWAY_CACHE_DIR`, by default `terway-controlplane` in `XDG_CACHE_HOME` or `~/.cache`. Any number of
 * processes may ask at once; one builds and the others wait for it.
 *
 * @throws MissingToolError without a usable Go, or when KUBEBUILDER_ASSETS lacks etcd, kube-apiserver or kubectl;
 *   BuildFailedError.
 */
export async function ensureKubeBinaries(options: BuildOptions = {}): Promise<KubeBinaries> {
  const assets = process.env['KUBEBUILDER_ASSETS'];
  if (assets !== undefined && assets !== '') return assetBinaries(assets);

  const goVersion = await installedGoVersion();
  const cache = join(cacheDirectory(), 'kube');
  const directory = join(cache, await cacheKey(goVersion));
  if (await isExecutable(join(directory, PROGRAM))) return builtBinaries(directory);

  await mkdir(cache, { recursive: true });
  const progress = new BuildProgress(options.log);
  const release = await acquireLock(join(cache, 'build.lock'), {
    signal: options.signal,
    onWait: (pid) => progress.say(`waiting for process ${pid}, which is building the test cluster's programs`),
  });
  try {
    if (!(await isExecutable(join(directory, PROGRAM)))) await build(cache, directory, progress, options.signal);
  } finally {
    await release();
  }
  return builtBinaries(directory);
}

/** Folder for what is expensive to make and does not belong into the work tree. */
export function cacheDirectory(): string {
  const own = process.env['TERWAY_CACHE_DIR'];
  if (own !== undefined && own !== '') return own;
  const base = process.env['XDG_CACHE_HOME'];
  return join(base !== undefined && base !== '' ? base : join(homedir(), '.cache'), 'terway-controlplane');
}

async function build(
  cache: string,
  directory: string,
  progress: BuildProgress,
  signal: AbortSignal | undefined,
): Promise<void> {
  // Only the lock's holder gets here: what lies about is of builders that were killed.
  for (const entry of await readdir(cache)) {
    if (entry.startsWith('tmp-')) await rm(join(cache, entry), { recursive: true, force: true });
  }
  const temporary = await mkdtemp(join(cache, 'tmp-'));
  try {
    progress.start(
      `building Kubernetes ${KUBERNETES_VERSION} and etcd for the tests, once, into ${directory}: ` +
        'about 5 minutes on 2 cores when nothing is cached',
    );
    const packages = await run('go', ['list', '-mod=readonly', '-deps', '.'], progress, signal);
    progress.total = packages.filter((line) => line !== '').length;
    await run(
      'go',
      [
        'build',
        '-mod=readonly',
        '-buildvcs=false',
        '-trimpath',
        '-v',
        '-ldflags',
        LINKER_FLAGS,
        '-o',
        join(temporary, PROGRAM),
        '.',
      ],
      progress,
      signal,
    );
    for (const component of COMPONENTS) await symlink(PROGRAM, join(temporary, component));
    // A damaged folder under the final name has no program in it, or we would not be here.
    await rm(directory, { recursive: true, force: true });
    await rename(temporary, directory);
    progress.finish('built the test cluster’s programs');
  } finally {
    progress.stop();
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Runs a step of the build. @returns the lines of its standard output. */
async function run(
  command: string,
  args: string[],
  progress: BuildProgress,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const child = spawn(command, args, {
    cwd: SOURCE,
    env: goEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(signal ? { signal } : {}),
  });
  const output: string[] = [];
  const diagnostics: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => output.push(line));
  createInterface({ input: child.stderr }).on('line', (line) => {
    // `go build -v` names each package it compiles, on a line of its own.
    if (/^[\w.~/-]+$/.test(line)) progress.packageCompiled();
    else if (!line.startsWith('go: downloading ')) diagnostics.push(line);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  }).catch((error: unknown) => {
    signal?.throwIfAborted();
    throw error;
  });
  if (code === 0) return output;
  const why = diagnostics.slice(-5).join(' | ');
  const hint = /dial tcp|no such host|proxyconnect|i\/o timeout/.test(why)
    ? ' (Go modules could not be downloaded: check the network and GOPROXY)'
    : '';
  throw new BuildFailedError(`${command} ${args[0]} failed with code ${code}${hint}: ${why}`);
}

function goEnvironment(): NodeJS.ProcessEnv {
  return {
    ...process.env,
    CGO_ENABLED: '0',
    // A Go that is too old should be named, not silently replaced by a download.
    GOTOOLCHAIN: 'local',
    GOWORK: 'off',
  };
}

/** @throws MissingToolError when there is no Go, or one older than go.mod asks for. */
async function installedGoVersion(): Promise<string> {
  const wanted = /^go (\d+\.\d+(?:\.\d+)?)$/m.exec(await readFile(join(SOURCE, 'go.mod'), 'utf8'))?.[1] ?? '';
  const advice = `install Go ${wanted} or newer, or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl`;
  const output = await new Promise<string>((resolve, reject) => {
    const child = spawn('go', ['env', 'GOVERSION'], { env: goEnvironment(), stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    child.once('error', reject);
    child.once('close', () => resolve(text.trim()));
  }).catch((error: unknown) => {
    throw new MissingToolError(`the test cluster needs Go, and there is no "go" on the PATH: ${advice}`, {
      cause: error,
    });
  });
  const found = /^go(\d+(?:\.\d+)*)/.exec(output)?.[1];
  if (found === undefined || compareVersions(found, wanted) < 0) {
    throw new MissingToolError(`the test cluster needs Go ${wanted}, found ${output || 'none that works'}: ${advice}`);
  }
  return output;
}

function compareVersions(left: string, right: string): number {
  const [a, b] = [left.split('.').map(Number), right.split('.').map(Number)];
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

async function cacheKey(goVersion: string): Promise<string> {
  const hash = createHash('sha256');
  for (const file of ['go.mod', 'go.sum', 'main.go']) hash.update(await readFile(join(SOURCE, file))).update('\0');
  hash.update([LINKER_FLAGS, goVersion, process.platform, process.arch].join('\0'));
  return hash.digest('hex').slice(0, 16);
}

function builtBinaries(directory: string): KubeBinaries {
  return {
    directory,
    origin: 'built',
    available: new Set(COMPONENTS),
    path: (component) => join(directory, component),
  };
}

async function assetBinaries(directory: string): Promise<KubeBinaries> {
  const available = new Set<ComponentName>();
  for (const component of COMPONENTS) {
    if (await isExecutable(join(directory, component))) available.add(component);
  }
  const missing = (['etcd', 'kube-apiserver', 'kubectl'] as const).filter((component) => !available.has(component));
  if (missing.length > 0) {
    throw new MissingToolError(
      `KUBEBUILDER_ASSETS (${directory}) has no ${missing.join(', ')}: put it there, or unset the variable to build`,
    );
  }
  return { directory, origin: 'assets', available, path: (component) => join(directory, component) };
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
