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
  resolve: (answer: SwitchCounters | undefined) => void;
  reject: (error: Error) => void;
}

export interface SwitchProcessOptions {
  program: string;
  clock: Clock;
  onEvent: (event: SwitchEvent) => void;
  /** Diagnostics of the program, line by line. */
  onDiagnostic: (line: string) => void;
  /** Called once, when it has ended for whatever reason. */
  onEnd: (error: SwitchEndedError) => void;
}

/** The forwarding program as a child process. It ends with its standard input, hence with its owner. */
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
    // Its end shows in `close`; what was written into the void is no news.
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
    // A session of its own: Ctrl-C in a terminal must reach only the owner, who ends its children in order.
    const child = spawn(options.program, ['run'], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    try {
      await once(child, 'spawn');
    } catch (cause) {
      throw new SwitchProgramError(`${options.program} could not be started`, { cause });
    }
    return new SwitchProcess(options, child);
  }

  /** How it ended; undefined while it runs. */
  get ended(): SwitchEndedError | undefined {
    return this.#ended;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /**
   * Sends a request and waits for its answer.
   *
   * @throws VpcSwitchError with the program's words when it refuses; SwitchEndedError.
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

  /** Ends it; resolves when it and its devices are gone. Idempotent. */
  async stop(): Promise<void> {
    this.#child.stdin.end();
    const timer = this.#clock.schedule(GRACE_MS, () => this.#child.kill('SIGKILL'));
    await this.#exited;
    timer.cancel();
  }

  #receive(line: string, options: SwitchProcessOptions): void {
    const message = switchMessageSchema.parse(JSON.parse(line));
    switch (message.type) {
      case 'answer':
        this.#answer(message.request, (waiting) => {
          if (message.error === '') waiting.resolve(undefined);
          else waiting.reject(new VpcSwitchError(`the VPC switch refused: ${message.error}`));
        });
        return;
      case 'counters':
        this.#answer(message.request, (waiting) => waiting.resolve(message));
        return;
      default:
        options.onEvent(message);
    }
  }

  #answer(number: number, settle: (waiting: Waiting) => void): void {
    const waiting = this.#waiting.get(number);
    this.#waiting.delete(number);
    if (waiting !== undefined) settle(waiting);
  }
}
