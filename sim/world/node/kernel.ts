import { assertCoexistence } from '../../../src/datapath/coexistence.ts';
import { KernelGate } from '../../../src/datapath/kernel-gate.ts';
import { podKey } from '../../../src/datapath/names.ts';
import { attachedInterfaces } from '../../../src/datapath/pod-interfaces.ts';
import type {
  AttachedInterface,
  Datapath,
  Deviation,
  PodAttachment,
  Recording,
  SyncOptions,
  SyncReport,
} from '../../../src/datapath/types.ts';
import { errorMessage } from '../../../src/util/errors.ts';
import { KeyedQueue } from '../../../src/util/keyed-queue.ts';
import type { ProcessLife } from './process.ts';

/** What the kernel has of one sandbox. Objects are made and removed one after another, so a crash can leave some of them. */
export interface Wiring {
  attachment: PodAttachment;
  isComplete: boolean;
}

/** A change of what the kernel has of a sandbox. */
export interface WiringChange {
  containerId: string;
  before: Wiring | undefined;
  after: Wiring | undefined;
}

/** Each half of adding and removing. */
const HALF_MS = 10;
const DUMP_MS = 5;
const PROCESSED_PACKETS = {
  tagged: 0,
  untagged: 0,
  passed: 0,
  droppedNoEntry: 0,
  droppedWrongVlan: 0,
  droppedDoubleTag: 0,
  droppedMissingTag: 0,
  droppedSpoofedSource: 0,
};

/**
 * The kernel of a node as far as the order of things matters: which sandboxes have a namespace, and which are wired and how. It
 * outlives processes, and a reboot empties it. Objects and packets are tested on the real one.
 */
export class KernelModel {
  readonly #wirings = new Map<string, Wiring>();
  readonly #netns = new Set<string>();
  readonly #hasEni: (mac: string) => boolean;
  readonly #listeners = new Set<(change: WiringChange) => void>();

  /** @param hasEni whether the ENI with this MAC address is a device of the node */
  constructor(hasEni: (mac: string) => boolean) {
    this.#hasEni = hasEni;
  }

  /** By container id. */
  get wirings(): ReadonlyMap<string, Wiring> {
    return this.#wirings;
  }

  get netns(): ReadonlySet<string> {
    return this.#netns;
  }

  /** Calls `listener` right after each change until the returned function is called. */
  subscribe(listener: (change: WiringChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  addNetns(path: string): void {
    this.#netns.add(path);
  }

  /** The links in it go with it, and with them their ends in the node's namespace. */
  removeNetns(path: string): void {
    this.#netns.delete(path);
    for (const [containerId, { attachment }] of this.#wirings)
      if (attachment.netnsPath === path) this.set(containerId, { attachment, isComplete: false });
  }

  reboot(): void {
    this.#netns.clear();
    for (const containerId of [...this.#wirings.keys()]) this.set(containerId, undefined);
  }

  set(containerId: string, after: Wiring | undefined): void {
    const before = this.#wirings.get(containerId);
    if (after === undefined) this.#wirings.delete(containerId);
    else this.#wirings.set(containerId, after);
    for (const listener of this.#listeners) listener({ containerId, before, after });
  }

  /** Why a pod cannot be wired now; undefined when it can. */
  obstacle(pod: PodAttachment): string | undefined {
    const { netnsPath, containerId, interfaces } = pod;
    if (!this.#netns.has(netnsPath)) return `${netnsPath} does not exist`;
    // The host's end of the veth is named after the pod.
    const others = [...this.#wirings].filter(
      ([id, { attachment }]) => id !== containerId && podKey(attachment) === podKey(pod),
    );
    if (others.length > 0) return `the link of ${podKey(pod)} exists and is that of sandbox ${others[0]?.[0]}`;
    const macs = interfaces.map(({ attachment }) =>
      'trunk' in attachment ? attachment.trunk.mac : attachment.eni.mac,
    );
    const missing = macs.find((mac) => !this.#hasEni(mac));
    return missing === undefined ? undefined : `ENI ${missing} is not on the node`;
  }
}

/** The data path of one agent on the model of a kernel. */
export class SimulatedDatapath implements Datapath {
  readonly #kernel: KernelModel;
  readonly #life: ProcessLife;
  readonly #gate = new KernelGate();
  readonly #pods = new KeyedQueue();

  constructor(kernel: KernelModel, life: ProcessLife) {
    this.#kernel = kernel;
    this.#life = life;
  }

  async probe() {
    return [];
  }

  assertCoexistence(pod: PodAttachment, others: readonly PodAttachment[]): void {
    assertCoexistence(pod, others, 'ebpf');
  }

  add(
    pod: PodAttachment,
    recording: Recording<AttachedInterface[]> = (change) => change(),
  ): Promise<AttachedInterface[]> {
    return this.#forPod(pod, () => recording(() => this.#add(pod)));
  }

  async #add(pod: PodAttachment): Promise<AttachedInterface[]> {
    const obstacle = this.#kernel.obstacle(pod);
    if (obstacle !== undefined) throw new Error(obstacle);
    const { containerId } = pod;
    const before = this.#kernel.wirings.get(containerId);
    // What exists already stays, and is changed in place.
    const isThere = before?.isComplete === true && addressOf(before.attachment) === addressOf(pod);
    await this.#change('add', () => {
      if (!isThere) this.#kernel.set(containerId, { attachment: pod, isComplete: false });
    });
    try {
      await this.#change('add-rest', () => this.#kernel.set(containerId, { attachment: pod, isComplete: true }));
    } catch (error) {
      // What cannot be undone stays.
      await this.#change('add-undo', () => this.#kernel.set(containerId, before)).catch(() => undefined);
      throw error;
    }
    return attachedInterfaces(pod);
  }

  remove(pod: PodAttachment, recording: Recording<void> = (change) => change()): Promise<void> {
    return this.#forPod(pod, () => recording(() => this.#remove(pod.containerId)));
  }

  async #remove(containerId: string): Promise<void> {
    await this.#change('remove', () => {
      const found = this.#kernel.wirings.get(containerId);
      if (found !== undefined) this.#kernel.set(containerId, { ...found, isComplete: false });
    });
    await this.#change('remove-rest', () => this.#kernel.set(containerId, undefined));
  }

  async check(pod: PodAttachment): Promise<Deviation[]> {
    return this.#forPod(pod, () =>
      this.#life.perform('kernel check', DUMP_MS, () => {
        const found = this.#kernel.wirings.get(pod.containerId);
        const isThere = found?.attachment.netnsPath === pod.netnsPath && addressOf(found.attachment) === addressOf(pod);
        if (!isThere) return [{ object: 'link', pod: podKey(pod), message: 'the links are missing' }];
        return isWiredAs(found, pod) ? [] : [{ object: 'map', pod: podKey(pod), message: 'the tag is another' }];
      }),
    );
  }

  sync(pods: () => readonly PodAttachment[], options: SyncOptions = {}): Promise<SyncReport> {
    return this.#gate.exclusive(() => this.#sync(pods(), options));
  }

  async #sync(
    pods: readonly PodAttachment[],
    { dryRun = false, keepLeftovers = false }: SyncOptions,
  ): Promise<SyncReport> {
    const report: SyncReport = { repaired: [], removed: [], failed: [] };
    const wanted = new Map(pods.map((pod) => [pod.containerId, pod]));
    const present = await this.#life.perform('kernel dump', DUMP_MS, () => [...this.#kernel.wirings.keys()]);
    for (const containerId of keepLeftovers ? [] : present.filter((id) => !wanted.has(id))) {
      await this.#mend(report, 'removed', containerId, dryRun, () => this.#kernel.set(containerId, undefined));
    }
    for (const [containerId, pod] of wanted) {
      const found = this.#kernel.wirings.get(containerId);
      if (found !== undefined && isWiredAs(found, pod)) continue;
      await this.#mend(report, 'repaired', containerId, dryRun, () => {
        const obstacle = this.#kernel.obstacle(pod);
        if (obstacle !== undefined) throw new Error(obstacle);
        this.#kernel.set(containerId, { attachment: pod, isComplete: true });
      });
    }
    return report;
  }

  async #mend(
    report: SyncReport,
    kind: 'repaired' | 'removed',
    message: string,
    dryRun: boolean,
    effect: () => void,
  ): Promise<void> {
    try {
      if (!dryRun) await this.#change(kind === 'removed' ? 'remove-leftover' : 'repair', effect);
      report[kind].push({ object: 'link', message });
    } catch (error) {
      const pod = kind === 'removed' ? {} : { pod: message };
      report.failed.push({ object: 'link', ...pod, message: errorMessage(error) });
    }
  }

  async watch(): Promise<void> {
    // Nobody else changes this kernel.
  }

  async verdicts() {
    return PROCESSED_PACKETS;
  }

  async removeAll(): Promise<void> {
    for (const containerId of [...this.#kernel.wirings.keys()]) await this.#remove(containerId);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pods.idle();
  }

  #change(what: string, effect: () => void): Promise<void> {
    return this.#life.perform(`kernel ${what}`, HALF_MS, effect);
  }

  #forPod<T>(pod: PodAttachment, work: () => Promise<T>): Promise<T> {
    return this.#pods.run(podKey(pod), () => this.#gate.shared(work));
  }
}

/** Those of the pod's first interface, IPv4 before IPv6. */
export function addressesIn({ interfaces: [first] }: PodAttachment): string[] {
  return [first?.ipv4?.address, first?.ipv6?.address].filter((address) => address !== undefined);
}

/** The pod's first IPv4 address. */
export function addressOf({ interfaces }: PodAttachment): string {
  return interfaces[0]?.ipv4?.address ?? '';
}

function isWiredAs({ attachment, isComplete }: Wiring, wanted: PodAttachment): boolean {
  return isComplete && JSON.stringify(attachment.interfaces) === JSON.stringify(wanted.interfaces);
}
