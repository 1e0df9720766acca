import { DatapathError } from '../errors.ts';
import type { Field, HelperAnswer, Operation } from '../kernel/frames.ts';
import type { KernelPort } from '../kernel/helper-process.ts';

/** Counts requests and can refuse or stop at one of them. */
export class ScriptedPort implements KernelPort {
  readonly #port: KernelPort;
  /** Requests so far. */
  count = 0;
  /** The request that is refused with EIO, counted from 1. */
  failAt = 0;
  /** After so many requests there is no answer any more, as when the agent was killed. */
  stopAfter = Number.POSITIVE_INFINITY;
  /** Called before each request with its number and itself. */
  onRequest: ((count: number, operation: Operation, fields: readonly Field[]) => void) | undefined;

  constructor(port: KernelPort) {
    this.#port = port;
  }

  get onEvents() {
    return this.#port.onEvents;
  }

  set onEvents(listener) {
    this.#port.onEvents = listener;
  }

  get generation(): number {
    return this.#port.generation;
  }

  async request(operation: Operation, fields: readonly Field[], generation?: number): Promise<HelperAnswer> {
    this.count++;
    this.onRequest?.(this.count, operation, fields);
    if (this.count > this.stopAfter) throw new DatapathError(operation, 'the agent was killed');
    if (this.count === this.failAt) return { id: 0, errno: 5, data: Buffer.from('injected') };
    return this.#port.request(operation, fields, generation);
  }

  async close(): Promise<void> {
    await this.#port.close();
  }
}
