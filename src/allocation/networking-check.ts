import type { Reason } from '../crds/reasons/catalogue.ts';

/** What the cloud returned for the ids that a PodNetworking names; an id that is missing does not exist. */
export interface NetworkView {
  vpcId: string;
  vSwitches: Map<
    string,
    { id: string; vpcId: string; zoneId: string; availableIpCount: number; ipv6CidrBlock: string }
  >;
  /** Pod ENIs also get an IPv6 address. */
  withIpv6: boolean;
  securityGroups: Map<string, { id: string; vpcId: string; type: string }>;
}

export interface CheckedCondition {
  type: 'VSwitchesReady' | 'SecurityGroupsReady';
  ok: boolean;
  reason: Reason;
  message: string;
}

/** Checks the vSwitches and security groups of a PodNetworking. Each problem is reported in its own condition. */
export function checkNetworking(
  spec: { vSwitchOptions?: string[] | undefined; securityGroupIDs?: string[] | undefined },
  view: NetworkView,
): CheckedCondition[] {
  return [checkVSwitches(spec.vSwitchOptions ?? [], view), checkSecurityGroups(spec.securityGroupIDs ?? [], view)];
}

function checkVSwitches(ids: string[], view: NetworkView): CheckedCondition {
  const type = 'VSwitchesReady';
  if (ids.length === 0) {
    return {
      type,
      ok: false,
      reason: 'VSwitchMissing',
      message: 'spec.vSwitchOptions is empty; name at least one vSwitch',
    };
  }
  const missing = ids.filter((id) => !view.vSwitches.has(id));
  if (missing.length > 0)
    return { type, ok: false, reason: 'VSwitchNotFound', message: notFound('vSwitchOptions', missing) };
  const elsewhere = ids.filter((id) => view.vSwitches.get(id)?.vpcId !== view.vpcId);
  if (elsewhere.length > 0) {
    const where = elsewhere.map((id) => `${id} (${view.vSwitches.get(id)?.vpcId})`);
    return { type, ok: false, reason: 'VSwitchInOtherVPC', message: inOtherVpc('vSwitchOptions', where, view.vpcId) };
  }
  if (view.withIpv6 && ids.every((id) => view.vSwitches.get(id)?.ipv6CidrBlock === '')) {
    return {
      type,
      ok: false,
      reason: 'NoIPv6CIDR',
      message: `spec.vSwitchOptions: none of ${ids.join(', ')} has an IPv6 CIDR, which ipStack in the control plane's configuration requires`,
    };
  }
  return { type, ok: true, reason: 'Found', message: `${ids.length} vSwitches exist in ${view.vpcId}` };
}

function checkSecurityGroups(ids: string[], view: NetworkView): CheckedCondition {
  const type = 'SecurityGroupsReady';
  if (ids.length === 0) {
    return {
      type,
      ok: false,
      reason: 'SecurityGroupMissing',
      message: 'spec.securityGroupIDs is empty; name at least one security group',
    };
  }
  const missing = ids.filter((id) => !view.securityGroups.has(id));
  if (missing.length > 0) {
    return { type, ok: false, reason: 'SecurityGroupNotFound', message: notFound('securityGroupIDs', missing) };
  }
  const elsewhere = ids.filter((id) => view.securityGroups.get(id)?.vpcId !== view.vpcId);
  if (elsewhere.length > 0) {
    const where = elsewhere.map((id) => `${id} (${view.securityGroups.get(id)?.vpcId})`);
    return {
      type,
      ok: false,
      reason: 'SecurityGroupInOtherVPC',
      message: inOtherVpc('securityGroupIDs', where, view.vpcId),
    };
  }
  const kinds = new Set(ids.map((id) => view.securityGroups.get(id)?.type ?? ''));
  if (kinds.size > 1) {
    return {
      type,
      ok: false,
      reason: 'SecurityGroupKindsDiffer',
      message: `spec.securityGroupIDs mixes basic and enterprise security groups (${ids.join(', ')}); all groups of one ENI must be of one kind`,
    };
  }
  return { type, ok: true, reason: 'Found', message: `${ids.length} security groups exist in ${view.vpcId}` };
}

function notFound(field: string, ids: string[]): string {
  return `spec.${field}: ${ids.join(', ')} ${ids.length === 1 ? 'does' : 'do'} not exist in this account and region`;
}

function inOtherVpc(field: string, ids: string[], vpcId: string): string {
  return `spec.${field}: ${ids.join(', ')} ${ids.length === 1 ? 'is' : 'are'} in another VPC; the cluster uses ${vpcId}`;
}
