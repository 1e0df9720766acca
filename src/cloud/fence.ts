import type { Cloud } from './port.ts';

/**
 * The cloud while a lease is held: every call checks the lease right before it is written, and is not sent if the lease
 * may be lost. This includes reads, because nobody in the term waits for the response and the quota belongs to the next
 * leader.
 *
 * @param assertHeld throws when someone else may hold the lease by now
 */
export function withFence(cloud: Cloud, assertHeld: () => void): Cloud {
  return {
    createEni: (request, leave) => cloud.createEni(request, { ...leave, assertHeld }),
    attachEni: (request, leave) => cloud.attachEni(request, { ...leave, assertHeld }),
    detachEni: (request, leave) => cloud.detachEni(request, { ...leave, assertHeld }),
    deleteEni: (eniId, leave) => cloud.deleteEni(eniId, { ...leave, assertHeld }),
    modifyEniSecurityGroups: (eniId, ids, leave) => cloud.modifyEniSecurityGroups(eniId, ids, { ...leave, assertHeld }),
    assignIpv4: (request, leave) => cloud.assignIpv4(request, { ...leave, assertHeld }),
    assignIpv6: (request, leave) => cloud.assignIpv6(request, { ...leave, assertHeld }),
    unassignIpv4: (request, leave) => cloud.unassignIpv4(request, { ...leave, assertHeld }),
    unassignIpv6: (request, leave) => cloud.unassignIpv6(request, { ...leave, assertHeld }),
    describeEnis: (filter, leave, keep) => cloud.describeEnis(filter, { ...leave, assertHeld }, keep),
    describeInstanceTypes: (types, leave) => cloud.describeInstanceTypes(types, { ...leave, assertHeld }),
    describeInstances: (ids, leave) => cloud.describeInstances(ids, { ...leave, assertHeld }),
    describeVSwitches: (filter, leave) => cloud.describeVSwitches(filter, { ...leave, assertHeld }),
    describeSecurityGroups: (ids, leave) => cloud.describeSecurityGroups(ids, { ...leave, assertHeld }),
  };
}
