import type { AttachmentRequest, CniRequest } from '../../../src/agent/cni/request.ts';
import { recordKey } from '../../../src/agent/records.ts';
import type { Clock } from '../../../src/util/clock.ts';
import { unreachable, type WorldAgent } from './agent.ts';
import { addressesIn, type KernelModel } from './kernel.ts';

/** The pod that a sandbox is for. */
export interface PodIdentity {
  namespace: string;
  name: string;
  uid: string;
}

/** `starting`: its ADD has not been answered. `ended`: its processes are gone, and its DEL has not succeeded yet. */
export interface Sandbox {
  readonly id: string;
  readonly netnsPath: string;
  readonly pod: PodIdentity;
  state: 'starting' | 'running' | 'ended';
  /** Its network was there at some time, as far as the runtime knows. */
  hasRun: boolean;
}

export interface RuntimeOptions {
  /** Begins the ids of its sandboxes. */
  prefix: string;
  kernel: KernelModel;
  clock: Clock;
  agent: () => WorldAgent | undefined;
}

/** How long the plugin's ADD waits for an agent that is being replaced (native/cni/main.c). */
const AGENT_WAIT_MS = 20_000;
const IF_NAME = 'eth0';
const CONFIG: AttachmentRequest['config'] = { cniVersion: '1.1.0', name: 'terway' };

/** The file with the record of a sandbox. */
export function recordNameOf(sandboxId: string): string {
  return `${recordKey(sandboxId, IF_NAME)}.json`;
}

/** The same of a sandbox that has ended, and whose record could not be read. */
export function endedNameOf(sandboxId: string): string {
  return `${recordKey(sandboxId, IF_NAME)}.ended`;
}

/** The sandbox of a record's file, wherever it was moved. */
export function sandboxOf(recordName: string): string {
  return recordName.slice(recordName.lastIndexOf('/') + 1).replace(/\.eth0\.(json(\.tmp)?|ended)$/, '');
}

/** The container runtime of a node as far as the network is concerned: sandboxes, their namespaces, and calls of the plugin. */
export class Runtime {
  readonly #options: RuntimeOptions;
  readonly #sandboxes = new Map<string, Sandbox>();
  #started = 0;
  #served = Promise.withResolvers<void>();

  constructor(options: RuntimeOptions) {
    this.#options = options;
  }

  /** All that it remembers, in the order in which they were started. */
  get sandboxes(): readonly Sandbox[] {
    return [...this.#sandboxes.values()];
  }

  sandbox(id: string): Sandbox | undefined {
    return this.#sandboxes.get(id);
  }

  /** What it tells the kubelet of a sandbox; empty while it has no network. */
  addressesOf({ id }: Sandbox): string[] {
    const wiring = this.#options.kernel.wirings.get(id);
    return wiring === undefined ? [] : addressesIn(wiring.attachment);
  }

  sandboxesOf(uid: string): Sandbox[] {
    return this.sandboxes.filter(({ pod }) => pod.uid === uid);
  }

  /** An agent accepts requests from now on. */
  noteServing(): void {
    this.#served.resolve();
    this.#served = Promise.withResolvers();
  }

  /**
   * Starts a sandbox and gives it a network. One that gets none is stopped.
   *
   * @param signal kills the plugin
   * @returns whether the sandbox runs
   */
  async start(pod: PodIdentity, signal: AbortSignal): Promise<boolean> {
    const { prefix, kernel } = this.#options;
    this.#started += 1;
    const id = `${prefix}-${this.#started}`;
    const sandbox: Sandbox = { id, netnsPath: `/run/netns/${id}`, pod, state: 'starting', hasRun: false };
    this.#sandboxes.set(id, sandbox);
    kernel.addNetns(sandbox.netnsPath);
    const isWired = await this.#add(sandbox, signal);
    // The machine may have been rebooted meanwhile.
    if (isWired && sandbox.state === 'starting') {
      sandbox.state = 'running';
      sandbox.hasRun = true;
      return true;
    }
    await this.stop(sandbox);
    return false;
  }

  /** Ends its processes and takes its network away. @returns false when DEL failed, so that it must be stopped again */
  async stop(sandbox: Sandbox): Promise<boolean> {
    sandbox.state = 'ended';
    if (this.#sandboxes.get(sandbox.id) !== sandbox) return true;
    try {
      await this.#call('DEL', sandbox, new AbortController().signal);
    } catch {
      return false;
    }
    this.#options.kernel.removeNetns(sandbox.netnsPath);
    this.#sandboxes.delete(sandbox.id);
    return true;
  }

  /** Calls GC with everything that it remembers. */
  async collect(): Promise<void> {
    const valid = this.sandboxes.map(({ id }) => ({ containerId: id, ifName: IF_NAME }));
    const request: CniRequest = { command: 'GC', config: CONFIG, valid };
    await this.#options
      .agent()
      ?.handle(request, new AbortController().signal)
      .catch(() => undefined);
  }

  /** Processes and namespaces end; the sandboxes are remembered. */
  reboot(): void {
    for (const sandbox of this.#sandboxes.values()) sandbox.state = 'ended';
  }

  /** It loses its state: processes and namespaces end, and it remembers none of them. */
  reset(): void {
    const { kernel } = this.#options;
    const forgotten = this.sandboxes;
    this.#sandboxes.clear();
    for (const sandbox of forgotten) {
      sandbox.state = 'ended';
      kernel.removeNetns(sandbox.netnsPath);
    }
  }

  async #add(sandbox: Sandbox, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#waitForAgent(signal);
      await this.#call('ADD', sandbox, signal);
      return true;
    } catch {
      return false;
    }
  }

  async #call(command: 'ADD' | 'DEL', { id, netnsPath, pod }: Sandbox, signal: AbortSignal): Promise<void> {
    const agent = this.#options.agent();
    if (agent === undefined) throw unreachable();
    const attachment: AttachmentRequest = { containerId: id, netnsPath, ifName: IF_NAME, pod, config: CONFIG };
    await agent.handle({ command, attachment }, signal);
  }

  async #waitForAgent(signal: AbortSignal): Promise<void> {
    const { clock, agent } = this.#options;
    const giveUp = new AbortController();
    const waited = clock.sleep(AGENT_WAIT_MS, AbortSignal.any([signal, giveUp.signal]));
    try {
      while (agent()?.isServing !== true) {
        const isServed = await Promise.race([this.#served.promise.then(() => true), waited.then(() => false)]);
        if (!isServed) throw unreachable();
      }
    } finally {
      waited.catch(() => undefined);
      giveUp.abort();
    }
  }
}
