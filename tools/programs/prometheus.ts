import { mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type BuildOptions, cacheDirectory } from './cache.ts';
import { exists, newestPackage, onceAtATime, unpackPackage } from './debian-package.ts';

/** Finds Debian's Prometheus in the cache, or downloads it. @returns the folder of its programs. @throws MissingToolError, BuildFailedError */
export async function ensurePrometheus(options: BuildOptions = {}): Promise<string> {
  const wanted = await newestPackage('prometheus');
  const cache = join(cacheDirectory(), 'prometheus');
  const directory = join(cache, wanted.version.replaceAll(/[^\w.+~-]/g, '_'));
  if (!(await exists(directory))) {
    const build = async () => {
      const temporary = await mkdtemp(join(cache, 'tmp-'));
      try {
        const unpacked = join(temporary, 'unpacked');
        await unpackPackage(wanted, temporary, unpacked, options.signal);
        await rename(join(unpacked, 'usr', 'bin'), directory);
      } finally {
        await rm(temporary, { recursive: true, force: true });
      }
    };
    await onceAtATime(cache, directory, { ...options, what: `prometheus ${wanted.version}`, build });
  }
  return directory;
}
