import { spawn } from 'node:child_process';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import * as z from 'zod';

/** Another process has the lock. */
export class NodeLockedError extends Error {
  constructor(path: string, holder: Holder | undefined) {
    const who =
      holder === undefined ? 'a process that does not say its name' : `process ${holder.pid}, since ${holder.since},`;
    super(
      `another terway-agent runs on this node: ${who} holds ${path} (a process in a container is known to the node by another number)`,
    );
    this.name = 'NodeLockedError';
  }
}

const holderSchema = z.object({ pid: z.int(), since: z.string() });
type Holder = z.infer<typeof holderSchema>;

const HELD_BY_ANOTHER = 3;

/**
 * Locks a file so that two agents cannot undo each other's work. Only processes that can open the file can hold the lock, and the
 * kernel releases it however the process ends.
 *
 * @param helper the executable `terway-kernel`; Node cannot lock files
 * @throws NodeLockedError when another process has it
 */
export async function lockNode(options: { path: string; helper: string; now: Date }): Promise<AsyncDisposable> {
  const { path, helper, now } = options;
  await mkdir(dirname(path), { recursive: true });
  // Not truncated: until it is locked, the content belongs to another process.
  const file = await open(path, 'a+', 0o600);
  try {
    if (!(await takeLock(file, helper))) throw new NodeLockedError(path, await readHolder(file));
    await file.truncate(0);
    await file.write(`${JSON.stringify({ pid: process.pid, since: now.toISOString() })}\n`);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The lock belongs to the open file and so stays when the helper, which inherits it, has ended. */
async function takeLock(file: FileHandle, helper: string): Promise<boolean> {
  const child = spawn(helper, ['--lock'], { stdio: ['ignore', 'ignore', 'pipe', file.fd] });
  let complaint = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once('error', (error) => reject(new Error(`cannot run ${helper}: ${error.message}`, { cause: error })));
  child.once('close', resolve);
  const code = await promise;
  if (code === 0 || code === HELD_BY_ANOTHER) return code === 0;
  throw new Error(complaint.trim() || `${helper} --lock ended with code ${code}`);
}

async function readHolder(file: FileHandle): Promise<Holder | undefined> {
  const text = (await file.readFile('utf8')).trim();
  try {
    return holderSchema.parse(JSON.parse(text));
  } catch {
    // The other process has the lock but has not written its number yet.
    return undefined;
  }
}
