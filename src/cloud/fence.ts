import type { Cloud } from './port.ts';

/**
 * The cloud for as long as a lease is held: every call asks right before it is written, and one that comes too late is not
 * sent. Reads as well: nobody of the term waits for the answer, and the quota of the minute is the next leader's.
 *
 * @param assertHeld throws when the lease may be somebody else's by now
 */
export function withFence(cloud: Cloud, assertHeld: () => void): Cloud {
  return {
    createEni: (request, leave) => cloud.createEni(request, { ...leave, assertHeld }),
    attachEni: (request, leave) => cloud.attachEni(request, { ...leave, assertHeld }),
    detachEni: (request, leave) => cloud.detachEni(request, { ...leave, assertHeld }),
    deleteEni: (eniId, leave) => cloud.deleteEni(eniId, { ...leave, assertHeld }),
    modifyEniSecurityGroups: (eniId, ids, leave) => cloud.modifyEniSecurityGroups(eniId, ids, { ...leave, assertHeld }),
    describeEnis: (filter, leave, keep) => cloud.describeEnis(filter, { ...leave, assertHeld }, keep),
    describeInstanceTypes: (types, leave) => cloud.describeInstanceTypes(types, { ...leave, assertHeld }),
    describeInstances: (ids, leave) => cloud.describeInstances(ids, { ...leave, assertHeld }),
    describeVSwitches: (filter, leave) => cloud.describeVSwitches(filter, { ...leave, assertHeld }),
    describeSecurityGroups: (ids, leave) => cloud.describeSecurityGroups(ids, { ...leave, assertHeld }),
  };
}
