import { spawn } from 'node:child_process';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BuildFailedError, MissingToolError } from '../errors.ts';
import { acquireLock } from '../machine/lock.ts';
import { BuildProgress } from '../machine/progress.ts';
import type { BuildOptions } from './cache.ts';

/** A package that apt can download. It is unpacked into the cache and never installed, so the machine does not change. */
export interface DebianPackage {
  name: string;
  version: string;
}

/** The newest version that apt knows. @throws MissingToolError when apt does not know the package. */
export async function newestPackage(name: string): Promise<DebianPackage> {
  const shown = await run('apt-cache', ['show', '--no-all-versions', name]).catch(() => '');
  const version = /^Version: (\S+)$/m.exec(shown)?.[1];
  if (version !== undefined) return { name, version };
  throw new MissingToolError(`apt does not know the package ${name}, which tests need: run apt-get update as root`);
}

/** Downloads a package into the folder `temporary` and unpacks it to `unpacked`. @throws BuildFailedError, MissingToolError */
export async function unpackPackage(
  { name, version }: DebianPackage,
  temporary: string,
  unpacked: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  await run('apt-get', ['download', '-q', `${name}=${version}`], { cwd: temporary, signal });
  const archive = (await readdir(temporary)).find((entry) => entry.endsWith('.deb'));
  if (archive === undefined) throw new BuildFailedError(`apt-get download wrote no file for ${name}`);
  await run('dpkg-deb', ['--extract', join(temporary, archive), unpacked], { signal });
}

/**
 * Creates `directory` in the folder `cache` unless it exists: one process does the work while others wait. Then removes everything
 * else in the folder, such as older versions.
 */
export async function onceAtATime(
  cache: string,
  directory: string,
  options: BuildOptions & { what: string; build: () => Promise<void> },
): Promise<void> {
  await mkdir(cache, { recursive: true });
  const progress = new BuildProgress(options.log);
  const release = await acquireLock(join(cache, 'build.lock'), {
    signal: options.signal,
    onWait: (pid) => progress.print(`waiting for process ${pid}, which is preparing ${options.what}`),
  });
  try {
    if (await exists(directory)) return;
    progress.print(`preparing ${options.what}, once`);
    // Only the lock holder gets here, so leftovers are older versions or from killed builders.
    const old = (await readdir(cache)).filter((entry) => entry !== 'build.lock' && !entry.startsWith('build.lock.'));
    await options.build();
    for (const entry of old) await rm(join(cache, entry), { recursive: true, force: true });
    progress.finish(`prepared ${options.what}`);
  } finally {
    await release();
  }
}

interface RunOptions {
  cwd?: string;
  signal?: AbortSignal | undefined;
}

/** Runs a program to its end. @returns its output. @throws MissingToolError; BuildFailedError with the end of its error output. */
export async function run(command: string, args: readonly string[], { cwd, signal }: RunOptions = {}): Promise<string> {
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C' },
    ...(cwd === undefined ? {} : { cwd }),
    ...(signal === undefined ? {} : { signal }),
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text;
  });
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once('error', reject);
  child.once('close', resolve);
  const code = await promise.catch((error: unknown) => {
    signal?.throwIfAborted();
    throw new MissingToolError(`${command} is needed for these tests: make setup`, { cause: error });
  });
  if (code === 0) return output.stdout;
  const why = output.stderr.trim().split('\n').slice(-5).join(' | ');
  const hint = command === 'apt-get' ? ' (if the package lists are out of date, run apt-get update as root)' : '';
  throw new BuildFailedError(`${command} ${args[0] ?? ''} failed with code ${code}${hint}: ${why}`);
}

export async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
