import * as z from 'zod';
import type { Account } from '../account.ts';
import { defineAction } from '../action.ts';
import { checkRegion } from '../checks.ts';
import { isoSeconds } from '../eni-view.ts';
import type { Vpc, VSwitch } from '../entities.ts';
import { missingParameter, notFound } from '../errors.ts';
import { cutPage, type PageRules } from '../paging.ts';
import { boolean, integer, requiredText, tags, text } from '../params.ts';
import { hasTags } from './instances.ts';

/** VPCs, vSwitches, zones and regions. Read-only, because the control plane never creates them. */

const FIFTY_PER_PAGE: PageRules = { maxPageSize: 50, minResults: 1, maxResults: 50, defaultResults: 10 };

/** Paging by PageNumber and PageSize up to 50. RegionId or VpcId must be given. */
export const describeVSwitches = defineAction({
  name: 'DescribeVSwitches',
  product: 'Vpc',
  params: z.object({
    RegionId: text,
    VpcId: text,
    VSwitchId: text,
    VSwitchName: text,
    ZoneId: text,
    ResourceGroupId: text,
    EnableIpv6: boolean,
    IsDefault: boolean,
    Tag: tags,
    PageNumber: integer(1),
    PageSize: integer(1),
  }),
  handle: ({ account }, filter) => {
    if (filter.RegionId === undefined && filter.VpcId === undefined) throw missingParameter('RegionId');
    if (filter.RegionId !== undefined) checkRegion(account, filter.RegionId);
    const candidates =
      filter.VSwitchId === undefined
        ? [...account.vSwitches.values()]
        : filter.VSwitchId.split(',').flatMap((id) => account.vSwitches.get(id) ?? []);
    const found = candidates.filter(
      (vSwitch) =>
        (filter.VpcId === undefined || vSwitch.vpcId === filter.VpcId) &&
        (filter.VSwitchName === undefined || vSwitch.name === filter.VSwitchName) &&
        (filter.ZoneId === undefined || vSwitch.zoneId === filter.ZoneId) &&
        (filter.ResourceGroupId === undefined || filter.ResourceGroupId === account.resourceGroupId) &&
        (filter.EnableIpv6 === undefined || filter.EnableIpv6 === (vSwitch.ipv6CidrBlock !== '')) &&
        filter.IsDefault !== true &&
        hasTags(vSwitch.tags, filter.Tag),
    );
    const page = cutPage(found, { pageNumber: filter.PageNumber, pageSize: filter.PageSize }, FIFTY_PER_PAGE);
    return {
      VSwitches: { VSwitch: page.items.map((vSwitch) => vSwitchView(account, vSwitch)) },
      PageNumber: page.pageNumber,
      PageSize: page.pageSize,
      TotalCount: page.totalCount,
    };
  },
});

/** Throws InvalidVSwitchId.NotFound. */
export const describeVSwitchAttributes = defineAction({
  name: 'DescribeVSwitchAttributes',
  product: 'Vpc',
  params: z.object({ RegionId: text, VSwitchId: requiredText }),
  handle: ({ account }, { VSwitchId }) => vSwitchView(account, account.vSwitch(VSwitchId)),
});

/** Paging by PageNumber and PageSize up to 50; VpcId may name up to 20, separated by commas. */
export const describeVpcs = defineAction({
  name: 'DescribeVpcs',
  product: 'Vpc',
  params: z.object({
    RegionId: requiredText,
    VpcId: text,
    VpcName: text,
    IsDefault: boolean,
    Tag: tags,
    PageNumber: integer(1),
    PageSize: integer(1),
  }),
  handle: ({ account }, filter) => {
    checkRegion(account, filter.RegionId);
    const ids = filter.VpcId?.split(',');
    const found = [...account.vpcs.values()].filter(
      (vpc) =>
        (ids === undefined || ids.includes(vpc.id)) &&
        (filter.VpcName === undefined || vpc.name === filter.VpcName) &&
        filter.IsDefault !== true &&
        hasTags(vpc.tags, filter.Tag),
    );
    const page = cutPage(found, { pageNumber: filter.PageNumber, pageSize: filter.PageSize }, FIFTY_PER_PAGE);
    return {
      Vpcs: {
        Vpc: page.items.map((vpc) => ({
          ...vpcView(account, vpc),
          RouterTableIds: { RouterTableIds: [vpc.routeTableId] },
        })),
      },
      PageNumber: page.pageNumber,
      PageSize: page.pageSize,
      TotalCount: page.totalCount,
    };
  },
});

/** Throws InvalidVpcId.NotFound. */
export const describeVpcAttribute = defineAction({
  name: 'DescribeVpcAttribute',
  product: 'Vpc',
  params: z.object({ RegionId: requiredText, VpcId: requiredText }),
  handle: ({ account }, { RegionId, VpcId }) => {
    checkRegion(account, RegionId);
    const vpc = account.vpcs.get(VpcId);
    if (vpc === undefined) throw notFound.vpc(VpcId);
    return vpcView(account, vpc);
  },
});

export const describeZones = defineAction({
  name: 'DescribeZones',
  product: 'Ecs',
  params: z.object({ RegionId: requiredText }),
  handle: ({ account }, { RegionId }) => {
    checkRegion(account, RegionId);
    const types = [...account.instanceTypes.keys()];
    return {
      Zones: {
        Zone: account.zoneIds.map((zoneId) => ({
          ZoneId: zoneId,
          LocalName: zoneId,
          ZoneType: 'AvailabilityZone',
          AvailableInstanceTypes: { InstanceTypes: types },
          AvailableResourceCreation: { ResourceTypes: ['Instance', 'VSwitch'] },
        })),
      },
    };
  },
});

export const describeRegions = defineAction({
  name: 'DescribeRegions',
  product: 'Ecs',
  params: z.object({}),
  handle: ({ account }) => ({
    Regions: {
      Region: [
        {
          RegionId: account.regionId,
          RegionEndpoint: `ecs.${account.regionId}.aliyuncs.com`,
          LocalName: account.regionId,
          Status: 'available',
        },
      ],
    },
  }),
});

function vSwitchView(account: Account, vSwitch: VSwitch): object {
  return {
    AvailableIpAddressCount: account.ipv4Pool(vSwitch.id).freeCount,
    CidrBlock: vSwitch.cidrBlock,
    CreationTime: isoSeconds(vSwitch.creationTimeMs),
    Description: '',
    EnabledIpv6: vSwitch.ipv6CidrBlock !== '',
    Ipv6CidrBlock: vSwitch.ipv6CidrBlock,
    IsDefault: false,
    NetworkAclId: '',
    OwnerId: Number(account.ownerId),
    ResourceGroupId: account.resourceGroupId,
    RouteTable: { RouteTableId: account.vpcs.get(vSwitch.vpcId)?.routeTableId ?? '', RouteTableType: 'System' },
    Status: 'Available',
    Tags: { Tag: vpcTags(vSwitch.tags) },
    VSwitchId: vSwitch.id,
    VSwitchName: vSwitch.name,
    VpcId: vSwitch.vpcId,
    ZoneId: vSwitch.zoneId,
  };
}

function vpcView(account: Account, vpc: Vpc): object {
  const vSwitchIds = [...account.vSwitches.values()].filter((item) => item.vpcId === vpc.id).map((item) => item.id);
  return {
    CidrBlock: vpc.cidrBlock,
    CreationTime: isoSeconds(vpc.creationTimeMs),
    Description: '',
    EnabledIpv6: vpc.ipv6CidrBlock !== '',
    Ipv6CidrBlock: vpc.ipv6CidrBlock,
    IsDefault: false,
    OwnerId: Number(account.ownerId),
    RegionId: account.regionId,
    ResourceGroupId: account.resourceGroupId,
    SecondaryCidrBlocks: { SecondaryCidrBlock: [] },
    Status: 'Available',
    Tags: { Tag: vpcTags(vpc.tags) },
    UserCidrs: { UserCidr: [] },
    VRouterId: vpc.vRouterId,
    VSwitchIds: { VSwitchId: vSwitchIds },
    VpcId: vpc.id,
    VpcName: vpc.name,
  };
}

function vpcTags(tagMap: ReadonlyMap<string, string>): { Key: string; Value: string }[] {
  return [...tagMap].map(([key, value]) => ({ Key: key, Value: value }));
}
