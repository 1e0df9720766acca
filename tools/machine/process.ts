import { type ChildProcess, spawn } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { ComponentFailedError, ToolError } from '../errors.ts';
import { identifyProcess, type ProcessIdentity } from './process-table.ts';

export interface ComponentSpec {
  name: string;
  command: string;
  args: readonly string[];
  /** Receives both output streams. Appended to, so that the log of a restarted component keeps its first run. */
  logPath: string;
  /** Components write nothing there on purpose, but libraries that look for a home must not find the user's. */
  homeDirectory: string;
}

/** How a process ended. */
export interface ProcessExit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** One running component of the control plane. */
export class Component {
  readonly name: string;
  readonly identity: ProcessIdentity;
  /** Resolves when the process has ended; never rejects. */
  readonly exited: Promise<ProcessExit>;
  readonly #child: ChildProcess;
  readonly #logPath: string;
  #exit: ProcessExit | undefined;

  private constructor(spec: ComponentSpec, child: ChildProcess, identity: ProcessIdentity) {
    this.name = spec.name;
    this.identity = identity;
    this.#child = child;
    this.#logPath = spec.logPath;
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#exit = { code, signal };
        resolve(this.#exit);
      });
    });
  }

  /**
   * Starts the process. It ends when this process does, for whatever reason: see `init` in kube/main.go.
   *
   * @throws ComponentFailedError when the program cannot be run.
   */
  static async start(spec: ComponentSpec): Promise<Component> {
    const log = await open(spec.logPath, 'a', 0o600);
    try {
      const child = spawn(spec.command, spec.args, {
        cwd: spec.homeDirectory,
        // Not our environment: a proxy set for the user must not handle the API server's calls to webhooks.
        env: {
          PATH: process.env['PATH'] ?? '',
          HOME: spec.homeDirectory,
          TERWAY_PARENT_PID: String(process.pid),
        },
        // A session of its own: Ctrl-C in a terminal must reach only this process, which stops the components in order.
        detached: true,
        stdio: ['ignore', log.fd, log.fd],
      });
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve);
        child.once('error', reject);
      });
      const identity = child.pid === undefined ? undefined : await identifyProcess(child.pid);
      if (identity === undefined) throw new ToolError('ended at once');
      return new Component(spec, child, identity);
    } catch (error) {
      throw new ComponentFailedError(spec.name, `could not be started (${String(error)})`, [], { cause: error });
    } finally {
      await log.close();
    }
  }

  get isRunning(): boolean {
    return this.#exit === undefined;
  }

  /**
   * Waits for `condition`, but only while the process lives.
   *
   * @throws ComponentFailedError when the process ends first or `condition` rejects; the signal's reason.
   */
  async whileRunning<T>(condition: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const ended = new AbortController();
    const both = signal ? AbortSignal.any([signal, ended.signal]) : ended.signal;
    let over = false;
    void this.exited.then(() => {
      if (!over) ended.abort();
    });
    try {
      return await condition(both);
    } catch (error) {
      signal?.throwIfAborted();
      const what = this.#exit ? `ended with ${describeExit(this.#exit)}` : String(error);
      throw new ComponentFailedError(this.name, what, await this.logTail(), { cause: error });
    } finally {
      over = true;
    }
  }

  /** Sends SIGTERM, and SIGKILL after `graceMs`. Resolves when the process has ended. */
  async stop(graceMs: number): Promise<void> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), graceMs);
    await this.exited;
    clearTimeout(timer);
  }

  /** Kills the process without warning. Resolves when it has ended. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.exited;
  }

  /** The most useful lines of the log after a failure: its last errors, otherwise its last lines. */
  async logTail(): Promise<string[]> {
    const text = await readFile(this.#logPath, 'utf8').catch(() => '');
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    const errors = lines.filter((line) => /^[EF]\d{4} |^Error: |^panic: |"level":"(?:error|fatal|panic)"/.test(line));
    return (errors.length > 0 ? errors : lines).slice(-3).map((line) => line.trim().slice(0, 400));
  }
}

export function describeExit(exit: ProcessExit): string {
  return exit.signal === null ? `code ${exit.code}` : `signal ${exit.signal}`;
}
