import { setTimeout as delay } from 'node:timers/promises';
import { DeadlineError } from '../errors.ts';

export interface PollOptions {
  /** Completes the message "timed out waiting for …". */
  what: string;
  timeoutMs: number;
  /** Default: grows with the wait, so that a long wait sends the API server few requests and a short one ends promptly. */
  intervalMs?: number;
  signal?: AbortSignal | undefined;
}

/**
 * Polls `condition` until it returns something other than undefined, and returns that.
 *
 * A condition that throws ends the wait. To be tried again, it has to return undefined.
 *
 * @throws DeadlineError after `timeoutMs`; the signal's reason when it aborts.
 */
export async function pollUntil<T>(condition: () => Promise<T | undefined>, options: PollOptions): Promise<T> {
  const startedMs = performance.now();
  for (let waitedMs = 0; waitedMs < options.timeoutMs; waitedMs = performance.now() - startedMs) {
    options.signal?.throwIfAborted();
    const result = await condition();
    if (result !== undefined) return result;
    await pause(options.intervalMs ?? Math.min(Math.max(waitedMs / 10, 50), 250), options.signal);
  }
  throw new DeadlineError(`timed out after ${options.timeoutMs} ms waiting for ${options.what}`);
}

/** Resolves after `ms`; rejects with the signal's own reason, not Node's AbortError, when it aborts first. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, signal ? { signal } : {});
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

/** Like {@link pause}, but an abort just ends it early. For loops that check the signal themselves. */
export async function pauseQuietly(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await delay(ms, undefined, { signal }).catch(() => undefined);
}
