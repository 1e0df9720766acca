import { LABEL_EXCLUSIVE_MODE } from '../crds/names.ts';
import type { TerwayNode } from '../crds/node.ts';

/** Whether the label says that pods get whole ENIs; case does not matter, as in upstream. */
export function isExclusive(labels: Record<string, string> | undefined): boolean {
  return labels?.[LABEL_EXCLUSIVE_MODE]?.toLowerCase() === 'enionly';
}

/** ENIs that the instance supports for pods: all except its primary one. */
export function eniLimitOf(node: TerwayNode): number {
  return Math.max(0, (node.spec.nodeCap?.adapters ?? 0) - 1);
}

/** The trunk that the Node CR records as attached. */
export function attachedTrunk(node: TerwayNode): string | undefined {
  return Object.values(node.status?.networkInterfaces ?? {}).find(
    (eni) => eni.networkInterfaceType === 'Trunk' && eni.status === 'InUse',
  )?.id;
}
