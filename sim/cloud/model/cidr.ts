/** Arithmetic on IPv4 and IPv6 addresses and blocks, in canonical text on the outside and integers inside. */

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

/** Returns the address as an unsigned integer, undefined for anything but four plain decimal octets. */
export function parseIpv4(text: string): number | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  let value = 0;
  for (const part of match.slice(1)) {
    const octet = Number(part);
    if (octet > 255 || (part.length > 1 && part.startsWith('0'))) return undefined;
    value = value * 256 + octet;
  }
  return value;
}

export function formatIpv4(value: number): string {
  return `${Math.floor(value / 16777216) % 256}.${Math.floor(value / 65536) % 256}.${Math.floor(value / 256) % 256}.${value % 256}`;
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

export function ipv4BlockContains(outer: Ipv4Block, inner: Ipv4Block): boolean {
  return inner.base >= outer.base && inner.base + inner.size <= outer.base + outer.size;
}

/** Returns the 128-bit value; undefined for malformed text. Zone ids and embedded IPv4 are not accepted. */
export function parseIpv6(text: string): bigint | undefined {
  if (!/^[0-9a-fA-F:]{2,39}$/.test(text)) return undefined;
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = groups(halves[0] ?? '');
  const tail = halves.length === 2 ? groups(halves[1] ?? '') : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  let value = 0n;
  for (const group of [...head, ...new Array<number>(missing).fill(0), ...tail]) value = (value << 16n) | BigInt(group);
  return value;
}

/** Canonical text of RFC 5952. */
export function formatIpv6(value: bigint): string {
  const words: number[] = [];
  for (let shift = 112n; shift >= 0n; shift -= 16n) words.push(Number((value >> shift) & 0xffffn));
  let bestStart = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && words[start + length] === 0) length++;
    if (length > bestLength) {
      bestStart = start;
      bestLength = length;
    }
  }
  const hex = words.map((word) => word.toString(16));
  if (bestStart < 0) return hex.join(':');
  return `${hex.slice(0, bestStart).join(':')}::${hex.slice(bestStart + bestLength).join(':')}`;
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

function groups(text: string): number[] | undefined {
  if (text === '') return [];
  const parts = text.split(':');
  if (parts.some((part) => !/^[0-9a-fA-F]{1,4}$/.test(part))) return undefined;
  return parts.map((part) => Number.parseInt(part, 16));
}
