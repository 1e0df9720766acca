import { expect } from 'vitest';
import type { BehaviourChanges } from '../../sim/cloud/model/behaviour.ts';
import type { Params, Product } from './clients.ts';

/**
 * What every SDK must get from the simulator. The cases run in order, against one account. `$name` in parameters and expectations
 * stands for a value that an earlier case saved, or for a part of the seeded network.
 */
export interface Case {
  title: string;
  /** Default: Ecs. */
  product?: Product;
  action: string;
  /** RegionId is added to them. */
  params?: Params;
  /** A part of the body, or the refusal. */
  expect: object | { code: string; status: number };
  /** What our own adapter returns, where its port treats a refusal as success. */
  expectOfAdapter?: object;
  /** Name → path in the body, with dots between its parts. */
  save?: Readonly<Record<string, string>>;
  /** Applied before the call. */
  behaviour?: BehaviourChanges;
  /** How far the simulator's clock moves before the call. It stands still otherwise. */
  advanceMs?: number;
}

const refused = (code: string, status = 400) => ({ code, status });
const OK = { RequestId: expect.stringMatching(/^[0-9A-F-]{36}$/) };
const DATE = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
const eniSet = (...enis: object[]) => ({ NetworkInterfaceSets: { NetworkInterfaceSet: enis } });
const where = { VSwitchId: '$vSwitch', SecurityGroupIds: ['$group'] };
const rule = { IpProtocol: 'TCP', PortRange: '80/80', Priority: '10' };

export const CASES: readonly Case[] = [
  // Regions, zones, VPC.
  { title: 'regions', action: 'DescribeRegions', expect: { Regions: { Region: [{ RegionId: 'cn-hangzhou' }] } } },
  {
    title: 'zones',
    action: 'DescribeZones',
    expect: {
      Zones: { Zone: ['i', 'j', 'k'].map((zone) => expect.objectContaining({ ZoneId: `cn-hangzhou-${zone}` })) },
    },
  },
  {
    title: 'an unknown region',
    action: 'DescribeZones',
    params: { RegionId: 'cn-none' },
    expect: refused('InvalidRegionId.NotFound', 404),
  },
  {
    title: 'VPCs',
    product: 'Vpc',
    action: 'DescribeVpcs',
    expect: { TotalCount: 1, Vpcs: { Vpc: [{ VpcId: '$vpc', CreationTime: DATE }] } },
  },
  {
    title: 'a VPC by id',
    product: 'Vpc',
    action: 'DescribeVpcAttribute',
    params: { VpcId: '$vpc' },
    expect: { VpcId: '$vpc', CidrBlock: '10.0.0.0/8' },
  },
  {
    title: 'a VPC that does not exist',
    product: 'Vpc',
    action: 'DescribeVpcAttribute',
    params: { VpcId: 'vpc-none' },
    expect: refused('InvalidVpcId.NotFound', 404),
  },
  {
    title: 'vSwitches of a VPC, the first page',
    product: 'Vpc',
    action: 'DescribeVSwitches',
    params: { VpcId: '$vpc', PageNumber: 1, PageSize: 1 },
    expect: {
      TotalCount: 2,
      PageSize: 1,
      VSwitches: { VSwitch: [{ VSwitchId: '$vSwitch', ZoneId: 'cn-hangzhou-i' }] },
    },
  },
  {
    title: 'vSwitches of a VPC, the second page',
    product: 'Vpc',
    action: 'DescribeVSwitches',
    params: { VpcId: '$vpc', PageNumber: 2, PageSize: 1 },
    expect: { PageNumber: 2, VSwitches: { VSwitch: [{ VSwitchId: '$otherVSwitch', AvailableIpAddressCount: 252 }] } },
  },
  {
    title: 'all vSwitches of a VPC',
    product: 'Vpc',
    action: 'DescribeVSwitches',
    params: { VpcId: '$vpc', PageSize: 50 },
    expect: {
      TotalCount: 2,
      VSwitches: {
        VSwitch: [
          { VSwitchId: '$vSwitch', VpcId: '$vpc', CidrBlock: '10.1.0.0/16' },
          { VSwitchId: '$otherVSwitch', ZoneId: 'cn-hangzhou-j', AvailableIpAddressCount: 252 },
        ],
      },
    },
  },
  {
    title: 'a list of one vSwitch',
    product: 'Vpc',
    action: 'DescribeVSwitches',
    params: { VSwitchId: '$otherVSwitch' },
    expect: { TotalCount: 1, VSwitches: { VSwitch: [{ VSwitchId: '$otherVSwitch' }] } },
  },
  {
    title: 'a page that is too large',
    product: 'Vpc',
    action: 'DescribeVSwitches',
    params: { VpcId: '$vpc', PageSize: 51 },
    expect: refused('InvalidParameter'),
  },
  {
    title: 'a vSwitch by id',
    product: 'Vpc',
    action: 'DescribeVSwitchAttributes',
    params: { VSwitchId: '$vSwitch' },
    expect: { VSwitchId: '$vSwitch', VpcId: '$vpc', CidrBlock: '10.1.0.0/16' },
  },
  {
    title: 'a vSwitch that does not exist',
    product: 'Vpc',
    action: 'DescribeVSwitchAttributes',
    params: { VSwitchId: 'vsw-none' },
    expect: refused('InvalidVSwitchId.NotFound', 404),
  },
  {
    title: 'tags of a vSwitch',
    product: 'Vpc',
    action: 'TagResources',
    params: { ResourceType: 'VSWITCH', ResourceId: ['$vSwitch'], Tag: [{ Key: 'use', Value: 'pods' }] },
    expect: OK,
  },
  {
    title: 'vSwitches by tag',
    product: 'Vpc',
    action: 'DescribeVSwitches',
    params: { Tag: [{ Key: 'use', Value: 'pods' }] },
    expect: { TotalCount: 1, VSwitches: { VSwitch: [{ Tags: { Tag: [{ Key: 'use', Value: 'pods' }] } }] } },
  },
  // Instances and their types.
  {
    title: 'instances by a JSON list of ids',
    action: 'DescribeInstances',
    params: { InstanceIds: '["$instance"]' },
    expect: {
      TotalCount: 1,
      Instances: { Instance: [{ InstanceId: '$instance', Status: 'Running', ZoneId: 'cn-hangzhou-i' }] },
    },
  },
  {
    title: 'a list of ids that is not JSON',
    action: 'DescribeInstances',
    params: { InstanceIds: 'i-1' },
    expect: refused('InvalidParameter'),
  },
  {
    title: 'an instance',
    action: 'DescribeInstanceAttribute',
    params: { InstanceId: '$instance' },
    expect: { InstanceId: '$instance', InstanceType: 'ecs.g7.4xlarge' },
  },
  {
    title: 'an instance that does not exist',
    action: 'DescribeInstanceAttribute',
    params: { InstanceId: 'i-none' },
    expect: refused('InvalidInstanceId.NotFound', 404),
  },
  {
    title: 'instance types by a RepeatList',
    action: 'DescribeInstanceTypes',
    params: { InstanceTypes: ['ecs.g7.4xlarge', 'ecs.none'] },
    expect: {
      InstanceTypes: { InstanceType: [{ InstanceTypeId: 'ecs.g7.4xlarge', EniQuantity: 8, EniTrunkSupported: true }] },
    },
  },
  {
    title: 'instance types, a page and its token',
    action: 'DescribeInstanceTypes',
    params: { MaxResults: 2 },
    save: { types: 'NextToken' },
    expect: { NextToken: expect.stringMatching(/./) },
  },
  {
    title: 'instance types, the next page',
    action: 'DescribeInstanceTypes',
    params: { MaxResults: 2, NextToken: '$types' },
    expect: { InstanceTypes: { InstanceType: [expect.anything(), expect.anything()] } },
  },
  // ENIs.
  {
    title: 'a trunk with tags and a token',
    action: 'CreateNetworkInterface',
    params: {
      ...where,
      InstanceType: 'Trunk',
      ClientToken: 'token-1',
      DeleteOnRelease: true,
      Description: "odd ~*'()!+ /ö=&%",
      Tag: [{ Key: 'ack.aliyun.com', Value: 'c 1' }],
    },
    save: { trunk: 'NetworkInterfaceId' },
    expect: {
      Type: 'Trunk',
      Status: 'Available',
      Description: "odd ~*'()!+ /ö=&%",
      SecurityGroupIds: { SecurityGroupId: ['$group'] },
      Tags: { Tag: [{ TagKey: 'ack.aliyun.com', TagValue: 'c 1' }] },
    },
  },
  {
    title: 'the same token with the same parameters gives the same ENI',
    action: 'CreateNetworkInterface',
    params: {
      ...where,
      InstanceType: 'Trunk',
      ClientToken: 'token-1',
      DeleteOnRelease: true,
      Description: "odd ~*'()!+ /ö=&%",
      Tag: [{ Key: 'ack.aliyun.com', Value: 'c 1' }],
    },
    expect: { NetworkInterfaceId: '$trunk' },
  },
  {
    title: 'the same token with other parameters',
    action: 'CreateNetworkInterface',
    params: { ...where, ClientToken: 'token-1' },
    expect: refused('IdempotentParameterMismatch'),
  },
  {
    title: 'an ENI with a chosen address, secondary addresses and IPv6',
    action: 'CreateNetworkInterface',
    params: { ...where, PrimaryIpAddress: '10.1.7.7', SecondaryPrivateIpAddressCount: 2, Ipv6AddressCount: 1 },
    save: { eni: 'NetworkInterfaceId' },
    expect: {
      PrivateIpAddress: '10.1.7.7',
      PrivateIpSets: { PrivateIpSet: [{ Primary: true }, { Primary: false }, { Primary: false }] },
      Ipv6Sets: { Ipv6Set: [{ Ipv6Address: expect.stringMatching(/^2408:/) }] },
    },
  },
  {
    title: 'an address that is taken',
    action: 'CreateNetworkInterface',
    params: { ...where, PrimaryIpAddress: '10.1.7.7' },
    expect: refused('InvalidPrivateIpAddress.Duplicated'),
  },
  {
    title: 'an address outside the vSwitch',
    action: 'CreateNetworkInterface',
    params: { ...where, PrimaryIpAddress: '10.9.0.1' },
    expect: refused('InvalidVSwitchId.IpInvalid', 403),
  },
  {
    title: 'an ENI without a security group',
    action: 'CreateNetworkInterface',
    params: { VSwitchId: '$vSwitch' },
    expect: refused('MissingParameter'),
  },
  {
    title: 'an unknown security group',
    action: 'CreateNetworkInterface',
    params: { ...where, SecurityGroupIds: ['sg-none'] },
    expect: refused('InvalidSecurityGroupId.NotFound', 404),
  },
  {
    title: 'an unknown vSwitch',
    action: 'CreateNetworkInterface',
    params: { ...where, VSwitchId: 'vsw-none' },
    expect: refused('InvalidVSwitchId.NotFound', 404),
  },
  {
    title: 'one group and several at once',
    action: 'CreateNetworkInterface',
    params: { ...where, SecurityGroupId: '$group' },
    expect: refused('InvalidParameter.Conflict'),
  },
  {
    title: 'IPv6 in a vSwitch without IPv6',
    action: 'CreateNetworkInterface',
    params: { ...where, VSwitchId: '$otherVSwitch', Ipv6AddressCount: 1 },
    expect: refused('InvalidVSwitch.Ipv6NotTurnOn', 403),
  },
  {
    title: 'creating an ENI in another zone',
    action: 'CreateNetworkInterface',
    params: { ...where, VSwitchId: '$otherVSwitch' },
    save: { elsewhere: 'NetworkInterfaceId' },
    expect: { ZoneId: 'cn-hangzhou-j' },
  },
  {
    title: 'ENIs by a list of ids',
    action: 'DescribeNetworkInterfaces',
    params: { NetworkInterfaceId: ['$trunk', '$eni'], MaxResults: 10 },
    expect: eniSet(
      { NetworkInterfaceId: '$trunk', CreationTime: DATE, DeleteOnRelease: true },
      { NetworkInterfaceId: '$eni' },
    ),
  },
  {
    title: 'ENIs by tag',
    action: 'DescribeNetworkInterfaces',
    params: { Tag: [{ Key: 'ack.aliyun.com', Value: 'c 1' }], MaxResults: 10 },
    expect: eniSet({ NetworkInterfaceId: '$trunk' }),
  },
  {
    title: 'ENIs by type and status',
    action: 'DescribeNetworkInterfaces',
    params: { Type: 'Primary', Status: 'InUse', MaxResults: 10 },
    expect: eniSet({ InstanceId: '$instance', Attachment: { InstanceId: '$instance' } }),
  },
  {
    title: 'ENIs by page number',
    action: 'DescribeNetworkInterfaces',
    params: { PageNumber: 2, PageSize: 3 },
    expect: { ...eniSet({ NetworkInterfaceId: '$elsewhere' }), TotalCount: 4, PageNumber: 2 },
  },
  {
    title: 'an invalid page token',
    action: 'DescribeNetworkInterfaces',
    params: { NextToken: 'nonsense' },
    expect: refused('InvalidParameter'),
  },
  // The life of an ENI. Changes that take time are complete by the next call.
  {
    title: 'attaching a member before its trunk is attached',
    action: 'AttachNetworkInterface',
    params: { NetworkInterfaceId: '$eni', InstanceId: '$instance', TrunkNetworkInstanceId: '$trunk' },
    expect: refused('InvalidOperation.InvalidEniState'),
  },
  {
    title: 'attaching the trunk',
    action: 'AttachNetworkInterface',
    params: { NetworkInterfaceId: '$trunk', InstanceId: '$instance' },
    expect: OK,
  },
  {
    title: 'attaching an ENI of another zone',
    action: 'AttachNetworkInterface',
    params: { NetworkInterfaceId: '$elsewhere', InstanceId: '$instance' },
    expect: refused('InvalidOperation.AvailabilityZoneMismatch', 403),
  },
  {
    title: 'an unknown instance',
    action: 'AttachNetworkInterface',
    params: { NetworkInterfaceId: '$eni', InstanceId: 'i-none' },
    expect: refused('InvalidEcsId.NotFound', 404),
  },
  {
    title: 'attaching a member',
    action: 'AttachNetworkInterface',
    params: { NetworkInterfaceId: '$eni', InstanceId: '$instance', TrunkNetworkInstanceId: '$trunk' },
    expect: OK,
  },
  {
    title: 'a member in a list',
    action: 'DescribeNetworkInterfaces',
    params: { NetworkInterfaceId: ['$eni'], MaxResults: 10 },
    expect: eniSet({
      Type: 'Member',
      Status: 'InUse',
      Attachment: { TrunkNetworkInterfaceId: '$trunk', DeviceIndex: 1 },
    }),
  },
  {
    title: 'the trunk with its members',
    action: 'DescribeNetworkInterfaceAttribute',
    params: { NetworkInterfaceId: '$trunk', Attribute: 'attachment' },
    expect: { Attachment: { MemberNetworkInterfaceIds: { MemberNetworkInterfaceId: ['$eni'] } } },
  },
  {
    title: 'Members by instance',
    action: 'DescribeNetworkInterfaces',
    params: { InstanceId: '$instance', Type: 'Member', MaxResults: 10 },
    expect: eniSet({ NetworkInterfaceId: '$eni' }),
  },
  {
    title: 'Members by instance where the cloud does not return them',
    behaviour: { instanceFilterReturnsMembers: false },
    action: 'DescribeNetworkInterfaces',
    params: { InstanceId: '$instance', Type: 'Member', MaxResults: 10 },
    expect: { TotalCount: 0 },
  },
  {
    title: 'deleting an ENI in use',
    action: 'DeleteNetworkInterface',
    params: { NetworkInterfaceId: '$eni' },
    expect: refused('InvalidOperation.InvalidEniState'),
  },
  {
    title: 'detaching a trunk with members',
    action: 'DetachNetworkInterface',
    params: { NetworkInterfaceId: '$trunk', InstanceId: '$instance' },
    expect: refused('InvalidOperation.EniLinked', 403),
  },
  {
    title: 'detaching a primary ENI',
    action: 'DetachNetworkInterface',
    params: { NetworkInterfaceId: '$primary', InstanceId: '$instance' },
    expect: refused('InvalidOperation.DetachPrimaryEniNotAllowed'),
  },
  // Addresses and attributes.
  {
    title: 'assigning a number of addresses',
    action: 'AssignPrivateIpAddresses',
    params: { NetworkInterfaceId: '$elsewhere', SecondaryPrivateIpAddressCount: 1, ClientToken: 'token-2' },
    save: { added: 'AssignedPrivateIpAddressesSet.PrivateIpSet.PrivateIpAddress.0' },
    expect: { AssignedPrivateIpAddressesSet: { NetworkInterfaceId: '$elsewhere' } },
  },
  {
    title: 'the same token with the same parameters gives the same addresses',
    action: 'AssignPrivateIpAddresses',
    params: { NetworkInterfaceId: '$elsewhere', SecondaryPrivateIpAddressCount: 1, ClientToken: 'token-2' },
    expect: { AssignedPrivateIpAddressesSet: { PrivateIpSet: { PrivateIpAddress: ['$added'] } } },
  },
  {
    title: 'the same token with another count',
    action: 'AssignPrivateIpAddresses',
    params: { NetworkInterfaceId: '$elsewhere', SecondaryPrivateIpAddressCount: 2, ClientToken: 'token-2' },
    expect: refused('IdempotentParameterMismatch'),
  },
  {
    title: 'more addresses than the instance type allows an ENI',
    action: 'AssignPrivateIpAddresses',
    params: { NetworkInterfaceId: '$eni', SecondaryPrivateIpAddressCount: 28, ClientToken: 'token-3' },
    expect: refused('InvalidOperation.Ipv4CountExceeded', 403),
  },
  {
    title: 'assigning addresses to an ENI that does not exist',
    action: 'AssignPrivateIpAddresses',
    params: { NetworkInterfaceId: 'eni-none', SecondaryPrivateIpAddressCount: 1, ClientToken: 'token-4' },
    expect: refused('InvalidEniId.NotFound', 404),
  },
  {
    title: 'assigning an address that is already assigned',
    action: 'AssignPrivateIpAddresses',
    params: { NetworkInterfaceId: '$elsewhere', PrivateIpAddress: ['$added'] },
    expect: refused('InvalidIp.IpAssigned', 403),
  },
  {
    title: 'assigning an address twice',
    action: 'AssignPrivateIpAddresses',
    params: { NetworkInterfaceId: '$elsewhere', PrivateIpAddress: ['10.2.0.99', '10.2.0.99'] },
    expect: refused('InvalidIp.IpRepeated', 403),
  },
  {
    title: 'unassigning two addresses, one of which is not assigned',
    action: 'UnassignPrivateIpAddresses',
    params: { NetworkInterfaceId: '$elsewhere', PrivateIpAddress: ['$added', '10.2.0.99'] },
    expect: refused('InvalidIp.IpUnassigned', 403),
  },
  {
    title: 'unassigning addresses',
    action: 'UnassignPrivateIpAddresses',
    params: { NetworkInterfaceId: '$elsewhere', PrivateIpAddress: ['$added'] },
    expect: OK,
  },
  {
    title: 'unassigning an address that is not assigned',
    action: 'UnassignPrivateIpAddresses',
    params: { NetworkInterfaceId: '$elsewhere', PrivateIpAddress: ['$added'] },
    expect: refused('InvalidIp.IpUnassigned', 403),
  },
  {
    title: 'unassigning addresses of an ENI that does not exist',
    action: 'UnassignPrivateIpAddresses',
    params: { NetworkInterfaceId: 'eni-none', PrivateIpAddress: ['10.2.0.99'] },
    expect: refused('InvalidEniId.NotFound', 404),
    expectOfAdapter: OK,
  },
  {
    title: 'assigning a number of IPv6 addresses',
    action: 'AssignIpv6Addresses',
    params: { NetworkInterfaceId: '$eni', Ipv6AddressCount: 1, ClientToken: 'token-5' },
    save: { added6: 'Ipv6Sets.Ipv6Address.0' },
    expect: { NetworkInterfaceId: '$eni', Ipv6Sets: { Ipv6Address: [expect.stringMatching(/^2408:/)] } },
  },
  {
    title: 'the same token with the same parameters gives the same IPv6 addresses',
    action: 'AssignIpv6Addresses',
    params: { NetworkInterfaceId: '$eni', Ipv6AddressCount: 1, ClientToken: 'token-5' },
    expect: { Ipv6Sets: { Ipv6Address: ['$added6'] } },
  },
  {
    title: 'assigning IPv6 addresses in a vSwitch without IPv6',
    action: 'AssignIpv6Addresses',
    params: { NetworkInterfaceId: '$elsewhere', Ipv6AddressCount: 1, ClientToken: 'token-6' },
    expect: refused('InvalidVSwitch.Ipv6NotTurnOn', 403),
  },
  {
    title: 'unassigning two IPv6 addresses, one of which is not assigned',
    action: 'UnassignIpv6Addresses',
    params: { NetworkInterfaceId: '$eni', Ipv6Address: ['$added6', '2408:4321:180:1701::99'] },
    expect: refused('InvalidIp.IpUnassigned', 403),
  },
  {
    title: 'IPv6 addresses',
    action: 'AssignIpv6Addresses',
    params: { NetworkInterfaceId: '$eni', Ipv6Address: ['2408:4321:180:1701::99'] },
    expect: { Ipv6Sets: { Ipv6Address: ['2408:4321:180:1701::99'] } },
  },
  {
    title: 'unassigning IPv6 addresses',
    action: 'UnassignIpv6Addresses',
    params: { NetworkInterfaceId: '$eni', Ipv6Address: ['$added6', '2408:4321:180:1701::99'] },
    expect: OK,
  },
  {
    title: 'another name',
    action: 'ModifyNetworkInterfaceAttribute',
    params: { NetworkInterfaceId: '$eni', NetworkInterfaceName: 'renamed' },
    expect: OK,
  },
  {
    title: 'changing the security group',
    action: 'ModifyNetworkInterfaceAttribute',
    params: { NetworkInterfaceId: '$eni', SecurityGroupId: ['$otherGroup'] },
    expect: OK,
  },
  {
    title: 'the ENI has the new group',
    action: 'DescribeNetworkInterfaceAttribute',
    params: { NetworkInterfaceId: '$eni' },
    expect: { NetworkInterfaceName: 'renamed', SecurityGroupIds: { SecurityGroupId: ['$otherGroup'] } },
  },
  {
    title: 'joining a group',
    action: 'JoinSecurityGroup',
    params: { NetworkInterfaceId: '$eni', SecurityGroupId: '$group' },
    expect: OK,
  },
  {
    title: 'leaving a group',
    action: 'LeaveSecurityGroup',
    params: { NetworkInterfaceId: '$eni', SecurityGroupId: '$group' },
    expect: OK,
  },
  {
    title: 'leaving the last group',
    action: 'LeaveSecurityGroup',
    params: { NetworkInterfaceId: '$eni', SecurityGroupId: '$otherGroup' },
    expect: refused('InstanceLastSecurityGroup', 403),
  },
  // Security groups.
  {
    title: 'groups by a JSON list',
    action: 'DescribeSecurityGroups',
    params: { SecurityGroupIds: '["$group","sg-none"]', MaxResults: 10 },
    expect: { SecurityGroups: { SecurityGroup: [{ SecurityGroupId: '$group', VpcId: '$vpc' }] } },
  },
  {
    title: 'groups by their VPC',
    action: 'DescribeSecurityGroups',
    params: { VpcId: '$vpc', MaxResults: 10 },
    expect: {
      SecurityGroups: {
        SecurityGroup: expect.arrayContaining([
          expect.objectContaining({ SecurityGroupId: '$group', CreationTime: DATE }),
        ]),
      },
    },
  },
  {
    title: 'a rule',
    action: 'AuthorizeSecurityGroup',
    params: { SecurityGroupId: '$group', Permissions: [{ ...rule, SourceCidrIp: '10.0.0.0/8' }] },
    expect: OK,
  },
  {
    title: 'an egress rule',
    action: 'AuthorizeSecurityGroupEgress',
    params: { SecurityGroupId: '$group', Permissions: [{ ...rule, DestCidrIp: '10.0.0.0/8' }] },
    expect: OK,
  },
  {
    title: 'the rules of a group',
    action: 'DescribeSecurityGroupAttribute',
    params: { SecurityGroupId: '$group', Direction: 'all' },
    expect: {
      Permissions: { Permission: [{ SourceCidrIp: '10.0.0.0/8', PortRange: '80/80' }, { DestCidrIp: '10.0.0.0/8' }] },
    },
  },
  {
    title: 'revoking an unknown rule by id',
    action: 'RevokeSecurityGroup',
    params: { SecurityGroupId: '$group', SecurityGroupRuleId: ['sgr-none'] },
    expect: refused('InvalidParam.SecurityGroupRuleId'),
  },
  {
    title: 'revoking a rule by its content',
    action: 'RevokeSecurityGroup',
    params: { SecurityGroupId: '$group', Permissions: [{ ...rule, SourceCidrIp: '10.0.0.0/8' }] },
    expect: OK,
  },
  {
    title: 'revoking an egress rule',
    action: 'RevokeSecurityGroupEgress',
    params: { SecurityGroupId: '$group', Permissions: [{ ...rule, DestCidrIp: '10.0.0.0/8' }] },
    expect: OK,
  },
  // Tags.
  {
    title: 'tagging two ENIs',
    action: 'TagResources',
    params: {
      ResourceType: 'eni',
      ResourceId: ['$eni', '$trunk'],
      Tag: [
        { Key: 'a', Value: '1' },
        { Key: 'b', Value: '' },
      ],
    },
    expect: OK,
  },
  {
    title: 'a tag with a reserved prefix',
    action: 'TagResources',
    params: { ResourceType: 'eni', ResourceId: ['$eni'], Tag: [{ Key: 'acs:x', Value: '1' }] },
    expect: refused('InvalidTagKey.Malformed'),
  },
  {
    title: 'tagging a resource that does not exist',
    action: 'TagResources',
    params: { ResourceType: 'eni', ResourceId: ['eni-none'], Tag: [{ Key: 'a', Value: '1' }] },
    expect: refused('InvalidResourceId.NotFound', 404),
  },
  {
    title: 'resources with a tag',
    action: 'ListTagResources',
    params: { ResourceType: 'eni', Tag: [{ Key: 'a', Value: '1' }] },
    expect: {
      TagResources: {
        TagResource: expect.arrayContaining([
          expect.objectContaining({ ResourceId: '$eni', TagKey: 'a', TagValue: '1' }),
        ]),
      },
    },
  },
  {
    title: 'removing a tag',
    action: 'UntagResources',
    params: { ResourceType: 'eni', ResourceId: ['$eni'], TagKey: ['a', 'b'] },
    expect: OK,
  },
  {
    title: 'a resource type without tags',
    action: 'ListTagResources',
    params: { ResourceType: 'cloud' },
    expect: refused('InvalidResourceType.NotFound', 404),
  },
  // Throttling, lagging lists and failing attachments.
  {
    title: 'a full window',
    behaviour: { rateWindows: { DescribeZones: { limit: 0, windowMs: 60_000 } } },
    action: 'DescribeZones',
    expect: refused('Throttling.User'),
  },
  { title: 'another API in the same window', action: 'DescribeRegions', expect: OK },
  {
    title: 'the first call of a window',
    behaviour: { rateWindows: { DescribeZones: { limit: 1, windowMs: 60_000, code: 'Throttling.Api' } } },
    action: 'DescribeZones',
    expect: OK,
  },
  { title: 'the second call of a window', action: 'DescribeZones', expect: refused('Throttling.Api') },
  { title: 'the next window', advanceMs: 60_000, action: 'DescribeZones', expect: OK },
  {
    title: 'a new ENI',
    behaviour: { listLag: { createdMs: 5000, deletedMs: 0 } },
    action: 'CreateNetworkInterface',
    params: where,
    save: { late: 'NetworkInterfaceId' },
    expect: { Status: 'Available' },
  },
  {
    title: 'a new ENI is not in the list at first',
    action: 'DescribeNetworkInterfaces',
    params: { NetworkInterfaceId: ['$late'], MaxResults: 10 },
    expect: { TotalCount: 0 },
  },
  {
    title: 'a new ENI is in the list later',
    advanceMs: 5000,
    action: 'DescribeNetworkInterfaces',
    params: { NetworkInterfaceId: ['$late'], MaxResults: 10 },
    expect: { TotalCount: 1 },
  },
  {
    title: 'an attachment that will fail',
    behaviour: { attachFaults: [{ outcome: 'fails', count: 1 }] },
    action: 'AttachNetworkInterface',
    params: { NetworkInterfaceId: '$late', InstanceId: '$instance' },
    expect: OK,
  },
  {
    title: 'an ENI whose attachment failed is Available again',
    action: 'DescribeNetworkInterfaces',
    params: { NetworkInterfaceId: ['$late'], MaxResults: 10 },
    expect: eniSet({ Status: 'Available', Type: 'Secondary' }),
  },
  // Detachment and deletion.
  {
    title: 'detaching a member',
    action: 'DetachNetworkInterface',
    params: { NetworkInterfaceId: '$eni', InstanceId: '$instance', TrunkNetworkInstanceId: '$trunk' },
    expect: OK,
  },
  { title: 'deleting an ENI', action: 'DeleteNetworkInterface', params: { NetworkInterfaceId: '$eni' }, expect: OK },
  {
    title: 'deleting a deleted ENI',
    action: 'DeleteNetworkInterface',
    params: { NetworkInterfaceId: '$eni' },
    expect: refused('InvalidEniId.NotFound', 404),
    expectOfAdapter: OK,
  },
  {
    title: 'an API that the simulator lacks',
    action: 'DescribeImages',
    expect: refused('InvalidAction.NotFound', 404),
  },
  {
    title: 'a request that is too old',
    advanceMs: 20 * 60_000,
    action: 'DescribeRegions',
    expect: refused('InvalidTimeStamp.Expired'),
  },
];
