/** What has been started and has to be ended, last first. */
export class Closers {
  readonly #closers: (() => Promise<void> | void)[] = [];
  #closed: Promise<Error[]> | undefined;

  add(close: () => Promise<void> | void): void {
    this.#closers.push(close);
  }

  /** Ends all, whatever fails. @returns what failed; the same for every call. */
  close(): Promise<Error[]> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<Error[]> {
    const failures: Error[] = [];
    for (let close = this.#closers.pop(); close !== undefined; close = this.#closers.pop()) {
      try {
        await close();
      } catch (error) {
        failures.push(error instanceof Error ? error : new Error(String(error)));
      }
    }
    return failures;
  }
}
