import { parseIpv4, parseIpv6 } from '../cloud/model/cidr.ts';

/** Builds and parses frames for tests, byte by byte. */

export const ROUTER_MAC = 'ee:ff:ff:ff:ff:ff';
export const BROADCAST_MAC = 'ff:ff:ff:ff:ff:ff';

export interface Ethernet {
  src: string;
  dst?: string;
  /** Outermost first. */
  vlans?: readonly number[];
}

export interface Datagram {
  src: string;
  dst: string;
  srcPort?: number;
  dstPort?: number;
  payload?: string;
}

export function ethernet(header: Ethernet, etherType: number, payload: Buffer): Buffer {
  const tags = (header.vlans ?? []).map((vlan) => Buffer.concat([uint16(0x8100), uint16(vlan)]));
  return Buffer.concat([mac(header.dst ?? ROUTER_MAC), mac(header.src), ...tags, uint16(etherType), payload]);
}

/** A UDP datagram in IPv4 or IPv6, depending on the addresses. */
export function udp(header: Ethernet, { src, dst, srcPort = 4000, dstPort = 5000, payload = '' }: Datagram): Buffer {
  return ip(header, src, dst, 17, ports(srcPort, dstPort, Buffer.from(payload)));
}

/** A TCP segment without options. The switch ignores flags. */
export function tcp(header: Ethernet, { src, dst, srcPort = 4000, dstPort = 80, payload = '' }: Datagram): Buffer {
  const rest = Buffer.alloc(16);
  rest[8] = 0x50;
  const segment = Buffer.concat([uint16(srcPort), uint16(dstPort), rest, Buffer.from(payload)]);
  return ip(header, src, dst, 6, segment);
}

/** An ICMP or ICMPv6 echo. */
export function echo(
  header: Ethernet,
  { src, dst, id, reply = false }: { src: string; dst: string; id: number; reply?: boolean },
): Buffer {
  const v6 = src.includes(':');
  const type = v6 ? (reply ? 129 : 128) : reply ? 0 : 8;
  const body = Buffer.concat([Buffer.from([type, 0, 0, 0]), uint16(id), uint16(1)]);
  return ip(header, src, dst, v6 ? 58 : 1, body);
}

/** ICMP port unreachable about a packet that `about` carried. */
export function unreachable(header: Ethernet, src: string, dst: string, about: Buffer): Buffer {
  const v6 = src.includes(':');
  const start = about.readUInt16BE(12) === 0x8100 ? 18 : 14;
  const type = v6 ? Buffer.from([1, 4, 0, 0, 0, 0, 0, 0]) : Buffer.from([3, 3, 0, 0, 0, 0, 0, 0]);
  const quoted = about.subarray(start, start + (v6 ? 48 : 28));
  return ip(header, src, dst, v6 ? 58 : 1, Buffer.concat([type, quoted]));
}

/** A fragment of a UDP datagram in IPv4. `offset` is in bytes, a multiple of 8. */
export function fragment(
  header: Ethernet,
  { src, dst, srcPort = 4000, dstPort = 5000 }: Datagram,
  piece: { id: number; offset: number; more: boolean; payload: string },
): Buffer {
  const body = Buffer.from(piece.payload);
  const data = piece.offset === 0 ? ports(srcPort, dstPort, body) : body;
  const flags = (piece.more ? 0x2000 : 0) | (piece.offset / 8);
  return ethernet(header, 0x0800, ipv4(src, dst, 17, data, piece.id, flags));
}

export function arpRequest(
  header: Ethernet,
  { sender, target, operation = 1 }: { sender: string; target: string; operation?: number },
): Buffer {
  const body = Buffer.concat([
    ...[uint16(1), uint16(0x0800), Buffer.from([6, 4]), uint16(operation)],
    ...[mac(header.src), address(sender), Buffer.alloc(6), address(target)],
  ]);
  return ethernet({ dst: BROADCAST_MAC, ...header }, 0x0806, body);
}

/** From `::` it is a probe for duplicate addresses. */
export function neighborSolicitation(header: Ethernet, { sender, target }: { sender: string; target: string }): Buffer {
  const wanted = address(target);
  const group = Buffer.concat([address('ff02::1:ff00:0').subarray(0, 13), wanted.subarray(13)]);
  const option = sender === '::' ? Buffer.alloc(0) : Buffer.concat([Buffer.from([1, 1]), mac(header.src)]);
  const body = Buffer.concat([Buffer.from([135, 0, 0, 0, 0, 0, 0, 0]), wanted, option]);
  const dst = `33:33:${[...group.subarray(12)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;
  return ethernet({ dst, ...header }, 0x86dd, ipv6(address(sender), group, 58, body));
}

/** The parts of an arrived frame that tests check. */
export interface ParsedFrame {
  vlans: number[];
  srcMac: string;
  dstMac: string;
  etherType: number;
  /** Everything after the Ethernet header. */
  body: Buffer;
  /** Everything after the IP and UDP or TCP headers. */
  payload: string;
}

export function parseFrame(frame: Buffer): ParsedFrame {
  const vlans: number[] = [];
  let at = 12;
  for (; frame.readUInt16BE(at) === 0x8100; at += 4) vlans.push(frame.readUInt16BE(at + 2) & 0xfff);
  const etherType = frame.readUInt16BE(at);
  const body = frame.subarray(at + 2);
  const [headerLength, protocol] = etherType === 0x86dd ? [40, body[6]] : [20, body[9]];
  const payload = body.subarray(headerLength + (protocol === 6 ? 20 : 8)).toString('latin1');
  return {
    vlans,
    dstMac: macText(frame.subarray(0, 6)),
    srcMac: macText(frame.subarray(6, 12)),
    etherType,
    body,
    payload,
  };
}

/** The Internet checksum. 0 over data that contains a correct one. */
export function checksum(data: Buffer): number {
  let sum = 0;
  for (let at = 0; at < data.length; at += 2) sum += ((data[at] ?? 0) << 8) | (data[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

export function macText(bytes: Buffer): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** The bytes of an IPv4 or IPv6 address. */
export function address(text: string): Buffer {
  const v4 = parseIpv4(text);
  if (v4 !== undefined) return uint32(v4);
  const v6 = parseIpv6(text);
  if (v6 === undefined) throw new Error(`not an address: ${text}`);
  return Buffer.from(v6.toString(16).padStart(32, '0'), 'hex');
}

function ip(header: Ethernet, src: string, dst: string, protocol: number, body: Buffer): Buffer {
  if (src.includes(':')) return ethernet(header, 0x86dd, ipv6(address(src), address(dst), protocol, body));
  return ethernet(header, 0x0800, ipv4(src, dst, protocol, body, 1, 0));
}

function ipv4(src: string, dst: string, protocol: number, body: Buffer, id: number, flags: number): Buffer {
  const head = Buffer.concat([
    ...[Buffer.from([0x45, 0]), uint16(20 + body.length), uint16(id), uint16(flags), Buffer.from([64, protocol, 0, 0])],
    ...[address(src), address(dst)],
  ]);
  head.writeUInt16BE(checksum(head), 10);
  return Buffer.concat([head, body]);
}

function ipv6(src: Buffer, dst: Buffer, protocol: number, body: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from([0x60, 0, 0, 0]),
    uint16(body.length),
    Buffer.from([protocol, 255]),
    src,
    dst,
    body,
  ]);
}

function ports(srcPort: number, dstPort: number, payload: Buffer): Buffer {
  return Buffer.concat([uint16(srcPort), uint16(dstPort), uint16(8 + payload.length), uint16(0), payload]);
}

function mac(text: string): Buffer {
  return Buffer.from(text.replaceAll(':', ''), 'hex');
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
