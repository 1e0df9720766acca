import { assertCoexistence } from '../../datapath/coexistence.ts';
import { KernelGate } from '../../datapath/kernel-gate.ts';
import type {
  AttachedInterface,
  Datapath,
  Deviation,
  PodAttachment,
  Recording,
  SyncReport,
  TagProgram,
} from '../../datapath/types.ts';

/** A data path without a kernel, for what is about the order of things only; packets are tested on the real one. */
export class MemoryDatapath implements Datapath {
  /** By sandbox. */
  readonly pods = new Map<string, PodAttachment>();
  readonly calls: string[] = [];
  readonly #gate = new KernelGate();
  /** Awaited before each `add`; may throw. */
  beforeAdd: (pod: PodAttachment) => Promise<void> = async () => undefined;
  /** Awaited before each `remove`; may throw. */
  beforeRemove: (pod: PodAttachment) => Promise<void> = async () => undefined;
  deviations: Deviation[] = [];
  tagProgram: TagProgram = 'ebpf';

  async probe() {
    return [];
  }

  assertCoexistence(pod: PodAttachment, others: readonly PodAttachment[]): void {
    assertCoexistence(pod, others, this.tagProgram);
  }

  async add(
    pod: PodAttachment,
    recording: Recording<AttachedInterface[]> = (change) => change(),
  ): Promise<AttachedInterface[]> {
    return this.#gate.shared(() => recording(() => this.#add(pod)));
  }

  async #add(pod: PodAttachment): Promise<AttachedInterface[]> {
    this.calls.push(`add ${pod.containerId}`);
    await this.beforeAdd(pod);
    this.pods.set(pod.containerId, pod);
    return pod.interfaces.map(({ name, mtu }) => ({
      pod: { name, mac: '02:00:00:00:00:01', mtu },
      host: { name: 'cali0123456789a', mac: '02:00:00:00:00:02', mtu },
      routes: [{ destination: '0.0.0.0/0', gateway: '169.254.1.1' }],
    }));
  }

  async remove(pod: PodAttachment, recording: Recording<void> = (change) => change()): Promise<void> {
    await this.#gate.shared(() => recording(() => this.#remove(pod)));
  }

  async #remove(pod: PodAttachment): Promise<void> {
    this.calls.push(`remove ${pod.containerId}`);
    await this.beforeRemove(pod);
    this.pods.delete(pod.containerId);
  }

  async check(): Promise<Deviation[]> {
    return this.deviations;
  }

  async sync(pods: () => readonly PodAttachment[]): Promise<SyncReport> {
    return this.#gate.exclusive(() => this.#sync(pods()));
  }

  async #sync(pods: readonly PodAttachment[]): Promise<SyncReport> {
    this.calls.push(`sync ${pods.map(({ containerId }) => containerId).join(' ')}`.trim());
    for (const pod of pods) this.pods.set(pod.containerId, pod);
    return { repaired: [], removed: [], failed: [] };
  }

  async watch(): Promise<void> {
    // Nobody disturbs it.
  }

  async verdicts() {
    const none = { tagged: 0, untagged: 0, passed: 0, droppedNoEntry: 0, droppedWrongVlan: 0, droppedDoubleTag: 0 };
    return { ...none, droppedMissingTag: 0, droppedSpoofedSource: 0 };
  }

  async removeAll(): Promise<void> {
    this.pods.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nothing is held.
  }
}
