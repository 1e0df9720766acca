/** A listener for the end of a signal, until it is cancelled. `using` cancels it at the end of the block. */
export interface AbortListener extends Disposable {
  /** Idempotent; no effect once the listener was called. */
  cancel(): void;
}

/**
 * Calls `listener` once when the signal aborts: at once, before this returns, when it has aborted already. Use it wherever
 * something waits for a signal. Signals live as long as a term or the process, and keep whatever listens: cancel the
 * listener when the wait has ended, best by `using`. Only what lives as long as the signal itself may leave it.
 */
export function onAbort(signal: AbortSignal | undefined, listener: () => void): AbortListener {
  if (signal?.aborted) listener();
  else signal?.addEventListener('abort', listener, { once: true });
  const cancel = () => signal?.removeEventListener('abort', listener);
  return { cancel, [Symbol.dispose]: cancel };
}

/** @throws the signal's reason when it aborts first; the promise goes on by itself. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  using _listener = onAbort(signal, () => aborted.reject(signal.reason));
  return await Promise.race([aborted.promise, promise]);
}
