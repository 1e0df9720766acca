import { join } from 'node:path';
import { writeBusyboxImage } from '../../../tools/product/image/busybox.ts';

const written = new Map<string, Promise<string>>();

/** Path of the archive of the sandbox image, which is also an image for test pods. Written once per cluster. */
export function ensureSandboxImage(stateDir: string): Promise<string> {
  const path = join(stateDir, 'busybox.tar');
  const known = written.get(path) ?? writeBusyboxImage(path).then(() => path);
  written.set(path, known);
  return known;
}
