import { formatIp, parseCidr as parseBlock, parseIp } from '../util/ip.ts';
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
  const ip = parseIp(text);
  if (ip === undefined) throw new DatapathError('parse address', `${text} is no IP address`);
  return ip.bytes;
}

/** The canonical text, by which addresses are compared. */
export function canonicalAddress(text: string): string {
  return formatIp(addressBytes(text));
}

/**
 * Parses `address/prefix length`; a plain address is a network of one.
 *
 * @throws DatapathError when it is neither.
 */
export function parseCidr(text: string): Cidr {
  const block = parseBlock(text.includes('/') ? text : `${text}/${hostPrefix(familyOf(text))}`);
  if (block === undefined) throw new DatapathError('parse network', `${text} is no CIDR`);
  const { family, first, prefixLength } = block;
  return { family: family === 4 ? IPV4 : IPV6, network: formatIp(first), prefixLength };
}

/** `network/prefix length` in canonical form. */
export function cidrText({ network, prefixLength }: Cidr): string {
  return `${network}/${prefixLength}`;
}
