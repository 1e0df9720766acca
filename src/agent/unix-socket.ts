import { chmod, mkdir, rm } from 'node:fs/promises';
import type { Server } from 'node:net';
import { dirname } from 'node:path';

/**
 * Listens on a unix socket that only root may use. What an agent left that was killed is removed: two do not run at a time
 * (see the lock of the executable).
 */
export async function listenOnSocket(server: Server, socketPath: string): Promise<void> {
  await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
  await rm(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => {
      server.off('error', reject);
      resolve();
    });
  });
  await chmod(socketPath, 0o600);
}
