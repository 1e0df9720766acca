import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BuildOptions } from './cache.ts';
import { ensureBuilt, type GoBuild } from './go-build.ts';

const HELM_VERSION = 'v4.3.1';

const BUILD: GoBuild = {
  cacheName: 'helm',
  what: `Helm ${HELM_VERSION} for the tests`,
  duration: 'about 2 minutes on 2 cores when nothing is cached',
  sourceDir: fileURLToPath(new URL('helm/', import.meta.url)),
  // "tool" stands for the tool that go.mod lists.
  packages: ['tool'],
  linkerFlags: `-s -w -X helm.sh/helm/v4/internal/version.version=${HELM_VERSION}`,
  output: '',
  mainProgram: 'helm',
  advice: '',
};

/** Finds Helm in the cache, or builds it. @throws MissingToolError without a usable Go; BuildFailedError. */
export async function ensureHelm(options: BuildOptions = {}): Promise<string> {
  return join(await ensureBuilt(BUILD, options), BUILD.mainProgram);
}
