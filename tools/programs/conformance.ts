import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BuildOptions } from './cache.ts';
import { ensureBuilt, type GoBuild } from './go-build.ts';
import { KUBERNETES_VERSION, VERSION_FLAGS } from './kubernetes.ts';

const SUITE = 'e2e.test';
const AGNHOST = 'agnhost';

const BUILD: GoBuild = {
  cacheName: 'conformance',
  what: `the e2e suite of Kubernetes ${KUBERNETES_VERSION} and its test image`,
  duration: 'about 6 minutes on 2 cores when nothing is cached',
  sourceDir: fileURLToPath(new URL('conformance/', import.meta.url)),
  // "tool" stands for the tool that go.mod lists: agnhost.
  packages: ['tool'],
  tests: { package: 'k8s.io/kubernetes/test/e2e', program: SUITE },
  linkerFlags: VERSION_FLAGS,
  // A folder, with files named after their packages.
  output: '',
  mainProgram: SUITE,
  advice: '',
};

/** Kubernetes' own e2e suite, and the program that the pods of its specs run. */
export interface ConformancePrograms {
  suite: string;
  agnhost: string;
}

/** Finds the programs in the cache, or builds them. @throws MissingToolError without a usable Go; BuildFailedError. */
export async function ensureConformancePrograms(options: BuildOptions = {}): Promise<ConformancePrograms> {
  const directory = await ensureBuilt(BUILD, options);
  return { suite: join(directory, SUITE), agnhost: join(directory, AGNHOST) };
}
