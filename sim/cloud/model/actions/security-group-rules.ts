import * as z from 'zod';
import type { Account } from '../account.ts';
import { defineAction } from '../action.ts';
import { checkRegion } from '../checks.ts';
import { parseIpv4, parseIpv4Block, parseIpv6, parseIpv6Block } from '../cidr.ts';
import type { SecurityGroup, SecurityGroupRule } from '../entities.ts';
import { ApiError, conflictingParameters, invalidParameter, missingParameter } from '../errors.ts';
import { integer, list, requiredText, text, texts } from '../params.ts';

/** Rules of security groups. All rules of a request are checked before the first takes effect. */

const ruleFields = {
  IpProtocol: text,
  PortRange: text,
  SourcePortRange: text,
  Policy: text,
  Priority: integer(1, 100),
  SourceCidrIp: text,
  Ipv6SourceCidrIp: text,
  SourceGroupId: text,
  SourcePrefixListId: text,
  DestCidrIp: text,
  Ipv6DestCidrIp: text,
  DestGroupId: text,
  DestPrefixListId: text,
  Description: text,
};
const rule = z.object(ruleFields);
type RuleParams = z.output<typeof rule>;
type NewRule = Omit<SecurityGroupRule, 'id' | 'creationTimeMs'>;

const authorizeParams = z.object({
  RegionId: requiredText,
  SecurityGroupId: requiredText,
  Permissions: list(rule, 100),
  ClientToken: text,
  ...ruleFields,
});
const revokeParams = z.object({
  RegionId: requiredText,
  SecurityGroupId: requiredText,
  SecurityGroupRuleId: texts(100),
  Permissions: list(rule, 100),
  ClientToken: text,
  ...ruleFields,
});

export const authorizeSecurityGroup = authorize('AuthorizeSecurityGroup', 'ingress');
export const authorizeSecurityGroupEgress = authorize('AuthorizeSecurityGroupEgress', 'egress');
export const revokeSecurityGroup = revoke('RevokeSecurityGroup', 'ingress');
export const revokeSecurityGroupEgress = revoke('RevokeSecurityGroupEgress', 'egress');

/** Adds rules. A rule that already exists is accepted and not duplicated, as documented. */
function authorize(name: string, direction: SecurityGroupRule['direction']) {
  return defineAction({
    name,
    product: 'Ecs',
    params: authorizeParams,
    handle: ({ account, nowMs, touched }, params) => {
      checkRegion(account, params.RegionId);
      const group = account.securityGroup(params.SecurityGroupId);
      for (const added of newRules(account, group, requestedRules(params, params.Permissions), direction)) {
        if (group.rules.some((existing) => sameRule(existing, added))) continue;
        group.rules.push({ ...added, id: account.ids.next('sgr'), creationTimeMs: nowMs });
      }
      touched.push(group.id);
      return {};
    },
  });
}

/** Removes rules by id (an unknown id is refused) or by content (no match is accepted), as documented. */
function revoke(name: string, direction: SecurityGroupRule['direction']) {
  return defineAction({
    name,
    product: 'Ecs',
    params: revokeParams,
    handle: ({ account, touched }, params) => {
      checkRegion(account, params.RegionId);
      const group = account.securityGroup(params.SecurityGroupId);
      const ids = params.SecurityGroupRuleId;
      if (ids.length > 0) {
        if (params.Permissions.length > 0) throw conflictingParameters('SecurityGroupRuleId', 'Permissions');
        for (const id of ids) {
          if (!group.rules.some((existing) => existing.id === id && existing.direction === direction)) {
            throw new ApiError('InvalidParam.SecurityGroupRuleId', 400, `The rule "${id}" does not exist.`);
          }
        }
        group.rules = group.rules.filter((existing) => !ids.includes(existing.id));
      } else {
        const unwanted = newRules(account, group, requestedRules(params, params.Permissions), direction);
        group.rules = group.rules.filter((existing) => !unwanted.some((gone) => sameRule(existing, gone)));
      }
      touched.push(group.id);
      return {};
    },
  });
}

/** Permissions.N, or the deprecated single rule in the request itself. */
function requestedRules(single: RuleParams, several: readonly RuleParams[]): readonly RuleParams[] {
  return several.length > 0 ? several : [single];
}

function newRules(
  account: Account,
  group: SecurityGroup,
  requested: readonly RuleParams[],
  direction: SecurityGroupRule['direction'],
): NewRule[] {
  return requested.map((params) => {
    const checked: NewRule = {
      direction,
      policy: policyOf(params.Policy),
      ipProtocol: protocolOf(params.IpProtocol),
      portRange: params.PortRange ?? '',
      sourcePortRange: params.SourcePortRange ?? '',
      priority: params.Priority ?? 1,
      sourceCidrIp: ipv4Peer('SourceCidrIp', params.SourceCidrIp),
      ipv6SourceCidrIp: ipv6Peer('Ipv6SourceCidrIp', params.Ipv6SourceCidrIp),
      sourceGroupId: params.SourceGroupId ?? '',
      sourcePrefixListId: params.SourcePrefixListId ?? '',
      destCidrIp: ipv4Peer('DestCidrIp', params.DestCidrIp),
      ipv6DestCidrIp: ipv6Peer('Ipv6DestCidrIp', params.Ipv6DestCidrIp),
      destGroupId: params.DestGroupId ?? '',
      destPrefixListId: params.DestPrefixListId ?? '',
      description: params.Description ?? '',
    };
    checkPorts(checked.ipProtocol, params.PortRange);
    checkPeer(account, group, checked);
    return checked;
  });
}

function checkPeer(account: Account, group: SecurityGroup, checked: NewRule): void {
  const ingress = checked.direction === 'ingress';
  const groupId = ingress ? checked.sourceGroupId : checked.destGroupId;
  const peers = ingress
    ? [checked.sourceCidrIp, checked.ipv6SourceCidrIp, groupId, checked.sourcePrefixListId]
    : [checked.destCidrIp, checked.ipv6DestCidrIp, groupId, checked.destPrefixListId];
  if (peers.every((peer) => peer === '')) throw missingParameter(ingress ? 'SourceCidrIp' : 'DestCidrIp');
  if (groupId === '') return;
  account.securityGroup(groupId);
  if (group.type === 'enterprise') {
    // Documented as not supported; the code is assumed.
    throw new ApiError(
      'InvalidOperation.NotSupportEnterpriseGroup',
      403,
      'An enterprise security group does not support rules for other groups.',
    );
  }
}

function policyOf(value: string | undefined): 'Accept' | 'Drop' {
  switch (value?.toLowerCase()) {
    case undefined:
    case 'accept':
      return 'Accept';
    case 'drop':
      return 'Drop';
    default:
      throw invalidParameter('Policy', 'accept or drop');
  }
}

function protocolOf(value: string | undefined): string {
  if (value === undefined) throw missingParameter('IpProtocol');
  const upper = value.toUpperCase();
  if (!['TCP', 'UDP', 'ICMP', 'ICMPV6', 'GRE', 'ALL'].includes(upper)) {
    throw invalidParameter('IpProtocol', 'TCP, UDP, ICMP, ICMPv6, GRE or ALL');
  }
  return upper === 'ICMPV6' ? 'ICMPv6' : upper;
}

/** TCP and UDP take 1–65535 as `from/to` (-1/-1: every port); the others take -1/-1 only. */
function checkPorts(ipProtocol: string, portRange: string | undefined): void {
  if (portRange === undefined) throw missingParameter('PortRange');
  if (portRange === '-1/-1') return;
  const match = /^(\d{1,5})\/(\d{1,5})$/.exec(portRange);
  const from = Number(match?.[1] ?? 0);
  const to = Number(match?.[2] ?? 0);
  const named = ipProtocol === 'TCP' || ipProtocol === 'UDP';
  if (!named || from < 1 || to > 65535 || from > to) throw invalidParameter('PortRange');
}

/** A single address is treated as a block of one. */
function ipv4Peer(name: string, value: string | undefined): string {
  if (value === undefined) return '';
  if (parseIpv4Block(value) === undefined && parseIpv4(value) === undefined) throw invalidParameter(name);
  return value;
}

function ipv6Peer(name: string, value: string | undefined): string {
  if (value === undefined) return '';
  if (parseIpv6Block(value) === undefined && parseIpv6(value) === undefined) throw invalidParameter(name);
  return value;
}

/** Whether the fields that identify a rule are equal. */
function sameRule(a: NewRule, b: NewRule): boolean {
  return (
    a.direction === b.direction &&
    a.policy === b.policy &&
    a.ipProtocol === b.ipProtocol &&
    a.portRange === b.portRange &&
    a.sourcePortRange === b.sourcePortRange &&
    a.priority === b.priority &&
    a.sourceCidrIp === b.sourceCidrIp &&
    a.ipv6SourceCidrIp === b.ipv6SourceCidrIp &&
    a.sourceGroupId === b.sourceGroupId &&
    a.sourcePrefixListId === b.sourcePrefixListId &&
    a.destCidrIp === b.destCidrIp &&
    a.ipv6DestCidrIp === b.ipv6DestCidrIp &&
    a.destGroupId === b.destGroupId &&
    a.destPrefixListId === b.destPrefixListId
  );
}
