import { isIPv4, isIPv6 } from 'node:net';

/** An address as a number, with its family. */
export interface IpNumber {
  family: 4 | 6;
  value: bigint;
}

/** An address block. */
export interface Cidr {
  family: 4 | 6;
  /** Of the block's first address. */
  first: bigint;
  prefixLength: number;
}

/** Parses an address without a prefix length; undefined when it is none. */
export function parseIp(text: string): IpNumber | undefined {
  if (isIPv4(text)) {
    return { family: 4, value: text.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n) };
  }
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const withoutV4 = text.replace(/(\d+\.\d+\.\d+\.\d+)$/, (dotted) => {
    const value = parseIp(dotted)?.value ?? 0n;
    return `${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`;
  });
  const [head = '', tail] = withoutV4.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':'));
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  const value = [...left, ...(tail === undefined ? [] : zeros), ...right].reduce(
    (sum, group) => (sum << 16n) | BigInt(`0x${group}`),
    0n,
  );
  return { family: 6, value };
}

/** The usual text of an address; IPv6 in the form of RFC 5952. */
export function formatIp({ family, value }: IpNumber): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => ((value >> shift) & 0xffn).toString()).join('.');
  const groups = Array.from({ length: 8 }, (_, at) => ((value >> BigInt(112 - at * 16)) & 0xffffn).toString(16));
  let best = { at: -1, length: 1 };
  for (let at = 0; at < 8; at += 1) {
    let length = 0;
    while (groups[at + length] === '0') length += 1;
    if (length > best.length) best = { at, length };
  }
  if (best.at < 0) return groups.join(':');
  return `${groups.slice(0, best.at).join(':')}::${groups.slice(best.at + best.length).join(':')}`;
}

/** Parses `address/length`; bits behind the prefix are cleared. Undefined when it is none. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf('/');
  const ip = slash < 0 ? undefined : parseIp(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  if (ip === undefined || !/^\d{1,3}$/.test(lengthText)) return undefined;
  const bits = ip.family === 4 ? 32 : 128;
  const prefixLength = Number(lengthText);
  if (prefixLength > bits) return undefined;
  const hostBits = BigInt(bits - prefixLength);
  return { family: ip.family, first: (ip.value >> hostBits) << hostBits, prefixLength };
}

/**
 * The gateway of a vSwitch: the last but two addresses of its block, such as x.x.x.253 of a /24 (alicloud-protocol.md, VPC);
 * upstream's daemon derives it in the same way.
 *
 * @returns undefined for what is no CIDR or has no room for a gateway.
 */
export function gatewayOf(cidr: string): string | undefined {
  const block = parseCidr(cidr);
  if (block === undefined) return undefined;
  const hostBits = (block.family === 4 ? 32 : 128) - block.prefixLength;
  if (hostBits < 2) return undefined;
  return formatIp({ family: block.family, value: block.first + (1n << BigInt(hostBits)) - 3n });
}

/** Whether the address lies in the block. */
export function cidrContains(cidr: string, address: string): boolean {
  const block = parseCidr(cidr);
  const ip = parseIp(address);
  if (block === undefined || ip === undefined || block.family !== ip.family) return false;
  const hostBits = BigInt((block.family === 4 ? 32 : 128) - block.prefixLength);
  return (ip.value >> hostBits) << hostBits === block.first;
}
