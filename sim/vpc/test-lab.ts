import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ParamTree } from '../cloud/model/action.ts';
import type { EniSnapshot } from '../cloud/model/snapshot.ts';
import { type CloudSimulator, startCloudSimulator } from '../cloud/server.ts';
import { REGION } from '../cloud/test-network.ts';
import { type Datagram, type Ethernet, udp } from './test-frames.ts';
import { Namespace, RawEndpoint } from './test-namespaces.ts';
import { startVpcSwitch, type VpcSwitch } from './vpc-switch.ts';

const ZONE = 'cn-hangzhou-i';

/** An instance with a trunk, in a network namespace, and raw access to the trunk's device. */
export interface LabNode {
  instanceId: string;
  namespace: Namespace;
  primary: EniSnapshot;
  trunk: EniSnapshot;
  wire: RawEndpoint;
}

/** A pod's ENI on a trunk. */
export interface LabMember {
  eniId: string;
  ip: string;
  ip6: string;
  vlanId: number;
  node: LabNode;
}

/** A simulator, a switch, and nodes as namespaces. Asynchronous changes of the cloud take no time. */
export class SwitchLab implements AsyncDisposable {
  readonly simulator: CloudSimulator;
  readonly vpcSwitch: VpcSwitch;
  readonly vpcId: string;
  readonly vSwitchId: string;
  /** A basic group. Everything is in it unless a test says otherwise. */
  readonly groupId: string;
  readonly recordPath: string;
  readonly #cleanup: AsyncDisposableStack;

  private constructor(fields: {
    simulator: CloudSimulator;
    vpcSwitch: VpcSwitch;
    ids: { vpcId: string; vSwitchId: string; groupId: string };
    stateDir: string;
    cleanup: AsyncDisposableStack;
  }) {
    this.simulator = fields.simulator;
    this.vpcSwitch = fields.vpcSwitch;
    this.vpcId = fields.ids.vpcId;
    this.vSwitchId = fields.ids.vSwitchId;
    this.groupId = fields.ids.groupId;
    this.recordPath = join(fields.stateDir, 'vpc-switch.log');
    this.#cleanup = fields.cleanup;
  }

  static async start({ metadataAddress }: { metadataAddress?: string } = {}): Promise<SwitchLab> {
    await using cleanup = new AsyncDisposableStack();
    const simulator = cleanup.use(
      await startCloudSimulator({
        account: { latencies: { createMs: 0, attachMs: 0, detachMs: 0, deleteMs: 0 } },
        metadataListen: { host: '127.0.0.1', port: 0 },
      }),
    );
    const { model, clock } = simulator;
    const vpcId = model.createVpc({ cidrBlock: '10.0.0.0/8', ipv6CidrBlock: '2408:4321:180:1700::/56' }, clock.now());
    const vSwitchId = model.createVSwitch(
      { vpcId, zoneId: ZONE, cidrBlock: '10.1.0.0/16', ipv6CidrBlock: '2408:4321:180:1701::/64' },
      clock.now(),
    );
    const groupId = model.createSecurityGroup({ vpcId, name: 'pods' }, clock.now());
    const stateDir = await mkdtemp(join(tmpdir(), 'vpc-switch-test-'));
    cleanup.defer(() => rm(stateDir, { recursive: true, force: true }));
    const vpcSwitch = cleanup.use(
      await startVpcSwitch({
        cloud: simulator.adminUrl,
        stateDir,
        metadata: { backend: simulator.metadataEndpoint, ...(metadataAddress && { address: metadataAddress }) },
      }),
    );
    const ids = { vpcId, vSwitchId, groupId };
    return new SwitchLab({ simulator, vpcSwitch, ids, stateDir, cleanup: cleanup.move() });
  }

  /** Makes an API call that must succeed. Its changes are complete when it returns. */
  call(action: string, params: ParamTree): Record<string, unknown> {
    const { model, clock } = this.simulator;
    const outcome = model.apply({ action, params: { RegionId: REGION, ...params } }, clock.now());
    if (!outcome.ok) throw outcome.error;
    model.advance(clock.now());
    return { ...outcome.body };
  }

  eni(eniId: string): EniSnapshot {
    const eni = this.simulator.model.eni(eniId);
    if (eni === undefined) throw new Error(`no ENI ${eniId}`);
    return eni;
  }

  /** Creates an Available ENI. Returns its id. */
  createEni(params: ParamTree = {}): string {
    const defaults = { VSwitchId: this.vSwitchId, SecurityGroupIds: [this.groupId], Ipv6AddressCount: 1 };
    return String(this.call('CreateNetworkInterface', { ...defaults, ...params })['NetworkInterfaceId']);
  }

  /** Starts an instance whose namespace the switch does not know yet. */
  runInstance(): { instanceId: string; primary: EniSnapshot } {
    const { model, clock } = this.simulator;
    const instance = model.runInstance(
      { instanceType: 'ecs.g7.4xlarge', vSwitchId: this.vSwitchId, securityGroupIds: [this.groupId] },
      clock.now(),
    );
    return { instanceId: instance.instanceId, primary: this.eni(instance.primaryEniId) };
  }

  async namespace(): Promise<Namespace> {
    return this.#cleanup.use(await Namespace.create());
  }

  /** Adds a node with a trunk, whose device in the node is eth1. */
  async addNode({ configurePrimary = false }: { configurePrimary?: boolean } = {}): Promise<LabNode> {
    const { instanceId, primary } = this.runInstance();
    const trunkId = this.createEni({ InstanceType: 'Trunk' });
    this.call('AttachNetworkInterface', { NetworkInterfaceId: trunkId, InstanceId: instanceId });
    const namespace = await this.namespace();
    await this.vpcSwitch.settled();
    await this.vpcSwitch.addNode({ instanceId, netnsPath: namespace.path, configurePrimary });
    const wire = await this.endpoint(namespace, 'eth1');
    return { instanceId, namespace, primary, trunk: this.eni(trunkId), wire };
  }

  async endpoint(namespace: Namespace, device: string): Promise<RawEndpoint> {
    return this.#cleanup.use(await RawEndpoint.open(namespace, device));
  }

  /** Attaches an ENI (a new one by default) to the node's trunk. */
  async addMember(node: LabNode, eniId = this.createEni()): Promise<LabMember> {
    this.call('AttachNetworkInterface', {
      NetworkInterfaceId: eniId,
      InstanceId: node.instanceId,
      TrunkNetworkInstanceId: node.trunk.id,
    });
    await this.vpcSwitch.settled();
    const eni = this.eni(eniId);
    return {
      eniId,
      ip: eni.ipv4[0] ?? '',
      ip6: eni.ipv6[0] ?? '',
      vlanId: eni.attachment?.trunk?.vlanId ?? 0,
      node,
    };
  }

  async detachMember(member: LabMember): Promise<void> {
    this.call('DetachNetworkInterface', {
      NetworkInterfaceId: member.eniId,
      InstanceId: member.node.instanceId,
      TrunkNetworkInstanceId: member.node.trunk.id,
    });
    await this.vpcSwitch.settled();
  }

  /** Sends a UDP packet from one member to another. */
  send(from: LabMember, to: Pick<LabMember, 'ip'>, payload: string, datagram: Partial<Datagram> = {}): void {
    from.node.wire.send(udp(onWire(from), { src: from.ip, dst: to.ip, payload, ...datagram }));
  }

  /** Sends a UDP packet and checks that it arrives with the right tag. */
  async sees(from: LabMember, to: LabMember, payload: string, datagram: Partial<Datagram> = {}): Promise<void> {
    this.send(from, to, payload, datagram);
    await to.node.wire.frames.wait((frame) => frame.payload === payload && frame.vlans[0] === to.vlanId);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

/** The Ethernet header of a member's frames: the trunk's MAC address and the member's tag. */
export function onWire(member: LabMember): Ethernet {
  return { src: member.node.trunk.macAddress, vlans: [member.vlanId] };
}
