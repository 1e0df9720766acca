import type { ReconcileResult } from '../../kube/controller.ts';

/** Looks again when the first of these is due. @param dues epoch milliseconds */
export function sooner(
  { requeueAfterMs }: ReconcileResult,
  dues: readonly (number | undefined)[],
  nowMs: number,
): ReconcileResult {
  const delays = dues.flatMap((ms) => (ms === undefined ? [] : [Math.max(1, ms - nowMs)]));
  if (requeueAfterMs !== undefined) delays.push(requeueAfterMs);
  return delays.length === 0 ? {} : { requeueAfterMs: Math.min(...delays) };
}
