import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BuildOptions } from './cache.ts';
import { ensureBuilt, type GoBuild } from './go-build.ts';

const BUILD: GoBuild = {
  cacheName: 'vpc-switch',
  what: 'the VPC switch',
  duration: 'a few seconds',
  sourceDir: fileURLToPath(new URL('../../sim/vpc/switch/', import.meta.url)),
  packages: ['.'],
  linkerFlags: '-s -w',
  output: 'vpc-switch',
  mainProgram: 'vpc-switch',
  advice: '',
};

/** Finds the forwarding program in the cache, or builds it. @throws MissingToolError without a usable Go; BuildFailedError. */
export async function ensureSwitchProgram(options: BuildOptions = {}): Promise<string> {
  return join(await ensureBuilt(BUILD, options), BUILD.mainProgram);
}
