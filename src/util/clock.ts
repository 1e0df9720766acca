import { onAbort } from './abort.ts';

/**
 * The only source of time. No other module uses `Date.now` or a timer, so the whole control plane can run on virtual time.
 */
export interface Clock {
  /** Wall-clock time in milliseconds since the epoch; may jump. */
  now(): number;
  /** Milliseconds from an arbitrary origin; never goes back. For durations. */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `callback` once after `ms` unless cancelled. */
  schedule(ms: number, callback: () => void): ScheduledCall;
}

/** Handle of a call scheduled with {@link Clock.schedule}. */
export interface ScheduledCall {
  /** Idempotent; no effect once the call has been made. */
  cancel(): void;
}

/** The longest delay of a Node timer, 24.8 days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        aborting.cancel();
        resolve();
      }, ms);
      const aborting = onAbort(signal, () => {
        clearTimeout(timer);
        reject(signal?.reason);
      });
    }),
  schedule: (ms, callback) => {
    // A longer timer would fire at once. When this one fires before the due time, it is set again.
    const timer = setTimeout(callback, Math.min(ms, LONGEST_TIMER_MS));
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Current time as RFC 3339 with seconds, the precision of `metav1.Time`. */
export function rfc3339(epochMs: number): string {
  return new Date(epochMs).toISOString().replace(/\.\d{3}Z$/, 'Z');
}

/** The latest moment that a time of Kubernetes may mean, which has whole seconds only, cut off; not a number where the text is no time. */
export function latestMs(time: string): number {
  return Date.parse(time) + 999;
}
