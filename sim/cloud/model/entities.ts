/** The objects of an account in the model. Field names follow the API. */

export type EniStatus = 'Available' | 'Attaching' | 'InUse' | 'Detaching' | 'Deleting';
export type EniType = 'Primary' | 'Secondary' | 'Trunk' | 'Member';
export type InstanceStatus = 'Pending' | 'Starting' | 'Running' | 'Stopping' | 'Stopped';
export type SecurityGroupType = 'normal' | 'enterprise';

export interface Vpc {
  seq: number;
  id: string;
  name: string;
  cidrBlock: string;
  ipv6CidrBlock: string;
  vRouterId: string;
  routeTableId: string;
  tags: Map<string, string>;
  creationTimeMs: number;
}

export interface VSwitch {
  seq: number;
  id: string;
  name: string;
  vpcId: string;
  zoneId: string;
  cidrBlock: string;
  ipv6CidrBlock: string;
  tags: Map<string, string>;
  creationTimeMs: number;
}

/** One rule of a security group. An empty string means "not given". */
export interface SecurityGroupRule {
  id: string;
  direction: 'ingress' | 'egress';
  policy: 'Accept' | 'Drop';
  ipProtocol: string;
  portRange: string;
  sourcePortRange: string;
  priority: number;
  sourceCidrIp: string;
  ipv6SourceCidrIp: string;
  sourceGroupId: string;
  sourcePrefixListId: string;
  destCidrIp: string;
  ipv6DestCidrIp: string;
  destGroupId: string;
  destPrefixListId: string;
  description: string;
  creationTimeMs: number;
}

export interface SecurityGroup {
  seq: number;
  id: string;
  name: string;
  vpcId: string;
  type: SecurityGroupType;
  innerAccessPolicy: 'Accept' | 'Drop';
  description: string;
  rules: SecurityGroupRule[];
  tags: Map<string, string>;
  creationTimeMs: number;
}

export interface Instance {
  seq: number;
  id: string;
  name: string;
  hostName: string;
  instanceType: string;
  zoneId: string;
  vpcId: string;
  vSwitchId: string;
  status: InstanceStatus;
  primaryEniId: string;
  /** `required`: its metadata are read with a token only. */
  httpTokens: 'optional' | 'required';
  tags: Map<string, string>;
  creationTimeMs: number;
}

/** Where an ENI is attached, or is being attached or detached. */
export interface EniAttachment {
  instanceId: string;
  networkCardIndex: number;
  /** Only for a Member: the trunk, and the VLAN id on it that the cloud chose (1–4094). */
  trunk?: { eniId: string; vlanId: number };
}

export interface Eni {
  seq: number;
  id: string;
  name: string;
  description: string;
  type: EniType;
  status: EniStatus;
  macAddress: string;
  vpcId: string;
  vSwitchId: string;
  zoneId: string;
  /** The primary address first. */
  ipv4: string[];
  ipv4Prefixes: string[];
  ipv6: string[];
  ipv6Prefixes: string[];
  securityGroupIds: string[];
  resourceGroupId: string;
  tags: Map<string, string>;
  deleteOnRelease: boolean;
  sourceDestCheck: boolean;
  trafficMode: 'Standard' | 'HighPerformance';
  queueNumber?: number;
  creationTimeMs: number;
  /** Present only in the statuses Attaching, InUse and Detaching. */
  attachment?: EniAttachment;
  /** Counts status changes, so that a completion planned for an earlier status is known to be stale. */
  epoch: number;
}
