import { Attributes, MalformedMessageError, type MessageWriter } from './attributes.ts';

/** Message types (include/uapi/linux/rtnetlink.h). */
export const RTM = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  newAddress: 20,
  delAddress: 21,
  getAddress: 22,
  newRoute: 24,
  delRoute: 25,
  getRoute: 26,
  newNeighbour: 28,
  delNeighbour: 29,
  getNeighbour: 30,
  newRule: 32,
  delRule: 33,
  getRule: 34,
  newQdisc: 36,
  delQdisc: 37,
  getQdisc: 38,
  newFilter: 44,
  delFilter: 45,
  getFilter: 46,
} as const;

/** Flags of requests. */
export const NLM_F = { request: 1, ack: 4, echo: 8, replace: 0x100, excl: 0x200, create: 0x400, dump: 0x300 } as const;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const HEADER = 16;
const DUMP_INTERRUPTED = 0x10;
const CAPPED = 0x100;
const HAS_TLVS = 0x200;
const ERROR_TEXT = 1;

/** One request without its number, which is given when it is sent. */
export interface NetlinkRequest {
  type: number;
  flags: number;
  payload: Buffer;
  /** Where in `payload` the helper writes the descriptor of `descriptorPath`. */
  descriptorAt?: number;
  /** A namespace; empty means the node's. */
  descriptorPath?: string;
}

/** One object that the kernel answered with. */
export interface NetlinkMessage {
  type: number;
  payload: Buffer;
}

/** What a request came to. */
export type NetlinkAnswer =
  | { kind: 'done'; messages: NetlinkMessage[]; interrupted: boolean }
  /** `errno` is positive; `message` is the kernel's extended acknowledgement, empty where it gave none. */
  | { kind: 'refused'; errno: number; message: string };

/** A request whose payload `writer` holds. */
export function request(type: number, flags: number, writer: MessageWriter, descriptorPath?: string): NetlinkRequest {
  const payload = writer.finish();
  if (writer.descriptorAt === undefined || descriptorPath === undefined) return { type, flags, payload };
  return { type, flags, payload, descriptorAt: writer.descriptorAt, descriptorPath };
}

/** Header and payload as they go to the kernel. */
export function encodeRequest({ type, flags, payload }: NetlinkRequest, sequence: number): Buffer {
  const message = Buffer.alloc(HEADER + payload.length);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt16LE(flags | NLM_F.request, 6);
  message.writeUInt32LE(sequence >>> 0, 8);
  payload.copy(message, HEADER);
  return message;
}

/** Position of `descriptorAt` in the encoded request; 0 when there is none. */
export function descriptorOffset({ descriptorAt }: NetlinkRequest): number {
  return descriptorAt === undefined ? 0 : HEADER + descriptorAt;
}

/**
 * Reads everything that answers one request.
 *
 * @throws MalformedMessageError when it is no sequence of messages that ends as an answer does.
 */
export function decodeAnswer(bytes: Buffer): NetlinkAnswer {
  const messages: NetlinkMessage[] = [];
  let interrupted = false;
  let at = 0;
  while (bytes.length - at >= HEADER) {
    const length = bytes.readUInt32LE(at);
    if (length < HEADER || length > bytes.length - at) {
      throw new MalformedMessageError(`message of ${length} bytes where ${bytes.length - at} are left`);
    }
    const type = bytes.readUInt16LE(at + 4);
    const flags = bytes.readUInt16LE(at + 6);
    const payload = bytes.subarray(at + HEADER, at + length);
    if ((flags & DUMP_INTERRUPTED) !== 0) interrupted = true;
    if (type === NLMSG_ERROR || type === NLMSG_DONE) {
      const refused = refusal(type, flags, payload);
      return refused ?? { kind: 'done', messages, interrupted };
    }
    messages.push({ type, payload });
    at += (length + 3) & ~3;
  }
  throw new MalformedMessageError('the answer has no end');
}

/** Messages one after another, as the helper passes on what nobody asked for. What is malformed is the end. */
export function decodeMessages(bytes: Buffer): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  for (let at = 0; bytes.length - at >= HEADER; ) {
    const length = bytes.readUInt32LE(at);
    if (length < HEADER || length > bytes.length - at) break;
    messages.push({ type: bytes.readUInt16LE(at + 4), payload: bytes.subarray(at + HEADER, at + length) });
    at += (length + 3) & ~3;
  }
  return messages;
}

function refusal(type: number, flags: number, payload: Buffer): NetlinkAnswer | undefined {
  if (payload.length < 4) {
    if (type === NLMSG_DONE) return undefined;
    throw new MalformedMessageError('an error without a number');
  }
  const errno = -payload.readInt32LE(0);
  if (errno === 0) return undefined;
  if (errno < 0) throw new MalformedMessageError(`error number ${-errno}`);
  return { kind: 'refused', errno, message: (flags & HAS_TLVS) === 0 ? '' : extendedText(type, flags, payload) };
}

function extendedText(type: number, flags: number, payload: Buffer): string {
  // After the number comes the request's header, and all of the request unless it was cut off.
  let start = 4;
  if (type === NLMSG_ERROR) {
    if (payload.length < 4 + HEADER) throw new MalformedMessageError('an error without the header of its request');
    start += (flags & CAPPED) !== 0 ? HEADER : (payload.readUInt32LE(4) + 3) & ~3;
  }
  if (start > payload.length) throw new MalformedMessageError('an error shorter than the request that it holds');
  return Attributes.parse(payload.subarray(start)).text(ERROR_TEXT) ?? '';
}
