import { access, constants } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

export interface BuildOptions {
  signal?: AbortSignal | undefined;
  /** Receives progress lines. Default: standard error, with one updating line on a terminal. */
  log?: ((line: string) => void) | undefined;
}

/** Folder for results that are expensive to make and do not belong in the work tree. */
export function cacheDirectory(): string {
  const own = process.env['TERWAY_CACHE_DIR'];
  if (own !== undefined && own !== '') return own;
  const base = process.env['XDG_CACHE_HOME'];
  return join(base !== undefined && base !== '' ? base : join(homedir(), '.cache'), 'terway-controlplane');
}

/** True for a program that this process may run. */
export async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
