import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { KeyedQueue } from '../util/keyed-queue.ts';
import { Applier } from './apply.ts';
import { sumOfCpus, VERDICTS } from './bpf/entries.ts';
import { assertCoexistence } from './coexistence.ts';
import { deviationsOf } from './deviations.ts';
import { isDisturbance, type OwnWork, WATCHED_GROUPS } from './disturbances.ts';
import { EniDevices } from './eni-devices.ts';
import { DatapathError } from './errors.ts';
import type { KernelPort } from './kernel/helper-process.ts';
import { inStep, Kernel } from './kernel/kernel.ts';
import { KernelGate } from './kernel-gate.ts';
import { LinkRemover } from './link-remover.ts';
import { Marks } from './marks.ts';
import { hostLinkName, podKey } from './names.ts';
import { NodeRepair } from './node-repair.ts';
import { planPod } from './plan-pod.ts';
import { addressesOf, attachedInterfaces } from './pod-interfaces.ts';
import { probe } from './probe.ts';
import { removePod } from './removal.ts';
import { enisOf, hasIpv6, ResolvedEnis } from './resolved-enis.ts';
import { openSession, type Session } from './session.ts';
import { SharedState } from './shared-state.ts';
import { Snapshot } from './snapshot.ts';
import type {
  AttachedInterface,
  Datapath,
  DatapathSettings,
  Deviation,
  PodAttachment,
  ProbeResult,
  Recording,
  SyncOptions,
  SyncReport,
  TagVerdicts,
} from './types.ts';

/** Events about a pod count as our own work for this long after a call. The helper reports events within 50 ms. */
const OWN_WORK_MS = 250;

export interface LinuxDatapathOptions {
  settings: DatapathSettings;
  /** The object file `terway.bpf.o`. */
  objectPath: string;
  clock: Clock;
  /** Ends waits for devices. */
  signal: AbortSignal;
  /** Called for what is not an error but worth knowing, such as a failed step of a roll-back. */
  log?: (message: string) => void;
}

/** The kernel of this node, through the helper. */
export class LinuxDatapath implements Datapath {
  readonly #options: LinuxDatapathOptions;
  readonly #kernel: Kernel;
  readonly #marks: Marks;
  readonly #devices: EniDevices;
  readonly #shared: SharedState;
  readonly #gate = new KernelGate();
  /** Serialises the calls for one pod, before they pass the gate. */
  readonly #pods = new KeyedQueue();
  readonly #opening = new KeyedQueue();
  readonly #links = new LinkRemover();
  #session: Session | undefined;
  /** Set while maps of an older layout are in use: the first sync fills the new ones. */
  #needsSync = false;
  /** Pods whose call ended a moment ago: events about it may still arrive. */
  readonly #recent = new Map<string, { pod: PodAttachment; endedMs: number }>();
  #onDisturbance: ((kind: 'node' | 'lost') => void) | undefined;
  /** Pods with a call in progress: events about them are the call's own work. */
  readonly #active = new Map<string, PodAttachment>();

  constructor(port: KernelPort, options: LinuxDatapathOptions) {
    this.#options = options;
    this.#kernel = new Kernel(port);
    this.#marks = new Marks(options.settings.markMask);
    this.#devices = new EniDevices(this.#kernel, options.clock);
    this.#shared = new SharedState(options.settings, this.#marks);
  }

  async probe(): Promise<ProbeResult[]> {
    return inStep('probe', () => probe(this.#kernel, this.#options));
  }

  assertCoexistence(pod: PodAttachment, others: readonly PodAttachment[]): void {
    assertCoexistence(pod, others, this.#options.settings.tagProgram);
  }

  async add(
    pod: PodAttachment,
    recording: Recording<AttachedInterface[]> = (change) => change(),
  ): Promise<AttachedInterface[]> {
    return this.#forPod(pod, recording, async () => {
      const session = await this.session();
      if (this.#needsSync) {
        throw new DatapathError('add', 'the maps have a new layout; the first sync has to fill them before');
      }
      const enis = await this.#resolve(pod);
      const lease = await this.#shared.acquire(session, enis.wantedBy(pod), hasIpv6(pod));
      const applier = new Applier(session.kernel, session.programs);
      try {
        for (const object of planPod(pod, enis)) await applier.ensure(object);
        lease.keep();
        return attachedInterfaces(pod);
      } catch (error) {
        for (const failure of [...(await applier.rollBack()), ...(await lease.abandon())]) {
          this.#log(`roll-back of ${podKey(pod)}: ${errorMessage(failure)}`);
        }
        throw error;
      }
    });
  }

  async remove(pod: PodAttachment, recording: Recording<void> = (change) => change()): Promise<void> {
    await this.#forPod(pod, recording, () => this.#remove(pod));
  }

  async #remove(pod: PodAttachment): Promise<void> {
    const session = await this.session();
    await removePod({ ...session, settings: this.#options.settings, devices: this.#devices, links: this.#links }, pod);
  }

  async check(pod: PodAttachment): Promise<Deviation[]> {
    const key = podKey(pod);
    return this.#pods.run(key, () => this.#gate.shared(() => inStep(`check ${key}`, () => this.#check(pod))));
  }

  async #check(pod: PodAttachment): Promise<Deviation[]> {
    const session = await this.session();
    const found: Deviation[] = [];
    const enis = new ResolvedEnis(this.#options.settings, this.#marks);
    for (const device of enisOf(pod)) {
      const link = await inStep(`find ENI ${device.mac}`, () => this.#devices.find(device.mac));
      if (link !== undefined) enis.set({ device, name: link.name, index: link.index });
      else found.push({ object: 'link', pod: podKey(pod), message: `ENI ${device.mac} is not on the node` });
    }
    if (found.length > 0) return found;
    const snapshot = await Snapshot.take(session.kernel, session.programs);
    const shared = await this.#repairOf(session, [pod]).sharedPlan(snapshot, enis.wantedBy(pod));
    found.push(...(await deviationsOf(snapshot, shared)).map((entry) => entry.deviation));
    const plan = planPod(pod, enis);
    return [...found, ...(await deviationsOf(snapshot, plan, podKey(pod))).map((entry) => entry.deviation)];
  }

  async watch(onDisturbance: (kind: 'node' | 'lost') => void): Promise<void> {
    this.#onDisturbance = onDisturbance;
    await this.#listen(await this.session());
  }

  async #listen({ kernel }: Session): Promise<void> {
    const tell = this.#onDisturbance;
    if (tell === undefined) return;
    await inStep('watch the node', () =>
      kernel.watch(WATCHED_GROUPS, (messages) => {
        if (messages === undefined) tell('lost');
        else if (messages.some((message) => isDisturbance(message, this.#ownWork()))) tell('node');
      }),
    );
  }

  #ownWork(): OwnWork {
    const { clock } = this.#options;
    const sinceMs = clock.monotonicMs() - OWN_WORK_MS;
    for (const [key, { endedMs }] of this.#recent) if (endedMs < sinceMs) this.#recent.delete(key);
    const pods = [...this.#active.values(), ...[...this.#recent.values()].map(({ pod }) => pod)];
    const interfaces = pods.flatMap((pod) => pod.interfaces.map((network) => ({ pod, network })));
    return {
      links: new Set(interfaces.map(({ pod, network }) => hostLinkName(pod, network.name))),
      addresses: new Set(interfaces.flatMap(({ network }) => addressesOf(network))),
      isEni: (mac) => this.#devices.isKnown(mac),
    };
  }

  async sync(pods: () => readonly PodAttachment[], options: SyncOptions = {}): Promise<SyncReport> {
    return this.#gate.exclusive(() => this.#sync(pods(), options));
  }

  async #sync(
    pods: readonly PodAttachment[],
    { dryRun = false, nodeOnly = false, keepLeftovers = false }: SyncOptions,
  ): Promise<SyncReport> {
    const session = await this.session();
    const report = await inStep('sync', () => this.#repairOf(session, pods).run(dryRun, { nodeOnly, keepLeftovers }));
    const areMapsComplete = report.failed.every(({ object }) => object !== 'map' && object !== 'filter');
    if (!dryRun && !nodeOnly && this.#needsSync && areMapsComplete) {
      await inStep('remove maps of an older layout', async () => session.programs?.forgetOldMaps());
      this.#needsSync = false;
    }
    return report;
  }

  #repairOf(session: Session, pods: readonly PodAttachment[]): NodeRepair {
    const { settings } = this.#options;
    const context = { session, settings, marks: this.#marks, devices: this.#devices, shared: this.#shared };
    return new NodeRepair(context, pods);
  }

  async verdicts(): Promise<TagVerdicts> {
    const { kernel, programs } = await this.session();
    const sums = new Map<number, number>();
    if (programs !== undefined) {
      for (const { key, value } of await inStep('read counters', () => kernel.dumpMap(programs.map('verdicts')))) {
        sums.set(key.readUInt32LE(0), sumOfCpus(value));
      }
    }
    const of = (name: (typeof VERDICTS)[number]) => sums.get(VERDICTS.indexOf(name)) ?? 0;
    return {
      tagged: of('tagged'),
      untagged: of('untagged'),
      passed: of('passed'),
      droppedNoEntry: of('droppedNoEntry'),
      droppedWrongVlan: of('droppedWrongVlan'),
      droppedDoubleTag: of('droppedDoubleTag'),
      droppedMissingTag: of('droppedMissingTag'),
      droppedSpoofedSource: of('droppedSpoofedSource'),
    };
  }

  async removeAll(): Promise<void> {
    return this.#gate.exclusive(() => this.#removeAll());
  }

  async #removeAll(): Promise<void> {
    const session = await this.session();
    const repair = this.#repairOf(session, []);
    const report = await inStep('remove everything', () => repair.run(false, { everything: true }));
    const [failure] = report.failed;
    if (failure !== undefined) throw new DatapathError('remove everything', failure.message);
    await inStep('unpin maps and programs', async () => {
      await session.programs?.unpin();
      await session.programs?.close();
    });
    this.#session = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pods.idle();
    await this.#kernel.close();
  }

  #log(message: string): void {
    this.#options.log?.(message);
  }

  /** Runs after other calls for the pod, and while no sync runs. */
  async #forPod<T>(pod: PodAttachment, recording: Recording<T>, change: () => Promise<T>): Promise<T> {
    const key = podKey(pod);
    const run = async () => {
      this.#active.set(key, pod);
      try {
        return await recording(() => inStep(`pod ${key}`, change));
      } finally {
        this.#active.delete(key);
        this.#recent.set(key, { pod, endedMs: this.#options.clock.monotonicMs() });
        this.#ownWork();
      }
    };
    return this.#pods.run(key, () => this.#gate.shared(run));
  }

  /** The session of the running helper; opened again after the helper ended. Tests read the maps through it. */
  async session(): Promise<Session> {
    return this.#opening.run('', () => inStep('open the data path', () => this.#openSession()));
  }

  async #openSession(): Promise<Session> {
    if (this.#session?.generation === this.#kernel.generation) return this.#session;
    const { settings, objectPath } = this.#options;
    this.#session = undefined;
    const session = await openSession(this.#kernel, { settings, objectPath, marks: this.#marks });
    if (session.programs?.hasOldMaps === true) this.#needsSync = true;
    this.#session = session;
    await this.#listen(session);
    return session;
  }

  async #resolve(pod: PodAttachment): Promise<ResolvedEnis> {
    const enis = new ResolvedEnis(this.#options.settings, this.#marks);
    for (const device of enisOf(pod)) enis.set(await this.#devices.resolve(device, this.#options.signal));
    return enis;
  }
}
