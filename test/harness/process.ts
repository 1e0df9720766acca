import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { NODE_CACHE } from '../cluster/node-cache.ts';

/**
 * A module for --import that ends a child whose owner was killed before it could do so: the channel between them (`ipc`) closes
 * with the owner.
 */
export const FOLLOW_OWNER = `data:text/javascript,${encodeURIComponent(
  "process.once('disconnect', () => process.kill(process.pid, 'SIGKILL')); process.channel?.unref();",
)}`;

/** A child process of the lab. Its output goes to a file, and it never outlives its owner. */
export class LabProcess {
  readonly name: string;
  readonly logPath: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #exitText: string | undefined;

  private constructor(name: string, logPath: string, child: ChildProcess) {
    this.name = name;
    this.logPath = logPath;
    this.#child = child;
    const log = createWriteStream(logPath, { flags: 'a' });
    child.stdout?.pipe(log);
    child.stderr?.pipe(log);
    this.#exited = once(child, 'exit').then(([code, signal]) => {
      this.#exitText = signal === null ? `exit code ${code}` : `signal ${signal}`;
      owned.delete(child);
    });
  }

  /** Starts `node script args…` with the Node of this process. */
  static start(options: {
    name: string;
    script: string;
    args: string[];
    logPath: string;
    /** Flags for Node itself. */
    nodeFlags?: readonly string[];
    env?: Record<string, string>;
  }): LabProcess {
    const flags = [...(options.nodeFlags ?? []), '--import', FOLLOW_OWNER];
    const child = spawn(process.execPath, [...flags, options.script, ...options.args], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      // A session of its own: Ctrl-C in a terminal must reach only the owner, which stops its processes in order.
      detached: true,
      env: { PATH: process.env['PATH'] ?? '', ...NODE_CACHE, ...options.env },
    });
    owned.add(child);
    return new LabProcess(options.name, options.logPath, child);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#exitText === undefined;
  }

  /** Resolves when the process has ended. @returns its exit code or signal as text. */
  async exited(): Promise<string> {
    await this.#exited;
    return this.#exitText ?? '';
  }

  /** Sends the signal and waits for the end. Sends SIGKILL if that takes longer than `graceMs`. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', graceMs = 10_000): Promise<string> {
    if (!this.isRunning) return this.exited();
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), graceMs);
    try {
      return await this.exited();
    } finally {
      clearTimeout(timer);
    }
  }

  /** The output so far. */
  async output(): Promise<string> {
    return readFile(this.logPath, 'utf8').catch(() => '');
  }

  /** The last lines of output, for messages about failures. */
  async tail(lines = 15): Promise<string> {
    return (await this.output()).trimEnd().split('\n').slice(-lines).join('\n');
  }

  /** Resident memory in bytes (Linux). */
  async residentBytes(): Promise<number> {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
  }
}

const owned = new Set<ChildProcess>();

// However this process ends, nothing that the lab started stays behind.
process.on('exit', () => {
  for (const child of owned) child.kill('SIGKILL');
});
