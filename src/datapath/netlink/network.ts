import { formatIp } from '../../util/ip.ts';
import { addressBytes, type Family, familyOf, hostPrefix, IPV4, IPV6, parseCidr } from '../ip.ts';
import { MalformedMessageError, MessageWriter, splitPayload } from './attributes.ts';
import { macBytes, macText } from './link.ts';
import { type NetlinkRequest, NLM_F, RTM, request } from './message.ts';

/** Protocol number of everything that is ours, in routes, rules, neighbours and addresses. */
export const OUR_PROTOCOL = 84;

/** Protocol of routes from router advertisements (include/uapi/linux/rtnetlink.h). */
export const RA_PROTOCOL = 9;

/** What to do when the object may exist already. */
export type Mode = 'exclusive' | 'replace';

const flagsOf = (mode: Mode) => NLM_F.create | (mode === 'exclusive' ? NLM_F.excl : NLM_F.replace);

/** An address of a link. */
export interface Address {
  linkIndex: number;
  address: string;
  prefixLength: number;
  /** 0 where the kernel does not keep it. */
  protocol: number;
  /** `RT_SCOPE_LINK` is 253, global is 0. */
  scope: number;
}

/** A unicast route over one link. */
export interface Route {
  linkIndex: number;
  table: number;
  /** CIDR in canonical form; its family is the route's. */
  destination: string;
  /** With one, the route is `onlink`; without, its scope is the link. */
  gateway: string | undefined;
  protocol: number;
}

/** A rule that looks up a table, or refuses what matches. */
export interface Rule {
  family: Family;
  priority: number;
  /** {@link REFUSE}: packets are answered with "unreachable". */
  table: number;
  mark: { value: number; mask: number } | undefined;
  from: string | undefined;
  to: string | undefined;
  outLink: string | undefined;
  protocol: number;
}

/** In place of a table. */
export const REFUSE = 0;

/** An entry of the neighbour table that never expires. */
export interface Neighbour {
  linkIndex: number;
  address: string;
  mac: string;
}

const IFA = { address: 1, local: 2, flags: 8, proto: 11 } as const;
/** Without duplicate address detection, which takes time: the VPC gives an address to one ENI only. */
const NO_DUPLICATE_DETECTION = 2;

function addressHeader(linkIndex: number, family: number, prefixLength: number, scope: number): MessageWriter {
  return new MessageWriter().u8(family).u8(prefixLength).u8(0).u8(scope).u32(linkIndex);
}

function addressMessage(type: number, flags: number, address: Address): NetlinkRequest {
  const family = familyOf(address.address);
  const bytes = addressBytes(address.address);
  const writer = addressHeader(address.linkIndex, family, address.prefixLength, address.scope);
  writer.bytes(IFA.local, bytes).bytes(IFA.address, bytes);
  if (family === IPV6) writer.attrU32(IFA.flags, NO_DUPLICATE_DETECTION);
  if (address.protocol !== 0) writer.attrU8(IFA.proto, address.protocol);
  return request(type, flags, writer);
}

export function addAddress(address: Address): NetlinkRequest {
  return addressMessage(RTM.newAddress, NLM_F.create | NLM_F.excl, address);
}

export function deleteAddress(address: Address): NetlinkRequest {
  return addressMessage(RTM.delAddress, 0, address);
}

/** Of one link, or with 0 of all. */
export function dumpAddresses(linkIndex = 0): NetlinkRequest {
  return request(RTM.getAddress, NLM_F.dump, addressHeader(linkIndex, 0, 0, 0));
}

/** @throws MalformedMessageError */
export function decodeAddress(payload: Buffer): Address {
  const { struct, attributes } = splitPayload(payload, 8);
  // Only point-to-point links have both; the local one is then ours.
  const bytes = attributes.bytes(IFA.local) ?? attributes.bytes(IFA.address);
  return {
    linkIndex: struct.readUInt32LE(4),
    address: formatIp(ofFamily(struct.readUInt8(0), bytes)),
    prefixLength: struct.readUInt8(1),
    protocol: attributes.u8(IFA.proto) ?? 0,
    scope: struct.readUInt8(3),
  };
}

function ofFamily(family: number, bytes: Buffer | undefined): Buffer {
  const size = family === IPV4 ? 4 : family === IPV6 ? 16 : -1;
  if (bytes?.length !== size) throw new MalformedMessageError(`an address of family ${family}`);
  return bytes;
}

const RTA = { destination: 1, outLink: 4, gateway: 5, table: 15 } as const;
const SCOPE_LINK = 253;
const UNICAST = 1;
const ONLINK = 4;
/** The routing table number that says: see the attribute. */
const TABLE_UNSPECIFIED = 0;

function routeMessage(type: number, flags: number, route: Route): NetlinkRequest {
  const { family, network, prefixLength } = parseCidr(route.destination);
  const scope = route.gateway === undefined && family === IPV4 ? SCOPE_LINK : 0;
  const writer = new MessageWriter()
    .u8(family)
    .u8(prefixLength)
    .u8(0)
    .u8(0)
    .u8(TABLE_UNSPECIFIED)
    .u8(route.protocol)
    .u8(scope)
    .u8(UNICAST)
    .u32(route.gateway === undefined ? 0 : ONLINK);
  if (prefixLength > 0) writer.bytes(RTA.destination, addressBytes(network));
  if (route.gateway !== undefined) writer.bytes(RTA.gateway, addressBytes(route.gateway));
  writer.attrU32(RTA.outLink, route.linkIndex).attrU32(RTA.table, route.table);
  return request(type, flags, writer);
}

export function addRoute(route: Route, mode: Mode): NetlinkRequest {
  return routeMessage(RTM.newRoute, flagsOf(mode), route);
}

export function deleteRoute(route: Route): NetlinkRequest {
  return routeMessage(RTM.delRoute, 0, route);
}

const FIB_MATCH = 0x2000;

/** Which entry of the routing tables an unmarked packet to the address would use. */
export function lookUpRoute(address: string): NetlinkRequest {
  const family = familyOf(address);
  const writer = new MessageWriter()
    .u8(family)
    .u8(hostPrefix(family))
    .u8(0)
    .u8(0)
    .u8(0)
    .u8(0)
    .u8(0)
    .u8(0)
    .u32(FIB_MATCH);
  return request(RTM.getRoute, 0, writer.bytes(RTA.destination, addressBytes(address)));
}

/** All routes of one protocol, or those of one table; the kernel filters. */
export function dumpRoutes(family: Family, protocol: number = OUR_PROTOCOL, table?: number): NetlinkRequest {
  const writer = new MessageWriter().u8(family).u8(0).u8(0).u8(0).u8(TABLE_UNSPECIFIED).u8(protocol).u8(0).u8(0).u32(0);
  if (table !== undefined) writer.attrU32(RTA.table, table);
  return request(RTM.getRoute, NLM_F.dump, writer);
}

/**
 * @returns undefined for routes of another kind than ours: multipath, blackhole, without a link.
 * @throws MalformedMessageError
 */
export function decodeRoute(payload: Buffer): Route | undefined {
  const { struct, attributes } = splitPayload(payload, 12);
  const family = struct.readUInt8(0);
  const linkIndex = attributes.u32(RTA.outLink);
  if ((family !== IPV4 && family !== IPV6) || linkIndex === undefined || struct.readUInt8(7) !== UNICAST)
    return undefined;
  const prefixLength = struct.readUInt8(1);
  if (prefixLength > hostPrefix(family)) throw new MalformedMessageError(`prefix length ${prefixLength}`);
  const bytes = attributes.bytes(RTA.destination) ?? Buffer.alloc(family === IPV4 ? 4 : 16);
  const gateway = attributes.bytes(RTA.gateway);
  return {
    linkIndex,
    table: attributes.u32(RTA.table) ?? struct.readUInt8(4),
    destination: `${formatIp(ofFamily(family, bytes))}/${prefixLength}`,
    gateway: gateway === undefined ? undefined : formatIp(ofFamily(family, gateway)),
    protocol: struct.readUInt8(5),
  };
}

const FRA = {
  to: 1,
  from: 2,
  priority: 6,
  mark: 10,
  table: 15,
  mask: 16,
  outLink: 17,
  protocol: 21,
} as const;
const TO_TABLE = 1;
const UNREACHABLE = 7;

/** The known fields of a rule to delete; the others match anything. */
export type RulePattern = Pick<Rule, 'family' | 'priority'> & Partial<Rule>;

function ruleMessage(type: number, flags: number, rule: RulePattern): NetlinkRequest {
  const to = rule.to === undefined ? undefined : parseCidr(rule.to);
  const from = rule.from === undefined ? undefined : parseCidr(rule.from);
  const writer = new MessageWriter()
    .u8(rule.family)
    .u8(to?.prefixLength ?? 0)
    .u8(from?.prefixLength ?? 0)
    .u8(0);
  writer
    .u8(TABLE_UNSPECIFIED)
    .u8(0)
    .u8(0)
    .u8(rule.table === REFUSE ? UNREACHABLE : TO_TABLE)
    .u32(0);
  if (to !== undefined) writer.bytes(FRA.to, addressBytes(to.network));
  if (from !== undefined) writer.bytes(FRA.from, addressBytes(from.network));
  writer.attrU32(FRA.priority, rule.priority);
  if (rule.table !== undefined && rule.table !== REFUSE) writer.attrU32(FRA.table, rule.table);
  if (rule.mark !== undefined) writer.attrU32(FRA.mark, rule.mark.value).attrU32(FRA.mask, rule.mark.mask);
  if (rule.outLink !== undefined) writer.attrText(FRA.outLink, rule.outLink);
  writer.attrU8(FRA.protocol, rule.protocol ?? OUR_PROTOCOL);
  return request(type, flags, writer);
}

export function addRule(rule: Rule): NetlinkRequest {
  return ruleMessage(RTM.newRule, NLM_F.create | NLM_F.excl, rule);
}

/** Deletes the first rule that fits the pattern and has our protocol. */
export function deleteRule(pattern: RulePattern): NetlinkRequest {
  return ruleMessage(RTM.delRule, 0, pattern);
}

export function dumpRules(family: Family): NetlinkRequest {
  const writer = new MessageWriter().u8(family).u8(0).u8(0).u8(0).u32(0).u32(0);
  return request(RTM.getRule, NLM_F.dump, writer);
}

/**
 * @returns undefined for rules that do something else.
 * @throws MalformedMessageError
 */
export function decodeRule(payload: Buffer): Rule | undefined {
  const { struct, attributes } = splitPayload(payload, 12);
  const family = struct.readUInt8(0);
  const action = struct.readUInt8(7);
  if ((family !== IPV4 && family !== IPV6) || (action !== TO_TABLE && action !== UNREACHABLE)) return undefined;
  const prefix = (type: number, length: number) => {
    const bytes = attributes.bytes(type);
    return bytes === undefined ? undefined : `${formatIp(ofFamily(family, bytes))}/${length}`;
  };
  const mark = attributes.u32(FRA.mark);
  const mask = attributes.u32(FRA.mask);
  return {
    family,
    priority: attributes.u32(FRA.priority) ?? 0,
    table: action === UNREACHABLE ? REFUSE : (attributes.u32(FRA.table) ?? struct.readUInt8(4)),
    mark: mask === undefined ? undefined : { value: mark ?? 0, mask },
    from: prefix(FRA.from, struct.readUInt8(2)),
    to: prefix(FRA.to, struct.readUInt8(1)),
    outLink: attributes.text(FRA.outLink),
    protocol: attributes.u8(FRA.protocol) ?? 0,
  };
}

const NDA = { address: 1, mac: 2, protocol: 12 } as const;
const PERMANENT = 0x80;

function neighbourMessage(type: number, flags: number, { linkIndex, address, mac }: Neighbour): NetlinkRequest {
  const writer = new MessageWriter().u8(familyOf(address)).u8(0).u16(0).u32(linkIndex).u16(PERMANENT).u8(0).u8(0);
  writer.bytes(NDA.address, addressBytes(address)).bytes(NDA.mac, macBytes(mac)).attrU8(NDA.protocol, OUR_PROTOCOL);
  return request(type, flags, writer);
}

/** A permanent entry; in place of any other for the address, or only where there is none. */
export function addNeighbour(neighbour: Neighbour, mode: Mode): NetlinkRequest {
  return neighbourMessage(RTM.newNeighbour, flagsOf(mode), neighbour);
}

export function deleteNeighbour(neighbour: Neighbour): NetlinkRequest {
  return neighbourMessage(RTM.delNeighbour, 0, neighbour);
}

/** The entry of one address. */
export function getNeighbour({ linkIndex, address }: Pick<Neighbour, 'linkIndex' | 'address'>): NetlinkRequest {
  const writer = new MessageWriter().u8(familyOf(address)).u8(0).u16(0).u32(linkIndex).u16(0).u8(0).u8(0);
  return request(RTM.getNeighbour, 0, writer.bytes(NDA.address, addressBytes(address)));
}

/**
 * @returns undefined for entries that expire or have no MAC address.
 * @throws MalformedMessageError
 */
export function decodeNeighbour(payload: Buffer): Neighbour | undefined {
  const { struct, attributes } = splitPayload(payload, 12);
  const address = attributes.bytes(NDA.address);
  const mac = attributes.bytes(NDA.mac);
  if ((struct.readUInt16LE(8) & PERMANENT) === 0 || address === undefined || mac === undefined) return undefined;
  return {
    linkIndex: struct.readUInt32LE(4),
    address: formatIp(ofFamily(struct.readUInt8(0), address)),
    mac: macText(mac),
  };
}
