import { parseIpv4, parseIpv4Block } from './cidr.ts';
import { type InstanceType, memberLimit } from './instance-types.ts';
import type { CloudModel } from './model.ts';
import type { EniSnapshot, Snapshot } from './snapshot.ts';

/**
 * Invariants that hold in every state of an account, whatever clients and administrators have done. Returns one line per
 * violation. Used by the model's tests and the simulated world.
 */
export function accountViolations(model: CloudModel): string[] {
  const state = model.snapshot();
  const counters = model.counters();
  const types = new Map(model.instanceTypes().map((type) => [type.instanceTypeId, type]));
  const violations = [
    ...addressViolations(state),
    ...attachmentViolations(state),
    ...limitViolations(state, types),
    ...vlanViolations(state),
  ];
  if (counters.eniCreated - counters.eniDeleted !== state.enis.length) {
    violations.push(`${counters.eniCreated} created - ${counters.eniDeleted} deleted != ${state.enis.length} ENIs`);
  }
  const attached = state.enis.filter((eni) => eni.status === 'InUse' || eni.status === 'Detaching').length;
  if (counters.eniAttached - counters.eniDetached < attached) {
    violations.push(`${counters.eniAttached} attached - ${counters.eniDetached} detached < ${attached} in use`);
  }
  if (new Set(state.enis.map((eni) => eni.macAddress)).size !== state.enis.length)
    violations.push('a MAC address is used twice');
  return violations;
}

function addressViolations(state: Snapshot): string[] {
  const violations: string[] = [];
  for (const vSwitch of state.vSwitches) {
    const block = parseIpv4Block(vSwitch.cidrBlock);
    if (block === undefined) return [`${vSwitch.id}: no block`];
    const taken = new Set<number>();
    const taken6 = new Set<string>();
    for (const eni of state.enis) {
      if (eni.vSwitchId !== vSwitch.id) continue;
      for (const value of ipv4Values(eni)) {
        if (taken.has(value)) violations.push(`${eni.id}: an IPv4 address is used twice`);
        taken.add(value);
        if (value < block.base + 1 || value > block.base + block.size - 4) {
          violations.push(`${eni.id}: an IPv4 address is outside ${vSwitch.cidrBlock} or reserved`);
        }
      }
      for (const text of [...eni.ipv6, ...eni.ipv6Prefixes]) {
        if (taken6.has(text)) violations.push(`${eni.id}: ${text} is used twice`);
        taken6.add(text);
      }
      if (eni.ipv4.length === 0) violations.push(`${eni.id}: no primary address`);
    }
    if (block.size - 4 - taken.size !== vSwitch.availableIpAddressCount) {
      violations.push(`${vSwitch.id}: free count ${vSwitch.availableIpAddressCount}, ${taken.size} in use`);
    }
    if (vSwitch.availableIpAddressCount < 0) violations.push(`${vSwitch.id}: negative free count`);
  }
  return violations;
}

/** Every IPv4 address that the ENI takes, including those of its prefixes. */
function ipv4Values(eni: EniSnapshot): number[] {
  const values = eni.ipv4.map((ip) => parseIpv4(ip) ?? -1);
  for (const prefix of eni.ipv4Prefixes) {
    const block = parseIpv4Block(prefix);
    for (let offset = 0; block !== undefined && offset < block.size; offset++) values.push(block.base + offset);
  }
  return values;
}

function attachmentViolations(state: Snapshot): string[] {
  const violations: string[] = [];
  const enis = new Map(state.enis.map((eni) => [eni.id, eni]));
  const instances = new Map(state.instances.map((instance) => [instance.id, instance]));
  const groups = new Map(state.securityGroups.map((group) => [group.id, group]));
  for (const eni of state.enis) {
    const placed = eni.status === 'Attaching' || eni.status === 'InUse' || eni.status === 'Detaching';
    if (placed !== (eni.attachment !== undefined)) violations.push(`${eni.id}: ${eni.status} and attachment disagree`);
    if ((eni.type === 'Member') !== (eni.attachment?.trunk !== undefined)) {
      violations.push(`${eni.id}: type ${eni.type} and trunk disagree`);
    }
    for (const groupId of eni.securityGroupIds) {
      if (groups.get(groupId)?.vpcId !== eni.vpcId) violations.push(`${eni.id}: group ${groupId} is not in its VPC`);
    }
    if (eni.securityGroupIds.length === 0 || eni.securityGroupIds.length > 10) {
      violations.push(`${eni.id}: ${eni.securityGroupIds.length} groups`);
    }
    if (eni.attachment === undefined) continue;
    const instance = instances.get(eni.attachment.instanceId);
    if (instance === undefined) violations.push(`${eni.id}: attached to a released instance`);
    else if (instance.zoneId !== eni.zoneId || instance.vpcId !== eni.vpcId) {
      violations.push(`${eni.id}: zone or VPC differs from that of ${instance.id}`);
    }
    if (eni.attachment.trunk === undefined) continue;
    const trunk = enis.get(eni.attachment.trunk.eniId);
    if (trunk?.type !== 'Trunk' || trunk.status !== 'InUse') violations.push(`${eni.id}: its trunk is not in use`);
    if (trunk?.attachment?.instanceId !== eni.attachment.instanceId) {
      violations.push(`${eni.id}: its trunk is on another instance`);
    }
  }
  return violations;
}

function limitViolations(state: Snapshot, types: ReadonlyMap<string, InstanceType>): string[] {
  const violations: string[] = [];
  for (const instance of state.instances) {
    const type = types.get(instance.instanceType);
    const own = state.enis.filter((eni) => eni.attachment?.instanceId === instance.id);
    const members = own.filter((eni) => eni.type === 'Member').length;
    const trunks = own.filter((eni) => eni.type === 'Trunk').length;
    if (type === undefined) violations.push(`${instance.id}: unknown type`);
    else if (own.length - members > type.eniQuantity || members > memberLimit(type) || trunks > 1) {
      violations.push(`${instance.id}: ${own.length - members} adapters, ${trunks} trunks, ${members} members`);
    }
    if (!own.some((eni) => eni.id === instance.primaryEniId && eni.type === 'Primary')) {
      violations.push(`${instance.id}: no primary ENI`);
    }
  }
  return violations;
}

function vlanViolations(state: Snapshot): string[] {
  const violations: string[] = [];
  const taken = new Set<string>();
  for (const eni of state.enis) {
    const trunk = eni.attachment?.trunk;
    if (trunk === undefined) continue;
    const key = `${trunk.eniId}/${trunk.vlanId}`;
    if (taken.has(key)) violations.push(`${eni.id}: VLAN ${key} is used twice`);
    taken.add(key);
    if (trunk.vlanId < 1 || trunk.vlanId > 4094) violations.push(`${eni.id}: VLAN ${trunk.vlanId} is out of range`);
  }
  return violations;
}
