import * as z from 'zod';
import type { SwitchTable } from './table.ts';

/** The messages between this process and the forwarding program (switch/run.go), one per line. */

/** Why a frame was refused. */
export const REFUSAL_REASONS = [
  /** Too short, or headers that contradict each other. */
  'malformed',
  /** A second tag. */
  'double-tag',
  /** No member of this trunk has the VLAN id. */
  'unknown-vlan',
  /** The sender or the receiver is not InUse on a running instance. */
  'not-attached',
  /** Not the MAC address of the adapter. A member uses that of its trunk. */
  'wrong-source-mac',
  /** Not the router's MAC address, to which every address of the VPC resolves (assumed that the cloud refuses this). */
  'wrong-destination-mac',
  /** Not an address of the ENI. */
  'wrong-source-address',
  /** Not IPv4, IPv6 or ARP. */
  'unsupported-ether-type',
  /** Broadcast or multicast. */
  'not-unicast',
  /** ARP or ND for an address outside the VPC. */
  'unknown-neighbour',
  /** A destination outside the VPC. */
  'no-route',
  /** A destination in the VPC that belongs to no ENI. */
  'unknown-destination',
  /** Denied by the sender's security groups. */
  'security-group-egress',
  /** Denied by the receiver's security groups. */
  'security-group-ingress',
  /** A later fragment whose first fragment was not seen, or was refused. */
  'fragment-without-first',
  /** Allowed, but the receiver's device is down. */
  'device-down',
  /** Allowed, but the receiver's node has not been added, or its device could not be created. */
  'no-device',
] as const;

export type RefusalReason = (typeof REFUSAL_REASONS)[number];

const frameFields = {
  /** The ENI that the frame belongs to; empty when unknown. */
  eni: z.string(),
  /** The ENI whose device carried it: for a member, the trunk. */
  device: z.string(),
  /** VLAN tag on the wire; 0 for none. */
  vlan: z.number(),
  srcMac: z.string(),
  dstMac: z.string(),
  etherType: z.number(),
  /** Addresses. For ARP those of sender and target; empty for other frames without IP. */
  src: z.string(),
  dst: z.string(),
  /** IP protocol number. */
  protocol: z.number(),
  /** For an ICMP echo both ports are its identifier. 0 for protocols without ports. */
  srcPort: z.number(),
  dstPort: z.number(),
  icmpType: z.number(),
  /** Length in bytes, including the Ethernet header. */
  length: z.number(),
};

const refusalSchema = z.object({
  type: z.literal('refusal'),
  reason: z.enum(REFUSAL_REASONS),
  /** The rule or state that caused it. */
  detail: z.string(),
  /** The ENI at the other end, if known. */
  peer: z.string(),
  /** Number of similar frames that this event stands for. */
  count: z.number(),
  ...frameFields,
});

const frameSchema = z.object({
  type: z.literal('frame'),
  capture: z.number(),
  /** `fromNode`: sent by the node; `toNode`: delivered to it. */
  direction: z.enum(['fromNode', 'toNode']),
  /** The switch's decision. */
  verdict: z.enum(['forwarded', 'answered', 'ignored', 'refused']),
  reason: z.union([z.literal(''), z.enum(REFUSAL_REASONS)]),
  ...frameFields,
});

const deviceSchema = z.object({
  type: z.literal('device'),
  eni: z.string(),
  instance: z.string(),
  name: z.string(),
  /** `lost`: deleted, or gone with its namespace. It is created again if its ENI is still attached. */
  state: z.enum(['created', 'removed', 'lost', 'failed']),
  error: z.string(),
});

const responseSchema = z.object({ type: z.literal('response'), request: z.number(), error: z.string() });

const countersSchema = z.object({
  type: z.literal('counters'),
  request: z.number(),
  generation: z.number(),
  /** Frames from nodes, by verdict. */
  verdicts: z.record(z.string(), z.number()),
  /** Refused frames by reason. */
  refusals: z.record(z.string(), z.number()),
  enis: z.record(z.string(), z.object({ fromNode: z.number(), toNode: z.number(), refused: z.number() })),
  /** Number of remembered flows. */
  flows: z.number(),
  /** Captured frames and refusals that were dropped because the reader was too slow. */
  lostLines: z.number(),
});

export const switchMessageSchema = z.discriminatedUnion('type', [
  refusalSchema,
  frameSchema,
  deviceSchema,
  responseSchema,
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
