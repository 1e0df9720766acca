/** Shows the progress of a build: separate lines in a log, one line that updates on a terminal. */
export class BuildProgress {
  /** Number of packages that a build from scratch compiles; 0 while unknown. */
  total = 0;
  readonly #log: ((line: string) => void) | undefined;
  readonly #startMs = performance.now();
  #compiled = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(log: ((line: string) => void) | undefined) {
    this.#log = log;
  }

  /** Announces the build and reports its progress until {@link stop}. */
  start(line: string): void {
    this.print(line);
    this.#timer = setInterval(() => this.#report(), this.#isTerminal() ? 500 : 10_000);
    // Must not keep the process alive after an abandoned build.
    this.#timer.unref();
  }

  packageCompiled(): void {
    this.#compiled++;
  }

  print(line: string): void {
    if (this.#log) this.#log(line);
    else process.stderr.write(this.#isTerminal() ? `\r\u001b[K${line}\n` : `${line}\n`);
  }

  finish(line: string): void {
    this.stop();
    this.print(`${line} in ${this.#elapsed()}`);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #report(): void {
    // An upper bound: packages in Go's cache are not compiled again.
    const of = this.total > 0 ? ` of at most ${this.total}` : '';
    const line = `  ${this.#elapsed()}: ${this.#compiled}${of} packages compiled`;
    if (this.#isTerminal()) process.stderr.write(`\r\u001b[K${line}`);
    else this.print(line);
  }

  #isTerminal(): boolean {
    return this.#log === undefined && process.stderr.isTTY === true;
  }

  #elapsed(): string {
    const seconds = Math.round((performance.now() - this.#startMs) / 1000);
    return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  }
}
