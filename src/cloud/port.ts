/**
 * What the control plane needs from Alibaba Cloud, in the domain's words. The adapters on the official SDKs implement
 * it; nothing above `src/cloud` sees a request or response of the SDK.
 *
 * Every method throws a `CloudError` (errors.ts), and the reason of its signal when that aborts. Without a turn a method waits
 * for quota before the request leaves.
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
  /** A given primary address instead of one that the cloud picks. */
  primaryIp?: string;
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

/** Filters are combined with AND; `ids` may hold any number, the adapter batches by 100. */
export interface EniFilter {
  ids?: string[];
  vpcId?: string;
  instanceId?: string;
  type?: EniType;
  status?: EniStatus;
  tags?: Record<string, string>;
}

/** An answer and how old it is. */
export interface DescribedEnis {
  enis: Eni[];
  /** When the first request left, after any wait for quota; epoch milliseconds. */
  sentAtMs: number;
  /** How many requests it took. */
  requests: number;
}

/** What the cloud answered to a call that changes something; its support asks for the request id. */
export interface Receipt {
  /** Empty when the answer carries none. */
  requestId: string;
}

export interface Cloud {
  /** Returns the created ENI, `Available`. Synchronous in the cloud. */
  createEni(request: CreateEniRequest, leave: CallLeave): Promise<Receipt & { eni: Eni }>;
  /** Starts the attachment; the ENI is `Attaching` on return and `InUse` later. */
  attachEni(request: AttachEniRequest, leave: CallLeave): Promise<Receipt>;
  /** Starts the detachment. An ENI or instance that no longer exists counts as success (reference 5.5). */
  detachEni(request: DetachEniRequest, leave: CallLeave): Promise<Receipt>;
  /** Starts the deletion. An ENI that no longer exists counts as success. */
  deleteEni(eniId: string, leave: CallLeave): Promise<Receipt>;
  /** Replaces the security groups of an ENI in any state but Deleting. Synchronous; takes effect after a short delay. */
  modifyEniSecurityGroups(eniId: string, securityGroupIds: string[], leave: CallLeave): Promise<Receipt>;
  /**
   * Follows the pages to the end; ids that do not exist are missing from the answer.
   *
   * @param keep which of them to keep in memory; every one without it.
   */
  describeEnis(filter: EniFilter, leave: CallLeave, keep?: (eni: Eni) => boolean): Promise<DescribedEnis>;
  describeInstanceTypes(instanceTypes: string[], leave: ReadLeave): Promise<InstanceTypeLimits[]>;
  describeInstances(instanceIds: string[], leave: ReadLeave): Promise<Instance[]>;
  /** By ids, every vSwitch of a VPC, or every one of the region. */
  describeVSwitches(filter: { ids?: string[]; vpcId?: string }, leave: ReadLeave): Promise<VSwitch[]>;
  describeSecurityGroups(ids: string[], leave: ReadLeave): Promise<SecurityGroup[]>;
}
