export interface VSwitch {
  id: string;
  vpcId: string;
  zoneId: string;
  cidrBlock: string;
  ipv6CidrBlock: string;
  availableIpCount: number;
  status: string;
}

export interface SecurityGroup {
  id: string;
  vpcId: string;
  type: string;
}
