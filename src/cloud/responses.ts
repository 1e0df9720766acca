import * as z from 'zod';
import { ENI_STATUSES, ENI_TYPES, type Eni } from '../ecs/eni.ts';
import type { Instance, InstanceTypeLimits } from '../ecs/instance.ts';
import type { VSwitch } from '../ecs/vpc.ts';
import { canonicalIp } from '../util/ip.ts';

/**
 * Wire format of ECS and VPC responses. Only fields that are read are described. Absent fields get a neutral value,
 * because the API leaves empty ones out.
 */

const text = z.string().default('');
const count = z.number().default(0);
const list = <T extends z.ZodType>(item: T) => z.array(item).default([]);
/** Records, pods and answers are compared by text, and the documentation does not say which the cloud writes. */
const ipv6 = z.string().transform(canonicalIp);

export const plainAnswerSchema = z.object({ RequestId: text });

const tagsSchema = z.object({ Tag: list(z.object({ TagKey: text, TagValue: text })) }).prefault({});

const eniSchema = z.object({
  RequestId: text,
  NetworkInterfaceId: text,
  Type: z.string().default('Secondary'),
  NetworkInterfaceTrafficMode: z.string().default(''),
  Status: text,
  MacAddress: text,
  VpcId: text,
  VSwitchId: text,
  ZoneId: text,
  PrivateIpAddress: text,
  PrivateIpSets: z
    .object({ PrivateIpSet: list(z.object({ PrivateIpAddress: text, Primary: z.boolean().default(false) })) })
    .prefault({}),
  Ipv6Sets: z.object({ Ipv6Set: list(z.object({ Ipv6Address: ipv6 })) }).prefault({}),
  SecurityGroupIds: z.object({ SecurityGroupId: list(z.string()) }).prefault({}),
  ResourceGroupId: text,
  Tags: tagsSchema,
  InstanceId: text,
  Attachment: z
    .object({
      InstanceId: text,
      TrunkNetworkInterfaceId: text,
      DeviceIndex: z.number().optional(),
      NetworkCardIndex: z.number().optional(),
    })
    .prefault({}),
  DeleteOnRelease: z.boolean().default(false),
  CreationTime: text,
  Description: text,
});

export const createAnswerSchema = eniSchema;

export const assignIpv4AnswerSchema = z.object({
  RequestId: text,
  AssignedPrivateIpAddressesSet: z
    .object({ PrivateIpSet: z.object({ PrivateIpAddress: list(z.string()) }).prefault({}) })
    .prefault({}),
});

export const assignIpv6AnswerSchema = z.object({
  RequestId: text,
  Ipv6Sets: z.object({ Ipv6Address: list(ipv6) }).prefault({}),
});

export const eniPageSchema = z.object({
  NetworkInterfaceSets: z.object({ NetworkInterfaceSet: list(eniSchema) }).prefault({}),
  NextToken: z.string().optional(),
});

export const instanceTypePageSchema = z.object({
  InstanceTypes: z
    .object({
      InstanceType: list(
        z.object({
          InstanceTypeId: z.string(),
          EniQuantity: count,
          EniTotalQuantity: count,
          EniTrunkSupported: z.boolean().default(false),
          EniPrivateIpAddressQuantity: count,
          EniIpv6AddressQuantity: count,
          EriQuantity: count,
          InstanceBandwidthRx: count,
          InstanceBandwidthTx: count,
          NetworkCards: z.object({ NetworkCardInfo: list(z.object({ NetworkCardIndex: z.number() })) }).prefault({}),
        }),
      ),
    })
    .prefault({}),
});

export const instancePageSchema = z.object({
  Instances: z
    .object({
      Instance: list(
        z.object({
          InstanceId: z.string(),
          InstanceType: text,
          ZoneId: text,
          Status: text,
          VpcAttributes: z.object({ VpcId: text, VSwitchId: text }).prefault({}),
          SecurityGroupIds: z.object({ SecurityGroupId: list(z.string()) }).prefault({}),
        }),
      ),
    })
    .prefault({}),
});

export const vSwitchPageSchema = z.object({
  TotalCount: count,
  VSwitches: z
    .object({
      VSwitch: list(
        z.object({
          VSwitchId: z.string(),
          VpcId: text,
          ZoneId: text,
          CidrBlock: text,
          Ipv6CidrBlock: text,
          AvailableIpAddressCount: count,
          Status: text,
        }),
      ),
    })
    .prefault({}),
});

export const securityGroupPageSchema = z.object({
  SecurityGroups: z
    .object({
      SecurityGroup: list(z.object({ SecurityGroupId: z.string(), VpcId: text, SecurityGroupType: text })),
    })
    .prefault({}),
});

export function toEni(answer: z.infer<typeof eniSchema>): Eni {
  const { Attachment: attachment } = answer;
  const addresses = answer.PrivateIpSets.PrivateIpSet;
  const primaryIp = answer.PrivateIpAddress || (addresses.find((address) => address.Primary)?.PrivateIpAddress ?? '');
  const instanceId = attachment.InstanceId || answer.InstanceId;
  const createdAtMs = Date.parse(answer.CreationTime);
  return {
    id: answer.NetworkInterfaceId,
    type: ENI_TYPES.find((type) => type === answer.Type) ?? 'Secondary',
    status: ENI_STATUSES.find((status) => status === answer.Status) ?? 'Unknown',
    macAddress: answer.MacAddress,
    vpcId: answer.VpcId,
    vSwitchId: answer.VSwitchId,
    zoneId: answer.ZoneId,
    primaryIp,
    ipv4: [...new Set([primaryIp, ...addresses.map((address) => address.PrivateIpAddress)].filter((ip) => ip !== ''))],
    ipv6: answer.Ipv6Sets.Ipv6Set.map((address) => address.Ipv6Address),
    securityGroupIds: answer.SecurityGroupIds.SecurityGroupId,
    resourceGroupId: answer.ResourceGroupId,
    tags: Object.fromEntries(answer.Tags.Tag.map((tag) => [tag.TagKey, tag.TagValue])),
    deleteOnRelease: answer.DeleteOnRelease,
    description: answer.Description,
    ...(instanceId === '' ? {} : { instanceId }),
    ...(attachment.TrunkNetworkInterfaceId === '' ? {} : { trunkEniId: attachment.TrunkNetworkInterfaceId }),
    ...(answer.Type === 'Member' && attachment.DeviceIndex !== undefined ? { vlanId: attachment.DeviceIndex } : {}),
    ...(attachment.NetworkCardIndex === undefined ? {} : { networkCardIndex: attachment.NetworkCardIndex }),
    ...(Number.isNaN(createdAtMs) ? {} : { createdAtMs }),
    ...(answer.NetworkInterfaceTrafficMode === '' ? {} : { trafficMode: answer.NetworkInterfaceTrafficMode }),
  };
}

export function toInstanceType(
  answer: z.infer<typeof instanceTypePageSchema>['InstanceTypes']['InstanceType'][number],
): InstanceTypeLimits {
  return {
    instanceType: answer.InstanceTypeId,
    eniQuantity: answer.EniQuantity,
    eniTotalQuantity: answer.EniTotalQuantity,
    trunkSupported: answer.EniTrunkSupported,
    ipv4PerEni: answer.EniPrivateIpAddressQuantity,
    ipv6PerEni: answer.EniIpv6AddressQuantity,
    eriQuantity: answer.EriQuantity,
    bandwidthRx: answer.InstanceBandwidthRx,
    bandwidthTx: answer.InstanceBandwidthTx,
    networkCardIndexes: answer.NetworkCards.NetworkCardInfo.map((card) => card.NetworkCardIndex),
  };
}

export function toInstance(answer: z.infer<typeof instancePageSchema>['Instances']['Instance'][number]): Instance {
  return {
    id: answer.InstanceId,
    instanceType: answer.InstanceType,
    zoneId: answer.ZoneId,
    vpcId: answer.VpcAttributes.VpcId,
    vSwitchId: answer.VpcAttributes.VSwitchId,
    status: answer.Status,
    securityGroupIds: answer.SecurityGroupIds.SecurityGroupId,
  };
}

export function toVSwitch(answer: z.infer<typeof vSwitchPageSchema>['VSwitches']['VSwitch'][number]): VSwitch {
  return {
    id: answer.VSwitchId,
    vpcId: answer.VpcId,
    zoneId: answer.ZoneId,
    cidrBlock: answer.CidrBlock,
    ipv6CidrBlock: answer.Ipv6CidrBlock,
    availableIpCount: answer.AvailableIpAddressCount,
    status: answer.Status,
  };
}
