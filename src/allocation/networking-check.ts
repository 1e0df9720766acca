import type { Reason } from '../crds/reasons/catalogue.ts';

/** What the cloud shows of the ids that a PodNetworking names; an id that is missing does not exist. */
export interface NetworkFacts {
  vpcId: string;
  vSwitches: Map<
    string,
    { id: string; vpcId: string; zoneId: string; availableIpCount: number; ipv6CidrBlock: string }
  >;
  /** ENIs of pods get an IPv6 address, too. */
  withIpv6: boolean;
  securityGroups: Map<string, { id: string; vpcId: string; type: string }>;
}

export interface CheckedCondition {
  type: 'VSwitchesReady' | 'SecurityGroupsReady';
  ok: boolean;
  reason: Reason;
  message: string;
}

/** Checks the vSwitches and security groups of a PodNetworking; every problem is named, not only the first. */
export function checkNetworking(
  spec: { vSwitchOptions?: string[] | undefined; securityGroupIDs?: string[] | undefined },
  facts: NetworkFacts,
): CheckedCondition[] {
  return [checkVSwitches(spec.vSwitchOptions ?? [], facts), checkSecurityGroups(spec.securityGroupIDs ?? [], facts)];
}

function checkVSwitches(ids: string[], facts: NetworkFacts): CheckedCondition {
  const type = 'VSwitchesReady';
  if (ids.length === 0) {
    return {
      type,
      ok: false,
      reason: 'VSwitchMissing',
      message: 'spec.vSwitchOptions is empty; name at least one vSwitch',
    };
  }
  const missing = ids.filter((id) => !facts.vSwitches.has(id));
  if (missing.length > 0)
    return { type, ok: false, reason: 'VSwitchNotFound', message: notFound('vSwitchOptions', missing) };
  const elsewhere = ids.filter((id) => facts.vSwitches.get(id)?.vpcId !== facts.vpcId);
  if (elsewhere.length > 0) {
    const where = elsewhere.map((id) => `${id} (${facts.vSwitches.get(id)?.vpcId})`);
    return { type, ok: false, reason: 'VSwitchInOtherVPC', message: inOtherVpc('vSwitchOptions', where, facts.vpcId) };
  }
  if (facts.withIpv6 && ids.every((id) => facts.vSwitches.get(id)?.ipv6CidrBlock === '')) {
    return {
      type,
      ok: false,
      reason: 'NoIPv6CIDR',
      message: `spec.vSwitchOptions: none of ${ids.join(', ')} has an IPv6 CIDR, which ipStack in the control plane's configuration asks for`,
    };
  }
  return { type, ok: true, reason: 'Found', message: `${ids.length} vSwitches exist in ${facts.vpcId}` };
}

function checkSecurityGroups(ids: string[], facts: NetworkFacts): CheckedCondition {
  const type = 'SecurityGroupsReady';
  if (ids.length === 0) {
    return {
      type,
      ok: false,
      reason: 'SecurityGroupMissing',
      message: 'spec.securityGroupIDs is empty; name at least one security group',
    };
  }
  const missing = ids.filter((id) => !facts.securityGroups.has(id));
  if (missing.length > 0) {
    return { type, ok: false, reason: 'SecurityGroupNotFound', message: notFound('securityGroupIDs', missing) };
  }
  const elsewhere = ids.filter((id) => facts.securityGroups.get(id)?.vpcId !== facts.vpcId);
  if (elsewhere.length > 0) {
    const where = elsewhere.map((id) => `${id} (${facts.securityGroups.get(id)?.vpcId})`);
    return {
      type,
      ok: false,
      reason: 'SecurityGroupInOtherVPC',
      message: inOtherVpc('securityGroupIDs', where, facts.vpcId),
    };
  }
  const kinds = new Set(ids.map((id) => facts.securityGroups.get(id)?.type ?? ''));
  if (kinds.size > 1) {
    return {
      type,
      ok: false,
      reason: 'SecurityGroupKindsDiffer',
      message: `spec.securityGroupIDs mixes basic and enterprise security groups (${ids.join(', ')}); all groups of one ENI must be of one kind`,
    };
  }
  return { type, ok: true, reason: 'Found', message: `${ids.length} security groups exist in ${facts.vpcId}` };
}

function notFound(field: string, ids: string[]): string {
  return `spec.${field}: ${ids.join(', ')} ${ids.length === 1 ? 'does' : 'do'} not exist in this account and region`;
}

function inOtherVpc(field: string, ids: string[], vpcId: string): string {
  return `spec.${field}: ${ids.join(', ')} ${ids.length === 1 ? 'lies' : 'lie'} in another VPC; the cluster uses ${vpcId}`;
}
