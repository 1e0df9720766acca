import type { ReconcileResult } from '../../kube/controller.ts';
import type { PoolRecorder } from './recorder.ts';
import type { PoolSubject, PoolSubjects } from './subjects.ts';

/** One step for each ENI. @param isAwaited pods wait for addresses. @throws KubeApiError, TransportError */
export async function performEach(
  { recorder, subjects }: { recorder: PoolRecorder; subjects: PoolSubjects },
  due: readonly PoolSubject[],
  isAwaited: boolean,
  signal: AbortSignal,
): Promise<'again' | ReconcileResult> {
  const delays: number[] = [];
  for (const subject of due) {
    if (recorder.isHeldUp(subject)) continue;
    const outcome = await subjects.perform(subject, isAwaited, signal);
    if (outcome === 'again') return outcome;
    if (outcome.requeueAfterMs !== undefined) delays.push(outcome.requeueAfterMs);
  }
  return delays.length === 0 ? {} : { requeueAfterMs: Math.min(...delays) };
}
