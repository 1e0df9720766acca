/** A nonce must be remembered for as long as its request would be accepted: twice the allowed skew. */
const GENERATION_MS = 30 * 60 * 1000;

/** Most nonces in a generation. A full one is replaced early, so that a long benchmark cannot fill the memory. */
const GENERATION_SIZE = 250_000;

/** Remembers nonces in two generations. Each lasts at least as long as a request stays acceptable. */
export class NonceStore {
  #current = new Set<string>();
  #previous = new Set<string>();
  #startedMs = Number.NEGATIVE_INFINITY;

  /** False when the nonce was used before. */
  take(nonce: string, nowMs: number): boolean {
    if (nowMs - this.#startedMs > GENERATION_MS || this.#current.size >= GENERATION_SIZE) {
      this.#previous = this.#current;
      this.#current = new Set();
      this.#startedMs = nowMs;
    }
    if (this.#current.has(nonce) || this.#previous.has(nonce)) return false;
    this.#current.add(nonce);
    return true;
  }
}
