import type { TagEntry, VethEntry, VlanEntry } from './bpf/entries.ts';
import type { ProgramName } from './bpf/programs.ts';
import type { Family } from './ip.ts';
import { NODE } from './kernel/kernel.ts';
import { OUR_PROTOCOL, REFUSE, type Rule } from './netlink/network.ts';
import { type Direction, ETH_P, type FilterPlace } from './netlink/traffic.ts';
import type { Deviation } from './types.ts';

/**
 * One thing that should exist in the kernel: plain data that is known before anything is made, so links are named, not
 * numbered. `netns` is a path, or `NODE`.
 */
export type KernelObject =
  /** Both ends of a pair; {@link LinkState} says what they must be like. */
  | {
      kind: 'veth';
      name: string;
      mac: string;
      mtu: number;
      alias: string;
      peer: { netns: string; name: string; mac: string };
    }
  | { kind: 'vlanLink'; netns: string; name: string; trunk: string; vlanId: number; mtu: number }
  /** A real device of the node, moved into a pod. */
  | { kind: 'movedLink'; netns: string; name: string; mac: string }
  | LinkState
  | { kind: 'address'; netns: string; link: string; address: string; prefixLength: number }
  | { kind: 'neighbour'; netns: string; link: string; address: string; mac: string }
  | RouteObject
  | RuleObject
  /** `ifThere`: not needed where the kernel lacks it, for example when it was started without IPv6. */
  | { kind: 'sysctl'; netns: string; name: string; value: string; ifThere?: boolean }
  | { kind: 'clsact'; netns: string; link: string }
  /**
   * Before the programs of others; `afterCilium`: but for those of a chained Cilium. `beforeFilters`: where the kernel has
   * TCX, it is such a program and no filter, so that no filter of others can come before it; `keep`: if it is one already.
   */
  | {
      kind: 'program';
      netns: string;
      link: string;
      direction: Direction;
      preference: number;
      program: ProgramName;
      afterCilium?: boolean;
      beforeFilters?: 'make' | 'keep';
    }
  /** The classic filters of a trunk. */
  | { kind: 'pushFilter'; link: string; source: string; vlanId: number }
  | { kind: 'popFilter'; link: string }
  /** Undefined: there must be no limit. */
  | { kind: 'bandwidth'; netns: string; link: string; bytesPerSecond: number | undefined; mtu: number }
  /** Undefined: the address must have no tag. */
  | { kind: 'tag'; address: string; tag: Omit<TagEntry, 'address' | 'owner'> | undefined; owner: bigint }
  | VethEntryObject
  | ({ kind: 'vlanEntry' } & VlanEntry)
  | { kind: 'memberBit'; bit: number };

/** Up, with an MTU of exactly or at least this. */
export interface LinkState {
  kind: 'linkState';
  netns: string;
  link: string;
  mtu: number;
  mtuIs: 'exact' | 'minimum';
}

export interface RouteObject {
  kind: 'route';
  netns: string;
  link: string;
  table: number;
  /** CIDR in canonical form. */
  destination: string;
  gateway?: string | undefined;
}

export interface RuleObject {
  kind: 'rule';
  netns: string;
  family: Family;
  priority: number;
  table: number;
  mark?: { value: number; mask: number } | undefined;
  from?: string | undefined;
  to?: string | undefined;
  outLink?: string | undefined;
}

export interface VethEntryObject extends Omit<VethEntry, 'linkIndex'> {
  kind: 'vethEntry';
  link: string;
}

/** In the form of a message to the kernel. */
export function ruleOf(rule: Pick<Rule, 'family' | 'priority' | 'table'> & Partial<Rule>): Rule {
  const { family, priority, table, mark, from, to, outLink } = rule;
  return { family, priority, table, mark, from, to, outLink, protocol: OUR_PROTOCOL };
}

/** Where a program's filter is on the link of this index. */
export function placeOf(
  { direction, preference }: Pick<Extract<KernelObject, { kind: 'program' }>, 'direction' | 'preference'>,
  linkIndex: number,
): FilterPlace {
  return { linkIndex, direction, preference, protocol: ETH_P.all, handle: 1 };
}

/** Identifies the object; two objects with the same identity exclude each other. */
export function identityOf(object: KernelObject): string {
  const parts = (...values: (string | number | undefined)[]) => [object.kind, ...values].join(' ');
  switch (object.kind) {
    case 'veth':
      return parts(object.name);
    case 'vlanLink':
    case 'movedLink':
      return parts(object.netns, object.name);
    case 'linkState':
    case 'bandwidth':
      return parts(object.netns, object.link);
    case 'address':
      return parts(object.netns, object.link, object.address, object.prefixLength);
    case 'neighbour':
      return parts(object.netns, object.link, object.address);
    case 'route':
      return parts(object.netns, object.table, object.destination);
    case 'rule':
      return parts(object.netns, object.family, ruleText(object));
    case 'sysctl':
      return parts(object.netns, object.name);
    case 'clsact':
      return parts(object.netns, object.link);
    case 'program':
      return parts(object.netns, object.link, object.direction, object.preference);
    case 'pushFilter':
      return parts(object.link, object.source);
    case 'popFilter':
      return parts(object.link);
    case 'tag':
      return parts(object.address);
    case 'vethEntry':
      return parts(object.link);
    case 'vlanEntry':
      return parts(object.trunkIndex, object.vlanId);
    case 'memberBit':
      return parts();
  }
}

function ruleText({ priority, from, to, mark, outLink, table }: RuleObject): string {
  const fwmark = mark === undefined ? '' : ` fwmark 0x${mark.value.toString(16)}/0x${mark.mask.toString(16)}`;
  const links = outLink === undefined ? '' : ` oif ${outLink}`;
  return `${priority}: from ${from ?? 'all'}${to === undefined ? '' : ` to ${to}`}${fwmark}${links} ${table === REFUSE ? 'unreachable' : `lookup ${table}`}`;
}

/** For an operator, such as `route 10.0.0.7/32 dev cali0a1b2c3d4e5 table 910`. */
export function describe(object: KernelObject): string {
  const text = words(object);
  const netns = 'netns' in object ? object.netns : NODE;
  return netns === NODE ? text : `${text} in ${netns}`;
}

function words(object: KernelObject): string {
  switch (object.kind) {
    case 'veth':
      return `veth ${object.name} with ${object.peer.name} in ${object.peer.netns}`;
    case 'vlanLink':
      return `link ${object.name} with VLAN ${object.vlanId} of ${object.trunk}`;
    case 'movedLink':
      return `link ${object.name} with MAC ${object.mac}`;
    case 'linkState':
      return `link ${object.link} up with ${object.mtuIs === 'exact' ? '' : 'at least '}mtu ${object.mtu}`;
    case 'address':
      return `address ${object.address}/${object.prefixLength} dev ${object.link}`;
    case 'neighbour':
      return `neighbour ${object.address} lladdr ${object.mac} dev ${object.link}`;
    case 'route': {
      const via = object.gateway === undefined ? '' : ` via ${object.gateway}`;
      return `route ${object.destination}${via} dev ${object.link} table ${object.table}`;
    }
    case 'rule':
      return `rule ${ruleText(object)}`;
    case 'sysctl':
      return `sysctl ${object.name} = ${object.value}`;
    case 'clsact':
      return `qdisc clsact dev ${object.link}`;
    case 'program':
      return `filter ${object.program} at ${object.direction} of ${object.link} pref ${object.preference}`;
    case 'pushFilter':
      return `filter that gives ${object.source} VLAN ${object.vlanId} on ${object.link}`;
    case 'popFilter':
      return `filter that takes VLAN tags off on ${object.link}`;
    case 'bandwidth': {
      const limit = object.bytesPerSecond === undefined ? 'no limit' : `limit of ${object.bytesPerSecond} bytes/s`;
      return `${limit} on ${object.link}`;
    }
    case 'tag':
      return object.tag === undefined
        ? `no tag for ${object.address}`
        : `tag of ${object.address}: VLAN ${object.tag.vlanId} on link ${object.tag.trunkIndex}`;
    case 'vethEntry':
      return `mark 0x${object.mark.toString(16)} and source ${[object.ipv4, object.ipv6].filter(Boolean).join(', ')} for ${object.link}`;
    case 'vlanEntry':
      return `VLAN ${object.vlanId} of link ${object.trunkIndex} for an 802.1Q device`;
    case 'memberBit':
      return `setting of the tag programs: member bit 0x${object.bit.toString(16)}`;
  }
}

/** The kind of object in reports. */
export function reportKind(object: KernelObject): Deviation['object'] {
  switch (object.kind) {
    case 'veth':
    case 'vlanLink':
    case 'movedLink':
    case 'linkState':
      return 'link';
    case 'clsact':
    case 'bandwidth':
      return 'qdisc';
    case 'program':
    case 'pushFilter':
    case 'popFilter':
      return 'filter';
    case 'tag':
    case 'vethEntry':
    case 'vlanEntry':
    case 'memberBit':
      return 'map';
    default:
      return object.kind;
  }
}
