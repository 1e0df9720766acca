import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { BuildFailedError, MissingToolError } from '../errors.ts';
import { acquireLock } from '../machine/lock.ts';
import { BuildProgress } from '../machine/progress.ts';
import { type BuildOptions, cacheDirectory, isExecutable } from './cache.ts';

/** Programs from Go modules that are built together. */
export interface GoBuild {
  /** Folder in the cache. Only one process at a time builds into it. */
  cacheName: string;
  /** The programs, as they should read after "building". */
  what: string;
  /** How long the build takes, as it should read after the path. */
  duration: string;
  /** Folder with go.mod, go.sum and the sources. */
  sourceDir: string;
  /** Packages for `go build`. */
  packages: readonly string[];
  /** A package whose tests are a program, also built, with `go test -c`; and the name of that program. */
  tests?: { package: string; program: string };
  linkerFlags: string;
  /** Value of -o, relative to the cache's folder: a file, or empty for files named after their packages. */
  output: string;
  /** A program whose presence shows that the build is complete. */
  mainProgram: string;
  /** Further advice when there is no usable Go. */
  advice: string;
  /** Called with the folder before it gets its final name. */
  complete?: (directory: string) => Promise<void>;
}

/**
 * Finds the programs in the cache, or builds them into it (minutes, once).
 *
 * The cache is `TERWAY_CACHE_DIR`, by default `terway-controlplane` in `XDG_CACHE_HOME` or `~/.cache`. Any number of
 * processes may call this at once: one builds and the others wait for it.
 *
 * @returns the folder with the programs.
 * @throws MissingToolError without a usable Go; BuildFailedError.
 */
export async function ensureBuilt(build: GoBuild, options: BuildOptions = {}): Promise<string> {
  const goVersion = await installedGoVersion(build);
  const cache = join(cacheDirectory(), build.cacheName);
  const directory = join(cache, await cacheKey(build, goVersion));
  const isThere = () => isExecutable(join(directory, build.mainProgram));
  if (await isThere()) return directory;

  await mkdir(cache, { recursive: true });
  const progress = new BuildProgress(options.log);
  const release = await acquireLock(join(cache, 'build.lock'), {
    signal: options.signal,
    onWait: (pid) => progress.print(`waiting for process ${pid}, which is building ${build.what}`),
  });
  try {
    if (!(await isThere())) await compile(build, cache, directory, progress, options.signal);
  } finally {
    await release();
  }
  return directory;
}

async function compile(
  build: GoBuild,
  cache: string,
  directory: string,
  progress: BuildProgress,
  signal: AbortSignal | undefined,
): Promise<void> {
  // Only the lock holder gets here, so leftovers are from killed builders.
  for (const entry of await readdir(cache)) {
    if (entry.startsWith('tmp-')) await rm(join(cache, entry), { recursive: true, force: true });
  }
  const temporary = await mkdtemp(join(cache, 'tmp-'));
  try {
    progress.start(`building ${build.what}, once, into ${directory}: ${build.duration}`);
    const { packages, tests } = build;
    const list = ['list', '-mod=readonly', '-deps', ...(tests === undefined ? [] : ['-test', tests.package])];
    const compiled = await run([...list, ...packages], build.sourceDir, progress, signal);
    progress.total = compiled.filter((line) => line !== '').length;
    const flags = ['-mod=readonly', '-buildvcs=false', '-trimpath', '-v', '-ldflags', build.linkerFlags];
    const go = (command: readonly string[], output: string, what: readonly string[]) =>
      run([...command, ...flags, '-o', output, ...what], build.sourceDir, progress, signal);
    await go(['build'], `${temporary}/${build.output}`, packages);
    if (tests !== undefined) {
      // Build the tested packages first, because `go test -c` reports no progress.
      await go(['build'], '/dev/null', [tests.package]);
      await go(['test', '-c'], `${temporary}/${tests.program}`, [tests.package]);
    }
    await build.complete?.(temporary);
    // A folder of this name is damaged: with the program in it, we would not be here.
    await rm(directory, { recursive: true, force: true });
    await rename(temporary, directory);
    progress.finish(`built ${build.what}`);
  } finally {
    progress.stop();
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Runs one step of the build. @returns the lines of its standard output. */
async function run(
  args: string[],
  cwd: string,
  progress: BuildProgress,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const child = spawn('go', args, {
    cwd,
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
  throw new BuildFailedError(`go ${args[0]} failed with code ${code}${hint}: ${why}`);
}

function goEnvironment(): NodeJS.ProcessEnv {
  return {
    ...process.env,
    CGO_ENABLED: '0',
    // Report an old Go instead of silently downloading a newer one.
    GOTOOLCHAIN: 'local',
    GOWORK: 'off',
  };
}

/** @throws MissingToolError when Go is missing or older than go.mod requires. */
async function installedGoVersion({ sourceDir, advice, what }: GoBuild): Promise<string> {
  const wanted = /^go (\d+\.\d+(?:\.\d+)?)$/m.exec(await readFile(join(sourceDir, 'go.mod'), 'utf8'))?.[1] ?? '';
  const remedy = `install Go ${wanted} or newer${advice}`;
  const output = await new Promise<string>((resolve, reject) => {
    const child = spawn('go', ['env', 'GOVERSION'], { env: goEnvironment(), stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    child.once('error', reject);
    child.once('close', () => resolve(text.trim()));
  }).catch((error: unknown) => {
    throw new MissingToolError(`Go is needed to build ${what}, and there is no "go" on the PATH: ${remedy}`, {
      cause: error,
    });
  });
  const found = /^go(\d+(?:\.\d+)*)/.exec(output)?.[1];
  if (found === undefined || compareVersions(found, wanted) < 0) {
    throw new MissingToolError(
      `Go ${wanted} is needed to build ${what}, found ${output || 'none that works'}: ${remedy}`,
    );
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

async function cacheKey({ sourceDir, packages, tests, linkerFlags }: GoBuild, goVersion: string): Promise<string> {
  const hash = createHash('sha256');
  const sources = (await readdir(sourceDir)).filter((file) => /^go\.(mod|sum)$|\.go$/.test(file)).sort();
  for (const file of sources) hash.update(await readFile(join(sourceDir, file))).update('\0');
  const built = [...packages, ...(tests === undefined ? [] : [tests.package, tests.program])];
  hash.update([linkerFlags, ...built, goVersion, process.platform, process.arch].join('\0'));
  return hash.digest('hex').slice(0, 16);
}
