import * as z from 'zod';
import { defineAction } from '../action.ts';
import {
  assignableTags,
  checkDescription,
  checkName,
  checkRegion,
  checkSecurityGroups,
  checkTagCount,
  MAX_IPV6_AVAILABLE,
  MAX_SECONDARY_IPV4_AVAILABLE,
} from '../checks.ts';
import { createEni } from '../eni-factory.ts';
import { startAttach, startDelete, startDetach } from '../eni-lifecycle.ts';
import { eniCommon } from '../eni-view.ts';
import { ApiError, conflictingParameters, invalidEniState, invalidParameter, missingParameter } from '../errors.ts';
import { boolean, integer, requiredText, tags, text, texts, word } from '../params.ts';

const TRAFFIC_MODES = ['Standard', 'HighPerformance'] as const;

/** Synchronous: the ENI is Available when the response arrives. */
export const createNetworkInterface = defineAction({
  name: 'CreateNetworkInterface',
  product: 'Ecs',
  params: z.object({
    RegionId: requiredText,
    VSwitchId: requiredText,
    SecurityGroupId: text,
    SecurityGroupIds: texts(100),
    InstanceType: word('Secondary', 'Trunk'),
    PrimaryIpAddress: text,
    PrivateIpAddress: texts(10),
    SecondaryPrivateIpAddressCount: integer(1, MAX_SECONDARY_IPV4_AVAILABLE),
    Ipv4Prefix: texts(10),
    Ipv4PrefixCount: integer(1, 10),
    Ipv6Address: texts(MAX_IPV6_AVAILABLE),
    Ipv6AddressCount: integer(1, MAX_IPV6_AVAILABLE),
    Ipv6Prefix: texts(10),
    Ipv6PrefixCount: integer(1, 10),
    NetworkInterfaceName: text,
    Description: text,
    ResourceGroupId: text,
    DeleteOnRelease: boolean,
    SourceDestCheck: boolean,
    NetworkInterfaceTrafficMode: word(...TRAFFIC_MODES),
    QueueNumber: integer(1, 2048),
    Tag: tags,
    ClientToken: text,
  }),
  handle: ({ account, nowMs, touched }, params) => {
    checkRegion(account, params.RegionId);
    checkName('NetworkInterfaceName', params.NetworkInterfaceName);
    checkDescription(params.Description);
    exclusive(
      'PrivateIpAddress',
      params.PrivateIpAddress,
      'SecondaryPrivateIpAddressCount',
      params.SecondaryPrivateIpAddressCount,
    );
    exclusive('Ipv4Prefix', params.Ipv4Prefix, 'Ipv4PrefixCount', params.Ipv4PrefixCount);
    exclusive('Ipv6Address', params.Ipv6Address, 'Ipv6AddressCount', params.Ipv6AddressCount);
    exclusive('Ipv6Prefix', params.Ipv6Prefix, 'Ipv6PrefixCount', params.Ipv6PrefixCount);
    checkOneKind(
      params.PrivateIpAddress.length || (params.SecondaryPrivateIpAddressCount ?? 0),
      params.Ipv4Prefix.length || (params.Ipv4PrefixCount ?? 0),
      ['PrivateIpAddress', 'Ipv4Prefix'],
    );
    checkOneKind(
      params.Ipv6Address.length || (params.Ipv6AddressCount ?? 0),
      params.Ipv6Prefix.length || (params.Ipv6PrefixCount ?? 0),
      ['Ipv6Address', 'Ipv6Prefix'],
    );
    const tagMap = assignableTags(params.Tag);
    checkTagCount(tagMap.size);
    const vSwitch = account.vSwitch(params.VSwitchId);
    const groups = requestedGroups(params.SecurityGroupId, params.SecurityGroupIds);
    const securityGroupIds = checkSecurityGroups(account, groups, vSwitch.vpcId);
    const eni = createEni(
      account,
      vSwitch,
      {
        type: params.InstanceType ?? 'Secondary',
        name: params.NetworkInterfaceName ?? '',
        description: params.Description ?? '',
        securityGroupIds,
        tags: tagMap,
        resourceGroupId: params.ResourceGroupId ?? account.resourceGroupId,
        // Assumed default: the documentation only names the two values.
        deleteOnRelease: params.DeleteOnRelease ?? true,
        sourceDestCheck: params.SourceDestCheck ?? false,
        trafficMode: params.NetworkInterfaceTrafficMode ?? 'Standard',
        queueNumber: params.QueueNumber,
        addresses: {
          primaryIp: params.PrimaryIpAddress,
          secondaryIps: params.PrivateIpAddress,
          secondaryIpCount: params.SecondaryPrivateIpAddressCount ?? 0,
          ipv4Prefixes: params.Ipv4Prefix,
          ipv4PrefixCount: params.Ipv4PrefixCount ?? 0,
          ipv6: params.Ipv6Address,
          ipv6Count: params.Ipv6AddressCount ?? 0,
          ipv6Prefixes: params.Ipv6Prefix,
          ipv6PrefixCount: params.Ipv6PrefixCount ?? 0,
        },
      },
      nowMs,
    );
    touched.push(eni.id);
    return eniCommon(account, eni);
  },
});

/** Asynchronous: Attaching at the time of the response, InUse later. */
export const attachNetworkInterface = defineAction({
  name: 'AttachNetworkInterface',
  product: 'Ecs',
  params: z.object({
    RegionId: requiredText,
    NetworkInterfaceId: requiredText,
    InstanceId: requiredText,
    TrunkNetworkInstanceId: text,
    NetworkCardIndex: integer(0, 7),
  }),
  handle: ({ account, nowMs, touched }, params) => {
    checkRegion(account, params.RegionId);
    const eni = startAttach(
      account,
      {
        eniId: params.NetworkInterfaceId,
        instanceId: params.InstanceId,
        trunkEniId: params.TrunkNetworkInstanceId,
        networkCardIndex: params.NetworkCardIndex,
      },
      nowMs,
    );
    touched.push(eni.id);
    return {};
  },
});

/** Asynchronous: Detaching at the time of the response, Available later. */
export const detachNetworkInterface = defineAction({
  name: 'DetachNetworkInterface',
  product: 'Ecs',
  params: z.object({
    RegionId: requiredText,
    NetworkInterfaceId: requiredText,
    InstanceId: requiredText,
    TrunkNetworkInstanceId: text,
  }),
  handle: ({ account, nowMs, touched }, params) => {
    checkRegion(account, params.RegionId);
    const eni = startDetach(
      account,
      {
        eniId: params.NetworkInterfaceId,
        instanceId: params.InstanceId,
        trunkEniId: params.TrunkNetworkInstanceId,
      },
      nowMs,
    );
    touched.push(eni.id);
    return {};
  },
});

/** Asynchronous: Deleting at the time of the response, gone later. */
export const deleteNetworkInterface = defineAction({
  name: 'DeleteNetworkInterface',
  product: 'Ecs',
  params: z.object({ RegionId: requiredText, NetworkInterfaceId: requiredText }),
  handle: ({ account, nowMs, touched }, params) => {
    checkRegion(account, params.RegionId);
    touched.push(startDelete(account, params.NetworkInterfaceId, nowMs).id);
    return {};
  },
});

/** Replaces the list of security groups or single attributes. */
export const modifyNetworkInterfaceAttribute = defineAction({
  name: 'ModifyNetworkInterfaceAttribute',
  product: 'Ecs',
  params: z.object({
    RegionId: requiredText,
    NetworkInterfaceId: requiredText,
    NetworkInterfaceName: text,
    Description: text,
    SecurityGroupId: texts(100),
    DeleteOnRelease: boolean,
    SourceDestCheck: boolean,
    QueueNumber: integer(1, 2048),
    NetworkInterfaceTrafficConfig: z.object({ NetworkInterfaceTrafficMode: word(...TRAFFIC_MODES) }).optional(),
  }),
  handle: ({ account, touched }, params) => {
    checkRegion(account, params.RegionId);
    checkName('NetworkInterfaceName', params.NetworkInterfaceName);
    checkDescription(params.Description);
    const eni = account.eni(params.NetworkInterfaceId);
    if (eni.status === 'Deleting') throw invalidEniState(eni.id, 'not Deleting', eni.status);
    const mode = params.NetworkInterfaceTrafficConfig?.NetworkInterfaceTrafficMode;
    if (mode !== undefined && eni.status !== 'Available') throw invalidEniState(eni.id, 'Available', eni.status);
    const groups = checkSecurityGroups(account, params.SecurityGroupId, eni.vpcId);
    // Everything has been checked, so a refused call changes nothing.
    if (groups.length > 0) account.setSecurityGroups(eni, groups);
    if (params.NetworkInterfaceName !== undefined) eni.name = params.NetworkInterfaceName;
    if (params.Description !== undefined) eni.description = params.Description;
    if (params.DeleteOnRelease !== undefined) eni.deleteOnRelease = params.DeleteOnRelease;
    if (params.SourceDestCheck !== undefined) eni.sourceDestCheck = params.SourceDestCheck;
    if (params.QueueNumber !== undefined) eni.queueNumber = params.QueueNumber;
    if (mode !== undefined) eni.trafficMode = mode;
    touched.push(eni.id);
    return {};
  },
});

/** Throws InvalidParameter.Conflict when a list and its count are both given. */
export function exclusive(
  listName: string,
  list: readonly string[],
  countName: string,
  count: number | undefined,
): void {
  if (list.length > 0 && count !== undefined) throw conflictingParameters(listName, countName);
  if (new Set(list).size !== list.length) {
    throw new ApiError('InvalidIp.IpRepeated', 403, `The specified "${listName}" contains an IP twice.`);
  }
}

/** Throws InvalidParameter.Conflict for addresses and prefixes of one family in one call. */
export function checkOneKind(addresses: number, prefixes: number, names: readonly [string, string]): void {
  if (addresses > 0 && prefixes > 0) throw conflictingParameters(...names);
}

function requestedGroups(single: string | undefined, several: readonly string[]): readonly string[] {
  if (single !== undefined && several.length > 0) throw conflictingParameters('SecurityGroupId', 'SecurityGroupIds');
  const groups = single === undefined ? several : [single];
  if (groups.length === 0) throw missingParameter('SecurityGroupId');
  if (groups.some((id) => id.length > 64)) throw invalidParameter('SecurityGroupId');
  return groups;
}
