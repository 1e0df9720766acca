import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, systemClock } from '../../src/util/clock.ts';
import { errorMessage } from '../../src/util/errors.ts';
import { ensureSwitchProgram } from '../../tools/programs/vpc-switch.ts';
import { AdminClient } from '../cloud/admin-client.ts';
import type { Snapshot } from '../cloud/model/snapshot.ts';
import { DeviceFailedError, SwitchEndedError, VpcSwitchError } from './errors.ts';
import { EventLog } from './event-log.ts';
import type { CapturedFrame, DeviceEvent, Refusal, SwitchCounters, SwitchEvent } from './protocol.ts';
import { SwitchProcess } from './switch-process.ts';
import { compileTable, type SwitchNode } from './table.ts';

/** Time between attempts to reach a simulator that does not respond. */
const RETRY_MS = 200;

/** Where instances read their metadata. */
const METADATA_ADDRESS = '100.100.100.200:80';

export interface VpcSwitchOptions {
  /** The simulator's control channel, or its URL. */
  cloud: AdminClient | string;
  /** The metadata service of every VPC. Default: none. */
  metadata?: MetadataOptions | undefined;
  /** Folder for `vpc-switch.log`, which gets every refusal and device event, one JSON object per line. */
  stateDir: string;
  /** Ends the start, and later the switch, when it aborts. */
  signal?: AbortSignal | undefined;
  /** Called with each line of progress. */
  log?: ((line: string) => void) | undefined;
  clock?: Clock | undefined;
}

export interface MetadataOptions {
  /** The simulator's `metadataEndpoint`. */
  backend: string;
  /** IPv4 address and port for the instances. Default: 100.100.100.200:80, as in the cloud. */
  address?: string | undefined;
}

export interface NodeOptions {
  instanceId: string;
  /** Such as /run/netns/NAME. The machine's own namespace is refused. */
  netnsPath: string;
  /** Gives eth0 its address and default route, as on an instance after its start. */
  configurePrimary?: boolean | undefined;
}

/** The device of an ENI in its node's network namespace. */
export interface SwitchDevice {
  eniId: string;
  instanceId: string;
  name: string;
}

/** Frames of one ENI in both directions, until disposed. */
export interface Capture extends AsyncDisposable {
  /** The frames reported so far. Use it to wait for one. */
  frames: EventLog<CapturedFrame>;
  /**
   * Every frame that the switch handled between the start of the capture and this call.
   *
   * @throws VpcSwitchError when the switch dropped some because the reader was too slow.
   */
  all(): Promise<readonly CapturedFrame[]>;
}

export interface VpcSwitch extends AsyncDisposable {
  /**
   * Puts the devices of the instance's current and later ENIs into a network namespace.
   *
   * @throws DeviceFailedError when a device of a current ENI cannot be created there. Then the node is not added.
   */
  addNode(node: NodeOptions): Promise<void>;
  /** Removes the instance's devices. Does nothing for an unknown node. */
  removeNode(instanceId: string): Promise<void>;
  /** The devices that exist now. */
  devices(): SwitchDevice[];
  /** All device events: created, removed, lost with a pod's namespace, failed. */
  readonly deviceEvents: EventLog<DeviceEvent>;
  /** Refused frames with their reasons. Similar frames are counted, with a few events per second. */
  readonly refusals: EventLog<Refusal>;
  /** Captures the frames of an ENI, for a trunk including those of its members. Without `eniId` captures all frames. */
  capture(options?: { eniId?: string | undefined }): Promise<Capture>;
  /** Resolves when the switch uses the state that the simulator has at the time of this call, or a later one. */
  settled(): Promise<void>;
  counters(): Promise<SwitchCounters>;
  /** Pid of the forwarding program, for tests that kill it. */
  readonly pid: number | undefined;
  /** Ends the program, and with it every device. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts the data plane of a simulated account: builds and runs the forwarding program and keeps it up to date with the
 * simulator. Needs root (network namespaces, TAP devices).
 *
 * @throws ToolError without Go; SwitchProgramError; AdminError or TypeError when the simulator does not respond; the signal's reason.
 */
export async function startVpcSwitch(options: VpcSwitchOptions): Promise<VpcSwitch> {
  const { signal, log = () => undefined } = options;
  const clock = options.clock ?? systemClock;
  const cloud = typeof options.cloud === 'string' ? new AdminClient(options.cloud) : options.cloud;
  await mkdir(options.stateDir, { recursive: true });
  const program = await ensureSwitchProgram({ signal, log });
  const started = new RunningSwitch({ cloud, clock, log, signal, stateDir: options.stateDir });
  try {
    await started.start(program, metadataFlags(options.metadata));
    return started;
  } catch (error) {
    await started.close();
    throw error;
  }
}

function metadataFlags(metadata: MetadataOptions | undefined): string[] {
  if (metadata === undefined) return [];
  return ['--metadata-address', metadata.address ?? METADATA_ADDRESS, '--metadata-backend', metadata.backend];
}

interface Dependencies {
  cloud: AdminClient;
  clock: Clock;
  log: (line: string) => void;
  signal: AbortSignal | undefined;
  stateDir: string;
}

class RunningSwitch implements VpcSwitch {
  readonly deviceEvents: EventLog<DeviceEvent>;
  readonly refusals: EventLog<Refusal>;
  readonly #deps: Dependencies;
  readonly #closing = new AbortController();
  readonly #nodes = new Map<string, SwitchNode>();
  readonly #devices = new Map<string, SwitchDevice>();
  readonly #captures = new Map<number, EventLog<CapturedFrame>>();
  readonly #record: WriteStream;
  readonly #onAbort = () => void this.close();
  #process: SwitchProcess | undefined;
  #snapshot: Snapshot | undefined;
  /** Counts the table's versions: each new state of the cloud or set of nodes is one. */
  #version = 0;
  /** The latest push and the version that it brings. The program takes pushes in order. */
  #pushing: { version: number; done: Promise<void> } | undefined;
  #following: Promise<void> | undefined;
  #closed: Promise<void> | undefined;
  #lastCapture = 0;

  constructor(deps: Dependencies) {
    this.#deps = deps;
    this.deviceEvents = new EventLog('device event', deps.clock);
    this.refusals = new EventLog('refusal', deps.clock);
    this.#record = createWriteStream(join(deps.stateDir, 'vpc-switch.log'), { flags: 'a', mode: 0o600 });
    this.#record.on('error', (error) => deps.log(`vpc-switch.log: ${error.message}`));
  }

  async start(program: string, flags: readonly string[]): Promise<void> {
    const { signal, clock, cloud, log } = this.#deps;
    signal?.throwIfAborted();
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    this.#process = await SwitchProcess.start({
      program,
      flags,
      clock,
      onEvent: (event) => this.#happened(event),
      onDiagnostic: log,
      onEnd: (error) => this.#ended(error),
    });
    this.#accept(await cloud.state());
    await this.#pushed();
    signal?.throwIfAborted();
    this.#following = this.#follow();
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  async addNode(node: NodeOptions): Promise<void> {
    const { instanceId, netnsPath, configurePrimary = false } = node;
    const seen = this.deviceEvents.list().length;
    this.#nodes.set(instanceId, { instanceId, netnsPath, configurePrimary });
    this.#version += 1;
    await this.#pushed();
    const failed = this.deviceEvents
      .list()
      .slice(seen)
      .find((event) => event.instance === instanceId && event.state === 'failed');
    if (failed === undefined) return;
    await this.removeNode(instanceId);
    throw new DeviceFailedError(failed.error);
  }

  async removeNode(instanceId: string): Promise<void> {
    if (!this.#nodes.delete(instanceId)) return;
    this.#version += 1;
    await this.#pushed();
  }

  devices(): SwitchDevice[] {
    return [...this.#devices.values()];
  }

  async capture({ eniId = '' }: { eniId?: string | undefined } = {}): Promise<Capture> {
    this.#lastCapture += 1;
    const capture = this.#lastCapture;
    const frames = new EventLog<CapturedFrame>('frame', this.#deps.clock);
    this.#captures.set(capture, frames);
    await this.#running().request({ op: 'capture', capture, eni: eniId });
    const { lostLines } = await this.counters();
    return {
      frames,
      all: async () => {
        // The response comes after every frame that was handled before the request.
        const lost = (await this.counters()).lostLines - lostLines;
        if (lost > 0) throw new VpcSwitchError(`the VPC switch lost ${lost} captured frames or refusals`);
        return frames.list();
      },
      [Symbol.asyncDispose]: async () => {
        if (!this.#captures.delete(capture) || this.#closing.signal.aborted) return;
        await this.#running().request({ op: 'endCapture', capture });
      },
    };
  }

  async settled(): Promise<void> {
    this.#accept(await this.#deps.cloud.state());
    await this.#pushed();
  }

  async counters(): Promise<SwitchCounters> {
    const counters = await this.#running().request({ op: 'counters' });
    if (counters === undefined) throw new VpcSwitchError('the VPC switch responded without counters');
    return counters;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#deps.signal?.removeEventListener('abort', this.#onAbort);
    this.#closing.abort(new SwitchEndedError('the VPC switch was closed'));
    await this.#process?.stop();
    await this.#following;
    this.#end();
    await new Promise<void>((resolve) => this.#record.end(() => resolve()));
  }

  /** Pushes a table for every change of the simulator's state. Does not poll more often than the state changes. */
  async #follow(): Promise<void> {
    const { cloud, clock, log } = this.#deps;
    const { signal } = this.#closing;
    let silent = false;
    while (!signal.aborted && this.#process?.ended === undefined) {
      try {
        const known = this.#snapshot?.generation ?? 0;
        const next = await cloud.stateAfter(known, signal);
        silent = false;
        // Generations only grow, so this is another simulator at the same address.
        if (next.generation < known) this.#snapshot = undefined;
        // Not awaited: removing a device takes the kernel a while, and the next change must not wait for it.
        if (this.#accept(next)) void this.#pushed().catch((error: unknown) => this.#pushFailed(error));
      } catch (error) {
        if (signal.aborted || this.#process?.ended !== undefined) return;
        if (!silent) log(`the VPC switch keeps its last state: ${errorMessage(error)}`);
        silent = true;
        await clock.sleep(RETRY_MS, signal).catch(() => undefined);
      }
    }
  }

  /** Responses may arrive out of order. An older state is ignored. */
  #accept(next: Snapshot): boolean {
    if (this.#snapshot !== undefined && next.generation <= this.#snapshot.generation) return false;
    this.#snapshot = next;
    this.#version += 1;
    return true;
  }

  /** Resolves when the program has applied the current version. */
  async #pushed(): Promise<void> {
    this.#running();
    if (this.#pushing === undefined || this.#pushing.version < this.#version) this.#pushing = this.#push();
    await this.#pushing.done;
  }

  #push(): { version: number; done: Promise<void> } {
    const version = this.#version;
    const snapshot = this.#snapshot;
    if (snapshot === undefined) return { version, done: Promise.reject(new VpcSwitchError('no state yet')) };
    const table = compileTable(snapshot, [...this.#nodes.values()]);
    const request = async (): Promise<void> => {
      await this.#running().request({ op: 'table', generation: version, table });
    };
    return { version, done: request() };
  }

  #pushFailed(error: unknown): void {
    if (!(error instanceof SwitchEndedError)) this.#deps.log(errorMessage(error));
  }

  #running(): SwitchProcess {
    if (this.#closing.signal.aborted) throw this.#closing.signal.reason;
    if (this.#process === undefined) throw new SwitchEndedError('the VPC switch has not started');
    if (this.#process.ended !== undefined) throw this.#process.ended;
    return this.#process;
  }

  #happened(event: SwitchEvent): void {
    if (event.type === 'frame') {
      this.#captures.get(event.capture)?.add(event);
      return;
    }
    this.#record.write(`${JSON.stringify({ timeMs: this.#deps.clock.now(), ...event })}\n`);
    if (event.type === 'refusal') {
      this.refusals.add(event);
      return;
    }
    if (event.state === 'created') {
      this.#devices.set(event.eni, { eniId: event.eni, instanceId: event.instance, name: event.name });
    } else {
      this.#devices.delete(event.eni);
    }
    if (event.state === 'failed') this.#deps.log(event.error);
    this.deviceEvents.add(event);
  }

  #ended(error: SwitchEndedError): void {
    if (!this.#closing.signal.aborted) this.#deps.log(error.message);
    this.#end(error);
  }

  #end(error?: SwitchEndedError): void {
    this.#devices.clear();
    this.refusals.end(error);
    this.deviceEvents.end(error);
    for (const frames of this.#captures.values()) frames.end(error);
  }
}
