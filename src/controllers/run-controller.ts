import { type ReconcileResult, runController } from '../kube/controller.ts';
import type { WorkQueue } from '../kube/workqueue.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { failureReason } from './metrics-snapshot.ts';
import type { Watch } from './watch.ts';

/** Reconciles one kind of object. */
export interface Controller {
  /** Where its keys come from. */
  watches(): Watch[];
  /** Brings the object of one key to its desired state. */
  reconcile(key: string, signal: AbortSignal): Promise<ReconcileResult>;
}

/** A controller with its queue. */
export interface Running {
  /** Its name in metrics and logs. */
  name: string;
  controller: Controller;
  queue: WorkQueue;
  workers: number;
}

const RECONCILE_TIMEOUT_MS = 120_000;

/** Connects a controller to its watches. @returns disconnects it. */
export function connect({ controller, queue }: Running): () => void {
  const disconnects = controller.watches().map((watch) => watch((key) => queue.add(key)));
  return () => {
    for (const disconnect of disconnects) disconnect();
  };
}

/** Runs a controller until the signal aborts, with metrics and log for each reconcile. */
export async function runCounted(
  { name, controller, queue, workers }: Running,
  { clock, log, metrics }: { clock: Clock; log: Log; metrics: Metrics },
  signal: AbortSignal,
): Promise<void> {
  await runController({
    name,
    queue,
    workers,
    signal,
    clock,
    reconcile: (key, run) => controller.reconcile(key, run),
    reconcileTimeoutMs: RECONCILE_TIMEOUT_MS,
    onReconcile: ({ key, outcome, durationMs }) => {
      const result = outcome.kind === 'failed' ? 'error' : outcome.kind === 'conflict' ? 'conflict' : 'success';
      metrics.reconciles.inc({ controller: name, result });
      metrics.reconcileSeconds.observe({ controller: name }, durationMs / 1000);
      if (outcome.kind !== 'failed') return;
      metrics.reconcileErrors.inc({ controller: name, reason: failureReason(outcome.error) });
      log.warn(
        { controller: name, key, err: errorMessage(outcome.error), failures: outcome.failures },
        'reconcile failed',
      );
    },
  });
}
