import { TransportError } from '../../src/kube/errors.ts';
import type { Clock } from '../../src/util/clock.ts';

/**
 * A promise that is settled by whatever comes first: an answer, a failure, the time limit, the caller's signal, or the
 * closing of the transport. What comes later is ignored.
 */
export class Pending<T> {
  readonly promise: Promise<T>;
  /** Whether the server may have seen the request. */
  isSent = false;
  #isSettled = false;
  readonly #resolvers = Promise.withResolvers<T>();
  readonly #signal: AbortSignal | undefined;
  readonly #timer: { cancel(): void };
  readonly #onEnd: () => void;
  readonly #onAbort = () => this.reject(this.#signal?.reason);

  /** @param onEnd is called once, when it is settled */
  constructor(
    clock: Clock,
    limit: { timeoutMs: number; what: string; signal: AbortSignal | undefined },
    onEnd: (pending: Pending<T>) => void,
  ) {
    this.promise = this.#resolvers.promise;
    this.#onEnd = () => onEnd(this);
    this.#signal = limit.signal;
    this.#timer = clock.schedule(limit.timeoutMs, () => {
      const message = `${limit.what}: no answer in ${limit.timeoutMs} ms`;
      this.reject(new TransportError('timeout', message, { sent: this.isSent }));
    });
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  resolve(value: T): void {
    this.#end();
    this.#resolvers.resolve(value);
  }

  reject(reason: unknown): void {
    this.#end();
    this.#resolvers.reject(reason);
  }

  #end(): void {
    this.#isSettled = true;
    this.#timer.cancel();
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#onEnd();
  }
}
