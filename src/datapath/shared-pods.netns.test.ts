import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { beforeAll, expect, test } from 'vitest';
import * as z from 'zod';
import { type LabNode, SwitchLab } from '../../sim/vpc/test-lab.ts';
import type { Namespace } from '../../sim/vpc/test-namespaces.ts';
import { systemClock } from '../util/clock.ts';
import { gatewayOf } from '../util/ip.ts';
import { HelperProcess } from './kernel/helper-process.ts';
import { LinuxDatapath } from './linux-datapath.ts';
import { buildTools, TOOLS } from './test-support/datapath-lab.ts';
import { makeLabDirectory, removeLabDirectory } from './test-support/lab-directory.ts';
import type { Attachment, EniDevice, PodAttachment, PodInterface } from './types.ts';

/** Pods that share the ENIs of their nodes, beside pods on trunks, across the VPC switch: real connections, seen on the wire. */

beforeAll(buildTools);

const SUBNETS = { ipv4: '10.1.0.0/16', ipv6: '2408:4321:180:1701::/64' };
const PORT = 7000;

test('shared pods and members reach each other, on one node and across nodes, in both families', async () => {
  await using vpc = await TwoNodes.start();
  const [a, b] = [vpc.a, vpc.b];
  const pods = [
    await vpc.shared(a, 'a-one'),
    await vpc.shared(a, 'a-two'),
    await vpc.sharedOnTrunk(a, 'a-trunk'),
    await vpc.member(a, 'a-member'),
    await vpc.shared(b, 'b-one'),
    await vpc.sharedOnTrunk(b, 'b-trunk'),
    await vpc.member(b, 'b-member'),
  ];
  await using wire = await vpc.lab.vpcSwitch.capture();
  for (const from of pods) {
    const others = pods.filter((pod) => pod !== from);
    const targets = others.flatMap(({ addresses }) => addresses);
    const answers = others.flatMap(({ name, addresses }) => addresses.map(() => name));
    expect(await from.ask(targets), from.name).toEqual(answers);
  }
  expect(vpc.lab.vpcSwitch.refusals.list()).toEqual([]);

  // Each connection is on the wire in both directions, from the ENI of its sender, except between the shared pods of one node.
  const frames = (await wire.all()).filter(({ protocol, direction }) => protocol === 6 && direction === 'fromNode');
  const seen = new Map(frames.map((frame) => [`${frame.src} to ${frame.dst}`, frame]));
  const expected = new Map<string, { eni: string; device: string; vlan: number }>();
  for (const from of pods) {
    for (const to of pods) {
      if (from === to || (from.sharesOn !== undefined && from.sharesOn === to.sharesOn)) continue;
      for (const [family, src] of from.addresses.entries())
        expected.set(`${src} to ${to.addresses[family]}`, from.onWire);
    }
  }
  expect([...seen.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [pair, onWire] of expected)
    expect(seen.get(pair), pair).toMatchObject({ ...onWire, verdict: 'forwarded' });
});

test('an address that goes over to another pod is reached there: of the same node, and of another one', async () => {
  await using vpc = await TwoNodes.start();
  const witness = await vpc.shared(vpc.b, 'witness');
  const stays = await vpc.shared(vpc.a, 'stays');
  const first = await vpc.shared(vpc.a, 'first');
  expect(await witness.ask([...first.addresses, ...stays.addresses])).toEqual(['first', 'first', 'stays', 'stays']);

  await first.remove();
  const second = await vpc.shared(vpc.a, 'second', first.addresses);
  for (const from of [witness, stays]) expect(await from.ask(first.addresses), from.name).toEqual(['second', 'second']);

  await second.remove();
  vpc.take(vpc.a, first.addresses);
  await vpc.lab.vpcSwitch.settled();
  expect(await witness.ask(first.addresses)).toEqual(['', '']);
  for (const address of first.addresses) {
    const refusal = await vpc.lab.vpcSwitch.refusals.wait(({ dst }) => dst === address);
    expect(refusal).toMatchObject({ reason: 'unknown-destination', eni: vpc.b.poolId });
  }
  vpc.give(vpc.b, first.addresses);
  await vpc.lab.vpcSwitch.settled();
  const third = await vpc.shared(vpc.b, 'third', first.addresses);
  for (const from of [witness, stays]) expect(await from.ask(first.addresses), from.name).toEqual(['third', 'third']);
  expect(await third.ask([...stays.addresses, ...witness.addresses])).toEqual(['stays', 'stays', 'witness', 'witness']);
});

test('pods read the metadata of the instance that they run on', async () => {
  await using vpc = await TwoNodes.start();
  for (const node of [vpc.a, vpc.b]) {
    const pods = [
      await vpc.shared(node, `${node.instanceId}-shared`),
      await vpc.sharedOnTrunk(node, `${node.instanceId}-trunk`),
      await vpc.member(node, `${node.instanceId}-member`),
    ];
    for (const pod of pods) {
      expect(await pod.read('http://100.100.100.200/latest/meta-data/instance-id'), pod.name).toBe(node.instanceId);
    }
  }
});

/** A node with a trunk and an ENI for its shared pods, on which the node agent's data path works. */
interface Node extends LabNode {
  poolId: string;
  pool: EniDevice;
  datapath: LinuxDatapath;
  /** Addresses of the pool that no pod has. */
  idle: { ipv4: string[]; ipv6: string[] };
}

interface Pod {
  name: string;
  /** IPv4, then IPv6. */
  addresses: readonly string[];
  /** The instance, for a pod on a shared ENI. */
  sharesOn: string | undefined;
  onWire: { eni: string; device: string; vlan: number };
  /** Connects to each address. Returns the names that answered, empty where none did. */
  ask(addresses: readonly string[]): Promise<string[]>;
  /** What a URL answers. */
  read(url: string): Promise<string>;
  remove(): Promise<void>;
}

class TwoNodes implements AsyncDisposable {
  readonly lab: SwitchLab;
  readonly a: Node;
  readonly b: Node;
  readonly #cleanup: AsyncDisposableStack;

  private constructor(lab: SwitchLab, nodes: { a: Node; b: Node }, cleanup: AsyncDisposableStack) {
    this.lab = lab;
    this.a = nodes.a;
    this.b = nodes.b;
    this.#cleanup = cleanup;
  }

  static async start(): Promise<TwoNodes> {
    await using cleanup = new AsyncDisposableStack();
    const lab = cleanup.use(await SwitchLab.start());
    const nodes = { a: await startNode(lab, cleanup), b: await startNode(lab, cleanup) };
    return new TwoNodes(lab, nodes, cleanup.move());
  }

  /** A pod on the shared ENI of the node, with idle addresses of it unless others are given. */
  shared(node: Node, name: string, given?: readonly string[]): Promise<Pod> {
    const [ipv4 = '', ipv6 = ''] = given ?? [node.idle.ipv4.shift(), node.idle.ipv6.shift()];
    const place = { eni: node.poolId, device: node.poolId, vlan: 0 };
    return this.#pod(node, name, [ipv4, ipv6], { kind: 'shared', eni: node.pool }, place);
  }

  /** A pod with the trunk's own addresses, which pods share as those of any other ENI. */
  sharedOnTrunk(node: Node, name: string): Promise<Pod> {
    const { id, macAddress, ipv4, ipv6 } = node.trunk;
    const place = { eni: id, device: id, vlan: 0 };
    const attachment: Attachment = { kind: 'shared', eni: deviceOf(macAddress) };
    return this.#pod(node, name, [ipv4[0] ?? '', ipv6[0] ?? ''], attachment, place);
  }

  /** A pod with a member ENI of the node's trunk. */
  async member(node: Node, name: string): Promise<Pod> {
    const { eniId, vlanId, ip, ip6 } = await this.lab.addMember(node);
    const trunk = deviceOf(node.trunk.macAddress);
    const place = { eni: eniId, device: node.trunk.id, vlan: vlanId };
    return this.#pod(node, name, [ip, ip6], { kind: 'member', trunk, vlanId }, place);
  }

  /** Takes addresses away from the shared ENI of the node. */
  take(node: Node, [ipv4 = '', ipv6 = '']: readonly string[]): void {
    this.lab.call('UnassignPrivateIpAddresses', { NetworkInterfaceId: node.poolId, PrivateIpAddress: [ipv4] });
    this.lab.call('UnassignIpv6Addresses', { NetworkInterfaceId: node.poolId, Ipv6Address: [ipv6] });
  }

  give(node: Node, [ipv4 = '', ipv6 = '']: readonly string[]): void {
    this.lab.call('AssignPrivateIpAddresses', { NetworkInterfaceId: node.poolId, PrivateIpAddress: [ipv4] });
    this.lab.call('AssignIpv6Addresses', { NetworkInterfaceId: node.poolId, Ipv6Address: [ipv6] });
  }

  async #pod(
    node: Node,
    name: string,
    [ipv4, ipv6]: readonly [string, string],
    attachment: Attachment,
    onWire: Pod['onWire'],
  ): Promise<Pod> {
    const namespace = await this.lab.namespace();
    const pod = attachmentOf(name, namespace, {
      name: 'eth0',
      ipv4: { address: ipv4, subnet: SUBNETS.ipv4 },
      ipv6: { address: ipv6, subnet: SUBNETS.ipv6 },
      mtu: 1500,
      defaultRoute: true,
      extraRoutes: [],
      attachment,
    });
    await node.datapath.add(pod);
    const server = namespace.spawn(process.execPath, ['-e', SERVE, name]);
    await once(createInterface({ input: server.stdout }), 'line');
    const stop = async (): Promise<void> => {
      if (server.exitCode !== null || server.signalCode !== null) return;
      const closed = once(server, 'close');
      server.kill();
      await closed;
    };
    this.#cleanup.defer(stop);
    return {
      name,
      addresses: [ipv4, ipv6],
      sharesOn: attachment.kind === 'shared' ? node.instanceId : undefined,
      onWire,
      ask: async (addresses) => {
        const client = namespace.spawn(process.execPath, ['-e', ASK, JSON.stringify(addresses)]);
        return z.array(z.string()).parse(JSON.parse(await text(client.stdout)));
      },
      read: (url) => text(namespace.spawn(process.execPath, ['-e', READ, url]).stdout),
      remove: async () => {
        await stop();
        await node.datapath.remove(pod);
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

async function startNode(lab: SwitchLab, cleanup: AsyncDisposableStack): Promise<Node> {
  const node = await lab.addNode({ configurePrimary: true });
  const poolId = lab.createEni({ SecondaryPrivateIpAddressCount: 3, Ipv6AddressCount: 3 });
  lab.call('AttachNetworkInterface', { NetworkInterfaceId: poolId, InstanceId: node.instanceId });
  await lab.vpcSwitch.settled();
  const directory = makeLabDirectory();
  cleanup.defer(() => removeLabDirectory(directory));
  const [ipv4 = ''] = node.primary.ipv4;
  const datapath = cleanup.use(
    new LinuxDatapath(new HelperProcess(TOOLS.helper, node.namespace.path), {
      settings: {
        nodeAddress: { ipv4 },
        serviceCidrs: ['172.21.0.0/20', 'fd77::/112'],
        hostStackCidrs: [],
        layout: 'marks',
        markMask: 0x30e0,
        masqueradeMark: 0x4000,
        isolateMembers: true,
        tagProgram: 'ebpf',
        bpfDirectory: join(directory, 'bpf', 'terway'),
      },
      objectPath: TOOLS.object,
      clock: systemClock,
      signal: AbortSignal.timeout(120_000),
    }),
  );
  const pool = lab.eni(poolId);
  const idle = { ipv4: [...pool.ipv4], ipv6: [...pool.ipv6] };
  return { ...node, poolId, pool: deviceOf(pool.macAddress), datapath, idle };
}

function deviceOf(mac: string): EniDevice {
  return { mac, gateway: { ipv4: gatewayOf(SUBNETS.ipv4) ?? '', ipv6: gatewayOf(SUBNETS.ipv6) ?? '' } };
}

function attachmentOf(name: string, { path, name: netns }: Namespace, network: PodInterface): PodAttachment {
  return {
    namespace: 'default',
    name,
    uid: `uid-${name}`,
    containerId: `${name}-${netns}`,
    netnsPath: path,
    interfaces: [network],
  };
}

/** Answers every connection with the pod's name. */
const SERVE = `
  const server = require('node:net').createServer((socket) => socket.on('error', () => {}).end(process.argv[1]));
  server.listen(${PORT}, '::', () => console.log('ready'));`;

const ASK = `
  const { connect } = require('node:net');
  const ask = (host) => new Promise((resolve) => {
    let answer = '';
    const socket = connect({ host, port: ${PORT} });
    socket.setTimeout(3000, () => socket.destroy());
    socket.setEncoding('utf8').on('data', (data) => { answer += data; });
    socket.on('error', () => {}).on('close', () => resolve(answer));
  });
  Promise.all(JSON.parse(process.argv[1]).map(ask)).then((answers) => console.log(JSON.stringify(answers)));`;

const READ = `
  require('node:http').get(process.argv[1], (response) => response.pipe(process.stdout));`;
