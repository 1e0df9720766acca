import type { PodEni } from '../crds/pod-eni.ts';
import type { Eni } from '../ecs/eni.ts';
import { sameSecurityGroups } from './security-groups.ts';

/** What a listing of the cloud says against a record: its ENI is not where it should be, or has other security groups. */
export type Suspicion = 'place' | 'securityGroups';

/** Whether the ENI is attached where the status says, with the same VLAN id. */
export function isAttachedAsRecorded({ status }: PodEni, eni: Eni): boolean {
  return (
    status?.instanceID === eni.instanceId &&
    (status?.trunkENIID ?? '') === (eni.trunkEniId ?? '') &&
    (status?.eniInfos?.[eni.id]?.vid ?? 0) === (eni.vlanId ?? 0)
  );
}

/**
 * Why an ENI of a settled record must be observed; undefined when the listing agrees with the record, or the record is on
 * its way somewhere.
 *
 * @param shown the ENI in the listing; undefined when it is missing there.
 */
export function suspicionOf(podEni: PodEni, eniId: string, shown: Eni | undefined): Suspicion | undefined {
  const { metadata, spec, status } = podEni;
  if (eniId === '' || metadata.deletionTimestamp !== undefined) return undefined;
  // The record may come from a restored backup, in which a pod had not taken the address yet.
  if (status?.phase === 'Unbind') return shown?.status === 'InUse' ? 'place' : undefined;
  if (status?.phase !== 'Bind') return undefined;
  if (shown?.status !== 'InUse') return 'place';
  // Upstream's records may not say where they are bound; then any place matches.
  if ((status.instanceID ?? '') !== '' && !isAttachedAsRecorded(podEni, shown)) return 'place';
  const recorded = spec.allocations?.find(({ eni }) => eni.id === eniId)?.eni.securityGroupIDs ?? [];
  // They may name no groups either.
  return recorded.length > 0 && !sameSecurityGroups(recorded, shown.securityGroupIds) ? 'securityGroups' : undefined;
}
