/** Runs pieces of work with the same key one after another, others side by side. */
export class KeyedQueue {
  readonly #last = new Map<string, Promise<void>>();

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

  /** Resolves when everything that is queued now has ended. */
  async idle(): Promise<void> {
    await Promise.all(this.#last.values());
  }
}
