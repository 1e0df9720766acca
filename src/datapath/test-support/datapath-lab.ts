import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import * as z from 'zod';
import { buildNative } from '../../../tools/product/native.ts';
import { systemClock } from '../../util/clock.ts';
import { abandoned } from '../../util/test-support/abandoned.ts';
import { HelperProcess, type KernelPort } from '../kernel/helper-process.ts';
import { LinuxDatapath } from '../linux-datapath.ts';
import type { DatapathSettings, EniDevice, PodAttachment, PodInterface } from '../types.ts';
import { makeLabDirectory, removeAbandonedLabDirectories, removeLabDirectory } from './lab-directory.ts';
import { frameBytes, type Packet } from './packets.ts';

const OUTPUT = join(import.meta.dirname, '../../../.state/native');

const NSENTER = 'nsenter';
const IP = 'ip';
const NETNS_PREFIX = 'tw';

/** What the tests run; built when it is out of date. */
export const TOOLS = {
  helper: join(OUTPUT, 'terway-kernel'),
  object: join(OUTPUT, 'terway.bpf.o'),
  frames: join(OUTPUT, 'frames'),
};

/** Builds {@link TOOLS}. */
export async function buildTools(): Promise<void> {
  await buildNative(OUTPUT, { tests: true });
}

/** Runs a command to its end. @throws Error with its words when it fails */
export function run(command: string, ...args: string[]): string {
  return runWith('', command, ...args);
}

/** With a standard input. */
export function runWith(input: string, command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, input });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr}`);
  return stdout;
}

/** Several commands of `ip` by one process: where processors are emulated, starting one takes long. */
function ipBatch(lines: readonly string[], ...args: string[]): string {
  return runWith(lines.map((line) => `${line}\n`).join(''), IP, ...args, '-batch', '-');
}

const path = (netns: string) => `/run/netns/${netns}`;

const frameSchema = z.object({
  /** -1 without a tag. */
  vlan: z.number(),
  type: z.number(),
  size: z.number(),
  source: z.string(),
  destination: z.string(),
  protocol: z.number(),
  payload: z.string(),
  to: z.string(),
});

export type Frame = z.infer<typeof frameSchema>;

/** Everything that arrives at a link, or leaves by it. */
export class Receiver implements AsyncDisposable {
  readonly frames: Frame[] = [];
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting = new Set<() => void>();
  #ready = false;

  constructor(netns: string, link: string, what: 'receive' | 'sent') {
    this.#child = spawn(NSENTER, [`--net=${path(netns)}`, TOOLS.frames, what, link], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      if (line === 'ready') this.#ready = true;
      else this.frames.push(frameSchema.parse(JSON.parse(line)));
      for (const wake of this.#waiting) wake();
    });
  }

  async ready(): Promise<this> {
    await this.#until(() => this.#ready);
    return this;
  }

  /** Resolves when so many frames fit, with them. */
  async collect(count: number, fits: (frame: Frame) => boolean): Promise<Frame[]> {
    await this.#until(() => this.frames.filter(fits).length >= count);
    return this.frames.filter(fits);
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      await promise;
      this.#waiting.delete(resolve);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#child.once('close', () => resolve());
    this.#child.stdin.end();
    await promise;
  }
}

let hasSwept = false;

/** What runs that were killed left behind; once in a process. */
function removeAbandoned(): void {
  if (hasSwept) return;
  hasSwept = true;
  const namespaces = run(IP, 'netns', 'list').split('\n');
  for (const name of abandoned(
    namespaces.map((line) => line.split(' ')[0] ?? ''),
    NETNS_PREFIX,
  )) {
    // Another run may be at it as well.
    spawnSync(IP, ['netns', 'del', name]);
  }
  removeAbandonedLabDirectories();
}

/** A node, its trunk and secondary ENI, and the switch behind them, as namespaces of this machine. */
export class DatapathLab implements Disposable {
  readonly id = `${process.pid}-${randomBytes(3).toString('hex')}`;
  readonly directory: string;
  readonly #namespaces: string[] = [];
  readonly node: string;
  readonly switchNs: string;
  readonly trunk: EniDevice = {
    mac: '00:16:3e:00:00:01',
    gateway: { ipv4: '10.0.0.253', ipv6: 'fd00::fffd' },
  };
  readonly secondary: EniDevice = {
    mac: '00:16:3e:00:00:02',
    gateway: { ipv4: '10.1.0.253', ipv6: 'fd01::fffd' },
  };
  #pods = 0;

  constructor() {
    removeAbandoned();
    this.directory = makeLabDirectory();
    this.node = this.#name('node');
    this.switchNs = this.#name('switch');
    ipBatch([
      ...[this.node, this.switchNs].map((name) => `netns add ${name}`),
      this.#veth('eni1', 'sw1', this.trunk),
      this.#veth('eni2', 'sw2', this.secondary),
    ]);
  }

  get bpfDirectory(): string {
    return join(this.directory, 'bpf', 'terway');
  }

  namespace(name: string): string {
    const full = this.#name(name);
    run(IP, 'netns', 'add', full);
    return full;
  }

  /** It is removed at the end, also when it was not made. */
  #name(name: string): string {
    const full = `${NETNS_PREFIX}${this.id}-${name}`;
    this.#namespaces.push(full);
    return full;
  }

  netnsPath(name: string): string {
    return path(name);
  }

  /** A device of the node whose other end is in the switch, where the gateways are. */
  eni(name: string, other: string, device: EniDevice): void {
    ipBatch([this.#veth(name, other, device)]);
  }

  #veth(name: string, other: string, { mac }: EniDevice): string {
    const there = `${other} address ee:ff:ff:ff:ff:ff netns ${this.switchNs} up`;
    return `link add ${there} type veth peer name ${name} address ${mac} netns ${this.node}`;
  }

  /** Tells the node where the gateways are, as no router answers here. Devices must be up. */
  gateways(): void {
    const links = this.ip('-o', 'link');
    const isUp = (name: string) => new RegExp(`: ${name}@[^<]*<[^>]*\\bUP\\b`).test(links);
    const enis = Object.entries({ eni1: this.trunk, eni2: this.secondary });
    const lines = enis.flatMap(([name, { gateway }]) =>
      [gateway.ipv4, gateway.ipv6]
        .filter((address) => address !== undefined && isUp(name))
        .map((address) => `neigh replace ${address} lladdr ee:ff:ff:ff:ff:ff dev ${name} nud permanent`),
    );
    ipBatch(lines, '-n', this.node);
  }

  /** `ip` in the node. */
  ip(...args: string[]): string {
    return run('ip', '-n', this.node, ...args);
  }

  settings(change: Partial<DatapathSettings> = {}): DatapathSettings {
    return {
      nodeAddress: { ipv4: '192.168.0.10', ipv6: 'fd10::10' },
      serviceCidrs: ['172.21.0.0/20', 'fd77::/112'],
      hostStackCidrs: ['169.254.20.10/32'],
      layout: 'marks',
      markMask: 0x30e0,
      masqueradeMark: 0x4000,
      isolateMembers: true,
      tagProgram: 'ebpf',
      bpfDirectory: this.bpfDirectory,
      ...change,
    };
  }

  port(): KernelPort {
    return new HelperProcess(TOOLS.helper, path(this.node));
  }

  datapath(
    change: Partial<DatapathSettings> = {},
    port: KernelPort = this.port(),
    objectPath = TOOLS.object,
  ): LinuxDatapath {
    return new LinuxDatapath(port, {
      settings: this.settings(change),
      objectPath,
      clock: systemClock,
      signal: AbortSignal.timeout(60_000),
    });
  }

  /** A sandbox with a namespace of its own. */
  pod(interfaces: PodInterface[], change: Partial<PodAttachment> = {}): PodAttachment {
    const name = `pod${++this.#pods}`;
    const netns = this.namespace(name);
    return {
      namespace: 'default',
      name,
      uid: `uid-${name}`,
      containerId: `${name}-${this.id}`,
      netnsPath: path(netns),
      interfaces,
      ...change,
    };
  }

  member(last: number, vlanId: number, change: Partial<PodInterface> = {}): PodInterface {
    return {
      ...this.#interface(`10.0.0.${last}`, `fd00::${last.toString(16)}`, '10.0.0.0/24', 'fd00::/64'),
      attachment: { kind: 'member', trunk: this.trunk, vlanId },
      ...change,
    };
  }

  shared(last: number, change: Partial<PodInterface> = {}): PodInterface {
    return {
      ...this.#interface(`10.1.0.${last}`, `fd01::${last.toString(16)}`, '10.1.0.0/24', 'fd01::/64'),
      attachment: { kind: 'shared', eni: this.secondary },
      ...change,
    };
  }

  exclusive(last: number, hostPeer: boolean, change: Partial<PodInterface> = {}): PodInterface {
    return { ...this.shared(last), attachment: { kind: 'exclusive', eni: this.secondary, hostPeer }, ...change };
  }

  #interface(ipv4: string, ipv6: string, subnet4: string, subnet6: string): Omit<PodInterface, 'attachment'> {
    return {
      name: 'eth0',
      ipv4: { address: ipv4, subnet: subnet4 },
      ipv6: { address: ipv6, subnet: subnet6 },
      mtu: 1500,
      defaultRoute: true,
      extraRoutes: [],
    };
  }

  receiver(netns: string, link: string): Promise<Receiver> {
    return new Receiver(netns, link, 'receive').ready();
  }

  /** What leaves by a link, as it is on the wire: a tag that the link does not write itself is in the bytes. */
  sent(netns: string, link: string): Promise<Receiver> {
    return new Receiver(netns, link, 'sent').ready();
  }

  /** Makes a link keep VLAN tags in the bytes of a frame, as a NIC without VLAN offload. */
  withoutVlanOffload(netns: string, link: string): void {
    const shown = run(NSENTER, `--net=${path(netns)}`, TOOLS.frames, 'offload', link, 'off');
    if (shown !== 'txvlan off rxvlan off\n') throw new Error(`${link}: ${shown}`);
  }

  /** Sends frames from a link; each so many times. */
  send(netns: string, link: string, packets: readonly Packet[], { count = 1 } = {}): void {
    sendNow('send', { netns, link, count }, packets.map(frameBytes));
  }

  /** The same with frames that are no UDP packets. */
  sendBytes(netns: string, link: string, frames: readonly Buffer[]): void {
    sendNow('send', { netns, link }, frames);
  }

  /** The same where a filter may drop frames as they leave the link. */
  tryToSend(netns: string, link: string, packets: readonly Packet[]): void {
    sendNow('try', { netns, link }, packets.map(frameBytes));
  }

  /** The same, while other things happen. */
  sendInBackground(
    netns: string,
    link: string,
    packets: readonly Packet[],
    options: { count: number; intervalUs?: number },
  ) {
    const { count, intervalUs = 0 } = options;
    const child = spawn(NSENTER, [`--net=${path(netns)}`, TOOLS.frames, 'send', link], {
      stdio: ['pipe', 'inherit', 'inherit'],
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    child.on('close', () => resolve());
    child.stdin.end(packets.map((packet) => `${count} ${intervalUs} ${frameBytes(packet).toString('hex')}\n`).join(''));
    return promise;
  }

  /** Starts a program in a namespace (a name); it should end with its standard input. */
  start(netns: string, command: string, ...args: string[]): ChildProcessByStdio<Writable, Readable, null> {
    return spawn(NSENTER, [`--net=${path(netns)}`, command, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  }

  /** What a script of the shell prints in a namespace. */
  sh(netns: string, script: string): string {
    return run(NSENTER, `--net=${path(netns)}`, 'sh', '-c', script);
  }

  /** Everything that the node and these pods have, for comparing. */
  state(...pods: PodAttachment[]): string {
    const names = [this.node, ...pods.map(({ netnsPath }) => netnsPath.slice('/run/netns/'.length))];
    return names.map((name) => `== ${name}\n${stateOf(this.sh(name, SHOW))}`).join('\n');
  }

  [Symbol.dispose](): void {
    // With -force it goes on where a test has removed one itself.
    spawnSync(IP, ['-force', '-batch', '-'], {
      input: this.#namespaces.map((name) => `netns del ${name}\n`).join(''),
    });
    removeLabDirectory(this.directory);
  }
}

function sendNow(
  command: 'send' | 'try',
  { netns, link, count = 1 }: { netns: string; link: string; count?: number },
  frames: readonly Buffer[],
): void {
  const input = frames.map((frame) => `${count} 0 ${frame.toString('hex')}\n`).join('');
  const { status, stderr } = spawnSync(NSENTER, [`--net=${path(netns)}`, TOOLS.frames, command, link], { input });
  if (status !== 0) throw new Error(`frames ${command} ${link}: ${stderr.toString()}`);
}

/** Everything that other tools show of a namespace; by few processes, as it is asked for hundreds of times. */
const SHOW = String.raw`
printf 'link\naddr\n' | ip -o -batch - | sed -E 's/^[0-9]+: ([^:@]+)[^<]*<([^>]*)> (mtu [0-9]+).*(link.[a-z]+ [0-9a-f:]+).*/link \1 \2 \3 \4/'
printf 'route show table all\nrule\nneigh show nud permanent\n' | ip -4 -batch -
printf 'route show table all\nrule\nneigh show nud permanent\n' | ip -6 -batch -
qdiscs=$(tc qdisc)
echo "$qdiscs"
echo "$qdiscs" | sed -n 's/^qdisc clsact.* dev \([^ ]*\) .*/filter show dev \1 ingress\nfilter show dev \1 egress/p' | tc -batch -
cd /proc/sys/net
grep -s . ipv4/conf/*/rp_filter ipv4/conf/*/forwarding ipv6/conf/*/forwarding ipv6/conf/*/disable_ipv6 ipv6/conf/*/accept_ra
`;

function stateOf(text: string): string {
  // Link-local addresses, their routes and the first qdisc come by themselves when a link comes up; the local route of an IPv6
  // address comes a moment after the address, which is compared itself.
  const isOfTheKernel = /fe80::|ff00::|anycast|qdisc noqueue|^local \S+ dev \S+ table local proto kernel/;
  const kept = text.split('\n').filter((line) => line !== '' && !isOfTheKernel.test(line.replace('via fe80::1', '')));
  const unstable = /ifindex \d+|@if\d+|^\d+: (?=\S+ +inet)|valid_lft.*|,?(NO-CARRIER|LOWER_UP|M-DOWN),?| (id|tag) \S+/g;
  return kept
    .map((line) => line.replaceAll(unstable, ''))
    .sort()
    .join('\n');
}
