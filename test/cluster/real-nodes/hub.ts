import { readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { RealNodePrograms } from '../../../tools/programs/node-programs.ts';
import { runChecked } from '../command.ts';
import { TestClusterError } from '../errors.ts';
import { Helper } from './helper.ts';

/**
 * The hub's address on its own bridge. The bridge is in its own network namespace, so every cluster can use the same address, and
 * the machine does not know it. 198.18.0.0/15 is reserved for tests (RFC 2544).
 */
export const BRIDGE_ADDRESS = '198.18.0.1';
export const BRIDGE_PREFIX_LENGTH = 24;
const BRIDGE = 'hub0';
const FIRST_NODE = 10;
const LAST_NODE = 250;

/** Unix socket through which the API server reaches nodes and pods. */
export function proxySocketPath(stateDir: string): string {
  return join(stateDir, 'hub.sock');
}

/** Makes one TCP service reachable from another network namespace. */
export interface Forward extends AsyncDisposable {
  /** `ADDRESS:PORT` at which the service can be reached there. */
  readonly address: string;
  stop(): Promise<void>;
}

/** Something that the hub stops before it stops itself. */
interface Guest {
  stop(): Promise<void>;
}

/**
 * Separates real nodes from the machine, with a network namespace and two gateways. Nodes and pods reach the API server at the
 * hub's address, on the same port as on 127.0.0.1. The API server reaches them through {@link proxySocketPath}. The control
 * plane itself runs where it does in any test cluster.
 *
 * By default the hub and the nodes are on the hub's bridge. If the caller gives the hub an address, the caller also connects the
 * hub and the nodes, as a VPC does.
 */
export class Hub {
  readonly stateDir: string;
  readonly programs: RealNodePrograms;
  /** Address at which nodes reach the hub. */
  readonly address: string;
  /** URL of the API server for nodes. */
  readonly serverUrl: string;
  readonly #helper: Helper;
  readonly #guests = new Set<Guest>();
  #nodes = 0;
  #cables = 0;

  private constructor(
    fields: { stateDir: string; programs: RealNodePrograms; address: string; apiServerPort: number },
    helper: Helper,
  ) {
    this.stateDir = fields.stateDir;
    this.programs = fields.programs;
    this.address = fields.address;
    this.serverUrl = `https://${fields.address}:${fields.apiServerPort}`;
    this.#helper = helper;
  }

  /**
   * @param fields.address the hub's address in a network to which the caller will connect {@link netnsPath}. Without one, the hub
   *   makes a bridge.
   * @param fields.apiServerPort port of 127.0.0.1 on which the API server listens, or will listen.
   */
  static async start(fields: {
    stateDir: string;
    programs: RealNodePrograms;
    address: string | undefined;
    apiServerPort: number;
  }): Promise<Hub> {
    const { stateDir, programs, address, apiServerPort } = fields;
    const helper = await Helper.start({
      name: 'hub',
      command: 'unshare',
      args: [
        ...['--net', '--', programs.nodeMachine, 'hub'],
        ...(address === undefined ? ['-bridge', BRIDGE] : []),
        ...['-bridge-address', `${BRIDGE_ADDRESS}/${BRIDGE_PREFIX_LENGTH}`],
        ...['-machine-namespace', `/proc/${process.pid}/ns/net`, '-proxy-socket', proxySocketPath(stateDir)],
        ...['-listen', `0.0.0.0:${apiServerPort}`, '-api-server', `127.0.0.1:${apiServerPort}`],
      ],
      logPath: join(stateDir, 'logs', 'hub.log'),
    });
    await helper.nextLine();
    return new Hub({ ...fields, address: address ?? BRIDGE_ADDRESS }, helper);
  }

  /** Path of the hub's network namespace. */
  get netnsPath(): string {
    return `/proc/${this.#helper.pid}/ns/net`;
  }

  /** Lets nodes and their pods reach 127.0.0.1:`port` of the machine, at the hub's address and the same port. */
  exposeToNodes(port: number): Promise<Forward> {
    const machine = `/proc/${process.pid}/ns/net`;
    return this.forward(this.netnsPath, `${this.address}:${port}`, machine, `127.0.0.1:${port}`);
  }

  /** Lets this machine reach `address` (`ADDRESS:PORT`) of the network namespace at `netnsPath`, on a port of 127.0.0.1. */
  exposeToMachine(netnsPath: string, address: string): Promise<Forward> {
    return this.forward(`/proc/${process.pid}/ns/net`, '127.0.0.1:0', netnsPath, address);
  }

  private async forward(fromNetns: string, from: string, toNetns: string, to: string): Promise<Forward> {
    const helper = await Helper.start({
      name: `forward to ${to}`,
      command: this.programs.nodeMachine,
      args: [
        ...['forward', '-listen-namespace', fromNetns, '-listen', from],
        ...['-dial-namespace', toNetns, '-dial', to],
      ],
      logPath: join(this.stateDir, 'logs', 'forward.log'),
    });
    const address = await helper.nextLine();
    const guest = { stop: () => helper.stop() };
    this.#guests.add(guest);
    const stop = async () => {
      this.#guests.delete(guest);
      await helper.stop();
    };
    return { address, stop, [Symbol.asyncDispose]: stop };
  }

  /** An address on the bridge for one more node. @throws TestClusterError when none is left. */
  allocateAddress(): string {
    const host = FIRST_NODE + this.#nodes++;
    if (host > LAST_NODE) throw new TestClusterError('the bridge of the nodes has no address left');
    return BRIDGE_ADDRESS.replace(/\d+$/, String(host));
  }

  /**
   * Connects a new interface `name`, in the network namespace of process `pid`, to the bridge.
   *
   * @throws TestClusterError rather than touch the machine's own network.
   */
  async plug(pid: number, name: string): Promise<void> {
    const machine = await readlink('/proc/self/ns/net');
    const ends = await Promise.all([this.netnsPath, `/proc/${pid}/ns/net`].map((path) => readlink(path)));
    if (ends.includes(machine)) throw new TestClusterError('a node would be plugged into the machine’s own network');
    // A new name each time: after a namespace has ended, the kernel takes a while to remove our end of its cable.
    const port = `port${++this.#cables}`;
    const batch = [
      `link add ${port} type veth peer name ${name} netns ${pid}`,
      `link set ${port} master ${BRIDGE} up`,
    ].join('\n');
    await runChecked('nsenter', [`--net=${this.netnsPath}`, 'ip', '-batch', '-'], { input: batch });
  }

  /** Stops `guest` before the hub stops. @returns a function that cancels this. */
  adopt(guest: Guest): () => void {
    this.#guests.add(guest);
    return () => this.#guests.delete(guest);
  }

  /** Stops the nodes and forwards, then the hub itself. */
  async stop(): Promise<void> {
    await Promise.all([...this.#guests].map((guest) => guest.stop()));
    await this.#helper.stop();
  }
}
