import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BuildOptions } from './cache.ts';
import { ensureBuilt, type GoBuild } from './go-build.ts';

export const COREDNS_VERSION = 'v1.12.4';

const BUILD: GoBuild = {
  cacheName: 'coredns',
  what: `CoreDNS ${COREDNS_VERSION} for the tests`,
  duration: 'about 3 minutes on 2 cores when nothing is cached',
  sourceDir: fileURLToPath(new URL('coredns/', import.meta.url)),
  // "tool" stands for the tool that go.mod lists.
  packages: ['tool'],
  linkerFlags: '-s -w',
  output: '',
  mainProgram: 'coredns',
  advice: '',
};

/** Finds CoreDNS in the cache, or builds it. @throws MissingToolError without a usable Go; BuildFailedError. */
export async function ensureCoreDns(options: BuildOptions = {}): Promise<string> {
  return join(await ensureBuilt(BUILD, options), BUILD.mainProgram);
}
