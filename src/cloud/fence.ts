import type { Cloud } from './port.ts';
import type { SendLimit } from './quota.ts';

/**
 * The cloud while a lease is held: every call checks the lease right before it is written, and is not sent if the lease
 * may be lost. This includes reads, because nobody in the term waits for the response and the quota belongs to the next
 * leader.
 *
 * @param assertHeld throws when someone else may hold the lease by now
 */
export function withFence(cloud: Cloud, assertHeld: () => void): Cloud {
  const under = <L extends SendLimit>(leave: L): L => ({ ...leave, assertAllowed: assertHeld });
  return {
    createEni: (request, leave) => cloud.createEni(request, under(leave)),
    attachEni: (request, leave) => cloud.attachEni(request, under(leave)),
    detachEni: (request, leave) => cloud.detachEni(request, under(leave)),
    deleteEni: (eniId, leave) => cloud.deleteEni(eniId, under(leave)),
    modifyEniSecurityGroups: (eniId, ids, leave) => cloud.modifyEniSecurityGroups(eniId, ids, under(leave)),
    assignIpv4: (request, leave) => cloud.assignIpv4(request, under(leave)),
    assignIpv6: (request, leave) => cloud.assignIpv6(request, under(leave)),
    unassignIpv4: (request, leave) => cloud.unassignIpv4(request, under(leave)),
    unassignIpv6: (request, leave) => cloud.unassignIpv6(request, under(leave)),
    describeEnis: (filter, leave, keep) => cloud.describeEnis(filter, under(leave), keep),
    describeInstanceTypes: (types, leave) => cloud.describeInstanceTypes(types, under(leave)),
    describeInstances: (ids, leave) => cloud.describeInstances(ids, under(leave)),
    describeVSwitches: (filter, leave) => cloud.describeVSwitches(filter, under(leave)),
    describeSecurityGroups: (ids, leave) => cloud.describeSecurityGroups(ids, under(leave)),
  };
}
