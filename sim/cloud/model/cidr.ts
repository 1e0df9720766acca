/** Arithmetic on IPv4 and IPv6 addresses and blocks. The interface uses canonical text, the calculation integers. */

import { isIPv4, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';

export interface Ipv4Block {
  /** First address of the block. */
  base: number;
  prefixLength: number;
  /** Number of addresses. */
  size: number;
}

export interface Ipv6Block {
  base: bigint;
  prefixLength: number;
}

/** Returns the address as an unsigned integer. Undefined for anything but four plain decimal octets. */
export function parseIpv4(text: string): number | undefined {
  // ipaddr.js also accepts octal, hexadecimal and short forms.
  return isIPv4(text) ? Buffer.from(ipaddr.IPv4.parse(text).toByteArray()).readUInt32BE() : undefined;
}

export function formatIpv4(value: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return ipaddr.fromByteArray([...bytes]).toString();
}

/** Undefined unless the text is an IPv4 block whose host bits are zero. */
export function parseIpv4Block(text: string): Ipv4Block | undefined {
  const split = splitBlock(text, 32);
  if (split === undefined) return undefined;
  const base = parseIpv4(split.address);
  if (base === undefined) return undefined;
  const size = 2 ** (32 - split.prefixLength);
  return base % size === 0 ? { base, prefixLength: split.prefixLength, size } : undefined;
}

/** `255.255.255.0` for a /24. */
export function ipv4Netmask(block: Ipv4Block): string {
  return formatIpv4(2 ** 32 - block.size);
}

/** The third-to-last address of a vSwitch's IPv4 block. Undefined for malformed text. */
export function ipv4Gateway(cidrBlock: string): string | undefined {
  const block = parseIpv4Block(cidrBlock);
  return block === undefined ? undefined : formatIpv4(block.base + block.size - 3);
}

/** The third-to-last address of a vSwitch's IPv6 block (assumed: as in IPv4). Undefined for malformed text. */
export function ipv6Gateway(cidrBlock: string): string | undefined {
  const block = parseIpv6Block(cidrBlock);
  return block === undefined ? undefined : formatIpv6(block.base + (1n << BigInt(128 - block.prefixLength)) - 3n);
}

export function ipv4BlockContains(outer: Ipv4Block, inner: Ipv4Block): boolean {
  return inner.base >= outer.base && inner.base + inner.size <= outer.base + outer.size;
}

/** Returns the 128-bit value. Undefined for malformed text. Zone ids and embedded IPv4 are not accepted. */
export function parseIpv6(text: string): bigint | undefined {
  if (!isIPv6(text) || /[%.]/.test(text)) return undefined;
  return BigInt(`0x${Buffer.from(ipaddr.IPv6.parse(text).toByteArray()).toString('hex')}`);
}

/** Canonical text of RFC 5952. */
export function formatIpv6(value: bigint): string {
  return ipaddr.fromByteArray([...Buffer.from(value.toString(16).padStart(32, '0'), 'hex')]).toString();
}

/** Undefined unless the text is an IPv6 block whose host bits are zero. */
export function parseIpv6Block(text: string): Ipv6Block | undefined {
  const split = splitBlock(text, 128);
  if (split === undefined) return undefined;
  const base = parseIpv6(split.address);
  if (base === undefined) return undefined;
  const hostBits = BigInt(128 - split.prefixLength);
  return (base >> hostBits) << hostBits === base ? { base, prefixLength: split.prefixLength } : undefined;
}

/** True when `value` lies in the block. */
export function ipv6BlockHas(block: Ipv6Block, value: bigint): boolean {
  const hostBits = BigInt(128 - block.prefixLength);
  return value >> hostBits === block.base >> hostBits;
}

export function ipv6BlockContains(outer: Ipv6Block, inner: Ipv6Block): boolean {
  return inner.prefixLength >= outer.prefixLength && ipv6BlockHas(outer, inner.base);
}

function splitBlock(text: string, maxLength: number): { address: string; prefixLength: number } | undefined {
  const match = /^([^/]{2,39})\/(\d{1,3})$/.exec(text);
  const [, address, digits] = match ?? [];
  if (address === undefined || digits === undefined) return undefined;
  const prefixLength = Number(digits);
  return prefixLength <= maxLength ? { address, prefixLength } : undefined;
}
