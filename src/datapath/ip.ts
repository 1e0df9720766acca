import { isIPv4, isIPv6 } from 'node:net';
import { DatapathError } from './errors.ts';

/** Address family as netlink numbers it (`AF_INET`, `AF_INET6`). */
export type Family = 2 | 10;
export const IPV4: Family = 2;
export const IPV6: Family = 10;

/** A network in canonical form. */
export interface Cidr {
  family: Family;
  /** First address, in canonical form. */
  network: string;
  prefixLength: number;
}

/** Family of an address or CIDR in text form. */
export function familyOf(text: string): Family {
  return text.includes(':') ? IPV6 : IPV4;
}

/** Prefix length of one address. */
export function hostPrefix(family: Family): number {
  return family === IPV4 ? 32 : 128;
}

/**
 * The 4 or 16 bytes of an address.
 *
 * @throws DatapathError when it is none.
 */
export function addressBytes(text: string): Buffer {
  if (isIPv4(text)) return Buffer.from(text.split('.').map(Number));
  if (!isIPv6(text) || text.includes('%')) throw new DatapathError('parse address', `${text} is no IP address`);
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const groups = dotted === null ? text : `${dotted[1]}${dottedAsGroups(dotted[2] ?? '')}`;
  const [head = '', tail] = groups.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  const bytes = Buffer.alloc(16);
  [...left, ...zeros, ...right].forEach((group, at) => {
    bytes.writeUInt16BE(Number.parseInt(group, 16), at * 2);
  });
  return bytes;
}

function dottedAsGroups(text: string): string {
  const bytes = Buffer.from(text.split('.').map(Number));
  return `${bytes.readUInt16BE(0).toString(16)}:${bytes.readUInt16BE(2).toString(16)}`;
}

/** The text form of 4 or 16 bytes; IPv6 as RFC 5952 without dotted forms. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const view = Buffer.from(bytes);
  const groups = Array.from({ length: 8 }, (_, at) => view.readUInt16BE(at * 2));
  let best = { start: 0, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  const hex = (part: number[]) => part.map((group) => group.toString(16)).join(':');
  if (best.length === 1) return hex(groups);
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`;
}

/** The one form in which an address is compared. */
export function canonicalAddress(text: string): string {
  return addressText(addressBytes(text));
}

/**
 * Parses `address/prefix length`, or an address, which is a network of one.
 *
 * @throws DatapathError when it is neither.
 */
export function parseCidr(text: string): Cidr {
  const [address = '', length, rest] = text.split('/');
  const bytes = addressBytes(address);
  const family = bytes.length === 4 ? IPV4 : IPV6;
  const prefixLength = length === undefined ? hostPrefix(family) : Number(length);
  const valid = length === undefined || /^\d{1,3}$/.test(length);
  if (!valid || rest !== undefined || prefixLength > hostPrefix(family)) {
    throw new DatapathError('parse network', `${text} is no CIDR`);
  }
  return { family, network: addressText(masked(bytes, prefixLength)), prefixLength };
}

/** `network/prefix length` in canonical form. */
export function cidrText({ network, prefixLength }: Cidr): string {
  return `${network}/${prefixLength}`;
}

/** Whether the network holds the address. */
export function contains(cidr: Cidr, address: string): boolean {
  const bytes = addressBytes(address);
  if (familyOf(address) !== cidr.family) return false;
  return addressText(masked(bytes, cidr.prefixLength)) === cidr.network;
}

function masked(bytes: Buffer, prefixLength: number): Buffer {
  return Buffer.from(
    bytes.map((byte, at) => byte & (0xff << (8 - Math.min(8, Math.max(0, prefixLength - at * 8)))) & 0xff),
  );
}
