/**
 * Keys that the observer wakes on news of an ENI: the PodENI `namespace/name`, or another owner with a prefix. Pod
 * names contain no colon.
 */

/** The trunk of a node. */
export const NODE_OWNER_PREFIX = 'node:';
/** An ENI that a NetworkInterface without a PodENI releases. */
export const ENI_OWNER_PREFIX = 'eni:';

export function nodeOwner(nodeName: string): string {
  return `${NODE_OWNER_PREFIX}${nodeName}`;
}

export function eniOwner(eniId: string): string {
  return `${ENI_OWNER_PREFIX}${eniId}`;
}

/** An ENI that no object names. */
export const ORPHAN_OWNER_PREFIX = 'orphan:';

export function orphanOwner(eniId: string): string {
  return `${ORPHAN_OWNER_PREFIX}${eniId}`;
}

/** The pool of shared ENIs of a node. */
export const POOL_OWNER_PREFIX = 'pool:';

export function poolOwner(nodeName: string): string {
  return `${POOL_OWNER_PREFIX}${nodeName}`;
}
