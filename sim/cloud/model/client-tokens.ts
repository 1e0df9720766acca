import { ApiError, invalidParameter } from './errors.ts';

/** The response that belongs to a ClientToken. */
interface Remembered {
  fingerprint: string;
  body: object;
  expiresMs: number;
}

/**
 * Idempotency by ClientToken. The same token with the same parameters gets the first response again; with other parameters it gets
 * IdempotentParameterMismatch. Failed calls are not remembered (assumed), so their tokens can be used again.
 */
export class ClientTokens {
  readonly #ttlMs: number;
  // Insertion order is also the order of expiry, because all tokens live equally long.
  readonly #remembered = new Map<string, Remembered>();

  constructor(ttlMs: number) {
    this.#ttlMs = ttlMs;
  }

  /** Throws InvalidParameter unless the token is 1–64 ASCII characters. */
  static check(token: string): void {
    if (!/^[\x20-\x7e]{1,64}$/.test(token)) throw invalidParameter('ClientToken', 'at most 64 ASCII characters');
  }

  /**
   * The remembered response, or undefined for an unknown or expired token.
   * Throws IdempotentParameterMismatch when the token was used with other parameters.
   */
  recall(action: string, token: string, fingerprint: string, nowMs: number): object | undefined {
    const found = this.#remembered.get(`${action}\n${token}`);
    if (found === undefined || found.expiresMs <= nowMs) return undefined;
    if (found.fingerprint !== fingerprint) {
      throw new ApiError(
        'IdempotentParameterMismatch',
        400,
        'The request uses the same client token as a previous, but non-identical request.',
      );
    }
    return found.body;
  }

  remember(action: string, token: string, fingerprint: string, body: object, nowMs: number): void {
    const key = `${action}\n${token}`;
    this.#remembered.delete(key);
    this.#remembered.set(key, { fingerprint, body, expiresMs: nowMs + this.#ttlMs });
    for (const [oldKey, old] of this.#remembered) {
      if (old.expiresMs > nowMs) break;
      this.#remembered.delete(oldKey);
    }
  }
}
