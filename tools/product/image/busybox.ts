import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { TarEntry } from '../../../src/util/tar.ts';
import { writeSingleLayerImage } from './oci.ts';

/** Name of the image that {@link writeBusyboxImage} writes, for pods with `imagePullPolicy: Never`. */
export const BUSYBOX_IMAGE = 'terway.test/busybox:1';

/** From Debian's package busybox-static; the one from `busybox` needs shared libraries. */
export const BUSYBOX = '/bin/busybox';

/**
 * Writes the archive of a small image for test pods: busybox, with a link for each of its commands (sh, nc, httpd, wget,
 * ping, ip …). By default it sleeps, so it also serves as the sandbox image of a node.
 */
export async function writeBusyboxImage(path: string): Promise<void> {
  const entries: TarEntry[] = [
    ...(await busyboxEntries()),
    { kind: 'file', path: 'etc/passwd', content: Buffer.from('root:x:0:0:root:/:/bin/sh\n') },
    { kind: 'file', path: 'etc/group', content: Buffer.from('root:x:0:\n') },
    { kind: 'directory', path: 'tmp', mode: 0o1777 },
  ];
  await writeSingleLayerImage(path, entries, {
    reference: BUSYBOX_IMAGE,
    env: ['PATH=/bin'],
    command: ['/bin/sleep', '2147483647'],
  });
}

/** busybox in `bin/`, with a link for each of its commands. */
export async function busyboxEntries(): Promise<TarEntry[]> {
  const { stdout } = await promisify(execFile)(BUSYBOX, ['--list']);
  const commands = stdout.split('\n').filter((name) => name !== '' && name !== 'busybox');
  return [
    { kind: 'file', path: 'bin/busybox', mode: 0o755, content: { from: BUSYBOX } },
    ...commands.sort().map((name): TarEntry => ({ kind: 'symlink', path: `bin/${name}`, target: 'busybox' })),
  ];
}
