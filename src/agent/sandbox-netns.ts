import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** The network namespaces that the runtime makes for its sandboxes. */
export interface SandboxNetns {
  /** Whether the namespace of this path still exists. */
  exists(path: string): Promise<boolean>;
  /** Paths of all of them; none when they cannot be read. */
  paths(): Promise<string[]>;
}

/** Those of this machine: a folder of mounts. */
export function sandboxNetnsIn(directory: string): SandboxNetns {
  return {
    exists: isMounted,
    paths: async () => (await readdir(directory).catch(() => [])).map((name) => join(directory, name)),
  };
}

/** The runtime keeps a namespace alive by a mount. Without the mount, an empty file on another file system remains. */
async function isMounted(path: string): Promise<boolean> {
  const found = await stat(path).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
      return undefined;
    throw error;
  });
  if (found === undefined) return false;
  const self = await stat('/proc/self/ns/net');
  return found.dev === self.dev;
}
