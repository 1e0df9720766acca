import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import { pollUntil } from './poll.ts';

/** Identifies one process for good. Pids are reused, but not together with the same start time. */
export const processIdentitySchema = z.object({ pid: z.number().int().positive(), startTicks: z.string() });
export type ProcessIdentity = z.infer<typeof processIdentitySchema>;

/** Identity of a running process. Undefined when there is none, or only a zombie. */
export async function identifyProcess(pid: number): Promise<ProcessIdentity | undefined> {
  const stat = await readProc(pid, 'stat');
  if (stat === undefined) return undefined;
  // The second field is the program's name in brackets, which may contain spaces and brackets itself.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  const startTicks = fields[19];
  if (state === 'Z' || state === 'X' || startTicks === undefined) return undefined;
  return { pid, startTicks };
}

/** True while exactly the recorded process runs. */
export async function isRunning(identity: ProcessIdentity): Promise<boolean> {
  const current = await identifyProcess(identity.pid);
  return current?.startTicks === identity.startTicks;
}

/** Arguments of a process; empty when it is gone. */
export async function commandLine(pid: number): Promise<string[]> {
  const raw = await readProc(pid, 'cmdline');
  return raw === undefined ? [] : raw.split('\0').filter((argument) => argument !== '');
}

/**
 * Sends a signal to exactly the recorded process, if its command line contains `mustMention`.
 *
 * @returns false when that process is gone or another one has its pid.
 */
export async function signalRecorded(
  identity: ProcessIdentity,
  mustMention: string,
  signal: NodeJS.Signals,
): Promise<boolean> {
  if (!(await isRunning(identity))) return false;
  if (!(await commandLine(identity.pid)).some((argument) => argument.includes(mustMention))) return false;
  try {
    return process.kill(identity.pid, signal);
  } catch {
    return false;
  }
}

/** Waits until the recorded process is gone. @throws DeadlineError */
export async function waitGone(identity: ProcessIdentity, timeoutMs: number): Promise<void> {
  await pollUntil(async () => ((await isRunning(identity)) ? undefined : true), {
    what: `process ${identity.pid} to end`,
    timeoutMs,
  });
}

async function readProc(pid: number, file: 'stat' | 'cmdline'): Promise<string | undefined> {
  try {
    return await readFile(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return undefined;
  }
}
