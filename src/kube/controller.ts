import { onAbort } from '../util/abort.ts';
import type { Clock } from '../util/clock.ts';
import { isConflict } from './errors.ts';
import type { WorkQueue } from './workqueue.ts';

/** What a reconcile function asks for. */
export interface ReconcileResult {
  /** When it wants to see the key again, even if nothing happens. */
  requeueAfterMs?: number;
  /** Nothing is left to look at, so a time for which an earlier run asked is void. */
  isGone?: boolean;
}

/** The result of one run of a reconcile function. */
export type ReconcileOutcome =
  | { kind: 'done' }
  | { kind: 'requeued'; requeueAfterMs: number }
  /** The object changed meanwhile; it is reconciled again at once. */
  | { kind: 'conflict'; requeueAfterMs: number }
  | { kind: 'failed'; error: unknown; requeueAfterMs: number; failures: number }
  /** The controller stopped in the middle; the key is reconciled again after the next start. */
  | { kind: 'aborted' };

export interface ControllerOptions {
  /** For logs and metrics. */
  name: string;
  queue: WorkQueue;
  workers: number;
  /**
   * Brings one object to its desired state. Never runs concurrently for one key. Throwing means: retry with back-off. The
   * signal aborts when the controller stops and when the time limit has passed.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: a function that never asks for a requeue needs no return value
  reconcile: (key: string, signal: AbortSignal) => Promise<ReconcileResult | void>;
  signal: AbortSignal;
  /** Time after which a run's signal aborts; the run must end when it does. Default: no limit. */
  reconcileTimeoutMs?: number;
  clock: Clock;
  /** Called after every run; for logs and metrics. Must not throw. */
  onReconcile?: (observation: {
    controller: string;
    key: string;
    outcome: ReconcileOutcome;
    durationMs: number;
  }) => void;
}

/** The reason of a run's signal when the run exceeds the controller's time limit. */
export class ReconcileTimeoutError extends Error {
  override name = 'ReconcileTimeoutError';
}

/** Reconciles that never await run back to back in one turn of the event loop; after this long it gets a turn. */
const LONGEST_TURN_MS = 8;

/** How long the workers of a controller have held the event loop. */
class TurnWatch {
  readonly #clock: Clock;
  #sinceMs: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Yields to the event loop if the workers have held it for too long. */
  async breathe(signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (this.#sinceMs === undefined) {
      this.#sinceMs = nowMs;
      this.#clock.schedule(0, () => {
        this.#sinceMs = undefined;
      });
    } else if (nowMs - this.#sinceMs >= LONGEST_TURN_MS) {
      await this.#clock.sleep(0, signal).catch(() => undefined);
    }
  }
}

/**
 * Runs `reconcile` on the queue's keys, `workers` at a time, until the signal aborts.
 *
 * @returns resolves when the signal has aborted, every run has ended and the queue is shut down
 */
export async function runController(options: ControllerOptions): Promise<void> {
  const { queue, workers, signal } = options;
  const turn = new TurnWatch(options.clock);
  await Promise.all(Array.from({ length: workers }, () => work(options, turn)));
  if (signal.aborted) queue.shutDown();
}

async function work(options: ControllerOptions, turn: TurnWatch): Promise<void> {
  const { name, queue, signal, clock, onReconcile } = options;
  while (!signal.aborted) {
    await turn.breathe(signal);
    const key = await queue.get(signal).catch(() => undefined);
    // Only an aborted signal or a shut-down queue leaves nothing to do.
    if (key === undefined) return;
    const startedMs = clock.monotonicMs();
    const outcome = await reconcileOnce(options, key, clock);
    queue.done(key);
    onReconcile?.({ controller: name, key, outcome, durationMs: clock.monotonicMs() - startedMs });
  }
}

async function reconcileOnce(options: ControllerOptions, key: string, clock: Clock): Promise<ReconcileOutcome> {
  const { queue, signal, reconcile, reconcileTimeoutMs } = options;
  const run = new AbortController();
  using _aborting = onAbort(signal, () => run.abort(signal.reason));
  const timer =
    reconcileTimeoutMs === undefined
      ? undefined
      : clock.schedule(reconcileTimeoutMs, () =>
          run.abort(new ReconcileTimeoutError(`${options.name}: ${key} took more than ${reconcileTimeoutMs} ms`)),
        );
  try {
    const result = await reconcile(key, run.signal);
    if (result?.isGone === true) queue.drop(key);
    else queue.forget(key);
    const requeueAfterMs = result?.requeueAfterMs;
    if (requeueAfterMs === undefined) return { kind: 'done' };
    queue.addAfter(key, requeueAfterMs);
    return { kind: 'requeued', requeueAfterMs };
  } catch (error) {
    if (signal.aborted) return { kind: 'aborted' };
    const requeueAfterMs = queue.addRateLimited(key);
    if (isConflict(error)) return { kind: 'conflict', requeueAfterMs };
    return { kind: 'failed', error, requeueAfterMs, failures: queue.failures(key) };
  } finally {
    timer?.cancel();
  }
}
