import { formatIp } from '../../util/ip.ts';
import { addressBytes } from '../ip.ts';

/*
 * Keys and values of the maps as native/bpf/maps.h lays them out.
 */

/** The tag of one address. */
export interface TagEntry {
  address: string;
  vlanId: number;
  /** Index of the trunk among the node's links. */
  trunkIndex: number;
  /** Of its packets on the trunk, see {@link PACKET_PRIORITY}; absent leaves them as they are. */
  priority?: PacketPriority | undefined;
  /** Which sandbox it is for, see `ownerOf`. */
  owner: bigint;
}

/** What packets from one pod interface must carry, and the mark that they get. */
export interface VethEntry {
  /** Index of the host's end. */
  linkIndex: number;
  mark: number;
  markMask: number;
  ipv4: string | undefined;
  ipv6: string | undefined;
  owner: bigint;
}

/** A VLAN id whose frames belong to an 802.1Q device in a pod, and the sources that they may have. */
export interface VlanEntry {
  trunkIndex: number;
  vlanId: number;
  ipv4: string | undefined;
  ipv6: string | undefined;
  owner: bigint;
}

export interface RawEntry {
  key: Buffer;
  value: Buffer;
}

const HAS_IPV4 = 1;
const HAS_IPV6 = 2;

/**
 * Priorities of packets (linux/pkt_sched.h: interactive, best effort, bulk). Qdiscs with bands, such as pfifo_fast and prio, send
 * the first before the second and that before the third, by their default maps.
 */
export const PACKET_PRIORITY = { guaranteed: 6, burstable: 0, 'best-effort': 2 } as const;
export type PacketPriority = keyof typeof PACKET_PRIORITY;

const PRIORITIES: readonly PacketPriority[] = ['guaranteed', 'burstable', 'best-effort'];

export function encodeTag({ address, vlanId, trunkIndex, priority, owner }: TagEntry): RawEntry {
  const value = Buffer.alloc(16);
  value.writeUInt16LE(vlanId, 0);
  if (priority !== undefined) value.writeUInt16LE(PACKET_PRIORITY[priority] + 1, 2);
  value.writeUInt32LE(trunkIndex, 4);
  value.writeBigUInt64LE(owner, 8);
  return { key: addressBytes(address), value };
}

export function decodeTag({ key, value }: RawEntry): TagEntry {
  const code = value.readUInt16LE(2) - 1;
  const priority = PRIORITIES.find((known) => PACKET_PRIORITY[known] === code);
  return {
    address: formatIp(key),
    vlanId: value.readUInt16LE(0),
    trunkIndex: value.readUInt32LE(4),
    ...(priority === undefined ? {} : { priority }),
    owner: value.readBigUInt64LE(8),
  };
}

export function encodeVeth(entry: VethEntry): RawEntry {
  const value = Buffer.alloc(40);
  value.writeUInt32LE(entry.mark, 0);
  value.writeUInt32LE(entry.markMask, 4);
  writeAddresses(value, 8, entry);
  value.writeBigUInt64LE(entry.owner, 32);
  return { key: linkKey(entry.linkIndex), value };
}

export function decodeVeth({ key, value }: RawEntry): VethEntry {
  return {
    linkIndex: key.readUInt32LE(0),
    mark: value.readUInt32LE(0),
    markMask: value.readUInt32LE(4),
    ...readAddresses(value, 8),
    owner: value.readBigUInt64LE(32),
  };
}

export function linkKey(linkIndex: number): Buffer {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(linkIndex);
  return key;
}

export function encodeVlan({ trunkIndex, vlanId, ipv4, ipv6, owner }: VlanEntry): RawEntry {
  const value = Buffer.alloc(32);
  value.writeBigUInt64LE(owner);
  writeAddresses(value, 8, { ipv4, ipv6 });
  return { key: vlanKey(trunkIndex, vlanId), value };
}

export function vlanKey(trunkIndex: number, vlanId: number): Buffer {
  const key = Buffer.alloc(8);
  key.writeUInt32LE(trunkIndex, 0);
  key.writeUInt32LE(vlanId, 4);
  return key;
}

export function decodeVlan({ key, value }: RawEntry): VlanEntry {
  return {
    trunkIndex: key.readUInt32LE(0),
    vlanId: key.readUInt32LE(4),
    ...readAddresses(value, 8),
    owner: value.readBigUInt64LE(0),
  };
}

type Addresses = Pick<VethEntry, 'ipv4' | 'ipv6'>;

/** Which addresses there are, then the addresses. */
function writeAddresses(value: Buffer, at: number, { ipv4, ipv6 }: Addresses): void {
  value.writeUInt32LE((ipv4 === undefined ? 0 : HAS_IPV4) | (ipv6 === undefined ? 0 : HAS_IPV6), at);
  if (ipv4 !== undefined) addressBytes(ipv4).copy(value, at + 4);
  if (ipv6 !== undefined) addressBytes(ipv6).copy(value, at + 8);
}

function readAddresses(value: Buffer, at: number): Addresses {
  const flags = value.readUInt32LE(at);
  return {
    ipv4: (flags & HAS_IPV4) === 0 ? undefined : formatIp(value.subarray(at + 4, at + 8)),
    ipv6: (flags & HAS_IPV6) === 0 ? undefined : formatIp(value.subarray(at + 8, at + 24)),
  };
}

/** Names of the counters in the order of `enum verdict`. */
export const VERDICTS = [
  'tagged',
  'untagged',
  'passed',
  'droppedNoEntry',
  'droppedWrongVlan',
  'droppedDoubleTag',
  'droppedMissingTag',
  'droppedSpoofedSource',
] as const;

/** The sum of one counter over all CPUs. */
export function sumOfCpus(value: Buffer): number {
  let sum = 0;
  for (let at = 0; at + 8 <= value.length; at += 8) sum += Number(value.readBigUInt64LE(at));
  return sum;
}
