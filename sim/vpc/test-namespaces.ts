import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { promisify } from 'node:util';
import * as z from 'zod';
import { systemClock } from '../../src/util/clock.ts';
import { abandoned } from '../../src/util/test-support/abandoned.ts';
import { ensureSwitchProgram } from '../../tools/programs/vpc-switch.ts';
import { EventLog } from './event-log.ts';
import { type ParsedFrame, parseFrame } from './test-frames.ts';

const run = promisify(execFile);

/** Prefix of every namespace of these tests. The pid of the process that created it follows. */
const PREFIX = 'vpctest-';

/** From util-linux. */
const ENTER = 'nsenter';

let made = 0;

/** A network namespace for a node or a pod. */
export class Namespace implements AsyncDisposable {
  readonly name: string;
  readonly path: string;

  private constructor(name: string) {
    this.name = name;
    this.path = `/run/netns/${name}`;
  }

  static async create(): Promise<Namespace> {
    if (made === 0) await removeAbandoned();
    made += 1;
    const namespace = new Namespace(`${PREFIX}${process.pid}-${made}`);
    await run('ip', ['netns', 'add', namespace.name]);
    return namespace;
  }

  /** Runs `ip` in the namespace. Returns its output. */
  async ip(...args: string[]): Promise<string> {
    return (await run('ip', ['-n', this.name, ...args])).stdout;
  }

  /** The namespace's devices, with MAC address, state and MTU. */
  async links(): Promise<{ name: string; mac: string; up: boolean; mtu: number }[]> {
    const found = linksSchema.parse(JSON.parse(await this.ip('-j', 'link', 'show')));
    return found
      .filter((link) => link.ifname !== 'lo')
      .map((link) => ({ name: link.ifname, mac: link.address, up: link.flags.includes('UP'), mtu: link.mtu }));
  }

  /** Starts a program in the namespace. */
  spawn(command: string, args: readonly string[]): ChildProcessByStdio<Writable, Readable, Readable> {
    return spawn(ENTER, [`--net=${this.path}`, command, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run('ip', ['netns', 'del', this.name]).catch(() => undefined);
  }
}

const linksSchema = z.array(
  z.object({
    ifname: z.string(),
    address: z.string().default(''),
    flags: z.array(z.string()),
    mtu: z.number(),
  }),
);

/** Removes namespaces that killed test runs left behind. */
async function removeAbandoned(): Promise<void> {
  const { stdout } = await run('ip', ['netns', 'list']);
  const names = stdout.split('\n').map((line) => line.split(' ')[0] ?? '');
  for (const name of abandoned(names, PREFIX)) await run('ip', ['netns', 'del', name]).catch(() => undefined);
}

const lineSchema = z.union([z.object({ ready: z.string() }), z.object({ frame: z.string() })]);

/** Sends and receives raw frames on a device, as a node's kernel would. Sets the device up. */
export class RawEndpoint implements AsyncDisposable {
  readonly frames = new EventLog<ParsedFrame>('frame', systemClock);
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;

  private constructor(child: ChildProcessByStdio<Writable, Readable, Readable>) {
    this.#child = child;
  }

  static async open(namespace: Namespace, device: string): Promise<RawEndpoint> {
    const program = await ensureSwitchProgram();
    const child = spawn(program, ['frames', '--netns', namespace.path, '--device', device], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const endpoint = new RawEndpoint(child);
    const problems: string[] = [];
    createInterface({ input: child.stderr }).on('line', (line) => problems.push(line));
    await new Promise<void>((resolve, reject) => {
      child.once('close', () => reject(new Error(`no frames: ${problems.join(' ')}`)));
      createInterface({ input: child.stdout }).on('line', (line) => {
        const message = lineSchema.parse(JSON.parse(line));
        if ('ready' in message) resolve();
        else endpoint.frames.add(parseFrame(Buffer.from(message.frame, 'hex')));
      });
    });
    return endpoint;
  }

  send(frame: Buffer): void {
    this.#child.stdin.write(`${frame.toString('hex')}\n`);
  }

  /** Payloads of the UDP and TCP packets that have arrived. */
  payloads(): string[] {
    return this.frames
      .list()
      .filter((frame) => frame.etherType !== 0x0806 && frame.payload.startsWith('#'))
      .map((frame) => frame.payload);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = once(this.#child, 'close');
    this.#child.stdin.end();
    this.#child.kill();
    await closed;
  }
}
