import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '../../src/util/clock.ts';
import { SwitchEndedError, SwitchProgramError, VpcSwitchError } from './errors.ts';
import { type SwitchCounters, type SwitchEvent, type SwitchRequest, switchMessageSchema } from './protocol.ts';

/** How long the program may take to end by itself. */
const GRACE_MS = 2_000;

interface Waiting {
  resolve: (counters: SwitchCounters | undefined) => void;
  reject: (error: Error) => void;
}

export interface SwitchProcessOptions {
  program: string;
  /** Flags of its command `run`. */
  flags: readonly string[];
  clock: Clock;
  onEvent: (event: SwitchEvent) => void;
  /** Called with each line of the program's diagnostics. */
  onDiagnostic: (line: string) => void;
  /** Called once, when the program has ended for any reason. */
  onEnd: (error: SwitchEndedError) => void;
}

/** The forwarding program as a child process. It ends when its standard input closes, and so with its owner. */
export class SwitchProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #clock: Clock;
  readonly #waiting = new Map<number, Waiting>();
  readonly #exited: Promise<void>;
  #ended: SwitchEndedError | undefined;
  #lastRequest = 0;

  private constructor(options: SwitchProcessOptions, child: ChildProcessByStdio<Writable, Readable, Readable>) {
    this.#child = child;
    this.#clock = options.clock;
    const output = createInterface({ input: child.stdout });
    output.on('line', (line) => this.#receive(line, options));
    const diagnostics: string[] = [];
    createInterface({ input: child.stderr }).on('line', (line) => {
      diagnostics.push(line);
      if (diagnostics.length > 5) diagnostics.shift();
      options.onDiagnostic(line);
    });
    // When the program has ended, writes fail. `close` reports the end.
    child.stdin.on('error', () => undefined);
    this.#exited = once(child, 'close').then(([code, signal]) => {
      const how = signal === null ? `code ${code}` : `signal ${signal}`;
      this.#ended = new SwitchEndedError(`the VPC switch ended with ${how} ${diagnostics.join(' | ')}`.trimEnd());
      for (const waiting of this.#waiting.values()) waiting.reject(this.#ended);
      this.#waiting.clear();
      options.onEnd(this.#ended);
    });
  }

  /** @throws SwitchProgramError when the program cannot be run. */
  static async start(options: SwitchProcessOptions): Promise<SwitchProcess> {
    // A session of its own: Ctrl-C in a terminal must reach only the owner, which ends its children in order.
    const child = spawn(options.program, ['run', ...options.flags], {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    try {
      await once(child, 'spawn');
    } catch (cause) {
      throw new SwitchProgramError(`${options.program} could not be started`, { cause });
    }
    return new SwitchProcess(options, child);
  }

  /** Why the program ended; undefined while it runs. */
  get ended(): SwitchEndedError | undefined {
    return this.#ended;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /**
   * Sends a request and waits for its response.
   *
   * @throws VpcSwitchError with the program's message when it refuses the request; SwitchEndedError.
   */
  async request(request: SwitchRequest): Promise<SwitchCounters | undefined> {
    if (this.#ended !== undefined) throw this.#ended;
    this.#lastRequest += 1;
    const number = this.#lastRequest;
    return await new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject });
      this.#child.stdin.write(`${JSON.stringify({ ...request, request: number })}\n`);
    });
  }

  /** Stops the program. Resolves when it and its devices are gone. Idempotent. */
  async stop(): Promise<void> {
    this.#child.stdin.end();
    const timer = this.#clock.schedule(GRACE_MS, () => this.#child.kill('SIGKILL'));
    await this.#exited;
    timer.cancel();
  }

  #receive(line: string, options: SwitchProcessOptions): void {
    const message = switchMessageSchema.parse(JSON.parse(line));
    switch (message.type) {
      case 'response':
        this.#settle(message.request, (waiting) => {
          if (message.error === '') waiting.resolve(undefined);
          else waiting.reject(new VpcSwitchError(`the VPC switch refused: ${message.error}`));
        });
        return;
      case 'counters':
        this.#settle(message.request, (waiting) => waiting.resolve(message));
        return;
      default:
        options.onEvent(message);
    }
  }

  #settle(number: number, finish: (waiting: Waiting) => void): void {
    const waiting = this.#waiting.get(number);
    this.#waiting.delete(number);
    if (waiting !== undefined) finish(waiting);
  }
}
