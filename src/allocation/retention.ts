import type { AllocationType } from '../crds/common.ts';
import type { PodEni } from '../crds/pod-eni.ts';
import { parseGoDurationMs } from '../util/duration.ts';

/** True when any interface of the PodENI outlives its pod. */
export function isFixed(podEni: PodEni): boolean {
  return (podEni.spec.allocations ?? []).some((allocation) => allocation.allocationType?.type === 'Fixed');
}

/**
 * When an unbound Fixed PodENI may be released: epoch milliseconds, or `never`.
 *
 * Strategy Never, a missing strategy and a `releaseAfter` that is not a duration all keep the record forever: keeping
 * an address too long is safer than losing it. One allocation to keep is enough to keep the whole record.
 */
export function releaseDueMs(podEni: PodEni): number | 'never' {
  const lastSeenMs = Date.parse(podEni.status?.podLastSeen ?? '');
  if (Number.isNaN(lastSeenMs)) return 'never';
  let dueMs = lastSeenMs;
  for (const allocation of podEni.spec.allocations ?? []) {
    const afterMs = retentionMs(allocation.allocationType);
    if (afterMs === 'never') return 'never';
    dueMs = Math.max(dueMs, lastSeenMs + afterMs);
  }
  return dueMs;
}

function retentionMs(type: AllocationType | undefined): number | 'never' {
  if (type?.type !== 'Fixed') return 0;
  if (type.releaseStrategy !== 'TTL') return 'never';
  return parseGoDurationMs(type.releaseAfter ?? '') ?? 'never';
}
