import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { ComponentFailedError } from '../../../tools/errors.ts';

export interface HelperOptions {
  name: string;
  command: string;
  args: readonly string[];
  /** Receives standard error. */
  logPath: string;
}

/**
 * A child process with a line protocol: requests go to its standard input, and responses come from its standard output. It ends
 * when its standard input closes, so it never outlives this process.
 */
export class Helper {
  readonly name: string;
  /** Resolves when the process has ended; never rejects. */
  readonly exited: Promise<void>;
  readonly #child: ChildProcess;
  readonly #logPath: string;
  readonly #responses: AsyncIterator<string>;
  #isRunning = true;

  private constructor(options: HelperOptions, child: ChildProcess) {
    this.name = options.name;
    this.#logPath = options.logPath;
    this.#child = child;
    if (child.stdout === null) throw new TypeError('standard output is not a pipe');
    this.#responses = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.exited = new Promise((resolve) => {
      child.once('exit', () => {
        this.#isRunning = false;
        resolve();
      });
    });
    // The process may end before it has read everything. The missing response shows that.
    child.stdin?.on('error', () => undefined);
  }

  /** @throws ComponentFailedError when the program cannot be run. */
  static async start(options: HelperOptions): Promise<Helper> {
    const log = await open(options.logPath, 'a', 0o600);
    try {
      const child = spawn(options.command, options.args, {
        // A session of its own: Ctrl-C in a terminal must reach only this process, which stops everything in order.
        detached: true,
        stdio: ['pipe', 'pipe', log.fd],
        env: { PATH: process.env['PATH'] ?? '' },
      });
      await once(child, 'spawn');
      return new Helper(options, child);
    } catch (error) {
      throw new ComponentFailedError(options.name, `could not be started (${String(error)})`, [], { cause: error });
    } finally {
      await log.close();
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Sends `line` and returns the response. @throws ComponentFailedError when the process ends without one. */
  async request(line: string): Promise<string> {
    this.#child.stdin?.write(`${line}\n`);
    return this.nextLine();
  }

  /** The next line of its output. @throws ComponentFailedError when the process ends first. */
  async nextLine(): Promise<string> {
    const { value, done } = await this.#responses.next();
    if (done !== true) return value;
    await this.exited;
    throw new ComponentFailedError(this.name, 'ended', await this.logTail());
  }

  /** Closes its standard input. Resolves when the process has cleaned up and ended. */
  async stop(): Promise<void> {
    this.#child.stdin?.end();
    await this.exited;
  }

  async logTail(): Promise<string[]> {
    const text = await readFile(this.#logPath, 'utf8').catch(() => '');
    return text.trimEnd().split('\n').slice(-3);
  }
}
