import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';

const LOADER = '/lib64/ld-linux-x86-64.so.2';

/**
 * Sorted paths of the shared libraries and the loader that a program needs. Empty for a statically linked program and for a file
 * that is not ELF.
 *
 * @throws Error that names a missing library
 */
export async function sharedLibraries(program: string): Promise<string[]> {
  if (!(await isElf(program))) return [];
  // As in ldd: the loader rejects a statically linked program.
  if ((await runLoader('--verify', program)).code !== 0) return [];
  const output = (await runLoader('--list', program)).stdout;
  const missing = /^\s*(\S+) => not found/m.exec(output)?.[1];
  if (missing !== undefined) throw new Error(`${program} needs ${missing}, which this machine does not have`);
  return [...output.matchAll(/^\s*(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)$/gm)].map(([, path = '']) => path).sort();
}

function runLoader(...args: string[]): Promise<{ code: number; stdout: string }> {
  return new Promise((resolve) => {
    const child = execFile(LOADER, args, { env: { LC_ALL: 'C' } }, (_error, stdout) => {
      resolve({ code: child.exitCode ?? 1, stdout });
    });
  });
}

async function isElf(path: string): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return bytesRead === 4 && buffer.toString('latin1') === '\x7fELF';
  } finally {
    await file.close();
  }
}
