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
 * A child process that is spoken to: lines go to its standard input, and its answers are lines, too. It ends when its
 * standard input does, so it never outlives this process, however that ends.
 */
export class Helper {
  readonly name: string;
  /** Resolves when the process has ended; never rejects. */
  readonly exited: Promise<void>;
  readonly #child: ChildProcess;
  readonly #logPath: string;
  readonly #answers: AsyncIterator<string>;
  #isRunning = true;

  private constructor(options: HelperOptions, child: ChildProcess) {
    this.name = options.name;
    this.#logPath = options.logPath;
    this.#child = child;
    if (child.stdout === null) throw new TypeError('standard output is not a pipe');
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.exited = new Promise((resolve) => {
      child.once('exit', () => {
        this.#isRunning = false;
        resolve();
      });
    });
    // It may end before it has read everything; the missing answer tells.
    child.stdin?.on('error', () => undefined);
  }

  /** @throws ComponentFailedError when the program cannot be run. */
  static async start(options: HelperOptions): Promise<Helper> {
    const log = await open(options.logPath, 'a', 0o600);
    try {
      const child = spawn(options.command, options.args, {
        // A session of its own: Ctrl-C in a terminal must reach only us, who stop everything in order.
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

  /** Says `line` and returns the answer. @throws ComponentFailedError when the process ends instead of answering. */
  async ask(line: string): Promise<string> {
    this.#child.stdin?.write(`${line}\n`);
    return this.answer();
  }

  /** The next line that it says. @throws ComponentFailedError when the process ends instead. */
  async answer(): Promise<string> {
    const { value, done } = await this.#answers.next();
    if (done !== true) return value;
    await this.exited;
    throw new ComponentFailedError(this.name, 'ended', await this.logTail());
  }

  /** Ends it by ending its standard input; resolves when it has cleaned up and ended. */
  async stop(): Promise<void> {
    this.#child.stdin?.end();
    await this.exited;
  }

  async logTail(): Promise<string[]> {
    const text = await readFile(this.#logPath, 'utf8').catch(() => '');
    return text.trimEnd().split('\n').slice(-3);
  }
}
