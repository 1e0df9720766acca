/** States that DescribeNetworkInterfaces reports. */
export const ENI_STATUSES = [
  'Available',
  'Attaching',
  'InUse',
  'Detaching',
  'Deleting',
  'Creating',
  'CreateFailed',
] as const;
/** `Unknown` stands for a state that this version does not know. */
export type EniStatus = (typeof ENI_STATUSES)[number] | 'Unknown';

/** `Type` of an ENI; an ENI is `Member` only while it is attached to a trunk. */
export const ENI_TYPES = ['Primary', 'Secondary', 'Trunk', 'Member'] as const;
export type EniType = (typeof ENI_TYPES)[number];

/** One elastic network interface as DescribeNetworkInterfaces returns it. */
export interface Eni {
  id: string;
  type: EniType;
  status: EniStatus;
  macAddress: string;
  vpcId: string;
  vSwitchId: string;
  zoneId: string;
  primaryIp: string;
  /** Every IPv4 address, the primary one first. */
  ipv4: string[];
  ipv6: string[];
  securityGroupIds: string[];
  resourceGroupId: string;
  tags: Record<string, string>;
  /** Absent while not attached. */
  instanceId?: string;
  /** ENI id of the trunk; only for a Member. */
  trunkEniId?: string;
  /** VLAN id of a Member (`Attachment.DeviceIndex`), chosen by the cloud. */
  vlanId?: number;
  networkCardIndex?: number;
  /** `HighPerformance` for RDMA; absent when the response does not say. */
  trafficMode?: string;
  deleteOnRelease: boolean;
  /** Epoch milliseconds; absent when the response has none. */
  createdAtMs?: number;
  description: string;
}

/** The latest observation of one ENI. `eni` is absent when the cloud does not know the id. */
export interface EniObservation {
  /** When the request was sent, epoch milliseconds. */
  atMs: number;
  eni?: Eni;
}
