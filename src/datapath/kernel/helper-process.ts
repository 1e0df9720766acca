import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { DatapathError } from '../errors.ts';
import { AnswerDecoder, encodeFrame, type Field, type HelperAnswer, OPERATION, type Operation } from './frames.ts';

/** The id of events, which answer no request. */
const EVENTS = 0;

/** Carries requests to the kernel. Tests replace it to intervene. */
export interface KernelPort {
  /** Counts the helpers that ended: handles do not outlive theirs. */
  readonly generation: number;
  /**
   * @param generation refuse the request when the helper was started again since, as the handles in it are void
   * @throws DatapathError when the helper cannot be run or ended before it answered.
   */
  request(operation: Operation, fields: readonly Field[], generation?: number): Promise<HelperAnswer>;
  /** Receives events: answers with id 0, and one with an errno when the helper ended. */
  onEvents: ((answer: HelperAnswer) => void) | undefined;
  close(): Promise<void>;
}

interface Running {
  child: ChildProcessByStdio<Writable, Readable, Readable>;
  waiting: Map<number, { resolve: (answer: HelperAnswer) => void; reject: (error: Error) => void }>;
  ended: Promise<void>;
}

/** The helper as a child process, started for the first request and again after it ended. */
export class HelperProcess implements KernelPort {
  readonly #path: string;
  readonly #nodeNetns: string | undefined;
  #running: Running | undefined;
  #generation = 0;
  #nextId = 1;
  #closed = false;
  onEvents: ((answer: HelperAnswer) => void) | undefined;

  /** @param nodeNetns the namespace that is the node; absent: the one of this process */
  constructor(path: string, nodeNetns?: string) {
    this.#path = path;
    this.#nodeNetns = nodeNetns;
  }

  get generation(): number {
    return this.#generation;
  }

  async request(operation: Operation, fields: readonly Field[], generation?: number): Promise<HelperAnswer> {
    if (this.#closed) throw new DatapathError(operation, 'the data path was closed');
    if (generation !== undefined && generation !== this.#generation) {
      throw new DatapathError(operation, 'the kernel helper ended meanwhile');
    }
    this.#running ??= this.#start();
    const { child, waiting } = this.#running;
    const id = this.#nextId;
    this.#nextId = (this.#nextId % 0xffffffff) + 1;
    const answer = new Promise<HelperAnswer>((resolve, reject) => {
      waiting.set(id, { resolve, reject });
    });
    child.stdin.write(encodeFrame(id, OPERATION[operation], fields));
    return answer;
  }

  #start(): Running {
    const child = spawn(this.#path, this.#nodeNetns === undefined ? [] : [this.#nodeNetns], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const running: Running = { child, waiting: new Map(), ended: Promise.resolve() };
    const decoder = new AnswerDecoder();
    let complaint = '';
    child.stdout.on('data', (chunk: Buffer) => {
      for (const answer of decoder.push(chunk)) {
        if (answer.id === EVENTS) this.onEvents?.(answer);
        running.waiting.get(answer.id)?.resolve(answer);
        running.waiting.delete(answer.id);
      }
    });
    child.stderr.on('data', (chunk: Buffer) => {
      complaint = `${complaint}${chunk.toString()}`.slice(-1000);
    });
    running.ended = new Promise((resolve) => {
      const onEnd = (reason: string) => {
        if (this.#running === running) {
          this.#running = undefined;
          this.#generation++;
        }
        const error = new DatapathError('kernel helper', `${reason} ${complaint.trim()}`.trim());
        for (const { reject } of running.waiting.values()) reject(error);
        running.waiting.clear();
        if (!this.#closed) this.onEvents?.({ id: EVENTS, errno: constants.errno.EPIPE, data: Buffer.alloc(0) });
        resolve();
      };
      child.on('error', (error) => onEnd(`cannot run ${this.#path}: ${error.message}`));
      child.on('close', (code, signal) => onEnd(`ended with ${signal ?? `code ${code}`}`));
      // The process ends as well, and that is handled.
      child.stdin.on('error', () => {});
    });
    return running;
  }

  /** Ends the helper after the requests that it has. */
  async close(): Promise<void> {
    this.#closed = true;
    const running = this.#running;
    if (running === undefined) return;
    running.child.stdin.end();
    await running.ended;
  }
}
