import { type Action, PRODUCT_VERSIONS } from '../action.ts';
import {
  assignIpv6Addresses,
  assignPrivateIpAddresses,
  unassignIpv6Addresses,
  unassignPrivateIpAddresses,
} from './addresses.ts';
import {
  attachNetworkInterface,
  createNetworkInterface,
  deleteNetworkInterface,
  detachNetworkInterface,
  modifyNetworkInterfaceAttribute,
} from './eni.ts';
import { describeNetworkInterfaceAttribute, describeNetworkInterfaces } from './eni-describe.ts';
import { describeInstanceAttribute, describeInstances, describeInstanceTypes } from './instances.ts';
import {
  describeRegions,
  describeVpcAttribute,
  describeVpcs,
  describeVSwitchAttributes,
  describeVSwitches,
  describeZones,
} from './network.ts';
import {
  authorizeSecurityGroup,
  authorizeSecurityGroupEgress,
  revokeSecurityGroup,
  revokeSecurityGroupEgress,
} from './security-group-rules.ts';
import {
  describeSecurityGroupAttribute,
  describeSecurityGroups,
  joinSecurityGroup,
  leaveSecurityGroup,
} from './security-groups.ts';
import { listTagResources, tagResources, tagResourcesVpc, untagResources } from './tags.ts';

/** Every API that the simulator offers. */
export const ACTIONS: readonly Action[] = [
  createNetworkInterface,
  describeNetworkInterfaces,
  describeNetworkInterfaceAttribute,
  attachNetworkInterface,
  detachNetworkInterface,
  deleteNetworkInterface,
  modifyNetworkInterfaceAttribute,
  assignPrivateIpAddresses,
  unassignPrivateIpAddresses,
  assignIpv6Addresses,
  unassignIpv6Addresses,
  describeInstanceTypes,
  describeInstances,
  describeInstanceAttribute,
  describeSecurityGroups,
  describeSecurityGroupAttribute,
  authorizeSecurityGroup,
  authorizeSecurityGroupEgress,
  revokeSecurityGroup,
  revokeSecurityGroupEgress,
  joinSecurityGroup,
  leaveSecurityGroup,
  tagResources,
  untagResources,
  listTagResources,
  describeZones,
  describeRegions,
  describeVSwitches,
  describeVSwitchAttributes,
  describeVpcs,
  describeVpcAttribute,
  tagResourcesVpc,
];

const byVersionAndName = new Map(
  ACTIONS.map((action) => [`${PRODUCT_VERSIONS[action.product]}\n${action.name}`, action]),
);

/** Undefined when the version does not have the API. */
export function findAction(version: string, name: string): Action | undefined {
  return byVersionAndName.get(`${version}\n${name}`);
}
