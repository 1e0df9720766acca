/** Runs work with the same key in sequence, and work with different keys concurrently. */
export class KeyedQueue {
  readonly #last = new Map<string, Promise<void>>();

  /** Keys whose work has not ended. */
  get size(): number {
    return this.#last.size;
  }

  /** Resolves or rejects as `work` does, once its turn has come. */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key);
    const { promise: done, resolve: end } = Promise.withResolvers<void>();
    this.#last.set(key, done);
    try {
      await before;
      return await work();
    } finally {
      if (this.#last.get(key) === done) this.#last.delete(key);
      end();
    }
  }

  /** Resolves when all work queued so far has ended. */
  async idle(): Promise<void> {
    await Promise.all(this.#last.values());
  }
}
