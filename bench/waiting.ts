/** Those who wait for something that a watch shows. */
export class Waiting {
  readonly #checks = new Set<() => void>();

  /** Something was seen. */
  wake(): void {
    for (const check of this.#checks) check();
  }

  /** @throws Error with the problem when the condition does not hold in time */
  async until(condition: () => boolean, timeoutMs: number, problem: () => string): Promise<void> {
    if (condition()) return;
    await new Promise<void>((resolve, reject) => {
      const finish = (error?: Error) => {
        clearTimeout(timer);
        this.#checks.delete(check);
        if (error === undefined) resolve();
        else reject(error);
      };
      const check = () => {
        if (condition()) finish();
      };
      const timer = setTimeout(() => finish(new Error(`after ${timeoutMs} ms ${problem()}`)), timeoutMs);
      this.#checks.add(check);
    });
  }
}
