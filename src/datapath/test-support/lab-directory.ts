import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { abandoned } from '../../util/test-support/abandoned.ts';

const PREFIX = 'terway-datapath-';
const UMOUNT = 'umount';

/** A folder for what the data path of a test keeps, with a folder `bpf` for its file system. */
export function makeLabDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  mkdirSync(join(directory, 'bpf'));
  return directory;
}

export function removeLabDirectory(directory: string): void {
  // Lazily: whoever looks through the mounts of the machine just now would keep it busy.
  spawnSync(UMOUNT, ['--lazy', join(directory, 'bpf')]);
  rmSync(directory, { recursive: true, force: true });
}

/** Those of runs that were killed. */
export function removeAbandonedLabDirectories(): void {
  for (const name of abandoned(readdirSync(tmpdir()), PREFIX)) removeLabDirectory(join(tmpdir(), name));
}
