import { isIPv4, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';

/** The 4 or 16 bytes of an address, in network order. */
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

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** Parses an address without prefix length and zone; undefined when invalid. */
export function parseIp(text: string): Ip | undefined {
  const address = parseAddress(text);
  return address === undefined ? undefined : ipOf(address);
}

/** The text of 4 or 16 bytes; IPv6 as RFC 5952 without dotted forms. */
export function formatIp(bytes: Uint8Array): string {
  return ipaddr.fromByteArray([...bytes]).toString();
}

/** The text by which addresses are compared; what is no address stays as it is. */
export function canonicalIp(text: string): string {
  const ip = parseIp(text);
  return ip === undefined ? text : formatIp(ip.bytes);
}

/** Parses `address/length` and clears the bits after the prefix; undefined when invalid. */
export function parseCidr(text: string): Cidr | undefined {
  const block = parseBlock(text);
  if (block === undefined) return undefined;
  const [address, prefixLength] = block;
  const cidr = `${address.toString()}/${prefixLength}`;
  const first =
    address.kind() === 'ipv4' ? ipaddr.IPv4.networkAddressFromCIDR(cidr) : ipaddr.IPv6.networkAddressFromCIDR(cidr);
  const { family, bytes } = ipOf(first);
  return { family, first: bytes, prefixLength };
}

/**
 * The gateway of a vSwitch: the third-last address of its block, such as x.x.x.253 in a /24, which VPC reserves. Terway's own
 * daemon derives it in the same way.
 *
 * @returns undefined for an invalid CIDR or one without room for a gateway
 */
export function gatewayOf(cidr: string): string | undefined {
  const block = parseBlock(cidr);
  if (block === undefined) return undefined;
  const [address, prefixLength] = block;
  const canonical = `${address.toString()}/${prefixLength}`;
  const last =
    address.kind() === 'ipv4'
      ? ipaddr.IPv4.broadcastAddressFromCIDR(canonical)
      : ipaddr.IPv6.broadcastAddressFromCIDR(canonical);
  const bytes = last.toByteArray();
  if (bytes.length * 8 - prefixLength < 2) return undefined;
  // All host bits are set, so two less is the second lowest bit.
  return formatIp(Uint8Array.from(bytes.with(-1, (bytes.at(-1) ?? 0) - 2)));
}

/** True when the address is in the block. */
export function cidrContains(cidr: string, address: string): boolean {
  const block = parseBlock(cidr);
  const ip = parseAddress(address);
  return block !== undefined && ip !== undefined && ip.kind() === block[0].kind() && ip.match(block);
}

/**
 * ipaddr.js also accepts what Kubernetes and ECS refuse: zones, and octal, hexadecimal and short IPv4 addresses, even within
 * IPv6 addresses. So Node's `isIP` decides first.
 */
function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return ipaddr.IPv4.parse(text);
  if (!isIPv6(text) || text.includes('%')) return undefined;
  // ipaddr.js parses `::1.2.3.4` as `::ffff:1.2.3.4`, which is another address.
  return ipaddr.IPv6.parse(text.replace(/^::(?=\d+\.)/, '0::'));
}

function parseBlock(text: string): [Address, number] | undefined {
  const [, address = '', length = ''] = /^([^/]*)\/(\d{1,3})$/.exec(text) ?? [];
  const ip = parseAddress(address);
  const prefixLength = Number(length);
  if (ip === undefined || prefixLength > ip.toByteArray().length * 8) return undefined;
  return [ip, prefixLength];
}

function ipOf(address: Address): Ip {
  return { family: address.kind() === 'ipv4' ? 4 : 6, bytes: Buffer.from(address.toByteArray()) };
}
