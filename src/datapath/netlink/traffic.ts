import { formatIp } from '../../util/ip.ts';
import { addressBytes, type Family, familyOf, IPV4, IPV6 } from '../ip.ts';
import { type Attributes, MalformedMessageError, MessageWriter, NESTED, splitPayload } from './attributes.ts';
import { type NetlinkRequest, NLM_F, RTM, request } from './message.ts';
import type { Mode } from './network.ts';

/** Handles and parents (include/uapi/linux/pkt_sched.h). */
const CLSACT_PARENT = 0xfffffff1;
const CLSACT_HANDLE = 0xffff0000;
const ROOT = 0xffffffff;
const TBF_HANDLE = 0x10000;

/** The two hooks of clsact. */
export type Direction = 'ingress' | 'egress';
const HOOK: Record<Direction, number> = { ingress: 0xfffffff2, egress: 0xfffffff3 };

const TCA = { kind: 1, options: 2 } as const;

/** A queueing discipline. */
export interface Qdisc {
  linkIndex: number;
  kind: string;
  handle: number;
  parent: number;
  tbf: Pick<TokenBucket, 'bytesPerSecond' | 'limit'> | undefined;
}

/** A token bucket, in bytes. */
export interface TokenBucket {
  bytesPerSecond: number;
  burst: number;
  limit: number;
}

function header(linkIndex: number, handle: number, parent: number, info = 0): MessageWriter {
  return new MessageWriter().u8(0).u8(0).u16(0).u32(linkIndex).u32(handle).u32(parent).u32(info);
}

export function addClsact(linkIndex: number): NetlinkRequest {
  const writer = header(linkIndex, CLSACT_HANDLE, CLSACT_PARENT).attrText(TCA.kind, 'clsact');
  return request(RTM.newQdisc, NLM_F.create | NLM_F.excl, writer);
}

export function deleteClsact(linkIndex: number): NetlinkRequest {
  return request(RTM.delQdisc, 0, header(linkIndex, CLSACT_HANDLE, CLSACT_PARENT).attrText(TCA.kind, 'clsact'));
}

const TBF = { parms: 1, rate64: 4, burst: 6 } as const;
const LINKLAYER_ETHERNET = 1;
const MAX_U32 = 0xffffffff;

/** The bucket for a rate, as upstream sizes it: bursts of a millisecond or two packets, 25 ms of waiting. */
export function tokenBucket(bytesPerSecond: number, mtu: number): TokenBucket {
  const burst = Math.ceil(Math.max(bytesPerSecond / 1000, mtu + 1500));
  return { bytesPerSecond, burst, limit: Math.min(MAX_U32, Math.ceil(bytesPerSecond * 0.025) + burst) };
}

/** Makes a bucket the root of the link, or changes the one that is there. */
export function setTokenBucket(linkIndex: number, { bytesPerSecond, burst, limit }: TokenBucket): NetlinkRequest {
  const writer = header(linkIndex, TBF_HANDLE, ROOT).attrText(TCA.kind, 'tbf');
  writer.nest(TCA.options, () => {
    const rate = new MessageWriter().u8(0).u8(LINKLAYER_ETHERNET).u16(0).u16(0).u16(0);
    rate.u32(Math.min(bytesPerSecond, MAX_U32));
    // No peak rate; the bucket's size in ticks and the mtu are those that the kernel takes from the burst.
    const parms = new MessageWriter().raw(rate.finish()).raw(Buffer.alloc(12)).u32(limit).u32(0).u32(0);
    writer.bytes(TBF.parms, parms.finish());
    if (bytesPerSecond > MAX_U32) {
      const rate64 = Buffer.alloc(8);
      rate64.writeBigUInt64LE(BigInt(bytesPerSecond));
      writer.bytes(TBF.rate64, rate64);
    }
    writer.attrU32(TBF.burst, burst);
  });
  return request(RTM.newQdisc, NLM_F.create | NLM_F.replace, writer);
}

export function deleteTokenBucket(linkIndex: number): NetlinkRequest {
  return request(RTM.delQdisc, 0, header(linkIndex, TBF_HANDLE, ROOT).attrText(TCA.kind, 'tbf'));
}

/** The qdisc at the root of a link; one that the kernel chose has handle 0. */
export function getRootQdisc(linkIndex: number): NetlinkRequest {
  return request(RTM.getQdisc, NLM_F.echo, header(linkIndex, 0, ROOT));
}

/** The clsact of a link. */
export function getClsact(linkIndex: number): NetlinkRequest {
  return request(RTM.getQdisc, NLM_F.echo, header(linkIndex, CLSACT_HANDLE, CLSACT_PARENT));
}

export function dumpQdiscs(): NetlinkRequest {
  return request(RTM.getQdisc, NLM_F.dump, header(0, 0, 0));
}

/** @throws MalformedMessageError */
export function decodeQdisc(payload: Buffer): Qdisc {
  const { struct, attributes } = splitPayload(payload, 20);
  const kind = attributes.text(TCA.kind) ?? '';
  return {
    linkIndex: struct.readUInt32LE(4),
    handle: struct.readUInt32LE(8),
    parent: struct.readUInt32LE(12),
    kind,
    tbf: kind === 'tbf' ? decodeTokenBucket(attributes.nested(TCA.options)) : undefined,
  };
}

function decodeTokenBucket(options: Attributes): Qdisc['tbf'] {
  const parms = options.bytes(TBF.parms);
  if (parms === undefined || parms.length < 36) throw new MalformedMessageError('a token bucket without parameters');
  const rate64 = options.bytes(TBF.rate64);
  return {
    bytesPerSecond: rate64?.length === 8 ? Number(rate64.readBigUInt64LE()) : parms.readUInt32LE(8),
    limit: parms.readUInt32LE(24),
  };
}

/** Ethernet protocols in the host's order. */
export const ETH_P = { all: 0x0003, ipv4: 0x0800, vlan: 0x8100, ipv6: 0x86dd } as const;

/** What a filter of ours does. */
export type FilterAction =
  /** cls_bpf in direct-action mode. */
  | { kind: 'bpf'; name: string; programId: number }
  /** u32 on the source address, then push. */
  | { kind: 'push'; source: string; vlanId: number }
  /** u32 on everything, then pop. */
  | { kind: 'pop' }
  | { kind: 'other'; classifier: string };

/** A filter at one of clsact's hooks. */
export interface Filter {
  linkIndex: number;
  preference: number;
  protocol: number;
  handle: number;
  action: FilterAction;
}

const swap16 = (value: number) => ((value & 0xff) << 8) | (value >> 8);
const filterInfo = (preference: number, protocol: number) => ((preference << 16) | swap16(protocol)) >>> 0;

/** Where a filter is. */
export interface FilterPlace {
  linkIndex: number;
  direction: Direction;
  preference: number;
  protocol: number;
  /** 0 lets the kernel choose, or deletes all of the preference. */
  handle: number;
}

function filterHeader({ linkIndex, direction, preference, protocol, handle }: FilterPlace): MessageWriter {
  return header(linkIndex, handle, HOOK[direction], filterInfo(preference, protocol));
}

const BPF = { fd: 6, name: 7, flags: 8, id: 11 } as const;
const DIRECT_ACTION = 1;

/** A program, in place of the one that has the same handle; packets pass the one or the other, never none. */
export function setProgramFilter(
  place: FilterPlace,
  program: { handle: number; name: string },
  mode: Mode,
): NetlinkRequest {
  const writer = filterHeader(place).attrText(TCA.kind, 'bpf');
  writer.nest(TCA.options, () => {
    writer.attrU32(BPF.fd, program.handle).attrText(BPF.name, program.name).attrU32(BPF.flags, DIRECT_ACTION);
  });
  return request(RTM.newFilter, NLM_F.create | (mode === 'exclusive' ? NLM_F.excl : 0), writer);
}

export function deleteFilter(place: FilterPlace, classifier: string): NetlinkRequest {
  return request(RTM.delFilter, 0, filterHeader(place).attrText(TCA.kind, classifier));
}

/** The filter at this place, which names its handle. */
export function getFilter(place: FilterPlace, classifier: string): NetlinkRequest {
  return request(RTM.getFilter, NLM_F.echo, filterHeader(place).attrText(TCA.kind, classifier));
}

export function dumpFilters(linkIndex: number, direction: Direction): NetlinkRequest {
  return request(RTM.getFilter, NLM_F.dump, header(linkIndex, 0, HOOK[direction]));
}

const U32 = { selector: 5, action: 7 } as const;
const ACT = { kind: 1, options: 2 } as const;
const VLAN = { parms: 2, id: 3 } as const;
const VLAN_POP = 1;
const VLAN_PUSH = 2;
const RECLASSIFY = 1;
const PIPE = 3;
const TERMINAL = 1;
/** Where the source address stands in the header. */
const sourceOffset = (family: Family) => (family === IPV4 ? 12 : 8);

function u32Filter(
  place: FilterPlace,
  keys: { mask: number; value: Buffer; offset: number }[],
  action: () => Buffer,
  mode: Mode,
) {
  const writer = filterHeader(place).attrText(TCA.kind, 'u32');
  const selector = new MessageWriter().u8(TERMINAL).u8(0).u8(keys.length).u8(0).u16(0).u16(0).u16(0).u16(0).u32(0);
  for (const { mask, value, offset } of keys) selector.u32(mask).raw(value).u32(offset).u32(0);
  const plain = true;
  const first = () => writer.attrText(ACT.kind, 'vlan').bytes(ACT.options | NESTED, action());
  const actions = () => writer.nest(1, first, plain);
  const options = () => writer.nest(U32.action, actions, plain).bytes(U32.selector, selector.finish());
  writer.nest(TCA.options, options, plain);
  return request(RTM.newFilter, NLM_F.create | (mode === 'exclusive' ? NLM_F.excl : 0), writer);
}

/** `struct tc_vlan`: index, capabilities, control, two counters, and what to do. */
function vlanParameters(control: number, what: number): MessageWriter {
  const parms = new MessageWriter().u32(0).u32(0).u32(control).u32(0).u32(0).u32(what);
  return new MessageWriter().bytes(VLAN.parms, parms.finish());
}

/** `u32 match ip src SOURCE action vlan push id VLAN pipe`; with a handle, the filter of it is changed in place. */
export function setPushFilter(place: FilterPlace, source: string, vlanId: number, mode: Mode): NetlinkRequest {
  const bytes = addressBytes(source);
  const keys = Array.from({ length: bytes.length / 4 }, (_, at) => ({
    mask: MAX_U32,
    value: bytes.subarray(at * 4, at * 4 + 4),
    offset: sourceOffset(familyOf(source)) + at * 4,
  }));
  const action = () => vlanParameters(PIPE, VLAN_PUSH).attrU16(VLAN.id, vlanId).finish();
  return u32Filter(place, keys, action, mode);
}

/** `protocol 802.1Q u32 match u32 0 0 action vlan pop reclassify`. */
export function setPopFilter(place: FilterPlace, mode: Mode): NetlinkRequest {
  const keys = [{ mask: 0, value: Buffer.alloc(4), offset: 0 }];
  return u32Filter(place, keys, () => vlanParameters(RECLASSIFY, VLAN_POP).finish(), mode);
}

/**
 * @returns undefined for what the kernel lists besides filters, such as the hash tables of u32.
 * @throws MalformedMessageError
 */
export function decodeFilter(payload: Buffer): Filter | undefined {
  const { struct, attributes } = splitPayload(payload, 20);
  const handle = struct.readUInt32LE(8);
  const info = struct.readUInt32LE(16);
  const classifier = attributes.text(TCA.kind) ?? '';
  const options = attributes.nested(TCA.options);
  if (handle === 0) return undefined;
  const action = classifier === 'bpf' ? decodeProgram(options) : classifier === 'u32' ? decodeU32(options) : undefined;
  if (classifier === 'u32' && action === undefined) return undefined;
  return {
    linkIndex: struct.readUInt32LE(4),
    preference: info >>> 16,
    protocol: swap16(info & 0xffff),
    handle,
    action: action ?? { kind: 'other', classifier },
  };
}

function decodeProgram(options: Attributes): FilterAction {
  return { kind: 'bpf', name: options.text(BPF.name) ?? '', programId: options.u32(BPF.id) ?? 0 };
}

function decodeU32(options: Attributes): FilterAction | undefined {
  const selector = options.bytes(U32.selector);
  if (selector === undefined) return undefined;
  if (selector.length < 16) throw new MalformedMessageError('a selector that is too short');
  const other: FilterAction = { kind: 'other', classifier: 'u32' };
  const first = options.nested(U32.action).nested(1);
  if (first.text(ACT.kind) !== 'vlan') return other;
  const vlan = first.nested(ACT.options);
  const parms = vlan.bytes(VLAN.parms);
  const what = parms !== undefined && parms.length >= 24 ? parms.readUInt32LE(20) : 0;
  if (what === VLAN_POP) return { kind: 'pop' };
  const source = sourceOf(selector);
  const vlanId = vlan.u16(VLAN.id);
  return what === VLAN_PUSH && source !== undefined && vlanId !== undefined ? { kind: 'push', source, vlanId } : other;
}

/** The source address that a selector of ours compares; undefined for any other. */
function sourceOf(selector: Buffer): string | undefined {
  const keys = selector.readUInt8(2);
  const family = keys === 1 ? IPV4 : keys === 4 ? IPV6 : undefined;
  if (family === undefined || selector.length < 16 + 16 * keys) return undefined;
  const words: Buffer[] = [];
  for (let at = 16; at < 16 + 16 * keys; at += 16) {
    const offset = selector.readInt32LE(at + 8);
    const wanted = sourceOffset(family) + words.length * 4;
    if (selector.readUInt32LE(at) !== MAX_U32 || offset !== wanted) return undefined;
    words.push(selector.subarray(at + 4, at + 8));
  }
  return formatIp(Buffer.concat(words));
}
