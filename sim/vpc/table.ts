import { ipv4Gateway, ipv6Gateway } from '../cloud/model/cidr.ts';
import type { EniType, SecurityGroupRule } from '../cloud/model/entities.ts';
import type {
  EniSnapshot,
  InstanceSnapshot,
  SecurityGroupSnapshot,
  Snapshot,
  VSwitchSnapshot,
} from '../cloud/model/snapshot.ts';

/** The forwarding program's input: the simulator's state in terms of the data plane. Addresses are text. */

/** A node that takes part: the network namespace that represents an instance. */
export interface SwitchNode {
  instanceId: string;
  netnsPath: string;
  /** Gives eth0 its address and a default route through the gateway, as on an instance after its start. */
  configurePrimary: boolean;
}

export interface SwitchTable {
  nodes: SwitchNode[];
  vpcs: { id: string; cidrs: string[] }[];
  vSwitches: { id: string; vpcId: string; cidrs: string[]; gateways: string[] }[];
  securityGroups: SwitchSecurityGroup[];
  enis: SwitchEni[];
}

export interface SwitchSecurityGroup {
  id: string;
  enterprise: boolean;
  /** Members can reach each other whatever the rules say. */
  innerAccess: boolean;
  rules: SwitchRule[];
}

/** A rule from the group's point of view: `remote` is the peer, `local` the ENI in the group. */
export interface SwitchRule {
  id: string;
  egress: boolean;
  drop: boolean;
  /** 1–100. The lower one wins. */
  priority: number;
  protocol: 'all' | 'tcp' | 'udp' | 'icmp' | 'icmpv6' | 'gre';
  /** Range of destination ports, inclusive; null for all. */
  ports: [number, number] | null;
  sourcePorts: [number, number] | null;
  /** One of these, or `remoteGroup`, must match. */
  remoteCidrs: string[];
  remoteGroup: string;
  /** Empty: every address. */
  localCidrs: string[];
}

export interface SwitchEni {
  id: string;
  kind: 'primary' | 'secondary' | 'trunk' | 'member';
  /** Whether frames pass: InUse, on a running instance. For a member this also applies to its trunk. */
  attached: boolean;
  /** InUse, so its adapter is in the node whether the instance runs or not. */
  plugged: boolean;
  /** For messages. */
  status: string;
  instanceId: string;
  trunkId: string;
  /** 0 unless a member. */
  vlanId: number;
  mac: string;
  vpcId: string;
  vSwitchId: string;
  addresses: string[];
  prefixes: string[];
  securityGroupIds: string[];
}

const KINDS: Readonly<Record<EniType, SwitchEni['kind']>> = {
  Primary: 'primary',
  Secondary: 'secondary',
  Trunk: 'trunk',
  Member: 'member',
};

const PROTOCOLS = ['all', 'tcp', 'udp', 'icmp', 'icmpv6', 'gre'] as const;

/** Compiles the table. It includes ENIs that are not attached, so that a refusal can name them. */
export function compileTable(snapshot: Snapshot, nodes: readonly SwitchNode[]): SwitchTable {
  const instances = new Map(snapshot.instances.map((instance) => [instance.id, instance]));
  const enis = new Map(snapshot.enis.map((eni) => [eni.id, eni]));
  return {
    nodes: [...nodes],
    vpcs: snapshot.vpcs.map((vpc) => ({ id: vpc.id, cidrs: given(vpc.cidrBlock, vpc.ipv6CidrBlock) })),
    vSwitches: snapshot.vSwitches.map((vSwitch) => ({
      id: vSwitch.id,
      vpcId: vSwitch.vpcId,
      cidrs: given(vSwitch.cidrBlock, vSwitch.ipv6CidrBlock),
      gateways: gateways(vSwitch),
    })),
    securityGroups: snapshot.securityGroups.map(compileGroup),
    enis: snapshot.enis.map((eni) => compileEni(eni, instances, enis)),
  };
}

/** One for each of the vSwitch's blocks. */
export function gateways(vSwitch: Pick<VSwitchSnapshot, 'cidrBlock' | 'ipv6CidrBlock'>): string[] {
  return [ipv4Gateway(vSwitch.cidrBlock), ipv6Gateway(vSwitch.ipv6CidrBlock)].filter((found) => found !== undefined);
}

function compileEni(
  eni: EniSnapshot,
  instances: ReadonlyMap<string, InstanceSnapshot>,
  enis: ReadonlyMap<string, EniSnapshot>,
): SwitchEni {
  const instance = instances.get(eni.attachment?.instanceId ?? '');
  const trunk = eni.attachment?.trunk;
  const plugged = eni.status === 'InUse';
  const carried = trunk === undefined || enis.get(trunk.eniId)?.status === 'InUse';
  return {
    id: eni.id,
    kind: KINDS[eni.type],
    attached: plugged && carried && instance?.status === 'Running',
    plugged,
    status: plugged && instance !== undefined ? `InUse on a ${instance.status} instance` : eni.status,
    instanceId: eni.attachment?.instanceId ?? '',
    trunkId: trunk?.eniId ?? '',
    vlanId: trunk?.vlanId ?? 0,
    mac: eni.macAddress,
    vpcId: eni.vpcId,
    vSwitchId: eni.vSwitchId,
    addresses: [...eni.ipv4, ...eni.ipv6],
    prefixes: [...eni.ipv4Prefixes, ...eni.ipv6Prefixes],
    securityGroupIds: [...eni.securityGroupIds],
  };
}

function compileGroup(group: SecurityGroupSnapshot): SwitchSecurityGroup {
  return {
    id: group.id,
    enterprise: group.type === 'enterprise',
    innerAccess: group.innerAccessPolicy === 'Accept',
    rules: group.rules.map(compileRule),
  };
}

/** Prefix lists are not modelled: a rule without any other peer matches nothing. */
function compileRule(rule: SecurityGroupRule): SwitchRule {
  const source = given(block(rule.sourceCidrIp), block(rule.ipv6SourceCidrIp));
  const destination = given(block(rule.destCidrIp), block(rule.ipv6DestCidrIp));
  const egress = rule.direction === 'egress';
  return {
    id: rule.id,
    egress,
    drop: rule.policy === 'Drop',
    priority: rule.priority,
    protocol: PROTOCOLS.find((name) => name === rule.ipProtocol.toLowerCase()) ?? 'all',
    ports: portRange(rule.portRange),
    sourcePorts: portRange(rule.sourcePortRange),
    remoteCidrs: egress ? destination : source,
    remoteGroup: egress ? rule.destGroupId : rule.sourceGroupId,
    localCidrs: egress ? source : destination,
  };
}

/** `80/90`. Undefined, `-1/-1` and empty text mean every port. */
function portRange(text: string): [number, number] | null {
  const match = /^(\d+)\/(\d+)$/.exec(text);
  return match === null ? null : [Number(match[1]), Number(match[2])];
}

/** A single address becomes a block of one. */
function block(text: string): string {
  if (text === '' || text.includes('/')) return text;
  return `${text}/${text.includes(':') ? 128 : 32}`;
}

function given(...texts: string[]): string[] {
  return texts.filter((text) => text !== '');
}
