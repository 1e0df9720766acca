import { isIPv4, isIPv6 } from 'node:net';

/** An address as the 4 or 16 bytes of the wire. */
export interface Ip {
  family: 4 | 6;
  bytes: Buffer;
}

/** An address block. */
export interface Cidr {
  family: 4 | 6;
  /** The block's first address. */
  first: Buffer;
  prefixLength: number;
}

/** Parses an address without a prefix length and without a zone; undefined when it is none. */
export function parseIp(text: string): Ip | undefined {
  if (isIPv4(text)) return { family: 4, bytes: Buffer.from(text.split('.').map(Number)) };
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const groups = dotted === null ? text : `${dotted[1]}${dottedAsGroups(dotted[2] ?? '')}`;
  const [head = '', tail] = groups.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  const bytes = Buffer.alloc(16);
  for (const [at, group] of [...left, ...zeros, ...right].entries()) {
    bytes.writeUInt16BE(Number.parseInt(group, 16), at * 2);
  }
  return { family: 6, bytes };
}

function dottedAsGroups(text: string): string {
  const bytes = Buffer.from(text.split('.').map(Number));
  return `${bytes.readUInt16BE(0).toString(16)}:${bytes.readUInt16BE(2).toString(16)}`;
}

/** The text of 4 or 16 bytes; IPv6 as RFC 5952 without dotted forms. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const view = Buffer.from(bytes);
  const groups = Array.from({ length: 8 }, (_, at) => view.readUInt16BE(at * 2));
  let best = { start: 0, length: 1 };
  for (let start = 0; start < 8; start += 1) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length += 1;
    if (length > best.length) best = { start, length };
  }
  const hex = (part: number[]) => part.map((group) => group.toString(16)).join(':');
  if (best.length === 1) return hex(groups);
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`;
}

/** Parses `address/length`; bits behind the prefix are cleared. Undefined when it is none. */
export function parseCidr(text: string): Cidr | undefined {
  const [address = '', length = '', rest] = text.split('/');
  const ip = parseIp(address);
  if (ip === undefined || rest !== undefined || !/^\d{1,3}$/.test(length)) return undefined;
  const prefixLength = Number(length);
  if (prefixLength > ip.bytes.length * 8) return undefined;
  return { family: ip.family, first: masked(ip.bytes, prefixLength), prefixLength };
}

/**
 * The gateway of a vSwitch: the last but two addresses of its block, such as x.x.x.253 of a /24 (alicloud-protocol.md, VPC);
 * upstream's daemon derives it in the same way.
 *
 * @returns undefined for what is no CIDR or has no room for a gateway.
 */
export function gatewayOf(cidr: string): string | undefined {
  const block = parseCidr(cidr);
  if (block === undefined || block.first.length * 8 - block.prefixLength < 2) return undefined;
  const hostBits = masked(Buffer.alloc(block.first.length, 0xff), block.prefixLength);
  const last = block.first.map((byte, at) => byte | (~(hostBits[at] ?? 0) & 0xff));
  // All host bits are set, so two less is the second lowest bit.
  return formatIp(last.map((byte, at) => (at === last.length - 1 ? byte - 2 : byte)));
}

/** Whether the address lies in the block. */
export function cidrContains(cidr: string, address: string): boolean {
  const block = parseCidr(cidr);
  const ip = parseIp(address);
  if (block === undefined || ip === undefined || block.family !== ip.family) return false;
  return masked(ip.bytes, block.prefixLength).equals(block.first);
}

function masked(bytes: Buffer, prefixLength: number): Buffer {
  return Buffer.from(
    bytes.map((byte, at) => byte & (0xff << (8 - Math.min(8, Math.max(0, prefixLength - at * 8)))) & 0xff),
  );
}
