import { join } from 'node:path';
import type { AdminClient } from '../../sim/cloud/admin-client.ts';
import type { VpcSwitch } from '../../sim/vpc/vpc-switch.ts';
import type { CommandResult } from '../cluster/command.ts';
import { type CommandOptions, runCommand } from '../cluster/command.ts';
import { Helper } from '../cluster/real-nodes/helper.ts';
import { NODE_SECURITY_GROUP, NODE_VSWITCH, type Zone } from './lab.ts';

export interface VpcHostOptions {
  vpc: VpcSwitch;
  cloud: AdminClient;
  /** Folder for its log; must exist. */
  logDirectory: string;
  name: string;
  zone: Zone;
  securityGroupId?: string;
}

/**
 * A machine in the VPC that is not a node of the cluster: a network namespace whose eth0 is the primary ENI of an instance. It is
 * for programs outside the cluster that must reach nodes and pods. This machine's own network is not involved.
 */
export class VpcHost implements AsyncDisposable {
  readonly instanceId: string;
  /** Addresses of eth0: IPv4 first, then IPv6. */
  readonly addresses: readonly string[];
  readonly #helper: Helper;
  readonly #vpc: VpcSwitch;

  private constructor(fields: { instanceId: string; addresses: readonly string[] }, helper: Helper, vpc: VpcSwitch) {
    this.instanceId = fields.instanceId;
    this.addresses = fields.addresses;
    this.#helper = helper;
    this.#vpc = vpc;
  }

  static async start(options: VpcHostOptions): Promise<VpcHost> {
    const { vpc, cloud, name } = options;
    // A network namespace lives as long as a process is in it. This one ends with its standard input, and so with our process.
    const helper = await Helper.start({
      name,
      command: 'unshare',
      args: ['--net', '--', 'sh', '-c', 'ip link set lo up && echo ready && exec cat'],
      logPath: join(options.logDirectory, `${name}.log`),
    });
    try {
      await helper.nextLine();
      const instance = await cloud.runInstance({
        instanceType: 'ecs.g7.xlarge',
        vSwitchId: NODE_VSWITCH[options.zone],
        securityGroupIds: [options.securityGroupId ?? NODE_SECURITY_GROUP],
        ipv6AddressCount: 1,
        name,
      });
      const { instanceId } = instance;
      await vpc.addNode({ instanceId, netnsPath: `/proc/${helper.pid}/ns/net`, configurePrimary: true });
      return new VpcHost({ instanceId, addresses: await primaryAddresses(cloud, instanceId) }, helper, vpc);
    } catch (error) {
      await helper.stop();
      throw error;
    }
  }

  /** Runs a program of this machine in the network namespace, where its children end with it. A failure is a `code`. */
  exec(command: string, args: readonly string[] = [], options: CommandOptions = {}): Promise<CommandResult> {
    const inside = ['unshare', '--fork', '--pid', '--kill-child', '--', command, ...args];
    return runCommand('nsenter', [`--net=/proc/${this.#helper.pid}/ns/net`, '--', ...inside], options);
  }

  async stop(): Promise<void> {
    // The signal that ends the lab may have ended the switch already.
    await this.#vpc.removeNode(this.instanceId).catch(() => undefined);
    await this.#helper.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** The addresses of an instance's primary ENI: the first of each family, IPv4 before IPv6. */
export async function primaryAddresses(cloud: AdminClient, instanceId: string): Promise<[string, ...string[]]> {
  const { enis } = await cloud.state();
  const primary = enis.find(({ type, attachment }) => type === 'Primary' && attachment?.instanceId === instanceId);
  const [ipv4] = primary?.ipv4 ?? [];
  if (ipv4 === undefined) throw new RangeError(`${instanceId} has no primary ENI`);
  return [ipv4, ...(primary?.ipv6.slice(0, 1) ?? [])];
}
