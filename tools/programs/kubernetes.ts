import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MissingToolError } from '../errors.ts';
import { type BuildOptions, isExecutable } from './cache.ts';
import { ensureBuilt, type GoBuild } from './go-build.ts';

export const COMPONENTS = [
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kubelet',
  'kube-proxy',
  'kubectl',
] as const;
export type ComponentName = (typeof COMPONENTS)[number];

/** Paths of the programs of a test cluster. */
export interface KubeBinaries {
  directory: string;
  /** `assets`: from KUBEBUILDER_ASSETS, where some components may be missing. `built`: built by us, all of them. */
  origin: 'built' | 'assets';
  available: ReadonlySet<ComponentName>;
  path(component: ComponentName): string;
}

const PROGRAM = 'kube';
export const KUBERNETES_VERSION = 'v1.36.3';

/** Clients reject a server of version v0.0.0, which is what a server built without these flags reports. */
export const VERSION_FLAGS = [
  '-s',
  '-w',
  ...['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version'].flatMap((path) => [
    `-X ${path}.gitVersion=${KUBERNETES_VERSION}`,
    `-X ${path}.gitMajor=1`,
    `-X ${path}.gitMinor=36`,
  ]),
].join(' ');

const BUILD: GoBuild = {
  cacheName: PROGRAM,
  what: `Kubernetes ${KUBERNETES_VERSION} and etcd for the tests`,
  duration: 'about 5 minutes on 2 cores when nothing is cached',
  sourceDir: fileURLToPath(new URL('kube/', import.meta.url)),
  packages: ['.'],
  linkerFlags: VERSION_FLAGS,
  output: PROGRAM,
  mainProgram: PROGRAM,
  advice: ', or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl',
  complete: async (directory) => {
    for (const component of COMPONENTS) await symlink(PROGRAM, join(directory, component));
  },
};

/**
 * Finds the programs of the test cluster: in `KUBEBUILDER_ASSETS` if that is set, else in the cache, else by building
 * them from Go modules into the cache (minutes, once).
 *
 * @throws MissingToolError without a usable Go, or when KUBEBUILDER_ASSETS lacks etcd, kube-apiserver or kubectl;
 *   BuildFailedError.
 */
export async function ensureKubeBinaries(options: BuildOptions = {}): Promise<KubeBinaries> {
  const assets = process.env['KUBEBUILDER_ASSETS'];
  if (assets !== undefined && assets !== '') return assetBinaries(assets);
  const directory = await ensureBuilt(BUILD, options);
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
