import type { CloudModel } from './model/model.ts';

/** A small network for tests. */
export interface TestNetwork {
  vpcId: string;
  /** Zone i, with IPv6. */
  vSwitchId: string;
  /** Zone j. */
  otherZoneVSwitchId: string;
  securityGroupId: string;
  otherSecurityGroupId: string;
  instanceId: string;
  primaryEniId: string;
}

export const REGION = 'cn-hangzhou';

/** VPC, vSwitches in two zones, two security groups and one instance of `instanceType`. */
export function seedNetwork(model: CloudModel, nowMs: number, instanceType = 'ecs.g7.4xlarge'): TestNetwork {
  const vpcId = model.createVpc({ cidrBlock: '10.0.0.0/8', ipv6CidrBlock: '2408:4321:180:1700::/56' }, nowMs);
  const vSwitchId = model.createVSwitch(
    { vpcId, zoneId: 'cn-hangzhou-i', cidrBlock: '10.1.0.0/16', ipv6CidrBlock: '2408:4321:180:1701::/64' },
    nowMs,
  );
  const otherZoneVSwitchId = model.createVSwitch({ vpcId, zoneId: 'cn-hangzhou-j', cidrBlock: '10.2.0.0/24' }, nowMs);
  const securityGroupId = model.createSecurityGroup({ vpcId, name: 'pods' }, nowMs);
  const otherSecurityGroupId = model.createSecurityGroup({ vpcId, name: 'other' }, nowMs);
  const { instanceId, primaryEniId } = model.runInstance(
    { instanceType, vSwitchId, securityGroupIds: [securityGroupId] },
    nowMs,
  );
  return { vpcId, vSwitchId, otherZoneVSwitchId, securityGroupId, otherSecurityGroupId, instanceId, primaryEniId };
}
