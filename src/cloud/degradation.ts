import { CloudError } from './errors.ts';
import type { Cloud } from './port.ts';

/**
 * How much of the cloud may be used. `''`: everything. `l1`: nothing is detached, deleted, unassigned or otherwise
 * released. `l0`: the cloud is not called at all; attached interfaces keep working.
 */
export type DegradationLevel = '' | 'l1' | 'l0';

/** The API action of each method, for messages, and whether it releases something. */
const CALLS: Readonly<Record<keyof Cloud, { action: string; releases: boolean }>> = {
  createEni: { action: 'CreateNetworkInterface', releases: false },
  attachEni: { action: 'AttachNetworkInterface', releases: false },
  detachEni: { action: 'DetachNetworkInterface', releases: true },
  deleteEni: { action: 'DeleteNetworkInterface', releases: true },
  modifyEniSecurityGroups: { action: 'ModifyNetworkInterfaceAttribute', releases: false },
  assignIpv4: { action: 'AssignPrivateIpAddresses', releases: false },
  assignIpv6: { action: 'AssignIpv6Addresses', releases: false },
  unassignIpv4: { action: 'UnassignPrivateIpAddresses', releases: true },
  unassignIpv6: { action: 'UnassignIpv6Addresses', releases: true },
  describeEnis: { action: 'DescribeNetworkInterfaces', releases: false },
  describeInstanceTypes: { action: 'DescribeInstanceTypes', releases: false },
  describeInstances: { action: 'DescribeInstances', releases: false },
  describeVSwitches: { action: 'DescribeVSwitches', releases: false },
  describeSecurityGroups: { action: 'DescribeSecurityGroups', releases: false },
};

/**
 * The cloud with a switch: a call that the current level forbids fails with a CloudError of kind `degraded` and is not
 * sent. All access to the cloud goes through it.
 *
 * @param level read on each call
 */
export function withDegradation(cloud: Cloud, level: () => DegradationLevel): Cloud {
  const guard = (method: keyof Cloud): void => {
    const now = level();
    const { action, releases } = CALLS[method];
    if (now === '' || (now === 'l1' && !releases)) return;
    const what = now === 'l0' ? 'calls nothing' : 'releases nothing';
    throw new CloudError({
      kind: 'degraded',
      action,
      code: `Degraded.${now}`,
      message: `${action} is not called: with degradation ${now} the control plane ${what}; set degradation to "" in its configuration when the cloud has recovered`,
    });
  };
  return {
    createEni: async (request, leave) => {
      guard('createEni');
      return cloud.createEni(request, leave);
    },
    attachEni: async (request, leave) => {
      guard('attachEni');
      return cloud.attachEni(request, leave);
    },
    detachEni: async (request, leave) => {
      guard('detachEni');
      return cloud.detachEni(request, leave);
    },
    deleteEni: async (eniId, leave) => {
      guard('deleteEni');
      return cloud.deleteEni(eniId, leave);
    },
    modifyEniSecurityGroups: async (eniId, securityGroupIds, leave) => {
      guard('modifyEniSecurityGroups');
      return cloud.modifyEniSecurityGroups(eniId, securityGroupIds, leave);
    },
    assignIpv4: async (request, leave) => {
      guard('assignIpv4');
      return cloud.assignIpv4(request, leave);
    },
    assignIpv6: async (request, leave) => {
      guard('assignIpv6');
      return cloud.assignIpv6(request, leave);
    },
    unassignIpv4: async (request, leave) => {
      guard('unassignIpv4');
      return cloud.unassignIpv4(request, leave);
    },
    unassignIpv6: async (request, leave) => {
      guard('unassignIpv6');
      return cloud.unassignIpv6(request, leave);
    },
    describeEnis: async (filter, leave, keep) => {
      guard('describeEnis');
      return cloud.describeEnis(filter, leave, keep);
    },
    describeInstanceTypes: async (instanceTypes, leave) => {
      guard('describeInstanceTypes');
      return cloud.describeInstanceTypes(instanceTypes, leave);
    },
    describeInstances: async (instanceIds, leave) => {
      guard('describeInstances');
      return cloud.describeInstances(instanceIds, leave);
    },
    describeVSwitches: async (filter, leave) => {
      guard('describeVSwitches');
      return cloud.describeVSwitches(filter, leave);
    },
    describeSecurityGroups: async (ids, leave) => {
      guard('describeSecurityGroups');
      return cloud.describeSecurityGroups(ids, leave);
    },
  };
}
