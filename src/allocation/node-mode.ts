import { LABEL_EXCLUSIVE_MODE } from '../crds/names.ts';
import type { NodeEni, TerwayNode } from '../crds/node.ts';

/** Whether the label says that pods get whole ENIs; case does not matter, as in upstream. */
export function isExclusive(labels: Record<string, string> | undefined): boolean {
  return labels?.[LABEL_EXCLUSIVE_MODE]?.toLowerCase() === 'enionly';
}

/** ENIs that the instance supports for pods: all except its primary one. */
export function eniLimitOf(node: TerwayNode): number {
  return Math.max(0, (node.spec.nodeCap?.adapters ?? 0) - 1);
}

/** The trunk that the Node CR records as attached. */
export function attachedTrunk({ status }: Pick<TerwayNode, 'status'>): NodeEni | undefined {
  return Object.values(status?.networkInterfaces ?? {}).find((eni) => isTrunk(eni) && eni.status === 'InUse');
}

/** Whether the instance has a place for its trunk, as far as its record says; what is on its way in or out has one. */
export function hasPlaceForTrunk(node: TerwayNode): boolean {
  const { networkInterfaces = {}, poolIntents = [] } = node.status ?? {};
  const others = Object.values(networkInterfaces).filter((eni) => !isTrunk(eni));
  const unborn = poolIntents.filter(({ eniID }) => networkInterfaces[eniID] === undefined);
  return others.length + unborn.length < eniLimitOf(node);
}

function isTrunk({ networkInterfaceType }: NodeEni): boolean {
  return networkInterfaceType === 'Trunk';
}
