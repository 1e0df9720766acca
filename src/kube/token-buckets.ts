import type { Clock } from '../util/clock.ts';

export interface TokenBucketsOptions {
  clock: Clock;
  /** Tokens of a new key. */
  capacity: number;
  /** Time in which one token is refilled. */
  refillIntervalMs: number;
}

const MAX_KEYS = 4096;

/** A token bucket per key. The least recently used key is forgotten when there are too many, which refills it. */
export class TokenBuckets {
  readonly #options: TokenBucketsOptions;
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>();

  constructor(options: TokenBucketsOptions) {
    this.#options = options;
  }

  /** Takes one token; false when there is none. */
  take(key: string): boolean {
    const { clock, capacity, refillIntervalMs } = this.#options;
    const nowMs = clock.monotonicMs();
    const bucket = this.#buckets.get(key) ?? { tokens: capacity, atMs: nowMs };
    const tokens = Math.min(capacity, bucket.tokens + (nowMs - bucket.atMs) / refillIntervalMs);
    const isGranted = tokens >= 1;
    this.#buckets.delete(key);
    this.#buckets.set(key, { tokens: isGranted ? tokens - 1 : tokens, atMs: nowMs });
    if (this.#buckets.size > MAX_KEYS) {
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    return isGranted;
  }
}
