import { ipv4Gateway, ipv4Netmask, ipv6Gateway, parseIpv4, parseIpv4Block } from './cidr.ts';
import type { EniSnapshot, InstanceSnapshot, Snapshot } from './snapshot.ts';

/** What an instance is told about itself. Names and forms as in the documentation's list of instance metadata. */

/** Items are text. */
export interface MetadataFolder {
  readonly [name: string]: string | MetadataFolder;
}

/** The instance that sends from this IPv4 address: the one where the ENI that has it is in use. */
export function instanceAt(state: Snapshot, address: string): InstanceSnapshot | undefined {
  const value = parseIpv4(address);
  if (value === undefined) return undefined;
  const eni = state.enis.find((candidate) => candidate.status === 'InUse' && hasIpv4(candidate, address, value));
  return state.instances.find(({ id }) => id === eni?.attachment?.instanceId);
}

export function instanceMetadata(state: Snapshot, instance: InstanceSnapshot): MetadataFolder {
  const own = state.enis.filter((eni) => eni.attachment?.instanceId === instance.id);
  // Not the members of a trunk, as in DescribeInstances, and none before it is in use (assumed).
  const adapters = own.filter((eni) => eni.type !== 'Member' && eni.status === 'InUse');
  const primary = own.find((eni) => eni.id === instance.primaryEniId);
  const { vpc, vSwitch } = placeOf(state, instance);
  return {
    hostname: instance.hostName,
    instance: { 'instance-name': instance.name, 'instance-type': instance.instanceType },
    'instance-id': instance.id,
    mac: primary?.macAddress ?? '',
    network: {
      interfaces: { macs: Object.fromEntries(adapters.map((eni) => [eni.macAddress, eniMetadata(state, eni)])) },
    },
    'network-type': 'vpc',
    'owner-account-id': state.ownerId,
    'private-ipv4': primary?.ipv4[0] ?? '',
    'region-id': state.regionId,
    'vpc-cidr-block': vpc.cidrBlock,
    'vpc-id': vpc.id,
    'vswitch-cidr-block': vSwitch.cidrBlock,
    'vswitch-id': vSwitch.id,
    'zone-id': instance.zoneId,
  };
}

/** Items of IPv6 are absent without IPv6. */
function eniMetadata(state: Snapshot, eni: EniSnapshot): MetadataFolder {
  const { vpc, vSwitch } = placeOf(state, eni);
  const block = parseIpv4Block(vSwitch.cidrBlock);
  const gateway6 = ipv6Gateway(vSwitch.ipv6CidrBlock);
  return {
    gateway: ipv4Gateway(vSwitch.cidrBlock) ?? '',
    ...(gateway6 === undefined ? {} : { 'ipv6-gateway': gateway6 }),
    // Documented like this: JSON for IPv4, and without quotes for IPv6.
    ...(eni.ipv6.length === 0 ? {} : { ipv6s: `[${eni.ipv6.join(',')}]` }),
    netmask: block === undefined ? '' : ipv4Netmask(block),
    'network-interface-id': eni.id,
    'primary-ip-address': eni.ipv4[0] ?? '',
    'private-ipv4s': JSON.stringify(eni.ipv4),
    'vpc-cidr-block': vpc.cidrBlock,
    'vpc-id': vpc.id,
    ...(vpc.ipv6CidrBlock === '' ? {} : { 'vpc-ipv6-cidr-blocks': `[${vpc.ipv6CidrBlock}]` }),
    'vswitch-cidr-block': vSwitch.cidrBlock,
    'vswitch-id': vSwitch.id,
    ...(vSwitch.ipv6CidrBlock === '' ? {} : { 'vswitch-ipv6-cidr-block': vSwitch.ipv6CidrBlock }),
  };
}

function placeOf(state: Snapshot, { vpcId, vSwitchId }: { vpcId: string; vSwitchId: string }) {
  const vpc = state.vpcs.find(({ id }) => id === vpcId);
  const vSwitch = state.vSwitches.find(({ id }) => id === vSwitchId);
  if (vpc === undefined || vSwitch === undefined) throw new Error(`no ${vSwitchId} in ${vpcId}`);
  return { vpc, vSwitch };
}

function hasIpv4(eni: EniSnapshot, address: string, value: number): boolean {
  if (eni.ipv4.includes(address)) return true;
  const blocks = eni.ipv4Prefixes.map(parseIpv4Block).filter((block) => block !== undefined);
  return blocks.some(({ base, size }) => base <= value && value < base + size);
}
