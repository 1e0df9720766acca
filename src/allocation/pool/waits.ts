import type { Statement } from './conditions.ts';
import type { HandOuts } from './hand-out.ts';
import type { PoolPod } from './view.ts';

/** A pod without an address, and why. */
export interface PoolWait extends Statement {
  pod: PoolPod;
  /** `Normal`: it gets one without anybody's doing. */
  type: 'Normal' | 'Warning';
}

/**
 * Why pods have no address. Pure.
 *
 * @param shortage why the node can have no more addresses; undefined when it is getting some
 */
export function poolWaits(
  { unserved, succeeding, stale, untold, held }: Omit<HandOuts, 'served' | 'isUncertain'>,
  shortage: Statement | undefined,
): PoolWait[] {
  const awaited = {
    type: 'Normal' as const,
    reason: 'AddressAwaited' as const,
    message: 'the node gets more addresses',
  };
  return [
    ...unserved.map(
      (pod): PoolWait => ({ pod, ...(shortage === undefined ? awaited : { ...shortage, type: 'Warning' }) }),
    ),
    ...[...untold, ...held].map(
      (pod): PoolWait => ({
        pod,
        type: 'Normal',
        reason: 'AddressesUntold',
        message:
          'the record of the node was lost, and pods that run there have not reported their addresses; an idle one may be theirs',
      }),
    ),
    ...succeeding.map(
      (pod): PoolWait => ({
        pod,
        type: 'Warning',
        reason: 'FormerPodNotReleased',
        message: `the node has not reported that the sandbox of the former pod ${pod.key} is gone; its address goes to the new pod then`,
      }),
    ),
    ...stale.map(
      (pod): PoolWait => ({
        pod,
        type: 'Warning',
        reason: 'AddressUnavailable',
        message: `the pod has ${pod.reported.join(', ')}, which no ENI of the node can give it; delete the pod to give its successor another address`,
      }),
    ),
  ];
}
