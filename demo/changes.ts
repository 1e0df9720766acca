import { DeadlineError } from '../tools/errors.ts';

export interface WaitOptions {
  signal: AbortSignal;
  /** Default: for ever. */
  timeoutMs?: number;
  /** What is wrong at the deadline. */
  problem?: () => string;
}

/** Lets others wait for something that they can see, and look anew whenever something has changed. */
export class Changes {
  readonly #listeners = new Set<() => void>();

  notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** Calls `listener` after each change until the returned function is called. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Resolves with the first answer of `look` that is not undefined.
   *
   * @throws DeadlineError that says the problem; the signal's reason.
   */
  async until<T>(look: () => T | undefined, options: WaitOptions): Promise<T> {
    const { signal, timeoutMs, problem } = options;
    signal.throwIfAborted();
    const at = look();
    if (at !== undefined) return at;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const onAbort = () => reject(signal.reason);
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            reject(new DeadlineError(`after ${timeoutMs / 1000} s ${problem?.() ?? 'nothing has happened'}`));
          }, timeoutMs);
    const unsubscribe = this.subscribe(() => {
      const answer = look();
      if (answer !== undefined) resolve(answer);
    });
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      unsubscribe();
      signal.removeEventListener('abort', onAbort);
    }
  }
}
