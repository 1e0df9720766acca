import * as z from 'zod';
import { CloudError } from '../../src/cloud/errors.ts';
import type { Cloud, Receipt } from '../../src/cloud/port.ts';
import { connectCloud } from '../../src/cloud/test-support/connect.ts';
import type { Eni } from '../../src/ecs/eni.ts';
import type { ConnectSdk, Params, SdkResponse } from './clients.ts';

/**
 * Runs our own adapter through the table of the SDKs. A case fits when the adapter's port has a place for every parameter. Results
 * of the port are translated back to the API's field names, so that the same expectations apply as for the SDKs.
 */

const leave = { signal: new AbortController().signal, callClass: 'pod' } as const;

/** An API of the adapter. Its parameters are strict, so that a case with further ones does not fit. */
function api<T extends z.core.$ZodShape>(
  shape: T,
  call: (cloud: Cloud, params: z.output<z.ZodObject<T>>) => Promise<object>,
) {
  const schema = z.strictObject({ RegionId: z.string().optional(), ...shape });
  return {
    fits: (params: Params) => schema.safeParse(params).success,
    call: (cloud: Cloud, params: Params) => call(cloud, z.object(shape).parse(params)),
  };
}

const text = z.string();
const texts = z.array(text);
const tags = z
  .array(z.strictObject({ Key: text, Value: text }))
  .transform((list) => Object.fromEntries(list.map(({ Key, Value }) => [Key, Value])));
const jsonTexts = text.transform((json, context) => {
  try {
    return texts.parse(JSON.parse(json));
  } catch {
    context.addIssue('no JSON list of texts');
    return z.NEVER;
  }
});
const attachment = { NetworkInterfaceId: text, InstanceId: text, TrunkNetworkInstanceId: text.optional() };
/** Ignored: the adapter reads all pages by itself. */
const MaxResults = z.int().optional();

let created = 0;

const APIS = new Map(
  Object.entries({
    CreateNetworkInterface: api(
      {
        VSwitchId: text,
        SecurityGroupIds: texts.default([]),
        InstanceType: z.enum(['Secondary', 'Trunk']).default('Secondary'),
        ClientToken: text.optional(),
        DeleteOnRelease: z.boolean().default(false),
        Description: text.default(''),
        Tag: tags.default({}),
        PrimaryIpAddress: text.optional(),
        SecondaryPrivateIpAddressCount: z.int().optional(),
        Ipv6AddressCount: z.int().optional(),
      },
      async (cloud, params) => {
        created += 1;
        const request = {
          kind: params.InstanceType,
          vSwitchId: params.VSwitchId,
          securityGroupIds: params.SecurityGroupIds,
          tags: params.Tag,
          deleteOnRelease: params.DeleteOnRelease,
          description: params.Description,
          clientToken: params.ClientToken ?? `adapter-${created}`,
          ...(params.PrimaryIpAddress === undefined ? {} : { primaryIp: params.PrimaryIpAddress }),
          ...(params.SecondaryPrivateIpAddressCount === undefined
            ? {}
            : { secondaryIpv4Count: params.SecondaryPrivateIpAddressCount }),
          ...(params.Ipv6AddressCount === undefined ? {} : { ipv6Count: params.Ipv6AddressCount }),
        };
        const { eni, requestId } = await cloud.createEni(request, leave);
        return { ...eniOnTheWire(eni), RequestId: requestId };
      },
    ),
    AttachNetworkInterface: api(attachment, async (cloud, params) => {
      return receiptOnTheWire(await cloud.attachEni(attachmentOf(params), leave));
    }),
    DetachNetworkInterface: api(attachment, async (cloud, params) => {
      return receiptOnTheWire(await cloud.detachEni(attachmentOf(params), leave));
    }),
    DeleteNetworkInterface: api({ NetworkInterfaceId: text }, async (cloud, params) => {
      return receiptOnTheWire(await cloud.deleteEni(params.NetworkInterfaceId, leave));
    }),
    ModifyNetworkInterfaceAttribute: api(
      { NetworkInterfaceId: text, SecurityGroupId: texts },
      async (cloud, params) => {
        return receiptOnTheWire(
          await cloud.modifyEniSecurityGroups(params.NetworkInterfaceId, params.SecurityGroupId, leave),
        );
      },
    ),
    AssignPrivateIpAddresses: api(
      { NetworkInterfaceId: text, SecondaryPrivateIpAddressCount: z.int(), ClientToken: text },
      async (cloud, params) => {
        const { NetworkInterfaceId, SecondaryPrivateIpAddressCount: count, ClientToken: clientToken } = params;
        const { addresses } = await cloud.assignIpv4({ eniId: NetworkInterfaceId, count, clientToken }, leave);
        return { AssignedPrivateIpAddressesSet: { NetworkInterfaceId, PrivateIpSet: { PrivateIpAddress: addresses } } };
      },
    ),
    AssignIpv6Addresses: api(
      { NetworkInterfaceId: text, Ipv6AddressCount: z.int(), ClientToken: text },
      async (cloud, params) => {
        const { NetworkInterfaceId, Ipv6AddressCount: count, ClientToken: clientToken } = params;
        const { addresses } = await cloud.assignIpv6({ eniId: NetworkInterfaceId, count, clientToken }, leave);
        return { NetworkInterfaceId, Ipv6Sets: { Ipv6Address: addresses } };
      },
    ),
    UnassignPrivateIpAddresses: api({ NetworkInterfaceId: text, PrivateIpAddress: texts }, async (cloud, params) => {
      const request = { eniId: params.NetworkInterfaceId, addresses: params.PrivateIpAddress };
      return receiptOnTheWire(await cloud.unassignIpv4(request, leave));
    }),
    UnassignIpv6Addresses: api({ NetworkInterfaceId: text, Ipv6Address: texts }, async (cloud, params) => {
      const request = { eniId: params.NetworkInterfaceId, addresses: params.Ipv6Address };
      return receiptOnTheWire(await cloud.unassignIpv6(request, leave));
    }),
    DescribeNetworkInterfaces: api(
      {
        NetworkInterfaceId: texts.optional(),
        VpcId: text.optional(),
        InstanceId: text.optional(),
        Type: z.enum(['Primary', 'Secondary', 'Trunk', 'Member']).optional(),
        Status: z.enum(['Available', 'InUse']).optional(),
        Tag: tags.optional(),
        MaxResults,
      },
      async (cloud, params) => {
        const filter = {
          ...(params.NetworkInterfaceId === undefined ? {} : { ids: params.NetworkInterfaceId }),
          ...(params.VpcId === undefined ? {} : { vpcId: params.VpcId }),
          ...(params.InstanceId === undefined ? {} : { instanceId: params.InstanceId }),
          ...(params.Type === undefined ? {} : { type: params.Type }),
          ...(params.Status === undefined ? {} : { status: params.Status }),
          ...(params.Tag === undefined ? {} : { tags: params.Tag }),
        };
        const { enis } = await cloud.describeEnis(filter, leave);
        return { TotalCount: enis.length, NetworkInterfaceSets: { NetworkInterfaceSet: enis.map(eniOnTheWire) } };
      },
    ),
    DescribeInstances: api({ InstanceIds: jsonTexts }, async (cloud, params) => {
      const instances = await cloud.describeInstances(params.InstanceIds, leave);
      const Instance = instances.map(({ id, status, zoneId, instanceType }) => ({
        InstanceId: id,
        Status: status,
        ZoneId: zoneId,
        InstanceType: instanceType,
      }));
      return { TotalCount: Instance.length, Instances: { Instance } };
    }),
    DescribeInstanceTypes: api({ InstanceTypes: texts }, async (cloud, params) => {
      const types = await cloud.describeInstanceTypes(params.InstanceTypes, leave);
      const InstanceType = types.map(({ instanceType, eniQuantity, trunkSupported }) => ({
        InstanceTypeId: instanceType,
        EniQuantity: eniQuantity,
        EniTrunkSupported: trunkSupported,
      }));
      return { InstanceTypes: { InstanceType } };
    }),
    DescribeVSwitches: api(
      { VSwitchId: text.optional(), VpcId: text.optional(), PageSize: z.literal(50).optional() },
      async (cloud, params) => {
        const filter = {
          ...(params.VSwitchId === undefined ? {} : { ids: [params.VSwitchId] }),
          ...(params.VpcId === undefined ? {} : { vpcId: params.VpcId }),
        };
        const VSwitch = (await cloud.describeVSwitches(filter, leave)).map((found) => ({
          VSwitchId: found.id,
          VpcId: found.vpcId,
          ZoneId: found.zoneId,
          CidrBlock: found.cidrBlock,
          AvailableIpAddressCount: found.availableIpCount,
          Status: found.status,
        }));
        return { TotalCount: VSwitch.length, VSwitches: { VSwitch } };
      },
    ),
    DescribeSecurityGroups: api({ SecurityGroupIds: jsonTexts, MaxResults }, async (cloud, params) => {
      const groups = await cloud.describeSecurityGroups(params.SecurityGroupIds, leave);
      const SecurityGroup = groups.map(({ id, vpcId, type }) => ({
        SecurityGroupId: id,
        VpcId: vpcId,
        SecurityGroupType: type,
      }));
      return { SecurityGroups: { SecurityGroup } };
    }),
  }),
);

/** The APIs that our adapter calls. */
export const ADAPTER_ACTIONS: readonly string[] = [...APIS.keys()];

/** Whether the port has a place for every parameter. */
export function fitsAdapter(action: string, params: Params): boolean {
  return APIS.get(action)?.fits(params) ?? false;
}

/** `src/cloud/alibaba-cloud.ts` over `src/cloud/rpc.ts`. Takes only calls that {@link fitsAdapter} accepts. */
export const ownAdapter: ConnectSdk = async (simulator) => {
  const [accessKey] = simulator.accessKeys;
  const address = simulator.endpoint.replace(/^http:\/\//, '');
  const cloud = connectCloud(address, accessKey === undefined ? {} : { accessKey });
  return {
    call: async (_product, action, params): Promise<SdkResponse> => {
      const known = APIS.get(action);
      if (known === undefined) throw new Error(`the adapter has no ${action}`);
      try {
        return { body: { ...(await known.call(cloud, params)) } };
      } catch (error) {
        if (!(error instanceof CloudError) || error.statusCode === undefined) throw error;
        return { code: error.code, status: error.statusCode };
      }
    },
    [Symbol.asyncDispose]: async () => {},
  };
};

function attachmentOf(params: {
  NetworkInterfaceId: string;
  InstanceId: string;
  TrunkNetworkInstanceId?: string | undefined;
}) {
  const { NetworkInterfaceId: eniId, InstanceId: instanceId, TrunkNetworkInstanceId: trunkEniId } = params;
  return { eniId, instanceId, ...(trunkEniId === undefined ? {} : { trunkEniId }) };
}

function receiptOnTheWire({ requestId }: Receipt) {
  return { RequestId: requestId };
}

function eniOnTheWire(eni: Eni) {
  return {
    NetworkInterfaceId: eni.id,
    Type: eni.type,
    Status: eni.status,
    ZoneId: eni.zoneId,
    Description: eni.description,
    DeleteOnRelease: eni.deleteOnRelease,
    PrivateIpAddress: eni.primaryIp,
    PrivateIpSets: {
      PrivateIpSet: eni.ipv4.map((ip) => ({ PrivateIpAddress: ip, Primary: ip === eni.primaryIp })),
    },
    Ipv6Sets: { Ipv6Set: eni.ipv6.map((ip) => ({ Ipv6Address: ip })) },
    InstanceId: eni.instanceId,
    Attachment: { InstanceId: eni.instanceId, TrunkNetworkInterfaceId: eni.trunkEniId, DeviceIndex: eni.vlanId },
    SecurityGroupIds: { SecurityGroupId: eni.securityGroupIds },
    Tags: { Tag: Object.entries(eni.tags).map(([TagKey, TagValue]) => ({ TagKey, TagValue })) },
    CreationTime:
      eni.createdAtMs === undefined ? undefined : new Date(eni.createdAtMs).toISOString().replace(/\.\d{3}Z$/, 'Z'),
  };
}
