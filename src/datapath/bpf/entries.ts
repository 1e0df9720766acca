import { formatIp } from '../../util/ip.ts';
import { addressBytes } from '../ip.ts';

/*
 * Keys and values of the maps as native/bpf/terway.bpf.c lays them out.
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

/** What packets from one pod interface must be and become. */
export interface VethEntry {
  /** Index of the host's end. */
  linkIndex: number;
  mark: number;
  markMask: number;
  ipv4: string | undefined;
  ipv6: string | undefined;
  /** MAC address of the pod's end. */
  podMac: string;
  owner: bigint;
}

/** A VLAN id whose frames belong to an 802.1Q device in a pod. */
export interface VlanEntry {
  trunkIndex: number;
  vlanId: number;
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
  const value = Buffer.alloc(48);
  value.writeUInt32LE(entry.mark, 0);
  value.writeUInt32LE(entry.markMask, 4);
  value.writeUInt32LE((entry.ipv4 === undefined ? 0 : HAS_IPV4) | (entry.ipv6 === undefined ? 0 : HAS_IPV6), 8);
  if (entry.ipv4 !== undefined) addressBytes(entry.ipv4).copy(value, 12);
  if (entry.ipv6 !== undefined) addressBytes(entry.ipv6).copy(value, 16);
  Buffer.from(entry.podMac.replaceAll(':', ''), 'hex').copy(value, 32);
  value.writeBigUInt64LE(entry.owner, 40);
  return { key: linkKey(entry.linkIndex), value };
}

export function decodeVeth({ key, value }: RawEntry): VethEntry {
  const flags = value.readUInt32LE(8);
  return {
    linkIndex: key.readUInt32LE(0),
    mark: value.readUInt32LE(0),
    markMask: value.readUInt32LE(4),
    ipv4: (flags & HAS_IPV4) === 0 ? undefined : formatIp(value.subarray(12, 16)),
    ipv6: (flags & HAS_IPV6) === 0 ? undefined : formatIp(value.subarray(16, 32)),
    podMac: value.toString('hex', 32, 38).replace(/..(?=.)/g, '$&:'),
    owner: value.readBigUInt64LE(40),
  };
}

export function linkKey(linkIndex: number): Buffer {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(linkIndex);
  return key;
}

export function encodeVlan({ trunkIndex, vlanId, owner }: VlanEntry): RawEntry {
  const key = Buffer.alloc(8);
  key.writeUInt32LE(trunkIndex, 0);
  key.writeUInt32LE(vlanId, 4);
  const value = Buffer.alloc(8);
  value.writeBigUInt64LE(owner);
  return { key, value };
}

export function decodeVlan({ key, value }: RawEntry): VlanEntry {
  return { trunkIndex: key.readUInt32LE(0), vlanId: key.readUInt32LE(4), owner: value.readBigUInt64LE(0) };
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
