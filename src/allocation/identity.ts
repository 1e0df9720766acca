import { createHash } from 'node:crypto';
import { TAG_ATTEMPT, TAG_CLUSTER, TAG_CREATOR, TAG_CREATOR_VALUE, TAG_OWNER, TAG_OWNER_UID } from '../crds/names.ts';

/** What makes one creation differ from every other; the ClientToken is derived from nothing else. */
export interface CreationIdentity {
  clusterId: string;
  /** `namespace/name` of the pod, or `node/NAME` for a trunk. */
  owner: string;
  /** uid of the pod or Kubernetes node. */
  ownerUid: string;
  /** Interface inside the pod, or `trunk`. */
  interfaceName: string;
  attempt: number;
  /**
   * Time of the plan, RFC 3339 with milliseconds: tells apart two plans for the same pod with a release in between, which
   * may take less than a second when another hand removes the record.
   */
  plannedAt: string;
  vSwitchId: string;
  securityGroupIds: string[];
}

/** ClientToken of a creation: 64 hexadecimal characters, the longest that the API takes; equal identities give equal tokens. */
export function clientTokenOf(identity: CreationIdentity): string {
  const fields = [
    identity.clusterId,
    identity.owner,
    identity.ownerUid,
    identity.interfaceName,
    String(identity.attempt),
    identity.plannedAt,
    identity.vSwitchId,
    ...identity.securityGroupIds,
  ];
  return createHash('sha256').update(fields.join('\n')).digest('hex');
}

/** A tag value holds at most 128 characters; the end of a long name tells more than its beginning. */
const TAG_VALUE_MAX = 128;

/**
 * Tags that every ENI of ours carries: cluster, creator, owner and attempt (architecture 2). The attempt is named by its
 * ClientToken, so that a lost answer is found again by one filter.
 */
export function ownershipTags(owner: {
  clusterId: string;
  owner: string;
  ownerUid: string;
  clientToken: string;
}): Record<string, string> {
  return {
    [TAG_CLUSTER]: owner.clusterId,
    [TAG_CREATOR]: TAG_CREATOR_VALUE,
    [TAG_OWNER]: owner.owner.slice(-TAG_VALUE_MAX),
    [TAG_OWNER_UID]: owner.ownerUid,
    [TAG_ATTEMPT]: owner.clientToken,
  };
}

/** Filter that finds the ENI of one attempt. */
export function attemptTags(clusterId: string, clientToken: string): Record<string, string> {
  return { [TAG_CLUSTER]: clusterId, [TAG_ATTEMPT]: clientToken };
}

/** Whether an ENI was created by a control plane of this cluster, ours or upstream's (I3). */
export function isOurs(tags: Record<string, string>, clusterId: string): boolean {
  return tags[TAG_CLUSTER] === clusterId && tags[TAG_CREATOR] === TAG_CREATOR_VALUE;
}
