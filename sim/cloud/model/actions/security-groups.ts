import * as z from 'zod';
import type { Account } from '../account.ts';
import { defineAction } from '../action.ts';
import { checkInstanceSettled, checkRegion, checkSecurityGroups } from '../checks.ts';
import { ecsTags, isoSeconds } from '../eni-view.ts';
import type { Eni, SecurityGroup, SecurityGroupRule } from '../entities.ts';
import { ApiError, conflictingParameters, missingParameter, notFound } from '../errors.ts';
import { cutPage } from '../paging.ts';
import { boolean, integer, jsonTextList, requiredText, tags, text, word } from '../params.ts';
import { hasTags } from './instances.ts';

/** Paging: MaxResults up to 100 with NextToken, or PageNumber with PageSize up to 50. */
export const describeSecurityGroups = defineAction({
  name: 'DescribeSecurityGroups',
  product: 'Ecs',
  params: z.object({
    RegionId: requiredText,
    VpcId: text,
    SecurityGroupId: text,
    SecurityGroupIds: jsonTextList(100),
    SecurityGroupName: text,
    SecurityGroupType: word('normal', 'enterprise'),
    IsQueryEcsCount: boolean,
    Tag: tags,
    MaxResults: integer(),
    NextToken: text,
    PageNumber: integer(1),
    PageSize: integer(1),
  }),
  handle: ({ account }, filter) => {
    checkRegion(account, filter.RegionId);
    const found = [...account.securityGroups.values()].filter(
      (group) =>
        (filter.SecurityGroupId === undefined || group.id === filter.SecurityGroupId) &&
        (filter.SecurityGroupIds === undefined || filter.SecurityGroupIds.includes(group.id)) &&
        (filter.VpcId === undefined || group.vpcId === filter.VpcId) &&
        (filter.SecurityGroupName === undefined || group.name === filter.SecurityGroupName) &&
        (filter.SecurityGroupType === undefined || group.type === filter.SecurityGroupType) &&
        hasTags(group.tags, filter.Tag),
    );
    const page = cutPage(
      found,
      {
        pageNumber: filter.PageNumber,
        pageSize: filter.PageSize,
        maxResults: filter.MaxResults,
        nextToken: filter.NextToken,
      },
      { maxPageSize: 50, minResults: 1, maxResults: 100, defaultResults: 10 },
    );
    return {
      SecurityGroups: { SecurityGroup: page.items.map((group) => groupView(account, group)) },
      RegionId: account.regionId,
      NextToken: page.nextToken,
      PageNumber: page.pageNumber,
      PageSize: page.pageSize,
      TotalCount: page.totalCount,
    };
  },
});

/** The rules of one group. MaxResults is 10–1000, by default 500. */
export const describeSecurityGroupAttribute = defineAction({
  name: 'DescribeSecurityGroupAttribute',
  product: 'Ecs',
  params: z.object({
    RegionId: requiredText,
    SecurityGroupId: requiredText,
    Direction: word('ingress', 'egress', 'all'),
    MaxResults: integer(),
    NextToken: text,
  }),
  handle: ({ account }, params) => {
    checkRegion(account, params.RegionId);
    const group = account.securityGroup(params.SecurityGroupId);
    const wanted = params.Direction ?? 'all';
    const rules = group.rules
      .map((rule, index) => ({ seq: index + 1, rule }))
      .filter(({ rule }) => wanted === 'all' || rule.direction === wanted);
    const page = cutPage(
      rules,
      { maxResults: params.MaxResults ?? 500, nextToken: params.NextToken },
      { maxPageSize: 1000, minResults: 10, maxResults: 1000, defaultResults: 500 },
    );
    return {
      Description: group.description,
      InnerAccessPolicy: group.innerAccessPolicy,
      NextToken: page.nextToken,
      Permissions: { Permission: page.items.map(({ rule }) => ruleView(rule)) },
      RegionId: account.regionId,
      SecurityGroupId: group.id,
      SecurityGroupName: group.name,
      VpcId: group.vpcId,
    };
  },
});

const membership = z.object({
  RegionId: text,
  SecurityGroupId: requiredText,
  InstanceId: text,
  NetworkInterfaceId: text,
});

/** Adds an ENI, or an instance's primary ENI, to a group. A second time is accepted (assumed). */
export const joinSecurityGroup = defineAction({
  name: 'JoinSecurityGroup',
  product: 'Ecs',
  params: membership,
  handle: ({ account, touched }, params) => {
    const eni = memberOf(account, params);
    account.securityGroup(params.SecurityGroupId);
    const groups = [...eni.securityGroupIds, params.SecurityGroupId];
    account.setSecurityGroups(eni, checkSecurityGroups(account, groups, eni.vpcId));
    touched.push(eni.id);
    return {};
  },
});

/** Removes an ENI, or an instance's primary ENI, from a group. It cannot leave its last group. */
export const leaveSecurityGroup = defineAction({
  name: 'LeaveSecurityGroup',
  product: 'Ecs',
  params: membership,
  handle: ({ account, touched }, params) => {
    const eni = memberOf(account, params);
    account.securityGroup(params.SecurityGroupId);
    if (!eni.securityGroupIds.includes(params.SecurityGroupId)) {
      throw new ApiError(
        'InvalidSecurityGroupAssociation.NotFound',
        404,
        `"${eni.id}" is not in the security group "${params.SecurityGroupId}".`,
      );
    }
    if (eni.securityGroupIds.length === 1) {
      throw new ApiError('InstanceLastSecurityGroup', 403, `"${eni.id}" must stay in at least one security group.`);
    }
    account.setSecurityGroups(
      eni,
      eni.securityGroupIds.filter((id) => id !== params.SecurityGroupId),
    );
    touched.push(eni.id);
    return {};
  },
});

function memberOf(account: Account, params: z.output<typeof membership>): Eni {
  if (params.RegionId !== undefined) checkRegion(account, params.RegionId);
  if (params.InstanceId !== undefined && params.NetworkInterfaceId !== undefined) {
    throw conflictingParameters('InstanceId', 'NetworkInterfaceId');
  }
  if (params.NetworkInterfaceId !== undefined) return account.eni(params.NetworkInterfaceId);
  if (params.InstanceId === undefined) throw missingParameter('InstanceId');
  const instance = account.instance(params.InstanceId);
  checkInstanceSettled(instance);
  const eni = account.enis.get(instance.primaryEniId);
  if (eni === undefined) throw notFound.eni(instance.primaryEniId);
  return eni;
}

function groupView(account: Account, group: SecurityGroup): object {
  let ecsCount = 0;
  for (const eni of account.enisBySecurityGroup.get(group.id)) if (eni.type === 'Primary') ecsCount += 1;
  return {
    AvailableInstanceAmount: 2000 - ecsCount,
    CreationTime: isoSeconds(group.creationTimeMs),
    Description: group.description,
    EcsCount: ecsCount,
    GroupToGroupRuleCount: group.rules.filter((rule) => rule.sourceGroupId !== '' || rule.destGroupId !== '').length,
    ResourceGroupId: account.resourceGroupId,
    RuleCount: group.rules.length,
    SecurityGroupId: group.id,
    SecurityGroupName: group.name,
    SecurityGroupType: group.type,
    ServiceManaged: false,
    Tags: { Tag: ecsTags(group.tags) },
    VpcId: group.vpcId,
  };
}

function ruleView(rule: SecurityGroupRule): object {
  return {
    CreateTime: isoSeconds(rule.creationTimeMs),
    Description: rule.description,
    DestCidrIp: rule.destCidrIp,
    DestGroupId: rule.destGroupId,
    DestPrefixListId: rule.destPrefixListId,
    Direction: rule.direction,
    IpProtocol: rule.ipProtocol,
    Ipv6DestCidrIp: rule.ipv6DestCidrIp,
    Ipv6SourceCidrIp: rule.ipv6SourceCidrIp,
    NicType: 'intranet',
    Policy: rule.policy,
    PortRange: rule.portRange,
    Priority: String(rule.priority),
    SecurityGroupRuleId: rule.id,
    SourceCidrIp: rule.sourceCidrIp,
    SourceGroupId: rule.sourceGroupId,
    SourcePortRange: rule.sourcePortRange,
    SourcePrefixListId: rule.sourcePrefixListId,
  };
}
