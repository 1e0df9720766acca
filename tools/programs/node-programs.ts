import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BuildOptions } from './cache.ts';
import { ensureBuilt, type GoBuild } from './go-build.ts';

const BUILD: GoBuild = {
  cacheName: 'real-nodes',
  what: 'containerd and portmap for the real nodes of the tests',
  duration: 'about 2 minutes on 2 cores when nothing is cached',
  sourceDir: fileURLToPath(new URL('../../test/cluster/real-nodes/programs/', import.meta.url)),
  // "tool" stands for the tools that go.mod lists: containerd, its shim, ctr and portmap.
  packages: ['tool', '.'],
  linkerFlags: '-s -w',
  output: '',
  mainProgram: 'node-machine',
  advice: '',
};

/** Paths of the programs that only real nodes need. */
export interface RealNodePrograms {
  /** Has containerd, containerd-shim-runc-v2, ctr and portmap. */
  directory: string;
  /** See test/cluster/real-nodes/programs/main.go. */
  nodeMachine: string;
}

/** Finds the programs in the cache, or builds them. @throws MissingToolError without a usable Go; BuildFailedError. */
export async function ensureRealNodePrograms(options: BuildOptions = {}): Promise<RealNodePrograms> {
  const directory = await ensureBuilt(BUILD, options);
  return { directory, nodeMachine: join(directory, BUILD.mainProgram) };
}
