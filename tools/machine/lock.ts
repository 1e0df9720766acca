import { randomBytes } from 'node:crypto';
import { link, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { ToolError } from '../errors.ts';
import { pause } from './poll.ts';
import { identifyProcess, isRunning, processIdentitySchema } from './process-table.ts';

export interface LockOptions {
  signal?: AbortSignal | undefined;
  /** Called once when another process holds the lock, with its pid. */
  onWait?: (holderPid: number) => void;
}

/**
 * Takes an exclusive lock between processes of this machine, and waits as long as its holder lives.
 *
 * The lock is a file that names its holder. If the holder is gone, the lock is taken over.
 *
 * @returns a function that releases the lock.
 * @throws the signal's reason when it aborts.
 */
export async function acquireLock(path: string, options: LockOptions = {}): Promise<() => Promise<void>> {
  const self = await identifyProcess(process.pid);
  if (self === undefined) throw new ToolError('cannot read /proc: the test cluster needs Linux');
  let notified = false;
  while (!(await createComplete(path, JSON.stringify(self)))) {
    const content = await readFile(path, 'utf8').catch(() => undefined);
    if (content === undefined) continue;
    const holder = processIdentitySchema.safeParse(parseJson(content));
    if (!holder.success || !(await isRunning(holder.data))) {
      await breakLock(path, content);
      continue;
    }
    if (!notified) options.onWait?.(holder.data.pid);
    notified = true;
    await pause(200, options.signal);
  }
  return () => unlink(path);
}

/**
 * Creates a file together with its content, so that no reader ever finds it half written.
 *
 * @returns false when the file already exists.
 */
export async function createComplete(path: string, content: string): Promise<boolean> {
  const temporary = temporaryName(path);
  await writeFile(temporary, content, { mode: 0o600 });
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  } finally {
    await unlink(temporary);
  }
}

/** A unique name beside `path`. */
export function temporaryName(path: string): string {
  return `${path}.${process.pid}-${randomBytes(4).toString('hex')}`;
}

/** Parses JSON that may be damaged; undefined when it is. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function breakLock(path: string, observed: string): Promise<void> {
  // Of two processes that break the same lock, only one can rename the file. What it renamed may already be the lock of a
  // third process, and then has to go back.
  const aside = temporaryName(path);
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  if ((await readFile(aside, 'utf8')) !== observed) await link(aside, path).catch(() => undefined);
  await unlink(aside);
}
