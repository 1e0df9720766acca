import type { Account } from './account.ts';
import type { Eni } from './entities.ts';

/** ENIs in the form of API responses. The field names are those of the SDK's models. */

/** `yyyy-MM-ddTHH:mm:ssZ` */
export function isoSeconds(epochMs: number): string {
  return `${new Date(epochMs).toISOString().slice(0, 19)}Z`;
}

/** Tags as ECS writes them; the VPC API uses Key and Value instead. */
export function ecsTags(tags: ReadonlyMap<string, string>): { TagKey: string; TagValue: string }[] {
  return [...tags].map(([key, value]) => ({ TagKey: key, TagValue: value }));
}

/** Fields that the response to CreateNetworkInterface and a description have in common. */
export function eniCommon(account: Account, eni: Eni): object {
  return {
    Description: eni.description,
    MacAddress: eni.macAddress,
    NetworkInterfaceId: eni.id,
    NetworkInterfaceName: eni.name,
    OwnerId: account.ownerId,
    PrivateIpAddress: eni.ipv4[0] ?? '',
    PrivateIpSets: {
      PrivateIpSet: eni.ipv4.map((address, index) => ({ Primary: index === 0, PrivateIpAddress: address })),
    },
    Ipv6Sets: { Ipv6Set: eni.ipv6.map((address) => ({ Ipv6Address: address })) },
    Ipv4PrefixSets: { Ipv4PrefixSet: eni.ipv4Prefixes.map((prefix) => ({ Ipv4Prefix: prefix })) },
    Ipv6PrefixSets: { Ipv6PrefixSet: eni.ipv6Prefixes.map((prefix) => ({ Ipv6Prefix: prefix })) },
    ResourceGroupId: eni.resourceGroupId,
    SecurityGroupIds: { SecurityGroupId: [...eni.securityGroupIds] },
    ServiceManaged: false,
    SourceDestCheck: eni.sourceDestCheck,
    Status: eni.status,
    Tags: { Tag: ecsTags(eni.tags) },
    Type: eni.type,
    VSwitchId: eni.vSwitchId,
    VpcId: eni.vpcId,
    ZoneId: eni.zoneId,
  };
}

/** An item of DescribeNetworkInterfaces, without the list of members, which only the attribute call returns. */
export function eniListItem(account: Account, eni: Eni): object {
  const ipv4 = account.listedAddresses(eni, eni.ipv4);
  const ipv6 = account.listedAddresses(eni, eni.ipv6);
  return {
    ...eniCommon(account, { ...eni, ipv4, ipv6 }),
    Attachment: attachmentView(eni),
    CreationTime: isoSeconds(eni.creationTimeMs),
    DeleteOnRelease: eni.deleteOnRelease,
    InstanceId: eni.attachment?.instanceId ?? '',
    NetworkInterfaceTrafficMode: eni.trafficMode,
    ...(eni.queueNumber === undefined ? {} : { QueueNumber: eni.queueNumber }),
  };
}

/** The response to DescribeNetworkInterfaceAttribute, with the members of a trunk. */
export function eniAttribute(account: Account, eni: Eni): object {
  const members = [...account.enisByTrunk.get(eni.id)].map((member) => member.id);
  return {
    ...eniListItem(account, eni),
    Attachment: { ...attachmentView(eni), MemberNetworkInterfaceIds: { MemberNetworkInterfaceId: members } },
  };
}

function attachmentView(eni: Eni): object {
  const attachment = eni.attachment;
  if (attachment === undefined) return {};
  return {
    InstanceId: attachment.instanceId,
    NetworkCardIndex: attachment.networkCardIndex,
    ...(attachment.trunk === undefined
      ? {}
      : { DeviceIndex: attachment.trunk.vlanId, TrunkNetworkInterfaceId: attachment.trunk.eniId }),
  };
}
