import { AssignIpv6AddressesRequest } from '@alicloud/ecs20140526/dist/models/AssignIpv6addressesRequest.js';
import { AssignPrivateIpAddressesRequest } from '@alicloud/ecs20140526/dist/models/AssignPrivateIpAddressesRequest.js';
import { AttachNetworkInterfaceRequest } from '@alicloud/ecs20140526/dist/models/AttachNetworkInterfaceRequest.js';
import {
  CreateNetworkInterfaceRequest,
  CreateNetworkInterfaceRequestTag,
} from '@alicloud/ecs20140526/dist/models/CreateNetworkInterfaceRequest.js';
import { DeleteNetworkInterfaceRequest } from '@alicloud/ecs20140526/dist/models/DeleteNetworkInterfaceRequest.js';
import { DescribeInstancesRequest } from '@alicloud/ecs20140526/dist/models/DescribeInstancesRequest.js';
import { DescribeInstanceTypesRequest } from '@alicloud/ecs20140526/dist/models/DescribeInstanceTypesRequest.js';
import {
  DescribeNetworkInterfacesRequest,
  DescribeNetworkInterfacesRequestTag,
} from '@alicloud/ecs20140526/dist/models/DescribeNetworkInterfacesRequest.js';
import { DescribeSecurityGroupsRequest } from '@alicloud/ecs20140526/dist/models/DescribeSecurityGroupsRequest.js';
import { DetachNetworkInterfaceRequest } from '@alicloud/ecs20140526/dist/models/DetachNetworkInterfaceRequest.js';
import { ModifyNetworkInterfaceAttributeRequest } from '@alicloud/ecs20140526/dist/models/ModifyNetworkInterfaceAttributeRequest.js';
import { UnassignIpv6AddressesRequest } from '@alicloud/ecs20140526/dist/models/UnassignIpv6addressesRequest.js';
import { UnassignPrivateIpAddressesRequest } from '@alicloud/ecs20140526/dist/models/UnassignPrivateIpAddressesRequest.js';
import { DescribeVSwitchesRequest } from '@alicloud/vpc20160428/dist/models/DescribeVswitchesRequest.js';
import type { Eni } from '../ecs/eni.ts';
import { CloudError } from './errors.ts';
import type {
  AssignedAddresses,
  AssignRequest,
  AttachEniRequest,
  Cloud,
  CreateEniRequest,
  DescribedEnis,
  EniFilter,
  Receipt,
  UnassignRequest,
} from './port.ts';
import type { CallLeave, ReadLeave } from './quota.ts';
import {
  assignIpv4AnswerSchema,
  assignIpv6AnswerSchema,
  createAnswerSchema,
  eniPageSchema,
  instancePageSchema,
  instanceTypePageSchema,
  plainAnswerSchema,
  securityGroupPageSchema,
  toEni,
  toInstance,
  toInstanceType,
  toVSwitch,
  vSwitchPageSchema,
} from './responses.ts';
import { type RpcContext, RpcService } from './rpc.ts';
import type { RpcSender } from './rpc-sender.ts';

const ECS_VERSION = '2014-05-26';
const VPC_VERSION = '2016-04-28';
const ENI_IDS_PER_CALL = 100;
const ENIS_PER_PAGE = 500;
const VSWITCHES_PER_PAGE = 50;
const INSTANCES_PER_CALL = 100;
const SECURITY_GROUPS_PER_CALL = 100;
const INSTANCE_TYPES_PER_CALL = 10;

/** Senders for ECS and VPC. */
export interface CloudSenders {
  ecs: RpcSender;
  vpc: RpcSender;
}

/** {@link Cloud} implemented with the requests and responses of ECS and VPC. */
export class AlibabaCloud implements Cloud {
  readonly #ecs: RpcService;
  readonly #vpc: RpcService;
  readonly #regionId: string;

  constructor(context: RpcContext, senders: CloudSenders) {
    this.#regionId = context.regionId;
    this.#ecs = new RpcService(context, ECS_VERSION, senders.ecs);
    this.#vpc = new RpcService(context, VPC_VERSION, senders.vpc);
  }

  async createEni(request: CreateEniRequest, leave: CallLeave): Promise<Receipt & { eni: Eni }> {
    const model = new CreateNetworkInterfaceRequest({
      regionId: this.#regionId,
      vSwitchId: request.vSwitchId,
      securityGroupIds: request.securityGroupIds,
      instanceType: request.kind,
      description: request.description,
      deleteOnRelease: request.deleteOnRelease,
      sourceDestCheck: false,
      clientToken: request.clientToken,
      // Sorted, because a repeated token requires identical parameters.
      tag: Object.entries(request.tags)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, value]) => new CreateNetworkInterfaceRequestTag({ key, value })),
      ...(request.primaryIp === undefined ? {} : { primaryIpAddress: request.primaryIp }),
      ...(request.secondaryIpv4Count === undefined
        ? {}
        : { secondaryPrivateIpAddressCount: request.secondaryIpv4Count }),
      ...(request.ipv6Count === undefined ? {} : { ipv6AddressCount: request.ipv6Count }),
      ...(request.resourceGroupId === undefined ? {} : { resourceGroupId: request.resourceGroupId }),
    });
    const { answer } = await this.#ecs.call('CreateNetworkInterface', model, createAnswerSchema, leave);
    if (answer.NetworkInterfaceId === '') {
      throw emptyAnswer('CreateNetworkInterface', 'ENI id', answer.RequestId);
    }
    // Some regions leave the tags out of the response; they are the ones that were sent.
    const eni = toEni(answer);
    return { eni: { ...eni, tags: { ...request.tags, ...eni.tags } }, requestId: answer.RequestId };
  }

  async attachEni(request: AttachEniRequest, leave: CallLeave): Promise<Receipt> {
    const model = new AttachNetworkInterfaceRequest({
      regionId: this.#regionId,
      networkInterfaceId: request.eniId,
      instanceId: request.instanceId,
      ...(request.trunkEniId === undefined ? {} : { trunkNetworkInstanceId: request.trunkEniId }),
    });
    return this.#change('AttachNetworkInterface', model, leave);
  }

  async detachEni(request: AttachEniRequest, leave: CallLeave): Promise<Receipt> {
    const model = new DetachNetworkInterfaceRequest({
      regionId: this.#regionId,
      networkInterfaceId: request.eniId,
      instanceId: request.instanceId,
      ...(request.trunkEniId === undefined ? {} : { trunkNetworkInstanceId: request.trunkEniId }),
    });
    return this.#change('DetachNetworkInterface', model, leave).catch(
      successWhen('InvalidEniId.NotFound', 'InvalidEcsId.NotFound'),
    );
  }

  async deleteEni(eniId: string, leave: CallLeave): Promise<Receipt> {
    const model = new DeleteNetworkInterfaceRequest({ regionId: this.#regionId, networkInterfaceId: eniId });
    return this.#change('DeleteNetworkInterface', model, leave).catch(successWhen('InvalidEniId.NotFound'));
  }

  async modifyEniSecurityGroups(eniId: string, securityGroupIds: string[], leave: CallLeave): Promise<Receipt> {
    const model = new ModifyNetworkInterfaceAttributeRequest({
      regionId: this.#regionId,
      networkInterfaceId: eniId,
      securityGroupId: securityGroupIds,
    });
    return this.#change('ModifyNetworkInterfaceAttribute', model, leave);
  }

  async assignIpv4(request: AssignRequest, leave: CallLeave): Promise<Receipt & AssignedAddresses> {
    const action = 'AssignPrivateIpAddresses';
    const model = new AssignPrivateIpAddressesRequest({
      regionId: this.#regionId,
      networkInterfaceId: request.eniId,
      secondaryPrivateIpAddressCount: request.count,
      clientToken: request.clientToken,
    });
    const { answer } = await this.#ecs.call(action, model, assignIpv4AnswerSchema, leave);
    return assigned(action, answer.AssignedPrivateIpAddressesSet.PrivateIpSet.PrivateIpAddress, answer.RequestId);
  }

  async assignIpv6(request: AssignRequest, leave: CallLeave): Promise<Receipt & AssignedAddresses> {
    const action = 'AssignIpv6Addresses';
    const model = new AssignIpv6AddressesRequest({
      regionId: this.#regionId,
      networkInterfaceId: request.eniId,
      ipv6AddressCount: request.count,
      clientToken: request.clientToken,
    });
    const { answer } = await this.#ecs.call(action, model, assignIpv6AnswerSchema, leave);
    return assigned(action, answer.Ipv6Sets.Ipv6Address, answer.RequestId);
  }

  async unassignIpv4({ eniId, addresses }: UnassignRequest, leave: CallLeave): Promise<Receipt> {
    const model = new UnassignPrivateIpAddressesRequest({
      regionId: this.#regionId,
      networkInterfaceId: eniId,
      privateIpAddress: addresses,
    });
    return this.#change('UnassignPrivateIpAddresses', model, leave).catch(successWhen('InvalidEniId.NotFound'));
  }

  async unassignIpv6({ eniId, addresses }: UnassignRequest, leave: CallLeave): Promise<Receipt> {
    const model = new UnassignIpv6AddressesRequest({
      regionId: this.#regionId,
      networkInterfaceId: eniId,
      ipv6Address: addresses,
    });
    return this.#change('UnassignIpv6Addresses', model, leave).catch(successWhen('InvalidEniId.NotFound'));
  }

  async describeEnis(
    filter: EniFilter,
    given: CallLeave,
    keep: (eni: Eni) => boolean = () => true,
  ): Promise<DescribedEnis> {
    const enis: Eni[] = [];
    let requests = 0;
    let leave = given;
    let firstSentAtMs: number | undefined;
    for (const ids of filter.ids === undefined ? [undefined] : chunks(filter.ids, ENI_IDS_PER_CALL)) {
      let nextToken = '';
      do {
        const model = new DescribeNetworkInterfacesRequest({
          regionId: this.#regionId,
          maxResults: ENIS_PER_PAGE,
          ...(nextToken === '' ? {} : { nextToken }),
          ...(ids === undefined ? {} : { networkInterfaceId: ids }),
          ...(filter.vpcId === undefined ? {} : { vpcId: filter.vpcId }),
          ...(filter.instanceId === undefined ? {} : { instanceId: filter.instanceId }),
          ...(filter.type === undefined ? {} : { type: filter.type }),
          ...(filter.status === undefined ? {} : { status: filter.status }),
          ...(filter.tags === undefined
            ? {}
            : {
                tag: Object.entries(filter.tags).map(
                  ([key, value]) => new DescribeNetworkInterfacesRequestTag({ key, value }),
                ),
              }),
        });
        const { answer, sentAtMs } = await this.#ecs.call('DescribeNetworkInterfaces', model, eniPageSchema, leave);
        firstSentAtMs ??= sentAtMs;
        requests += 1;
        // A turn covers one page.
        if ('turn' in leave) {
          const { turn, ...limit } = leave;
          leave = { ...limit, callClass: turn.callClass };
        }
        enis.push(...answer.NetworkInterfaceSets.NetworkInterfaceSet.map(toEni).filter(keep));
        nextToken = answer.NextToken ?? '';
      } while (nextToken !== '');
    }
    return { enis: uniqueById(enis), sentAtMs: firstSentAtMs ?? 0, requests };
  }

  async describeInstanceTypes(instanceTypes: string[], leave: ReadLeave) {
    const pages = await this.#inChunks(instanceTypes, INSTANCE_TYPES_PER_CALL, async (types) => {
      const model = new DescribeInstanceTypesRequest({ instanceTypes: types });
      const { answer } = await this.#ecs.call('DescribeInstanceTypes', model, instanceTypePageSchema, leave);
      return answer.InstanceTypes.InstanceType.map(toInstanceType);
    });
    return pages.flat();
  }

  async describeInstances(instanceIds: string[], leave: ReadLeave) {
    const pages = await this.#inChunks(instanceIds, INSTANCES_PER_CALL, async (ids) => {
      const model = new DescribeInstancesRequest({
        regionId: this.#regionId,
        instanceIds: JSON.stringify(ids),
        pageSize: INSTANCES_PER_CALL,
      });
      const { answer } = await this.#ecs.call('DescribeInstances', model, instancePageSchema, leave);
      return answer.Instances.Instance.map(toInstance);
    });
    return pages.flat();
  }

  async describeVSwitches(filter: { ids?: string[]; vpcId?: string }, leave: ReadLeave) {
    const found = [];
    for (const id of filter.ids ?? [undefined]) {
      for (let page = 1; ; page += 1) {
        const model = new DescribeVSwitchesRequest({
          regionId: this.#regionId,
          pageNumber: page,
          pageSize: VSWITCHES_PER_PAGE,
          ...(id === undefined ? {} : { vSwitchId: id }),
          ...(filter.vpcId === undefined ? {} : { vpcId: filter.vpcId }),
        });
        const { answer } = await this.#vpc.call('DescribeVSwitches', model, vSwitchPageSchema, leave);
        found.push(...answer.VSwitches.VSwitch.map(toVSwitch));
        if (answer.VSwitches.VSwitch.length === 0 || page * VSWITCHES_PER_PAGE >= answer.TotalCount) break;
      }
    }
    return found;
  }

  async describeSecurityGroups(ids: string[], leave: ReadLeave) {
    const pages = await this.#inChunks(ids, SECURITY_GROUPS_PER_CALL, async (some) => {
      const model = new DescribeSecurityGroupsRequest({
        regionId: this.#regionId,
        securityGroupIds: JSON.stringify(some),
        maxResults: SECURITY_GROUPS_PER_CALL,
      });
      const { answer } = await this.#ecs.call('DescribeSecurityGroups', model, securityGroupPageSchema, leave);
      return answer.SecurityGroups.SecurityGroup.map((group) => ({
        id: group.SecurityGroupId,
        vpcId: group.VpcId,
        type: group.SecurityGroupType,
      }));
    });
    return pages.flat();
  }

  async #change(action: string, model: Parameters<RpcService['call']>[1], leave: CallLeave): Promise<Receipt> {
    const { answer } = await this.#ecs.call(action, model, plainAnswerSchema, leave);
    return { requestId: answer.RequestId };
  }

  async #inChunks<T, R>(items: T[], size: number, call: (chunk: T[]) => Promise<R>): Promise<R[]> {
    const results: R[] = [];
    for (const chunk of chunks(items, size)) results.push(await call(chunk));
    return results;
  }
}

function assigned(action: string, addresses: string[], requestId: string): Receipt & AssignedAddresses {
  if (addresses.length === 0) throw emptyAnswer(action, 'addresses', requestId);
  return { addresses, requestId };
}

/** The call was accepted, so it may have taken effect. */
function emptyAnswer(action: string, missing: string, requestId: string): CloudError {
  return new CloudError({
    kind: 'unavailable',
    action,
    code: 'EmptyAnswer',
    message: `${action} returned no ${missing} (request id ${requestId})`,
    requestId,
  });
}

function chunks<T>(items: T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, at) => items.slice(at * size, (at + 1) * size));
}

/** Pages can overlap when ENIs are created or deleted between two requests. */
function uniqueById(enis: Eni[]): Eni[] {
  return [...new Map(enis.map((eni) => [eni.id, eni])).values()];
}

function successWhen(...codes: string[]): (error: unknown) => Receipt {
  return (error) => {
    if (error instanceof CloudError && codes.includes(error.code)) return { requestId: error.requestId ?? '' };
    throw error;
  };
}
