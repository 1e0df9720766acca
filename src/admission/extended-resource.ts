import type { RESOURCE_ENI, RESOURCE_MEMBER_ENI } from '../crds/names.ts';
import { isRecord } from '../util/json.ts';
import { childOf } from './node-choice.ts';
import type { IncomingContainer, IncomingPod } from './pod.ts';

export type EniResource = typeof RESOURCE_ENI | typeof RESOURCE_MEMBER_ENI;

/** Containers that run concurrently and whose requests the scheduler adds up, including restartable init containers. */
function runningContainers({ spec }: IncomingPod): IncomingContainer[] {
  return [...(spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always'), ...spec.containers];
}

/** How many of the resource the pod requests itself; undefined when no long-running container requests any. */
export function requestedBy(pod: IncomingPod, resource: EniResource): number | undefined {
  const amounts = runningContainers(pod).flatMap(({ resources }) => {
    const amount = resources?.requests?.[resource] ?? resources?.limits?.[resource];
    return amount === undefined ? [] : [Number(amount)];
  });
  return amounts.length === 0 ? undefined : amounts.reduce((sum, amount) => sum + amount, 0);
}

/**
 * Adds an ENI request to the first container of a pod, so that the scheduler counts its ENIs.
 *
 * @param spec of the raw pod; it is modified.
 */
export function requestEnis(spec: Record<string, unknown>, resource: EniResource, count: number): void {
  const containers: unknown = spec['containers'];
  const first: unknown = Array.isArray(containers) ? containers[0] : undefined;
  if (!isRecord(first)) return;
  const resources = childOf(first, 'resources');
  for (const kind of ['requests', 'limits']) childOf(resources, kind)[resource] = String(count);
}
