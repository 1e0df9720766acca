/** Limits of an instance type, as DescribeInstanceTypes returns them. */
export interface InstanceTypeLimits {
  instanceType: string;
  eniQuantity: number;
  eniTotalQuantity: number;
  trunkSupported: boolean;
  ipv4PerEni: number;
  ipv6PerEni: number;
  eriQuantity: number;
  /** kbit/s */
  bandwidthRx: number;
  /** kbit/s */
  bandwidthTx: number;
  networkCardIndexes: number[];
}

export interface Instance {
  id: string;
  instanceType: string;
  zoneId: string;
  vpcId: string;
  vSwitchId: string;
  status: string;
  securityGroupIds: string[];
}
