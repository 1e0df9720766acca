/**
 * The Alibaba Cloud operations that the control plane needs, in domain terms. The adapters on the official SDKs
 * implement them; code above `src/cloud` sees no SDK request or response.
 *
 * Every method throws a `CloudError` (errors.ts), or the reason of its signal when that aborts. Without a turn, a
 * method waits for quota before it sends the request.
 */

import type { Eni, EniStatus, EniType } from '../ecs/eni.ts';
import type { Instance, InstanceTypeLimits } from '../ecs/instance.ts';
import type { SecurityGroup, VSwitch } from '../ecs/vpc.ts';
import type { CallLeave, ReadLeave } from './quota.ts';

export interface CreateEniRequest {
  kind: 'Secondary' | 'Trunk';
  vSwitchId: string;
  securityGroupIds: string[];
  tags: Record<string, string>;
  deleteOnRelease: boolean;
  description: string;
  /** At most 64 ASCII characters; the same token and parameters give the same ENI. */
  clientToken: string;
  /** A specific primary address; by default the cloud picks one. */
  primaryIp?: string;
  /**
   * IPv4 addresses beside the primary one, 1 to 49. More than the instance type allows an ENI are accepted here, but the
   * attach is refused.
   */
  secondaryIpv4Count?: number;
  ipv6Count?: number;
  resourceGroupId?: string;
}

export interface AttachEniRequest {
  eniId: string;
  instanceId: string;
  /** Makes the ENI a Member of this trunk. */
  trunkEniId?: string;
}

export type DetachEniRequest = AttachEniRequest;

export interface AssignRequest {
  /** Available or InUse. */
  eniId: string;
  /** No more than the instance type allows the ENI, and at most 10 IPv6 addresses at a time. */
  count: number;
  /** At most 64 ASCII characters; the same token and parameters give the same addresses. */
  clientToken: string;
}

export interface UnassignRequest {
  /** Available or InUse. */
  eniId: string;
  /** At most 10 at a time, the bound of the older API references; none of them the primary one. */
  addresses: string[];
}

/** Filters are combined with AND; `ids` may hold any number, the adapter batches by 100. */
export interface EniFilter {
  ids?: string[];
  vpcId?: string;
  instanceId?: string;
  type?: EniType;
  status?: EniStatus;
  tags?: Record<string, string>;
}

/** A response and its age. */
export interface DescribedEnis {
  enis: Eni[];
  /** When the first request was sent, after any wait for quota; epoch milliseconds. */
  sentAtMs: number;
  /** Number of requests. */
  requests: number;
}

/** What an assign gave. */
export interface AssignedAddresses {
  /** At least one. */
  addresses: string[];
}

/** The response to a mutating call; Alibaba Cloud's support asks for the request id. */
export interface Receipt {
  /** Empty when the response has none. */
  requestId: string;
}

/** What changes nothing in the cloud. */
export interface CloudReads {
  /**
   * Reads all pages; ids that do not exist are missing from the result.
   *
   * @param keep selects the ENIs to keep in memory; all by default.
   */
  describeEnis(filter: EniFilter, leave: CallLeave, keep?: (eni: Eni) => boolean): Promise<DescribedEnis>;
  describeInstanceTypes(instanceTypes: string[], leave: ReadLeave): Promise<InstanceTypeLimits[]>;
  describeInstances(instanceIds: string[], leave: ReadLeave): Promise<Instance[]>;
  /** By ids, all vSwitches of a VPC, or all of the region. */
  describeVSwitches(filter: { ids?: string[]; vpcId?: string }, leave: ReadLeave): Promise<VSwitch[]>;
  describeSecurityGroups(ids: string[], leave: ReadLeave): Promise<SecurityGroup[]>;
}

/** What changes the cloud. Only `EniDriver` calls it (`make check`), so that its rules hold for every change. */
export interface CloudChanges {
  /** Returns the created ENI, `Available`. Synchronous in the cloud. */
  createEni(request: CreateEniRequest, leave: CallLeave): Promise<Receipt & { eni: Eni }>;
  /** Starts the attach; the ENI is `Attaching` on return and `InUse` later. */
  attachEni(request: AttachEniRequest, leave: CallLeave): Promise<Receipt>;
  /** Starts the detach. Succeeds if the ENI or instance no longer exists. */
  detachEni(request: DetachEniRequest, leave: CallLeave): Promise<Receipt>;
  /** Starts the deletion. Succeeds if the ENI no longer exists. */
  deleteEni(eniId: string, leave: CallLeave): Promise<Receipt>;
  /** Replaces the security groups of an ENI in any state but Deleting. Synchronous; takes effect after a short delay. */
  modifyEniSecurityGroups(eniId: string, securityGroupIds: string[], leave: CallLeave): Promise<Receipt>;
  /** Adds secondary addresses that the cloud picks from the ENI's vSwitch, all or none. Synchronous in the cloud. */
  assignIpv4(request: AssignRequest, leave: CallLeave): Promise<Receipt & AssignedAddresses>;
  /** As {@link assignIpv4}; the vSwitch must have IPv6. */
  assignIpv6(request: AssignRequest, leave: CallLeave): Promise<Receipt & AssignedAddresses>;
  /**
   * Removes secondary addresses, all or none. Succeeds if the ENI no longer exists.
   *
   * A single address that the ENI does not have fails the whole call with kind `unassigned`, and the cloud does not
   * reliably say which one it is: the caller looks at the ENI and asks again for those that it still has. The same
   * happens when an earlier call took effect but its response was lost.
   */
  unassignIpv4(request: UnassignRequest, leave: CallLeave): Promise<Receipt>;
  /** As {@link unassignIpv4}. */
  unassignIpv6(request: UnassignRequest, leave: CallLeave): Promise<Receipt>;
}

export type Cloud = CloudReads & CloudChanges;
