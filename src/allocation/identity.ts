import { createHash } from 'node:crypto';
import {
  TAG_ATTEMPT,
  TAG_CLUSTER,
  TAG_CREATOR,
  TAG_CREATOR_POOL,
  TAG_CREATOR_VALUE,
  TAG_OWNER,
  TAG_OWNER_UID,
} from '../crds/names.ts';

/** The parameters that identify one creation; the ClientToken is derived from them alone. */
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
   * Time of the plan, RFC 3339 with milliseconds. Distinguishes two plans for the same pod with a release in between,
   * which may take less than a second when someone else removes the record.
   */
  plannedAt: string;
  vSwitchId: string;
  securityGroupIds: string[];
}

/** ClientToken of a creation: 64 hexadecimal characters, the API's maximum. Equal identities give equal tokens. */
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

/**
 * ClientToken for the IPv6 addresses of an intent, whose own is for IPv4: whether the cloud counts the tokens of each API apart is not
 * documented, and one that counts as used is refused for good.
 */
export function ipv6TokenOf(clientToken: string): string {
  return createHash('sha256').update(`${clientToken} ipv6`).digest('hex');
}

/** A tag value holds at most 128 characters; long names are cut at the front because their ends differ more. */
const TAG_VALUE_MAX = 128;

/**
 * Tags of every ENI of ours: cluster, creator, owner and attempt. The attempt is tagged with its ClientToken, so that
 * one filter finds the ENI after a lost response.
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

/** Whether a control plane of this cluster, ours or upstream's, created the ENI (I3). */
export function isOurs(tags: Record<string, string>, clusterId: string): boolean {
  return tags[TAG_CLUSTER] === clusterId && tags[TAG_CREATOR] === TAG_CREATOR_VALUE;
}

/** The same for an ENI that the record of a node's pool names: Terway's control plane may have made it, without our tags. */
export function isOursInPool(tags: Record<string, string>, clusterId: string): boolean {
  if (isOurs(tags, clusterId)) return true;
  return tags[TAG_CREATOR] === TAG_CREATOR_POOL && (tags[TAG_CLUSTER] ?? clusterId) === clusterId;
}
