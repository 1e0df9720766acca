import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** The network namespaces that the runtime makes for its sandboxes. */
export interface SandboxNetns {
  /** Whether the namespace of this path still exists. */
  exists(path: string): Promise<boolean>;
  /** Paths of all of them. */
  paths(): Promise<string[]>;
}

/** Those of this machine: a folder of mounts. */
export function sandboxNetnsIn(directory: string): SandboxNetns {
  return {
    exists: isMounted,
    async paths() {
      const names = await readdir(directory).catch((error: unknown) => {
        if (isMissing(error)) return [];
        throw error;
      });
      return names.map((name) => join(directory, name));
    },
  };
}

/** The runtime keeps a namespace alive by a mount. Without the mount, an empty file on another file system remains. */
async function isMounted(path: string): Promise<boolean> {
  const found = await stat(path).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw error;
  });
  if (found === undefined) return false;
  const self = await stat('/proc/self/ns/net');
  return found.dev === self.dev;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}
