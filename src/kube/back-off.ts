import { jitter, type Random } from '../util/random.ts';

export interface BackOffOptions {
  random: Random;
  minMs: number;
  maxMs: number;
}

/** Delays that double from `minMs` to `maxMs`, each with 50 % jitter so that many clients do not retry in step. */
export class BackOff {
  readonly #options: BackOffOptions;
  #steps = 0;

  constructor(options: BackOffOptions) {
    this.#options = options;
  }

  next(): number {
    const { random, minMs, maxMs } = this.#options;
    const delayMs = Math.min(maxMs, minMs * 2 ** this.#steps);
    this.#steps = Math.min(this.#steps + 1, 30);
    return jitter(random, delayMs, 0.5);
  }

  reset(): void {
    this.#steps = 0;
  }
}
