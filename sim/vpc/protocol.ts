import * as z from 'zod';
import type { SwitchTable } from './table.ts';

/** The lines that this process and the forwarding program (switch/run.go) exchange. */

/** Why a frame was refused. */
export const REFUSAL_REASONS = [
  /** Too short, or headers that contradict each other. */
  'malformed',
  /** A tag behind the tag. */
  'double-tag',
  /** No member of this trunk has the VLAN id. */
  'unknown-vlan',
  /** The sender or the receiver is not InUse on a running instance. */
  'not-attached',
  /** Not the MAC address of the adapter; of a member, of its trunk. */
  'wrong-source-mac',
  /** Not the router's MAC address, to which every address of the VPC resolves (assumed that the cloud minds). */
  'wrong-destination-mac',
  /** Not an address of the ENI. */
  'wrong-source-address',
  /** Neither IPv4, IPv6 nor ARP. */
  'unsupported-ether-type',
  /** Broadcast or multicast. */
  'not-unicast',
  /** ARP or ND for an address outside the VPC. */
  'unknown-neighbour',
  /** A destination outside the VPC. */
  'no-route',
  /** A destination in the VPC that no ENI has. */
  'unknown-destination',
  /** The sender's security groups. */
  'security-group-egress',
  /** The receiver's security groups. */
  'security-group-ingress',
  /** A later fragment whose first part was not seen, or was refused. */
  'fragment-without-first',
  /** Allowed, but the receiver's device is not up. */
  'device-down',
  /** Allowed, but the receiver's node does not take part, or its device could not be made. */
  'no-device',
] as const;

export type RefusalReason = (typeof REFUSAL_REASONS)[number];

const frameFields = {
  /** The ENI whose frame it is; empty when nobody's. */
  eni: z.string(),
  /** The ENI whose device it was seen on: the trunk's for a member. */
  device: z.string(),
  /** Tag on the wire; 0 for none. */
  vlan: z.number(),
  srcMac: z.string(),
  dstMac: z.string(),
  etherType: z.number(),
  /** Addresses; of ARP those of sender and target, empty for what is not IP. */
  src: z.string(),
  dst: z.string(),
  /** IP protocol number. */
  protocol: z.number(),
  /** Of an ICMP echo both ports are its identifier; 0 for what has none. */
  srcPort: z.number(),
  dstPort: z.number(),
  icmpType: z.number(),
  /** Bytes with the Ethernet header. */
  length: z.number(),
};

const refusalSchema = z.object({
  type: z.literal('refusal'),
  reason: z.enum(REFUSAL_REASONS),
  /** Which rule, which state. */
  detail: z.string(),
  /** The ENI at the other end, where one is known. */
  peer: z.string(),
  /** Frames alike that this stands for. */
  count: z.number(),
  ...frameFields,
});

const frameSchema = z.object({
  type: z.literal('frame'),
  capture: z.number(),
  /** `fromNode`: sent by the node; `toNode`: delivered to it. */
  direction: z.enum(['fromNode', 'toNode']),
  /** What became of it. */
  verdict: z.enum(['forwarded', 'answered', 'ignored', 'refused']),
  reason: z.union([z.literal(''), z.enum(REFUSAL_REASONS)]),
  ...frameFields,
});

const deviceSchema = z.object({
  type: z.literal('device'),
  eni: z.string(),
  instance: z.string(),
  name: z.string(),
  /** `lost`: gone with the namespace it was in, or deleted; it is created again if its ENI is still attached. */
  state: z.enum(['created', 'removed', 'lost', 'failed']),
  error: z.string(),
});

const answerSchema = z.object({ type: z.literal('answer'), request: z.number(), error: z.string() });

const countersSchema = z.object({
  type: z.literal('counters'),
  request: z.number(),
  generation: z.number(),
  /** Frames from nodes by what became of them. */
  verdicts: z.record(z.string(), z.number()),
  /** Refused frames by reason. */
  refusals: z.record(z.string(), z.number()),
  enis: z.record(z.string(), z.object({ fromNode: z.number(), toNode: z.number(), refused: z.number() })),
  /** Flows that are remembered. */
  flows: z.number(),
  /** Captured frames and refusals that were not written because nobody read fast enough. */
  lostLines: z.number(),
});

export const switchMessageSchema = z.discriminatedUnion('type', [
  refusalSchema,
  frameSchema,
  deviceSchema,
  answerSchema,
  countersSchema,
]);

export type Refusal = z.output<typeof refusalSchema>;
export type CapturedFrame = z.output<typeof frameSchema>;
export type DeviceEvent = z.output<typeof deviceSchema>;
export type SwitchCounters = z.output<typeof countersSchema>;
export type SwitchEvent = Refusal | CapturedFrame | DeviceEvent;

export type SwitchRequest =
  | { op: 'table'; generation: number; table: SwitchTable }
  | { op: 'capture'; capture: number; eni: string }
  | { op: 'endCapture'; capture: number }
  | { op: 'counters' };
