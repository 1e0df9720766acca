import type { PodEni } from '../crds/pod-eni.ts';

/**
 * The record was changed after it was bound, for example by a rollout of security groups, so the cloud must be asked
 * whether it agrees. A status written by upstream carries no generation and never counts as rewritten.
 */
export function isRewritten({ metadata, status }: PodEni): boolean {
  const { generation } = metadata;
  const observed = status?.observedGeneration;
  return observed !== undefined && generation !== undefined && observed < generation;
}
