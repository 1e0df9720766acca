import { errorMessage } from '../util/errors.ts';
import { deviationsOf, repair } from './deviations.ts';
import type { EniDevices } from './eni-devices.ts';
import { inStep, NODE } from './kernel/kernel.ts';
import { type Found, findOurs } from './leftovers.ts';
import { Marks } from './marks.ts';
import { podKey } from './names.ts';
import { identityOf, type KernelObject } from './objects.ts';
import { planEni, planNode } from './plan-node.ts';
import { planPod } from './plan-pod.ts';
import { enisOf, hasIpv6, ResolvedEnis } from './resolved-enis.ts';
import type { Session } from './session.ts';
import { hasNodeAddress, type SharedState, type WantedEni } from './shared-state.ts';
import { Snapshot } from './snapshot.ts';
import type { DatapathSettings, Deviation, EniDevice, PodAttachment, SyncReport } from './types.ts';

/** What a repair needs. */
export interface RepairContext {
  session: Session;
  settings: DatapathSettings;
  marks: Marks;
  devices: EniDevices;
  shared: SharedState;
}

interface PodPlan {
  pod: PodAttachment;
  objects: KernelObject[];
}

/** One comparison of the whole node, and its repair. No call for a pod runs meanwhile, so what was seen stays so. */
export class NodeRepair {
  readonly #context: RepairContext;
  readonly #pods: ReadonlyMap<string, PodAttachment>;
  readonly #enis: ResolvedEnis;
  readonly #kept: KernelObject[] = [];
  readonly #report: SyncReport = { repaired: [], removed: [], failed: [] };

  constructor(context: RepairContext, pods: readonly PodAttachment[]) {
    this.#context = context;
    this.#enis = new ResolvedEnis(context.settings, context.marks);
    // Sandboxes, not names: a pod can have a new sandbox while the old one goes.
    this.#pods = new Map(pods.map((pod) => [pod.containerId, pod]));
  }

  /** @param options.everything also removes what the node itself has */
  async run(
    dryRun: boolean,
    { everything = false, nodeOnly = false, keepLeftovers = false } = {},
  ): Promise<SyncReport> {
    const { session } = this.#context;
    const snapshot = await Snapshot.take(session.kernel, session.programs);
    if (everything) {
      await this.#removeLeftovers(snapshot, dryRun, new Set());
      return this.#report;
    }
    const plans = await this.#plans();
    for (const { pod } of plans) {
      if (nodeOnly || (await snapshot.exists(pod.netnsPath))) continue;
      // Its record tells the agent to remove it; until then nothing of it is touched.
      const message = `namespace ${pod.netnsPath} is gone`;
      this.#report.failed.push({ object: 'link', pod: podKey(pod), message });
    }
    // Tags first: programs that are new are switched to when their maps are complete.
    const shared = await this.sharedPlan(
      snapshot,
      [...this.#pods.values()].flatMap((pod) => this.#enis.wantedBy(pod)),
    );
    const isCompared = (object: KernelObject) => !nodeOnly || isListed(object);
    await this.#eachPod(
      plans,
      dryRun,
      snapshot,
      (object) => isCompared(object) && (object.kind === 'tag' || object.kind === 'vlanEntry'),
    );
    await this.#repairShared(snapshot, shared.filter(isCompared), dryRun);
    // A link that was down has lost things that the lists do not show.
    const isDown = ({ objects }: PodPlan) =>
      objects.some((object) => object.kind === 'veth' && !snapshot.isUp(object.name));
    const whole = plans.filter((plan) => !nodeOnly || isDown(plan));
    const listed = plans.filter((plan) => nodeOnly && !isDown(plan));
    const isOther = ({ kind }: KernelObject) => kind !== 'tag' && kind !== 'vlanEntry';
    await this.#eachPod(whole, dryRun, snapshot, isOther);
    await this.#eachPod(listed, dryRun, snapshot, (object) => isOther(object) && isListed(object));
    if (!keepLeftovers) await this.#removeLeftovers(snapshot, dryRun, this.#wantedIdentities(plans, shared));
    return this.#report;
  }

  /** What the node and these ENIs need. */
  async sharedPlan(snapshot: Snapshot, wanted: readonly WantedEni[]): Promise<KernelObject[]> {
    const { settings, marks } = this.#context;
    const { addresses } = snapshot.node();
    const uses = new Map<number, WantedEni>();
    for (const use of wanted) {
      const { isTrunk, mtu, ipv6 } = uses.get(use.eni.index) ?? use;
      uses.set(use.eni.index, {
        ...use,
        isTrunk: isTrunk || use.isTrunk,
        mtu: Math.max(mtu, use.mtu),
        ipv6: ipv6 || use.ipv6,
      });
    }
    const enis = [...uses.values()].flatMap(({ eni, ...use }) => {
      const own = hasNodeAddress(
        settings,
        addresses.filter(({ linkIndex }) => linkIndex === eni.index),
      );
      return planEni(eni, { ...use, hasNodeAddress: own }, settings, marks);
    });
    // Pods with a whole ENI use none of the node's ENIs but are reached through the node.
    return this.#pods.size === 0 ? [] : [...planNode(settings, marks, this.#podsHaveIpv6()), ...enis];
  }

  #podsHaveIpv6(): boolean {
    return [...this.#pods.values()].some(hasIpv6);
  }

  /** Plans of the pods. A pod that has none is reported, and what it has is no leftover. */
  async #plans(): Promise<PodPlan[]> {
    const plans: PodPlan[] = [];
    for (const pod of this.#pods.values()) {
      try {
        for (const device of enisOf(pod)) await this.#find(device);
        plans.push({ pod, objects: planPod(pod, this.#enis) });
      } catch (error) {
        this.#report.failed.push({ object: 'link', pod: podKey(pod), message: errorMessage(error) });
        this.#kept.push(...keptOf(pod, this.#context.settings));
      }
    }
    return plans;
  }

  async #find(device: EniDevice): Promise<void> {
    if (this.#enis.has(device)) return;
    const link = await inStep(`find ENI ${device.mac}`, () => this.#context.devices.find(device.mac));
    if (link !== undefined) this.#enis.set({ device, name: link.name, index: link.index });
  }

  async #eachPod(
    plans: readonly PodPlan[],
    dryRun: boolean,
    snapshot: Snapshot,
    concerns: (object: KernelObject) => boolean,
  ): Promise<void> {
    const { session } = this.#context;
    for (const { pod, objects } of plans) {
      const wanted = objects.filter(concerns);
      const looksInside = wanted.some((object) => !isListed(object));
      if (looksInside && !(await snapshot.exists(pod.netnsPath))) continue;
      const found = await deviationsOf(snapshot, wanted, podKey(pod));
      this.#tell(found.map((entry) => entry.deviation));
      const deviations = found.filter((entry) => entry.deviation.inPod === undefined);
      if (dryRun) this.#report.repaired.push(...deviations.map((entry) => entry.deviation));
      else await repair(session, deviations, this.#report);
    }
  }

  /** Reports differences inside a pod, which are not repaired; one line for a namespace that cannot be read. */
  #tell(deviations: readonly Deviation[]): void {
    const told = deviations.filter(({ inPod }) => inPod === true);
    if (told.length > 0) this.#report.inPods = [...(this.#report.inPods ?? []), ...told];
  }

  async #repairShared(snapshot: Snapshot, objects: readonly KernelObject[], dryRun: boolean): Promise<void> {
    const deviations = await deviationsOf(snapshot, objects);
    if (dryRun) this.#report.repaired.push(...deviations.map((entry) => entry.deviation));
    else await repair(this.#context.session, deviations, this.#report);
  }

  #wantedIdentities(plans: readonly PodPlan[], shared: readonly KernelObject[]): ReadonlySet<string> {
    const { settings, marks } = this.#context;
    const isUsed = shared.length > 0 || this.#kept.length > 0;
    const node = isUsed ? planNode(settings, marks, this.#podsHaveIpv6()) : [];
    const wanted = [...node, ...shared, ...plans.flatMap((plan) => plan.objects), ...this.#kept];
    return new Set(wanted.filter((object) => object.kind !== 'tag' || object.tag !== undefined).map(identityOf));
  }

  async #removeLeftovers(snapshot: Snapshot, dryRun: boolean, wanted: ReadonlySet<string>): Promise<void> {
    for (const leftover of await findOurs(this.#context.session, snapshot)) {
      if (!wanted.has(leftover.identity)) await this.#removeLeftover(leftover, dryRun);
    }
    if (!dryRun) this.#forgetUnused();
  }

  async #removeLeftover({ deviation, remove }: Found, dryRun: boolean): Promise<void> {
    try {
      if (!dryRun) await remove();
      this.#report.removed.push(deviation);
    } catch (error) {
      this.#report.failed.push({ ...deviation, message: `${deviation.message}; ${errorMessage(error)}` });
    }
  }

  /** Forgets removed shared state, so that the next pod that needs it makes it again. */
  #forgetUnused(): void {
    const { shared, marks } = this.#context;
    const used = this.#enis.indexes();
    if (used.length === 0) shared.forget(0);
    for (const index of new Set([...shared.indexes(), ...marks.indexes()])) {
      if (index === 0 || used.includes(index)) continue;
      shared.forget(index);
      marks.forget(index);
    }
  }
}

/** Whether the lists of the node's namespace show it. The others are asked for one by one. */
function isListed(object: KernelObject): boolean {
  const netns = 'netns' in object ? object.netns : NODE;
  return netns === NODE && object.kind !== 'veth' && object.kind !== 'sysctl' && object.kind !== 'neighbour';
}

/** What a pod has whose ENI is not there now: all but what is made of the ENI's number. */
function keptOf(pod: PodAttachment, settings: DatapathSettings): KernelObject[] {
  const somewhere = new ResolvedEnis(settings, new Marks(settings.markMask));
  for (const device of enisOf(pod)) somewhere.set({ device, name: '', index: 0 });
  try {
    return planPod(pod, somewhere);
  } catch {
    // Nor could add make anything of it.
    return [];
  }
}
