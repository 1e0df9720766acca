import * as z from 'zod';
import type { Account } from '../account.ts';
import { defineAction } from '../action.ts';
import { checkRegion } from '../checks.ts';
import { ecsTags, isoSeconds } from '../eni-view.ts';
import type { Eni, Instance } from '../entities.ts';
import { type InstanceType, instanceTypeFamily } from '../instance-types.ts';
import { cutPage } from '../paging.ts';
import { integer, jsonTextList, requiredText, tags, text, texts } from '../params.ts';

/** Paging by MaxResults (at most 100, the default) and NextToken. Unknown types are missing from the response. */
export const describeInstanceTypes = defineAction({
  name: 'DescribeInstanceTypes',
  product: 'Ecs',
  params: z.object({
    InstanceTypes: texts(10),
    InstanceTypeFamily: text,
    InstanceTypeFamilies: texts(10),
    MinimumEniQuantity: integer(),
    MinimumEniPrivateIpAddressQuantity: integer(),
    MaxResults: integer(1),
    NextToken: text,
  }),
  handle: ({ account }, params) => {
    const families = new Set(params.InstanceTypeFamilies);
    if (params.InstanceTypeFamily !== undefined) families.add(params.InstanceTypeFamily);
    const types = [...account.instanceTypes.values()]
      .map((type, index) => ({ seq: index + 1, type }))
      .filter(
        ({ type }) =>
          (params.InstanceTypes.length === 0 || params.InstanceTypes.includes(type.instanceTypeId)) &&
          (families.size === 0 || families.has(instanceTypeFamily(type.instanceTypeId))) &&
          type.eniQuantity >= (params.MinimumEniQuantity ?? 0) &&
          type.eniPrivateIpAddressQuantity >= (params.MinimumEniPrivateIpAddressQuantity ?? 0),
      );
    const page = cutPage(
      types,
      { maxResults: params.MaxResults ?? 100, nextToken: params.NextToken },
      { maxPageSize: 100, minResults: 1, maxResults: 100, defaultResults: 100 },
    );
    return {
      InstanceTypes: { InstanceType: page.items.map(({ type }) => instanceTypeView(type)) },
      NextToken: page.nextToken,
    };
  },
});

/** Paging: MaxResults 10–100 (clamped) with NextToken, or PageNumber with PageSize up to 100. */
export const describeInstances = defineAction({
  name: 'DescribeInstances',
  product: 'Ecs',
  params: z.object({
    RegionId: requiredText,
    InstanceIds: jsonTextList(100),
    VpcId: text,
    VSwitchId: text,
    ZoneId: text,
    SecurityGroupId: text,
    InstanceName: text,
    InstanceType: text,
    InstanceTypeFamily: text,
    Status: text,
    PrivateIpAddresses: jsonTextList(100),
    Tag: tags,
    MaxResults: integer(),
    NextToken: text,
    PageNumber: integer(1),
    PageSize: integer(1),
  }),
  handle: ({ account }, filter) => {
    checkRegion(account, filter.RegionId);
    const ids = filter.InstanceIds;
    const candidates =
      ids === undefined
        ? [...account.instances.values()]
        : [...new Set(ids)].flatMap((id) => account.instances.get(id) ?? []).sort((a, b) => a.seq - b.seq);
    const name = filter.InstanceName === undefined ? undefined : wildcard(filter.InstanceName);
    const found = candidates.filter((instance) => {
      const primary = account.enis.get(instance.primaryEniId);
      return (
        (filter.VpcId === undefined || instance.vpcId === filter.VpcId) &&
        (filter.VSwitchId === undefined || instance.vSwitchId === filter.VSwitchId) &&
        (filter.ZoneId === undefined || instance.zoneId === filter.ZoneId) &&
        (filter.InstanceType === undefined || instance.instanceType === filter.InstanceType) &&
        (filter.InstanceTypeFamily === undefined ||
          instanceTypeFamily(instance.instanceType) === filter.InstanceTypeFamily) &&
        (filter.Status === undefined || instance.status === filter.Status) &&
        (filter.SecurityGroupId === undefined || primary?.securityGroupIds.includes(filter.SecurityGroupId) === true) &&
        (filter.PrivateIpAddresses === undefined || filter.PrivateIpAddresses.includes(primary?.ipv4[0] ?? '')) &&
        (name === undefined || name.test(instance.name)) &&
        hasTags(instance.tags, filter.Tag)
      );
    });
    const page = cutPage(
      found,
      {
        pageNumber: filter.PageNumber,
        pageSize: filter.PageSize,
        maxResults: filter.MaxResults,
        nextToken: filter.NextToken,
      },
      { maxPageSize: 100, minResults: 10, maxResults: 100, defaultResults: 10 },
    );
    return {
      Instances: { Instance: page.items.map((instance) => instanceView(account, instance)) },
      NextToken: page.nextToken,
      PageNumber: page.pageNumber,
      PageSize: page.pageSize,
      TotalCount: page.totalCount,
    };
  },
});

/** Throws InvalidInstanceId.NotFound. */
export const describeInstanceAttribute = defineAction({
  name: 'DescribeInstanceAttribute',
  product: 'Ecs',
  params: z.object({ InstanceId: requiredText }),
  handle: ({ account }, { InstanceId }) => {
    const instance = account.instance(InstanceId);
    return { ...instanceCommon(account, instance), IoOptimized: 'optimized' };
  },
});

/** True when the object has every tag of the filter. A filter without a value matches any value of its key. */
export function hasTags(
  own: ReadonlyMap<string, string>,
  filters: readonly { Key?: string | undefined; Value?: string | undefined }[],
): boolean {
  return filters.every(({ Key: key = '', Value: value }) =>
    value === undefined ? own.has(key) : own.get(key) === value,
  );
}

function instanceTypeView(type: InstanceType): object {
  return {
    InstanceTypeId: type.instanceTypeId,
    InstanceTypeFamily: instanceTypeFamily(type.instanceTypeId),
    InstanceFamilyLevel: 'EnterpriseLevel',
    InstanceCategory: 'General-purpose',
    CpuArchitecture: 'X86',
    CpuCoreCount: type.cpuCoreCount,
    MemorySize: type.memorySizeGiB,
    EniQuantity: type.eniQuantity,
    EniTotalQuantity: type.eniTotalQuantity,
    EniTrunkSupported: type.eniTrunkSupported,
    EniPrivateIpAddressQuantity: type.eniPrivateIpAddressQuantity,
    EniIpv6AddressQuantity: type.eniIpv6AddressQuantity,
    EriQuantity: type.eriQuantity,
    InstanceBandwidthRx: type.instanceBandwidthKbps,
    InstanceBandwidthTx: type.instanceBandwidthKbps,
    InstancePpsRx: type.instancePps,
    InstancePpsTx: type.instancePps,
    PrimaryEniQueueNumber: type.queuesPerEni,
    SecondaryEniQueueNumber: type.queuesPerEni,
    MaximumQueueNumberPerEni: type.queuesPerEni,
    TotalEniQueueQuantity: type.queuesPerEni * type.eniQuantity,
    NetworkCardQuantity: 1,
    NetworkCards: { NetworkCardInfo: [{ NetworkCardIndex: 0 }] },
    GPUAmount: 0,
    LocalStorageAmount: 0,
    DiskQuantity: 17,
  };
}

function instanceCommon(account: Account, instance: Instance): object {
  const type = account.typeOf(instance);
  const primary = account.enis.get(instance.primaryEniId);
  return {
    CreationTime: `${new Date(instance.creationTimeMs).toISOString().slice(0, 16)}Z`,
    Cpu: type.cpuCoreCount,
    HostName: instance.hostName,
    ImageId: 'aliyun_3_x64_20G_alibase.vhd',
    InstanceChargeType: 'PostPaid',
    InstanceId: instance.id,
    InstanceName: instance.name,
    InstanceNetworkType: 'vpc',
    InstanceType: instance.instanceType,
    Memory: type.memorySizeGiB * 1024,
    RegionId: account.regionId,
    SecurityGroupIds: { SecurityGroupId: [...(primary?.securityGroupIds ?? [])] },
    Status: instance.status,
    StoppedMode: instance.status === 'Stopped' ? 'KeepCharging' : 'Not-applicable',
    VpcAttributes: {
      VpcId: instance.vpcId,
      VSwitchId: instance.vSwitchId,
      PrivateIpAddress: { IpAddress: primary?.ipv4.slice(0, 1) ?? [] },
    },
    ZoneId: instance.zoneId,
  };
}

function instanceView(account: Account, instance: Instance): object {
  // Members are left out: the instance only reaches them through the trunk (assumed).
  const enis = [...account.enisByInstance.get(instance.id)].filter((eni) => eni.type !== 'Member');
  return {
    ...instanceCommon(account, instance),
    CreationTime: isoSeconds(instance.creationTimeMs),
    InstanceTypeFamily: instanceTypeFamily(instance.instanceType),
    IoOptimized: true,
    MetadataOptions: { HttpEndpoint: 'enabled', HttpTokens: instance.httpTokens },
    NetworkInterfaces: { NetworkInterface: enis.map(networkInterfaceOfInstance) },
    OSType: 'linux',
    ResourceGroupId: account.resourceGroupId,
    StartTime: isoSeconds(instance.creationTimeMs),
    Tags: { Tag: ecsTags(instance.tags) },
  };
}

function networkInterfaceOfInstance(eni: Eni): object {
  return {
    NetworkInterfaceId: eni.id,
    MacAddress: eni.macAddress,
    PrimaryIpAddress: eni.ipv4[0] ?? '',
    Type: eni.type,
    PrivateIpSets: {
      PrivateIpSet: eni.ipv4.map((ip, index) => ({ Primary: index === 0, PrivateIpAddress: ip })),
    },
    Ipv6Sets: { Ipv6Set: eni.ipv6.map((ip) => ({ Ipv6Address: ip })) },
    Ipv4PrefixSets: { Ipv4PrefixSet: eni.ipv4Prefixes.map((prefix) => ({ Ipv4Prefix: prefix })) },
    Ipv6PrefixSets: { Ipv6PrefixSet: eni.ipv6Prefixes.map((prefix) => ({ Ipv6Prefix: prefix })) },
  };
}

/** A pattern in which `*` matches any text. */
function wildcard(pattern: string): RegExp {
  const escaped = pattern.split(/\*+/).map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${escaped.join('.*')}$`, 's');
}
