import type { AttachedInterface, Datapath, PodAttachment, SyncReport } from '../datapath/types.ts';
import { errorMessage } from '../util/errors.ts';
import type { KeyedQueue } from '../util/keyed-queue.ts';
import type { Assignment } from './assignment.ts';
import { CNI_ERROR, CniError } from './cni/errors.ts';
import type { AttachmentRequest, CniRequest } from './cni/request.ts';
import { addResult } from './cni/result.ts';
import { type RecordStore, recordKey, type SandboxRecord } from './records.ts';
import type { AssignmentWaiter } from './waiter.ts';

/** Receives what happened, for log, metrics, events and the NodeRuntime. */
export interface PluginObserver {
  /** Awaited before a sandbox gets its network; may refuse. */
  adding(attachment: PodAttachment): Promise<void>;
  added(attachment: PodAttachment, problems: readonly string[]): void;
  addFailed(request: AttachmentRequest, error: unknown): void;
  removed(record: SandboxRecord): void;
}

export interface PluginOptions {
  datapath: Datapath;
  records: RecordStore;
  waiter: AssignmentWaiter;
  queue: KeyedQueue;
  observer: PluginObserver;
  /** How long ADD waits for the PodENI. */
  addTimeoutMs: number;
  /** Why the node cannot serve pods now; undefined when it can. */
  notReady: () => string | undefined;
  /** Why running pods may lack connectivity and new ones are refused on part of the node. */
  limited: () => string | undefined;
}

/** The CNI commands (specification 1.1). A pod that waits never holds up another. */
export class CniPlugin {
  readonly #options: PluginOptions;
  /** ADDs that wait for their PodENI, by record key. They wait outside the pod's queue: DEL must not wait for them. */
  readonly #waiting = new Map<string, AbortController>();

  /** Attachments whose record may not be there yet. */
  readonly #adding = new Set<PodAttachment>();

  constructor(options: PluginOptions) {
    this.#options = options;
  }

  /** ADDs that wait, or whose record may not be there yet. */
  get size(): number {
    return this.#waiting.size + this.#adding.size;
  }

  /** Sandboxes that are being made, and may have no record yet. */
  get adding(): readonly PodAttachment[] {
    return [...this.#adding];
  }

  /**
   * @returns the JSON for standard output; undefined when there is none
   * @throws CniError
   */
  async handle(request: CniRequest, signal: AbortSignal): Promise<Record<string, unknown> | undefined> {
    switch (request.command) {
      case 'ADD':
        return this.#add(request.attachment, signal);
      case 'DEL':
        // An ADD that still waits would otherwise go on for a sandbox that is gone.
        this.#waiting
          .get(keyOf(request.attachment))
          ?.abort(new CniError(CNI_ERROR.tryAgain, 'the sandbox was removed'));
        await this.#serialised(request.attachment, () => this.#remove(keyOf(request.attachment)));
        return undefined;
      case 'CHECK':
        await this.#serialised(request.attachment, () => this.#check(request.attachment));
        return undefined;
      case 'STATUS': {
        const problem = this.#options.notReady();
        if (problem !== undefined) throw new CniError(CNI_ERROR.notAvailable, problem);
        const limit = this.#options.limited();
        if (limit !== undefined) throw new CniError(CNI_ERROR.limitedConnectivity, limit);
        return undefined;
      }
      case 'GC':
        await this.#collect(request.config.name, request.valid);
        return undefined;
    }
  }

  /**
   * Removes everything of a sandbox, its record last. Safe at any time and any number of times: if the record is another one by
   * then, an ADD or DEL has come in between, and nothing is done.
   */
  removeSandbox(record: SandboxRecord): Promise<void> {
    const { queue, records } = this.#options;
    const { namespace, name, containerId } = record.attachment;
    const key = recordKey(containerId, record.ifName);
    return queue.run(`${namespace}/${name}`, async () => {
      if (records.get(key) === record) await this.#remove(key);
    });
  }

  #serialised<T>(request: AttachmentRequest, work: () => Promise<T>): Promise<T> {
    return this.#options.queue.run(`${request.pod.namespace}/${request.pod.name}`, work);
  }

  async #add(request: AttachmentRequest, signal: AbortSignal): Promise<Record<string, unknown>> {
    try {
      const assignment = await this.#assignment(request, signal);
      if (assignment.state !== 'ready') throw new CniError(CNI_ERROR.tryAgain, assignment.reason);
      return await this.#serialised(request, () => this.#attach(request, assignment));
    } catch (error) {
      this.#options.observer.addFailed(request, error);
      throw error instanceof CniError ? error : new CniError(CNI_ERROR.tryAgain, errorMessage(error));
    }
  }

  async #assignment(request: AttachmentRequest, signal: AbortSignal): Promise<Assignment> {
    const known = this.#options.records.get(keyOf(request));
    if (known?.phase === 'ready') return { state: 'ready', attachment: known.attachment, problems: [] };
    const removed = new AbortController();
    this.#waiting.set(keyOf(request), removed);
    try {
      return await this.#options.waiter.wait(
        request,
        this.#options.addTimeoutMs,
        AbortSignal.any([signal, removed.signal]),
      );
    } finally {
      if (this.#waiting.get(keyOf(request)) === removed) this.#waiting.delete(keyOf(request));
    }
  }

  async #attach(
    request: AttachmentRequest,
    assignment: Extract<Assignment, { state: 'ready' }>,
  ): Promise<Record<string, unknown>> {
    const { records, datapath, observer, waiter } = this.#options;
    const { cniVersion, name: network } = request.config;
    const known = records.get(keyOf(request));
    if (known?.phase === 'ready' && known.attached !== undefined) {
      return addResult(cniVersion, known.attachment, known.attached);
    }
    if (known !== undefined) await this.#remove(keyOf(request));
    await this.#removeOthers(request);
    // While the pod waited for its turn, or for the report, its PodENI may have started to leave.
    const now = () => {
      const current = known?.phase === 'ready' ? assignment : waiter.now(request);
      if (current.state !== 'ready') throw new CniError(CNI_ERROR.tryAgain, current.reason);
      return current;
    };
    const before = now().attachment;
    await observer.adding(before);
    const { attachment, problems } = now();
    if (attachment.uid !== before.uid)
      throw new CniError(CNI_ERROR.tryAgain, `pod ${request.pod.name} is another one now`);
    // There is no await between the check and the note, so of two pods that exclude each other one is refused.
    const others = [...this.#adding, ...records.all().map((other) => other.attachment)];
    assertUnused(attachment, others);
    datapath.assertCoexistence(attachment, others);
    this.#adding.add(attachment);
    const attached = await this.#wire({ ifName: request.ifName, network, attachment }).finally(() =>
      this.#adding.delete(attachment),
    );
    observer.added(attachment, problems);
    return addResult(cniVersion, attachment, attached);
  }

  /** When this fails, the sandbox is removed as by DEL. What cannot be removed now keeps its record, and DEL or a look removes it. */
  async #wire(sandbox: Omit<SandboxRecord, 'phase' | 'attached'>): Promise<AttachedInterface[]> {
    const { records, datapath } = this.#options;
    const key = recordKey(sandbox.attachment.containerId, sandbox.ifName);
    try {
      return await datapath.add(sandbox.attachment, async (change) => {
        try {
          await records.put({ ...sandbox, phase: 'adding' });
          const attached = await change();
          await records.put({ ...sandbox, phase: 'ready', attached });
          return attached;
        } catch (error) {
          // A look that comes next would make what is missing.
          records.giveUp(key);
          throw error;
        }
      });
    } catch (error) {
      if (records.get(key) !== undefined) {
        await this.#remove(key).catch((left: unknown) => {
          throw new Error(`${errorMessage(error)}; what is left could not be removed yet: ${errorMessage(left)}`);
        });
      }
      throw error;
    }
  }

  /**
   * Only one sandbox has an address at a time: what an earlier sandbox of the pod still holds is removed before the new one gets it.
   * The runtime's later DEL for the earlier one finds nothing and succeeds.
   */
  async #removeOthers(request: AttachmentRequest): Promise<void> {
    for (const { attachment, ifName } of this.#options.records.all()) {
      const samePod = attachment.namespace === request.pod.namespace && attachment.name === request.pod.name;
      const sameSandbox = attachment.containerId === request.containerId;
      if (samePod && !sameSandbox && ifName === request.ifName) {
        await this.#remove(recordKey(attachment.containerId, ifName));
      }
    }
  }

  async #remove(key: string): Promise<void> {
    const { records, datapath, observer } = this.#options;
    const record = records.get(key);
    if (record === undefined) {
      await records.end(key);
      return;
    }
    await datapath.remove(record.attachment, async (change) => {
      if (record.phase !== 'deleting') await records.put({ ...record, phase: 'deleting' });
      await change();
      await records.remove(key);
    });
    observer.removed(record);
  }

  async #check(request: AttachmentRequest): Promise<void> {
    const { records, datapath } = this.#options;
    const record = records.get(keyOf(request));
    if (record?.phase !== 'ready') {
      throw new CniError(
        CNI_ERROR.unknownContainer,
        `sandbox ${request.containerId} of pod ${request.pod.namespace}/${request.pod.name} has no network from this node agent`,
      );
    }
    const found = await datapath.check(record.attachment);
    // Plugins that come after this one may change routes, limits and more (specification 1.1, "CHECK"), not links and addresses.
    const deviations = found.filter(
      ({ inPod, object }) => inPod === undefined || object === 'link' || object === 'address',
    );
    if (deviations.length > 0) {
      throw new CniError(
        CNI_ERROR.deviation,
        deviations.map(({ message }) => message).join('; '),
        `${deviations.length} deviation(s); the agent repairs them at its next look at the node`,
      );
    }
  }

  /** Specification 1.1, "GC": removes what the runtime no longer names. */
  async #collect(network: string, valid: readonly { containerId: string; ifName: string }[]): Promise<void> {
    const keep = new Set(valid.map(({ containerId, ifName }) => recordKey(containerId, ifName)));
    const failures: string[] = [];
    for (const record of this.#options.records.all()) {
      const key = recordKey(record.attachment.containerId, record.ifName);
      if (record.network !== network || keep.has(key)) continue;
      await this.removeSandbox(record).catch((error: unknown) => failures.push(`${key}: ${errorMessage(error)}`));
    }
    if (failures.length > 0) throw new CniError(CNI_ERROR.tryAgain, `GC: ${failures.join('; ')}`);
  }
}

/** Whatever the control plane says, no address serves two pods at a time. @throws CniError */
function assertUnused(pod: PodAttachment, others: readonly PodAttachment[]): void {
  const wanted = new Set(addressesOf(pod));
  for (const other of others) {
    if (other.uid === pod.uid) continue;
    const shared = addressesOf(other).find((address) => wanted.has(address));
    if (shared === undefined) continue;
    throw new CniError(
      CNI_ERROR.tryAgain,
      `a sandbox of pod ${other.namespace}/${other.name} with uid ${other.uid} still has ${shared}`,
    );
  }
}

function addressesOf({ interfaces }: PodAttachment): string[] {
  return interfaces.flatMap(({ ipv4, ipv6 }) => [ipv4?.address ?? [], ipv6?.address ?? []].flat());
}

function keyOf({ containerId, ifName }: AttachmentRequest): string {
  return recordKey(containerId, ifName);
}

/** The message of STATUS about problems of an ENI, and so of all its pods, that a look could not repair; undefined without any. */
export function limitOf({ failed }: SyncReport): string | undefined {
  const ofEnis = failed.filter(({ object, pod }) => object === 'filter' && pod === undefined);
  return ofEnis.length === 0 ? undefined : ofEnis.map(({ message }) => message).join('; ');
}
