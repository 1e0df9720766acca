import type { PodEni } from '../crds/pod-eni.ts';

/**
 * The record was changed since it was bound, such as by a rollout of security groups: the cloud has to be asked whether it
 * agrees. A status of upstream tells nothing of generations.
 */
export function isRewritten({ metadata, status }: PodEni): boolean {
  const { generation } = metadata;
  const observed = status?.observedGeneration;
  return observed !== undefined && generation !== undefined && observed < generation;
}
