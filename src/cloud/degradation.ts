import { CloudError } from './errors.ts';
import type { Cloud } from './port.ts';
import type { SendLimit } from './quota.ts';

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
 * @param level read when a call is made, and right before it is sent
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
  // Asked again right before it is sent: it may have waited for quota or a connection, or be another page of a listing.
  const guarded = <L extends SendLimit>(method: keyof Cloud, leave: L): L => {
    guard(method);
    const assertAllowed = () => {
      leave.assertAllowed?.();
      guard(method);
    };
    return { ...leave, assertAllowed };
  };
  return {
    createEni: async (request, leave) => cloud.createEni(request, guarded('createEni', leave)),
    attachEni: async (request, leave) => cloud.attachEni(request, guarded('attachEni', leave)),
    detachEni: async (request, leave) => cloud.detachEni(request, guarded('detachEni', leave)),
    deleteEni: async (eniId, leave) => cloud.deleteEni(eniId, guarded('deleteEni', leave)),
    modifyEniSecurityGroups: async (eniId, securityGroupIds, leave) =>
      cloud.modifyEniSecurityGroups(eniId, securityGroupIds, guarded('modifyEniSecurityGroups', leave)),
    assignIpv4: async (request, leave) => cloud.assignIpv4(request, guarded('assignIpv4', leave)),
    assignIpv6: async (request, leave) => cloud.assignIpv6(request, guarded('assignIpv6', leave)),
    unassignIpv4: async (request, leave) => cloud.unassignIpv4(request, guarded('unassignIpv4', leave)),
    unassignIpv6: async (request, leave) => cloud.unassignIpv6(request, guarded('unassignIpv6', leave)),
    describeEnis: async (filter, leave, keep) => cloud.describeEnis(filter, guarded('describeEnis', leave), keep),
    describeInstanceTypes: async (instanceTypes, leave) =>
      cloud.describeInstanceTypes(instanceTypes, guarded('describeInstanceTypes', leave)),
    describeInstances: async (instanceIds, leave) =>
      cloud.describeInstances(instanceIds, guarded('describeInstances', leave)),
    describeVSwitches: async (filter, leave) => cloud.describeVSwitches(filter, guarded('describeVSwitches', leave)),
    describeSecurityGroups: async (ids, leave) =>
      cloud.describeSecurityGroups(ids, guarded('describeSecurityGroups', leave)),
  };
}
