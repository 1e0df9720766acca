import { openDatapath } from '../src/datapath/datapath.ts';
import { DatapathLab, TOOLS } from '../src/datapath/test-support/datapath-lab.ts';
import { frameBytes } from '../src/datapath/test-support/packets.ts';
import type { Datapath, Layout, PodAttachment } from '../src/datapath/types.ts';
import { systemClock } from '../src/util/clock.ts';
import { FramesProcess, flood, receivedPackets } from './frames-tool.ts';

export const OUTSIDE = '10.9.9.9';
export const PORT = '4000';
/** 50 bytes with the headers of UDP and IPv4, the packet size in upstream's measurement. */
export const PAYLOAD_BYTES = '22';

const SUBNET = '10.0.0.0/16';
/** Limits the number of links in one namespace. */
const LINKS_PER_NAMESPACE = 250;
const WORKERS = 8;

/** From a pod to the wire of the trunk, or from there to the pod. */
export type Direction = 'out' | 'in';

/**
 * A node with many trunk pods, added through the data path. The pod that sends and receives has its own namespace and was
 * added last, the worst position in a list. The others are real for the node, with address, veth, map entries, routes and
 * rules, but may share a few namespaces, because they send nothing.
 */
export class TrunkPodFleet implements AsyncDisposable {
  readonly lab: DatapathLab;
  readonly datapath: Datapath;
  readonly pods: readonly PodAttachment[];
  readonly #sink: FramesProcess;
  readonly #name: string;

  private constructor(fields: { lab: DatapathLab; datapath: Datapath; pods: PodAttachment[]; sink: FramesProcess }) {
    this.lab = fields.lab;
    this.datapath = fields.datapath;
    this.pods = fields.pods;
    this.#sink = fields.sink;
    this.#name = namespaceOf(this.pods.at(-1));
  }

  static async make(count: number, layout: Layout, namespaces: 'shared' | 'own'): Promise<TrunkPodFleet> {
    const lab = new DatapathLab();
    try {
      const datapath = await openLab(lab, layout);
      const pods = podsOf(lab, count, namespaces);
      const waiting = pods.slice(0, -1);
      const work = async () => {
        for (let pod = waiting.shift(); pod !== undefined; pod = waiting.shift()) await datapath.add(pod);
      };
      await Promise.all(Array.from({ length: WORKERS }, work));
      for (const pod of pods.slice(-1)) await datapath.add(pod);
      lab.gateways();
      const sink = await FramesProcess.start(namespaceOf(pods.at(-1)), 'sink', PORT);
      return new TrunkPodFleet({ lab, datapath, pods, sink });
    } catch (error) {
      lab[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Sends packets from or to the last pod.
   *
   * @returns CPU time per packet in nanoseconds, from the sender's socket to the receiver
   * @throws Error when a packet did not arrive
   */
  async costNs(direction: Direction, packets: number): Promise<number> {
    const end: [string, string] = direction === 'out' ? [this.lab.switchNs, 'sw1'] : [this.#name, 'eth0'];
    const before = await receivedPackets(...end);
    const { cpuNs } = await this.#flood(direction, String(packets));
    const arrived = (await receivedPackets(...end)) - before;
    if (arrived < packets) throw new Error(`${packets} packets were sent, ${arrived} arrived`);
    return cpuNs / packets;
  }

  #flood(direction: Direction, packets: string) {
    if (direction === 'out') return flood(this.#name, 'flood-udp', OUTSIDE, PORT, PAYLOAD_BYTES, packets);
    const [network] = this.pods.at(-1)?.interfaces ?? [];
    const frame = frameBytes({
      toMac: this.lab.trunk.mac,
      source: OUTSIDE,
      destination: network?.ipv4?.address ?? '',
      vlans: [network?.attachment.kind === 'member' ? network.attachment.vlanId : 0],
      size: Number(PAYLOAD_BYTES),
    });
    return flood(this.lab.switchNs, 'flood-link', 'sw1', packets, frame.toString('hex'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sink[Symbol.asyncDispose]();
    await this.datapath[Symbol.asyncDispose]();
    this.lab[Symbol.dispose]();
  }
}

/** Opens the data path of the lab's node. */
export function openLab(lab: DatapathLab, layout: Layout): Promise<Datapath> {
  return openDatapath({
    settings: lab.settings({ layout }),
    helperPath: TOOLS.helper,
    objectPath: TOOLS.object,
    clock: systemClock,
    signal: new AbortController().signal,
    nodeNetns: lab.netnsPath(lab.node),
  });
}

/** A trunk pod, in its own namespace if none is given. */
export function trunkPod(
  lab: DatapathLab,
  at: number,
  shared?: { netns: string; interfaceName: string },
): PodAttachment {
  const name = `pod-${at}`;
  return {
    namespace: 'bench',
    name,
    uid: name,
    containerId: `${name}-${lab.id}`,
    netnsPath: lab.netnsPath(shared?.netns ?? lab.namespace(name)),
    interfaces: [
      {
        name: shared?.interfaceName ?? 'eth0',
        ipv4: { address: `10.0.${4 + (at >> 8)}.${at & 255}`, subnet: SUBNET },
        mtu: 1500,
        // A namespace can have only one default route.
        defaultRoute: shared === undefined,
        extraRoutes: [],
        attachment: { kind: 'member', trunk: lab.trunk, vlanId: at },
      },
    ],
  };
}

export function namespaceOf(pod: PodAttachment | undefined): string {
  return pod?.netnsPath.slice('/run/netns/'.length) ?? '';
}

function podsOf(lab: DatapathLab, count: number, namespaces: 'shared' | 'own'): PodAttachment[] {
  if (namespaces === 'own') return Array.from({ length: count }, (_, at) => trunkPod(lab, at + 1));
  const pods: PodAttachment[] = [];
  let netns = '';
  for (let at = 1; at < count; at += 1) {
    if ((at - 1) % LINKS_PER_NAMESPACE === 0) netns = lab.namespace(`fleet${at}`);
    pods.push(trunkPod(lab, at, { netns, interfaceName: `eth${at}` }));
  }
  return [...pods, trunkPod(lab, count)];
}
