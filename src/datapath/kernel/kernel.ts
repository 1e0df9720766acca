import { constants } from 'node:os';
import { DatapathError } from '../errors.ts';
import {
  decodeAnswer,
  decodeMessages,
  descriptorOffset,
  encodeRequest,
  type NetlinkMessage,
  type NetlinkRequest,
} from '../netlink/message.ts';
import type { Direction } from '../netlink/traffic.ts';
import type { Field, Operation } from './frames.ts';
import type { KernelPort } from './helper-process.ts';

const { errno: ERRNO } = constants;
const NAMES = new Map(Object.entries(ERRNO).map(([name, number]) => [number, name]));
/** How often to repeat a dump that changed meanwhile: a pod may change its own objects forever. */
const INTERRUPTED_DUMPS = { node: 20, pod: 3 } as const;
/**
 * Limit of one answer in bytes. The kernel filters, so a pod's answer holds a few objects unless somebody put more there. The
 * node's has room for thousands of links.
 */
const ANSWER_LIMIT = { node: 8 << 20, pod: 256 << 10 } as const;
const LOG_LINES = 10;
const PROGRAM_NAME = 16;

/** The namespace of the node, where a request names one. */
export const NODE = '';

/** A TCX program of a link. */
export interface TcxProgram {
  id: number;
  name: string;
}

/** The kernel refused a request. */
export class KernelError extends Error {
  readonly errno: number;
  /** The namespace that the request named is gone. */
  readonly netnsGone: boolean;

  constructor(errno: number, text: string, options: { netnsGone?: boolean } = {}) {
    super(text === '' ? errnoName(errno) : `${errnoName(errno)}: ${text}`);
    this.name = 'KernelError';
    this.errno = errno;
    this.netnsGone = options.netnsGone ?? false;
  }
}

/** There are more objects than the agent reads. */
export class AnswerTooLargeError extends KernelError {
  constructor(limit: number) {
    super(ERRNO.EOVERFLOW, `more than ${limit} bytes of objects in the namespace`);
    this.name = 'AnswerTooLargeError';
  }
}

function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

/** Whether `error` is one of these refusals, such as `EEXIST`. */
export function isErrno(error: unknown, ...names: (keyof typeof ERRNO)[]): boolean {
  return error instanceof KernelError && !error.netnsGone && names.some((name) => ERRNO[name] === error.errno);
}

/** Whether the namespace of the request, or the one it refers to, no longer exists. */
export function isNetnsGone(error: unknown): boolean {
  return error instanceof KernelError && error.netnsGone;
}

/** System calls as functions. A handle is a number that the helper knows and that ends with it. */
export class Kernel {
  readonly #port: KernelPort;
  readonly #boundTo: number | undefined;
  #sequence = 0;

  constructor(port: KernelPort, boundTo?: number) {
    this.#port = port;
    this.#boundTo = boundTo;
  }

  /** The same kernel, bound to the helper that runs now: once that has ended, every call fails. */
  bound(): Kernel {
    return new Kernel(this.#port, this.#port.generation);
  }

  /**
   * Reports changes that others make in the node's namespace, as netlink messages; undefined when some were lost.
   *
   * @param groups multicast groups (include/uapi/linux/rtnetlink.h)
   */
  async watch(groups: readonly number[], onChange: (messages: NetlinkMessage[] | undefined) => void): Promise<void> {
    this.#port.onEvents = ({ errno, data }) => onChange(errno === 0 ? decodeMessages(data) : undefined);
    const field = Buffer.alloc(groups.length * 4);
    for (const [at, group] of groups.entries()) field.writeUInt32LE(group, at * 4);
    await this.#call('watch', field);
  }

  /** Starts the helper unless it runs. */
  async start(): Promise<void> {
    await this.#port.request('hello', []);
  }

  get generation(): number {
    return this.#port.generation;
  }

  /** @throws KernelError, and DatapathError when the helper ended */
  async #call(operation: Operation, ...fields: Field[]): Promise<Buffer> {
    const { errno, data } = await this.#port.request(operation, fields, this.#boundTo);
    if (errno === 0) return data;
    // The end of a long log, such as the verifier's, has the reason.
    if (errno === ERRNO.EOVERFLOW) throw new AnswerTooLargeError(data.readUInt32LE(0));
    const text = data.toString().trimEnd().split('\n').slice(-LOG_LINES).join('\n');
    throw new KernelError(errno, text, { netnsGone: errno === ERRNO.ENOENT && text.endsWith('network namespace') });
  }

  /**
   * Sends a message in a namespace (a path, or {@link NODE}).
   *
   * @returns the objects that the kernel answered with
   * @throws KernelError
   */
  async netlink(netns: string, request: NetlinkRequest): Promise<NetlinkMessage[]> {
    const isDump = (request.type & 3) === 2 && (request.flags & 0x300) === 0x300;
    const where = netns === NODE ? 'node' : 'pod';
    for (let attempt = 1; ; attempt++) {
      this.#sequence = (this.#sequence + 1) >>> 0;
      const answer = decodeAnswer(
        await this.#call(
          'netlink',
          netns,
          isDump ? 1 : 0,
          ANSWER_LIMIT[where],
          encodeRequest(request, this.#sequence),
          descriptorOffset(request),
          request.descriptorPath ?? '',
        ),
      );
      if (answer.kind === 'refused') throw new KernelError(answer.errno, answer.message);
      // Something changed while the kernel listed it, so the list may lack objects.
      if (!answer.interrupted || attempt === INTERRUPTED_DUMPS[where]) return answer.messages;
    }
  }

  /**
   * Reads a sysctl below `/proc/sys`, such as `net/ipv4/conf/eth0/forwarding`.
   *
   * @throws KernelError
   */
  async readSysctl(netns: string, name: string): Promise<string> {
    return (await this.#call('sysctl', netns, name, 0, Buffer.alloc(0))).toString();
  }

  /** Writes a sysctl when it differs; returns what it was. */
  async writeSysctl(netns: string, name: string, value: string): Promise<string> {
    return (await this.#call('sysctl', netns, name, 1, Buffer.from(value))).toString();
  }

  /** Mounts a bpf file system unless there is one; returns whether it did. */
  async mountBpffs(directory: string): Promise<boolean> {
    return (await this.#call('mountBpffs', directory)).readUInt32LE(0) === 1;
  }

  /** An empty namespace that exists until its handle is closed. */
  async newNetns(): Promise<{ handle: number; path: string }> {
    const data = await this.#call('netnsNew');
    return { handle: data.readUInt32LE(0), path: data.toString('utf8', 4) };
  }

  async closeHandle(handle: number): Promise<void> {
    await this.#call('close', handle);
  }

  async createMap(map: {
    type: number;
    keySize: number;
    valueSize: number;
    maxEntries: number;
    flags: number;
    name: string;
  }): Promise<number> {
    const { type, keySize, valueSize, maxEntries, flags, name } = map;
    return (await this.#call('mapCreate', type, keySize, valueSize, maxEntries, flags, name)).readUInt32LE(0);
  }

  /** @returns undefined when there is no such entry */
  async lookup(map: number, key: Buffer): Promise<Buffer | undefined> {
    try {
      return await this.#call('mapLookup', map, key);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  /** Writes entries one after another; each entry changes atomically. */
  async update(map: number, entries: readonly { key: Buffer; value: Buffer }[]): Promise<void> {
    await this.#call('mapUpdate', map, 0, Buffer.concat(entries.flatMap(({ key, value }) => [key, value])));
  }

  /** Deletes entries; those that are not there are no failure. */
  async deleteEntries(map: number, keys: readonly Buffer[]): Promise<number> {
    return (await this.#call('mapDelete', map, Buffer.concat(keys))).readUInt32LE(0);
  }

  /** All entries; a value of a per-CPU map is that of all CPUs, each padded to eight bytes. */
  async dumpMap(map: number): Promise<{ key: Buffer; value: Buffer }[]> {
    const data = await this.#call('mapDump', map);
    const keySize = data.readUInt32LE(0);
    const size = keySize + data.readUInt32LE(4);
    const entries: { key: Buffer; value: Buffer }[] = [];
    for (let at = 8; at + size <= data.length; at += size) {
      entries.push({ key: data.subarray(at, at + keySize), value: data.subarray(at + keySize, at + size) });
    }
    return entries;
  }

  /** @throws KernelError with the verifier's log */
  async loadProgram(program: { type: number; instructions: Buffer; license: string; name: string }): Promise<number> {
    const { type, instructions, license, name } = program;
    return (await this.#call('programLoad', type, instructions, license, name)).readUInt32LE(0);
  }

  async pin(handle: number, path: string): Promise<void> {
    await this.#call('pin', handle, path);
  }

  /** Opens a pinned object; undefined when there is none. */
  async open(path: string): Promise<number | undefined> {
    try {
      return (await this.#call('get', path)).readUInt32LE(0);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  async mapInfo(
    handle: number,
  ): Promise<{ id: number; type: number; keySize: number; valueSize: number; maxEntries: number }> {
    const data = await this.#call('info', handle);
    return {
      id: data.readUInt32LE(0),
      type: data.readUInt32LE(4),
      keySize: data.readUInt32LE(8),
      valueSize: data.readUInt32LE(12),
      maxEntries: data.readUInt32LE(16),
    };
  }

  /** `tag` is a hash of the instructions without map ids. */
  async programInfo(handle: number): Promise<{ id: number; tag: string; mapIds: number[] }> {
    const data = await this.#call('info', handle);
    const mapIds: number[] = [];
    for (let at = 12; at + 4 <= data.length; at += 4) mapIds.push(data.readUInt32LE(at));
    return { id: data.readUInt32LE(0), tag: data.toString('hex', 4, 12), mapIds };
  }

  /**
   * TCX programs of a link of the node, in the order in which packets meet them; undefined on a kernel without such, or that
   * refuses bpf(2): then none of ours can be there.
   */
  async tcxPrograms(linkIndex: number, direction: Direction): Promise<TcxProgram[] | undefined> {
    const data = await this.#call('tcxQuery', linkIndex, direction === 'egress' ? 1 : 0).catch((error: unknown) => {
      // The link went after it was listed, and its programs with it.
      if (isErrno(error, 'ENODEV')) return NO_PROGRAMS;
      if (isErrno(error, 'EPERM')) return NO_TCX;
      throw error;
    });
    if (data.readUInt32LE(0) === 0) return undefined;
    const programs: TcxProgram[] = [];
    for (let at = 4; at < data.length; at += 4 + PROGRAM_NAME) {
      const name = data.toString('latin1', at + 4, at + 4 + PROGRAM_NAME).replace(/\0.*$/s, '');
      programs.push({ id: data.readUInt32LE(at), name });
    }
    return programs;
  }

  /**
   * Attaches a program to a link of the node, where it stays without the helper: as the first of its TCX programs, or in
   * the place of one.
   */
  async attachTcx(linkIndex: number, direction: Direction, program: number, replacedId?: number): Promise<void> {
    await this.#call('tcxAttach', linkIndex, direction === 'egress' ? 1 : 0, program, replacedId ?? 0);
  }

  async detachTcx(linkIndex: number, direction: Direction, id: number): Promise<void> {
    await this.#call('tcxDetach', linkIndex, direction === 'egress' ? 1 : 0, id);
  }

  async close(): Promise<void> {
    await this.#port.close();
  }
}

/** Answers of the kernel without a program, and without TCX. */
const NO_PROGRAMS = Buffer.from([1, 0, 0, 0]);
const NO_TCX = Buffer.alloc(4);

/** Prefixes an error with the name of the step that failed. */
export async function inStep<T>(step: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DatapathError) throw error;
    if (error instanceof KernelError)
      throw new DatapathError(step, error.message, { errno: error.errno, cause: error });
    throw new DatapathError(step, error instanceof Error ? error.message : String(error), { cause: error });
  }
}
