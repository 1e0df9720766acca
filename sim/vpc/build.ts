import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, constants, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { errorMessage } from '../../src/util/errors.ts';
import { SwitchProgramError } from './errors.ts';

const run = promisify(execFile);

const SOURCE = fileURLToPath(new URL('switch/', import.meta.url));
const PROGRAM = 'vpc-switch';

export interface BuildOptions {
  signal?: AbortSignal | undefined;
  log?: ((line: string) => void) | undefined;
}

/**
 * Returns the path of the forwarding program, which is built from `switch/` when the cache has none of the same sources:
 * seconds, once. The cache is that of the test cluster's programs (`TERWAY_CACHE_DIR`, else below `XDG_CACHE_HOME` or
 * `~/.cache`). Any number of processes may ask at once.
 *
 * @throws SwitchProgramError without a usable Go or when the build fails.
 */
export async function ensureSwitchProgram(options: BuildOptions = {}): Promise<string> {
  const cache = join(cacheDirectory(), 'vpc-switch');
  const directory = join(cache, await sourceHash());
  const program = join(directory, PROGRAM);
  if (await isExecutable(program)) return program;
  options.log?.(`building the VPC switch into ${directory}`);
  await mkdir(cache, { recursive: true });
  const temporary = await mkdtemp(join(cache, 'tmp-'));
  try {
    const flags = ['-mod=readonly', '-buildvcs=false', '-trimpath', '-ldflags', '-s -w'];
    await run('go', ['build', ...flags, '-o', join(temporary, PROGRAM), '.'], {
      cwd: SOURCE,
      // Report an old Go instead of silently downloading a newer one.
      env: { ...process.env, CGO_ENABLED: '0', GOTOOLCHAIN: 'local', GOWORK: 'off' },
      ...(options.signal ? { signal: options.signal } : {}),
    });
    // If another process built the same concurrently, either result is fine, so the first one stays.
    await rename(temporary, directory).catch(async (error: unknown) => {
      if (!(await isExecutable(program))) throw error;
    });
    return program;
  } catch (cause) {
    options.signal?.throwIfAborted();
    throw new SwitchProgramError(`the VPC switch could not be built (Go is needed): ${errorMessage(cause)}`, { cause });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

function cacheDirectory(): string {
  const own = process.env['TERWAY_CACHE_DIR'];
  if (own !== undefined && own !== '') return own;
  const base = process.env['XDG_CACHE_HOME'];
  return join(base !== undefined && base !== '' ? base : join(homedir(), '.cache'), 'terway-controlplane');
}

async function sourceHash(): Promise<string> {
  const hash = createHash('sha256').update([process.platform, process.arch].join('\0'));
  const files = (await readdir(SOURCE)).filter((name) => /^go\.mod$|(?<!_test)\.go$/.test(name)).sort();
  for (const name of files) hash.update(`\0${name}\0`).update(await readFile(join(SOURCE, name)));
  return hash.digest('hex').slice(0, 16);
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
