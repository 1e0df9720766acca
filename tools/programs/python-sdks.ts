import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BuildFailedError, MissingToolError } from '../errors.ts';
import { acquireLock } from '../machine/lock.ts';
import { type BuildOptions, cacheDirectory, isExecutable } from './cache.ts';

const REQUIREMENTS = join(import.meta.dirname, 'python-sdks.txt');
/** Builds the packages that come as source. This is the newest version that can build all of them. */
const SETUPTOOLS = 'setuptools==80.9.0';
const COMPLETE = 'complete';

/**
 * Finds the Python SDKs of both generations in the cache, or installs them into it (a minute, once). Any number of processes may
 * call this at once: one installs and the others wait for it.
 *
 * @returns path of the Python of a virtual environment that has the SDKs.
 * @throws MissingToolError without a Python that can make virtual environments; BuildFailedError.
 */
export async function ensurePythonSdks(options: BuildOptions = {}): Promise<string> {
  const requirements = await readFile(REQUIREMENTS, 'utf8');
  const version = await pythonVersion();
  const key = createHash('sha256').update([requirements, SETUPTOOLS, version].join('\0')).digest('hex').slice(0, 16);
  const cache = join(cacheDirectory(), 'python-sdks');
  const directory = join(cache, key);
  const python = join(directory, 'bin', 'python');
  // A virtual environment contains its own path, so it cannot be renamed into place. This file is written last instead.
  const isThere = async () => (await isExecutable(python)) && (await readdir(directory)).includes(COMPLETE);
  if (await isThere()) return python;

  const log = options.log ?? ((line: string) => process.stderr.write(`${line}\n`));
  await mkdir(cache, { recursive: true });
  const release = await acquireLock(join(cache, 'build.lock'), {
    signal: options.signal,
    onWait: (pid) => log(`waiting for process ${pid}, which is installing the Python SDKs`),
  });
  try {
    if (await isThere()) return python;
    log(`installing the Python SDKs, once, into ${directory}: about a minute`);
    await rm(directory, { recursive: true, force: true });
    await step('python3', ['-m', 'venv', directory], options);
    const install = ['-m', 'pip', 'install', '--no-input', '--quiet', '--disable-pip-version-check'];
    await step(python, [...install, SETUPTOOLS], options);
    // Exactly the listed packages: pip resolves no dependencies, and no build fetches tools of its own.
    await step(python, [...install, '--no-deps', '--no-build-isolation', '-r', REQUIREMENTS], options);
    await writeFile(join(directory, COMPLETE), '');
    return python;
  } finally {
    await release();
  }
}

async function step(command: string, args: string[], { signal }: BuildOptions): Promise<void> {
  const { code, output } = await run(command, args, signal);
  if (code === 0) return;
  const why = output.trim().split('\n').slice(-4).join(' | ');
  throw new BuildFailedError(`${command} ${args.slice(0, 3).join(' ')} failed with code ${code}: ${why}`);
}

async function pythonVersion(): Promise<string> {
  const remedy = 'install Python 3.9 or newer with its venv module (Debian: apt-get install python3-venv)';
  const found = await run('python3', ['-c', 'import sys, venv, ensurepip; print(sys.version, sys.prefix)']).catch(
    (cause: unknown) => {
      throw new MissingToolError(`the SDK tests need "python3", which is not on the PATH: ${remedy}`, {
        cause,
      });
    },
  );
  if (found.code === 0) return found.output.trim();
  throw new MissingToolError(`the SDK tests need a python3 that can make virtual environments: ${remedy}`);
}

async function run(command: string, args: string[], signal?: AbortSignal): Promise<{ code: number; output: string }> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...(signal ? { signal } : {}) });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code: code ?? 1, output };
}
