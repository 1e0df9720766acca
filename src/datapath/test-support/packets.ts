import { addressBytes } from '../ip.ts';

/** One UDP packet in an Ethernet frame. */
export interface Packet {
  fromMac?: string;
  toMac: string;
  /** Tags from the outside in. */
  vlans?: number[];
  source: string;
  destination: string;
  payload?: string;
  /** Bytes of payload, when it matters. */
  size?: number;
}

/** The bytes of a frame. */
export function frameBytes(packet: Packet): Buffer {
  const { fromMac = '02:00:00:00:00:01', toMac, vlans = [], source, destination } = packet;
  const payload = packet.size === undefined ? Buffer.from(packet.payload ?? 'hello') : Buffer.alloc(packet.size, 'x');
  const isIpv4 = !source.includes(':');
  const udp = Buffer.alloc(8 + payload.length);
  udp.writeUInt16BE(4000, 0);
  udp.writeUInt16BE(4000, 2);
  udp.writeUInt16BE(udp.length, 4);
  payload.copy(udp, 8);
  const ip = isIpv4 ? ipv4Header(source, destination, udp.length) : ipv6Header(source, destination, udp);
  return Buffer.concat([ethernet(toMac, fromMac, vlans), Buffer.from(isIpv4 ? [8, 0] : [0x86, 0xdd]), ip, udp]);
}

/** A message of neighbour discovery that only routers send, or that only they are asked by. */
export function routerMessage(message: {
  /** 133 solicitation, 134 advertisement of a default route and a prefix, 137 redirect. */
  type: 133 | 134 | 137;
  toMac: string;
  source: string;
  destination: string;
  vlans?: number[];
}): Buffer {
  const { type, toMac, source, destination, vlans = [] } = message;
  const body = bodyOf(type);
  const icmp = Buffer.concat([Buffer.from([type, 0, 0, 0]), body]);
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(icmp.length, 4);
  header[6] = 58;
  header[7] = 255;
  addressBytes(source).copy(header, 8);
  addressBytes(destination).copy(header, 24);
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(icmp.length, 0);
  pseudo[7] = 58;
  icmp.writeUInt16BE(checksum(Buffer.concat([header.subarray(8), pseudo, icmp])), 2);
  return Buffer.concat([ethernet(toMac, '02:00:00:00:00:01', vlans), Buffer.from([0x86, 0xdd]), header, icmp]);
}

function bodyOf(type: 133 | 134 | 137): Buffer {
  const link = Buffer.from([1, 1, 2, 0, 0, 0, 0, 1]);
  switch (type) {
    case 133:
      return Buffer.concat([Buffer.alloc(4), link]);
    case 134: {
      const advertisement = Buffer.alloc(12);
      advertisement[0] = 64;
      advertisement.writeUInt16BE(1800, 2);
      const prefix = Buffer.alloc(32);
      prefix.set([3, 4, 64, 0xc0]);
      prefix.writeUInt32BE(1800, 4);
      prefix.writeUInt32BE(1800, 8);
      addressBytes('2001:db8:bad::').copy(prefix, 16);
      return Buffer.concat([advertisement, prefix, link]);
    }
    case 137:
      return Buffer.concat([Buffer.alloc(4), addressBytes('fe80::bad'), addressBytes('2001:db8::77')]);
  }
}

function ethernet(toMac: string, fromMac: string, vlans: readonly number[]): Buffer {
  const mac = (text: string) => Buffer.from(text.replaceAll(':', ''), 'hex');
  return Buffer.concat([mac(toMac), mac(fromMac), ...vlans.map((id) => Buffer.from([0x81, 0x00, id >> 8, id & 0xff]))]);
}

function ipv4Header(source: string, destination: string, size: number): Buffer {
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(20 + size, 2);
  header.writeUInt16BE(0x4000, 6);
  header[8] = 64;
  header[9] = 17;
  addressBytes(source).copy(header, 12);
  addressBytes(destination).copy(header, 16);
  header.writeUInt16BE(checksum(header), 10);
  return header;
}

function ipv6Header(source: string, destination: string, udp: Buffer): Buffer {
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(udp.length, 4);
  header[6] = 17;
  header[7] = 64;
  addressBytes(source).copy(header, 8);
  addressBytes(destination).copy(header, 24);
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(udp.length, 0);
  pseudo[7] = 17;
  udp.writeUInt16BE(checksum(Buffer.concat([header.subarray(8), pseudo, udp])), 6);
  return header;
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
