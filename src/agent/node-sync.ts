import type { Datapath, PodAttachment, PodInterface, SyncOptions, SyncReport } from '../datapath/types.ts';
import { errorMessage } from '../util/errors.ts';
import type { KeyedQueue } from '../util/keyed-queue.ts';
import type { AttachmentRequest } from './cni/request.ts';
import type { CniPlugin } from './plugin.ts';
import { type RebuiltRecord, rebuildRecords } from './rebuild.ts';
import { type RecordStore, recordKey, type SandboxRecord } from './records.ts';
import type { SandboxNetns } from './sandbox-netns.ts';
import type { AssignmentWaiter } from './waiter.ts';

export interface NodeSyncOptions {
  datapath: Datapath;
  records: RecordStore;
  waiter: AssignmentWaiter;
  queue: KeyedQueue;
  plugin: CniPlugin;
  netns: SandboxNetns;
  /** All of the node, as far as they are known. */
  pods: () => readonly { namespace: string; name: string }[];
  /** Called once when the PodENI of a running pod has got other addresses than its sandbox was set up with. */
  onAddressChanged: (pod: { namespace: string; name: string; uid: string }, message: string) => void;
  /** Called for records that could not be read. */
  onRebuilt: (record: RebuiltRecord) => void;
  /** Called for sandboxes that were removed without a DEL, and for failures. */
  onProblem: (message: string, error?: unknown) => void;
}

/**
 * Brings the node into the state that the records describe: those of living sandboxes are what should be, the data path's dump is
 * what is.
 */
export class NodeSync {
  readonly #options: NodeSyncOptions;
  /** As of the first look. */
  #netnsBefore: ReadonlySet<string> | undefined;
  /** What was told about changed addresses, by key of the record. */
  #toldChanges: ReadonlyMap<string, string> = new Map();

  constructor(options: NodeSyncOptions) {
    this.#options = options;
  }

  /**
   * After a start, removes what a crash left half done. The runtime never saw these ADDs succeed and asks again; it repeats these
   * DELs or has forgotten them. What fails is tried again by the next look.
   */
  async recover(): Promise<void> {
    for (const record of this.#options.records.all()) {
      if (record.phase === 'deleting') await this.#remove(record, 'was left half done');
    }
  }

  /**
   * One look at the whole node.
   *
   * @param options.dryRun only reports
   * @param options.nodeOnly after a change in the node's namespace: no sandbox is looked at
   */
  async run(options: SyncOptions = {}): Promise<SyncReport> {
    const { dryRun = false, nodeOnly = false } = options;
    if (!dryRun && !nodeOnly) {
      await this.#rebuild();
      await this.#removeGone();
      await this.#followAssignments();
    }
    const { datapath, records } = this.#options;
    const wanted = () =>
      records
        .all()
        .filter(({ phase }) => phase !== 'deleting')
        .map(({ attachment }) => attachment);
    // What has no record then may belong to a sandbox whose record cannot be read.
    const keepLeftovers = records.unreadable.size > records.ended.size;
    const report = await datapath.sync(wanted, { dryRun, nodeOnly, keepLeftovers });
    const hasLeftovers = keepLeftovers || report.failed.some(({ pod }) => pod === undefined);
    if (!dryRun && !nodeOnly && !hasLeftovers) await this.#forgetEnded();
    return report;
  }

  /** The kernel has nothing of the sandboxes whose record could not be read. */
  async #forgetEnded(): Promise<void> {
    const { records, onProblem } = this.#options;
    for (const key of records.ended) {
      await records
        .remove(key)
        .catch((error: unknown) =>
          onProblem(`the record ${key} could not be removed; the next look tries again`, error),
        );
    }
  }

  async #rebuild(): Promise<void> {
    if (this.#options.records.unreadable.size === 0) return;
    try {
      this.#netnsBefore ??= new Set(await this.#options.netns.paths());
      const settled = await rebuildRecords({ ...this.#options, netnsBefore: this.#netnsBefore });
      for (const record of settled) this.#options.onRebuilt(record);
    } catch (error) {
      this.#options.onProblem('a record that cannot be read could not be rebuilt; the next look tries again', error);
    }
  }

  /** A sandbox whose namespace is gone cannot come back; its DEL was missed or is still to come. */
  async #removeGone(): Promise<void> {
    for (const record of this.#options.records.all()) {
      if (record.phase === 'deleting') await this.#remove(record, 'could not be removed before');
      else if (record.phase === 'ready' && (await this.#isGone(record))) {
        await this.#remove(record, 'has no network namespace any more');
      }
    }
  }

  /** An error about one sandbox must not stop the check of the others. */
  async #isGone(record: SandboxRecord): Promise<boolean> {
    const { namespace, name, netnsPath } = record.attachment;
    try {
      return !(await this.#options.netns.exists(netnsPath));
    } catch (error) {
      this.#options.onProblem(`the network namespace of ${namespace}/${name} cannot be looked at`, error);
      return false;
    }
  }

  /**
   * The tag of a living sandbox follows its PodENI: another VLAN id, another trunk. Everything else stays as it was promised
   * to the runtime.
   */
  async #followAssignments(): Promise<void> {
    const { records, waiter, queue, onProblem } = this.#options;
    const changes = new Map<string, string>();
    for (const { attachment, ifName, network, phase } of records.all()) {
      if (phase !== 'ready') continue;
      const key = recordKey(attachment.containerId, ifName);
      const now = waiter.now(requestOf(attachment, ifName, network));
      if (now.state !== 'ready') continue;
      const interfaces = attachment.interfaces.map((known) => {
        const current = now.attachment.interfaces.find(({ name }) => name === known.name);
        if (current === undefined) return known;
        if (addressesOf(current) !== addressesOf(known)) {
          changes.set(key, changeOf(attachment, known, current));
          return known;
        }
        return current.attachment.kind === known.attachment.kind ? { ...known, attachment: current.attachment } : known;
      });
      this.#tellChange(key, attachment, changes.get(key));
      if (JSON.stringify(interfaces) === JSON.stringify(attachment.interfaces)) continue;
      await queue
        .run(`${attachment.namespace}/${attachment.name}`, async () => {
          const record = records.get(key);
          if (record?.phase !== 'ready') return;
          const moved = { ...record.attachment, interfaces };
          // The sync that follows repairs the node's side; the inside of the pod is left alone.
          await records.put({ ...record, attachment: moved });
        })
        .catch((error: unknown) =>
          onProblem(`the network of ${attachment.namespace}/${attachment.name} did not follow its PodENI`, error),
        );
    }
    this.#toldChanges = changes;
  }

  #tellChange(key: string, { namespace, name, uid }: PodAttachment, change: string | undefined): void {
    if (change === undefined || this.#toldChanges.get(key) === change) return;
    this.#options.onAddressChanged({ namespace, name, uid }, change);
  }

  async #remove(record: SandboxRecord, why: string): Promise<void> {
    const { namespace, name, containerId } = record.attachment;
    this.#options.onProblem(`sandbox ${containerId} of ${namespace}/${name} ${why}; removing what is left of it`);
    await this.#options.plugin.removeSandbox(record).catch((error: unknown) => {
      this.#options.onProblem(
        `sandbox ${containerId} could not be removed; the next look tries again: ${errorMessage(error)}`,
        error,
      );
    });
  }
}

function addressesOf({ ipv4, ipv6 }: PodInterface): string {
  return [ipv4?.address, ipv6?.address].filter((address) => address !== undefined).join(', ');
}

function changeOf({ namespace, name }: PodAttachment, known: PodInterface, current: PodInterface): string {
  return `PodENI ${namespace}/${name} gives ${known.name} the address ${addressesOf(current)}; the pod was set up with ${addressesOf(known)} and cannot be reached: delete the pod`;
}

function requestOf(attachment: PodAttachment, ifName: string, network: string): AttachmentRequest {
  const vlanDevice = attachment.interfaces.some((known) => known.attachment.kind === 'vlanDevice');
  return {
    containerId: attachment.containerId,
    netnsPath: attachment.netnsPath,
    ifName,
    pod: { namespace: attachment.namespace, name: attachment.name, uid: attachment.uid },
    config: { cniVersion: '1.1.0', name: network, ...(vlanDevice ? { vlan_strip_type: 'vlan' as const } : {}) },
  };
}
