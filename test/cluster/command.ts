import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { TestClusterError } from './errors.ts';

export interface CommandResult {
  stdout: string;
  stderr: string;
  code: number;
}

export interface CommandOptions {
  /** Standard input; a stream is copied. */
  input?: string | Readable;
  signal?: AbortSignal | undefined;
  env?: NodeJS.ProcessEnv;
  /** Gets a copy of standard output as it arrives. */
  stdout?: NodeJS.WritableStream;
}

/**
 * Runs a program to its end, which the signal brings about. Returns or throws when nobody has its output open any more, so that what it
 * started is gone as well. A failure is a `code`, not an exception. @throws the signal's reason; ENOENT.
 */
export async function runCommand(
  command: string,
  args: readonly string[],
  { input = '', signal, env, stdout: copy }: CommandOptions = {},
): Promise<CommandResult> {
  signal?.throwIfAborted();
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...(env ? { env } : {}) });
  const kill = () => child.kill('SIGKILL');
  signal?.addEventListener('abort', kill, { once: true });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
    copy?.write(chunk);
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  }).finally(() => signal?.removeEventListener('abort', kill));
  // The program may end before it has read all of its input. That is not our failure.
  child.stdin.on('error', () => undefined);
  if (typeof input === 'string') child.stdin.end(input);
  else await pipeline(input, child.stdin).catch(() => undefined);
  const code = await ended;
  signal?.throwIfAborted();
  return { stdout, stderr, code };
}

/** Like {@link runCommand}, but a failure is an exception. @returns standard output. @throws TestClusterError */
export async function runChecked(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await runCommand(command, args, options);
  if (code === 0) return stdout;
  const why = (stderr || stdout).trim().split('\n').slice(-3).join(' | ');
  throw new TestClusterError(`${command} ${args.join(' ').slice(0, 200)} failed with code ${code}: ${why}`);
}
