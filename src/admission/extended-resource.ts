import type { RESOURCE_ENI, RESOURCE_MEMBER_ENI } from '../crds/names.ts';
import { isRecord } from '../util/json.ts';
import { childOf } from './node-choice.ts';
import type { IncomingContainer, IncomingPod } from './pod.ts';

export type EniResource = typeof RESOURCE_ENI | typeof RESOURCE_MEMBER_ENI;

/** Containers that run side by side, whose requests the scheduler adds up: an init container that restarts is one of them. */
function runningContainers({ spec }: IncomingPod): IncomingContainer[] {
  return [...(spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always'), ...spec.containers];
}

/** How many of the resource the pod asks for by itself; undefined when no container that stays names it. */
export function requestedBy(pod: IncomingPod, resource: EniResource): number | undefined {
  const amounts = runningContainers(pod).flatMap(({ resources }) => {
    const amount = resources?.requests?.[resource] ?? resources?.limits?.[resource];
    return amount === undefined ? [] : [Number(amount)];
  });
  return amounts.length === 0 ? undefined : amounts.reduce((sum, amount) => sum + amount, 0);
}

/**
 * Lets the first container of a pod ask for ENIs, so that the scheduler counts them.
 *
 * @param spec of the raw pod; it is changed.
 */
export function requestEnis(spec: Record<string, unknown>, resource: EniResource, count: number): void {
  const containers: unknown = spec['containers'];
  const first: unknown = Array.isArray(containers) ? containers[0] : undefined;
  if (!isRecord(first)) return;
  const resources = childOf(first, 'resources');
  for (const kind of ['requests', 'limits']) childOf(resources, kind)[resource] = String(count);
}
