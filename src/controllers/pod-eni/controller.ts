import type { Goal, InterfaceStep } from '../../allocation/interface-step.ts';
import {
  awaitsSandbox,
  isOwnerLive,
  nextStep,
  type PodView,
  type Snapshot,
  type Step,
} from '../../allocation/lifecycle.ts';
import { type Capacity, planRebind, type Waiting } from '../../allocation/plan.ts';
import { isFixed } from '../../allocation/retention.ts';
import { withSecurityGroups } from '../../allocation/security-groups.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { Informers } from '../../cluster/informers.ts';
import { nodeView } from '../../cluster/node-view.ts';
import { podView } from '../../cluster/pod-view.ts';
import type { Pod } from '../../cluster/resources.ts';
import { FINALIZER_POD_ENI, FINALIZER_POD_ENI_LEGACY } from '../../crds/names.ts';
import type { PodEni } from '../../crds/pod-eni.ts';
import { isChecked, type PodNetworking } from '../../crds/pod-networking.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { ReconcileResult } from '../../kube/controller.ts';
import type { ChangeOrigin } from '../../kube/store.ts';
import { keyOf } from '../../kube/types.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Clock } from '../../util/clock.ts';
import { assertNever } from '../../util/errors.ts';
import type { Outcome } from '../eni/driver.ts';
import type { ControllerEvents } from '../events.ts';
import type { PendingPods } from '../pending-pods.ts';
import type { PodStarts } from '../pod-starts.ts';
import { newlyDeleted, refreshSandboxReport, sandboxReport } from '../sandbox-reports.ts';
import { type Watch, watch } from '../watch.ts';
import { PodAdmitter, type PodAdmitterContext } from './admitter.ts';
import { BindReport, type BindReportContext } from './bind-report.ts';
import { InterfaceExecutor, type InterfaceExecutorContext, type InterfaceWork } from './interface-executor.ts';
import { OperationLog } from './operation-log.ts';
import { ownerRuns, podIsGone } from './pod-read.ts';
import { Reporter } from './reporter.ts';
import { SlotClaims } from './slot-claims.ts';
import { watchMatching } from './watch-matching.ts';
import { PodEniWriter } from './writer.ts';

/** Steps per reconcile before other keys get their turn. */
const STEPS_PER_VISIT = 10;
/** Delay when the API server still has a pod that the store has lost: the store lags. */
const LAG_RECHECK_MS = 1000;

export type PodEniContext = PodAdmitterContext &
  InterfaceExecutorContext &
  BindReportContext & {
    client: KubeClient;
    clock: Clock;
    clusterId: string;
    events: ControllerEvents;
    log: Log;
    observer: EniObserver;
    /** How long a detach waits for the node to confirm that the sandbox is gone. */
    releaseConfirmationMs: number;
    /** ENIs that the cloud showed gone during the release of their PodENI; their mirrors may go. */
    released: Set<string>;
    /** Slots and addresses; each plan adds `nowMs`. */
    capacity: Omit<Capacity, 'nowMs'>;
    /** Since when pods wait for their interfaces. */
    starts: PodStarts;
    pendingPods: PendingPods;
    wakePod: (key: string) => void;
    informers: Pick<
      Informers,
      'pods' | 'coreNodes' | 'namespaces' | 'podNetworkings' | 'podEnis' | 'nodes' | 'nodeRuntimes'
    >;
  };

/**
 * Manages the PodENI of each name: plans it for its pod, drives its life cycle (allocation/lifecycle.ts) and removes
 * it. One queue key is `namespace/name` of both pod and PodENI (docs/design/allocation.md).
 */
export class PodEniController {
  readonly #context: PodEniContext;
  readonly #interfaces: InterfaceExecutor;
  readonly #writer: PodEniWriter;
  readonly #admitter: PodAdmitter;
  readonly #reporter: Reporter;
  readonly #bindReport: BindReport;
  readonly #claims: SlotClaims;
  readonly #operations = new OperationLog();
  /** Names of unbound records that were seen to have a pod now. */
  readonly #successors = new Set<string>();

  constructor(context: PodEniContext) {
    this.#context = context;
    const { client, clock, informers, events } = context;
    this.#writer = new PodEniWriter({ client, store: informers.podEnis.store, clock, operations: this.#operations });
    this.#reporter = new Reporter({ writer: this.#writer, events, clock });
    this.#bindReport = new BindReport(context);
    this.#claims = new SlotClaims(context);
    this.#interfaces = new InterfaceExecutor(context, {
      writer: this.#writer,
      reporter: this.#reporter,
      log: this.#operations,
      decide: (key, index) => this.#decide(key, index),
    });
    this.#admitter = new PodAdmitter(context, this.#writer);
  }

  /** Entries held for names. */
  get size(): number {
    return this.#successors.size + this.#operations.size + this.#reporter.size + this.#admitter.size;
  }

  /** Pods and their records, PodNetworkings that may serve them, sandbox reports of nodes, and labels of namespaces. */
  watches(): Watch[] {
    const { informers } = this.#context;
    const keyOfPod = ({ metadata }: Pod) => [keyOf(metadata)];
    return [
      watch(informers.pods, { added: keyOfPod, changed: (_, pod) => keyOfPod(pod), removed: keyOfPod }),
      watch(informers.podEnis, {
        added: (podEni, origin) => this.#seen(podEni, origin),
        changed: (_, podEni, origin) => this.#seen(podEni, origin),
        removed: (podEni) => {
          this.#gone(podEni);
          return [keyOf(podEni.metadata)];
        },
      }),
      watchMatching(this.#context),
      this.#claims.watches(),
      watch(informers.nodeRuntimes, { changed: newlyDeleted }),
    ];
  }

  #seen(podEni: PodEni, origin: ChangeOrigin): readonly string[] {
    this.#claims.claim(podEni);
    // Our own write comes from a reconcile that continues anyway.
    return origin === 'write' ? [] : [keyOf(podEni.metadata)];
  }

  /** A PodENI vanished, whoever removed it: its slots are free. */
  #gone(podEni: PodEni): void {
    const key = keyOf(podEni.metadata);
    // A pod that appeared in the meantime starts over; an old wait must not count for it.
    this.#context.starts.end(key);
    this.#reporter.forget(key);
    this.#interfaces.forget(key, podEni);
    this.#successors.delete(key);
    this.#context.capacity.slots.release(key);
  }

  /** Reconciles one name. @throws KubeApiError, TransportError: the queue retries. */
  async reconcile(key: string, signal: AbortSignal): Promise<ReconcileResult> {
    const { informers } = this.#context;
    for (let count = 0; count < STEPS_PER_VISIT; count += 1) {
      const podEni = informers.podEnis.store.get(key);
      const outcome =
        podEni === undefined
          ? await this.#admitter.admit(key, informers.pods.store.get(key), signal)
          : await this.#execute(key, podEni, nextStep(this.#snapshot(key, podEni)), signal);
      if (outcome !== 'again') return outcome;
    }
    return { requeueAfterMs: 1 };
  }

  /** The next step of one interface; undefined when there is nothing to do. */
  #decide(key: string, index: number): Omit<InterfaceWork, 'signal'> | undefined {
    const podEni = this.#context.informers.podEnis.store.get(key);
    const allocation = podEni?.spec.allocations?.[index];
    if (podEni === undefined || allocation === undefined) return undefined;
    const decided = nextStep(this.#snapshot(key, podEni));
    if (decided.do !== 'interfaces' || (decided.goal === 'release' && !isHeldByUs(podEni))) return undefined;
    const step = decided.steps.find((entry) => entry.index === index)?.step;
    return step === undefined ? undefined : { key, podEni, goal: decided.goal, index, allocation, step };
  }

  #snapshot(key: string, podEni: PodEni): Snapshot {
    const { informers, observer, clock, clusterId, releaseConfirmationMs } = this.#context;
    const sandbox = sandboxReport(podEni, informers, releaseConfirmationMs);
    const pod = podView(informers.pods.store.get(key));
    const node = pod.state === 'live' ? this.#nodeView(pod.nodeName) : undefined;
    if (podEni.status?.phase !== 'Unbind') this.#successors.delete(key);
    else if (pod.state === 'live') this.#successors.add(key);
    return {
      podEni,
      pod,
      successorGone: pod.state === 'none' && this.#successors.has(key),
      interfaces: (podEni.spec.allocations ?? []).map((allocation, index) => {
        const observation = observer.latest(allocation.eni.id);
        const operation = this.#interfaces.operation(key, index);
        return {
          ...(observation === undefined ? {} : { observation }),
          ...(operation === undefined ? {} : { operation }),
        };
      }),
      ...(node === undefined ? {} : { trunk: node.trunkEniId === undefined ? {} : { eniId: node.trunkEniId } }),
      ...(sandbox === undefined ? {} : { sandbox }),
      clusterId,
      nowMs: clock.now(),
    };
  }

  async #execute(key: string, podEni: PodEni, step: Step, signal: AbortSignal): Promise<Outcome> {
    // Not right after the write, because its response may be lost.
    const isReserved = podEni.status?.phase === 'Unbind' && step.do !== 'rebind' && step.do !== 'startBinding';
    if (isReserved) this.#context.capacity.slots.release(key);
    switch (step.do) {
      case 'nothing':
        return this.#settled(key, podEni, step.untilMs);
      case 'podVanished':
        await this.#writer.podVanished(podEni, signal);
        this.#successors.delete(key);
        return 'again';
      case 'deleteObject':
        if (!(await podIsGone(this.#context.client, podEni, signal))) return { requeueAfterMs: LAG_RECHECK_MS };
        this.#context.pendingPods.leave(key);
        await this.#writer.deleteObject(podEni, signal);
        return 'again';
      case 'startDetach':
        if (!(await podIsGone(this.#context.client, podEni, signal))) return { requeueAfterMs: LAG_RECHECK_MS };
        this.#context.pendingPods.leave(key);
        await this.#writer.detaching(podEni, signal);
        return 'again';
      case 'rebind':
        return this.#rebind(key, podEni, signal);
      case 'startBinding':
        // A store that is late may still show the pod whose end the record has seen.
        if (!(await ownerRuns(this.#context.client, podEni, signal))) return { requeueAfterMs: LAG_RECHECK_MS };
        // A new leader may have learned of it after it gave the slot to others.
        if (!this.#claims.hasRoom(podEni)) return this.#rebind(key, podEni, signal);
        await this.#writer.binding(podEni, signal);
        return 'again';
      case 'bind':
        return this.#bind(key, podEni, step.enis, signal);
      case 'unbind':
        await this.#writer.unbind(podEni, signal);
        // Observations are kept for a successor that already exists; otherwise they are forgotten at once.
        this.#reporter.forget(key);
        return 'again';
      case 'finish':
        return this.#finish(key, podEni, signal);
      case 'interfaces':
        return this.#executeInterfaces(key, podEni, step.goal, step.steps, signal);
      default:
        return assertNever(step);
    }
  }

  async #executeInterfaces(
    key: string,
    podEni: PodEni,
    goal: Goal,
    steps: { index: number; step: InterfaceStep }[],
    signal: AbortSignal,
  ): Promise<Outcome> {
    // Without our finalizer the object goes by itself; a foreign finalizer is not ours to wait for.
    if (goal === 'release' && !isHeldByUs(podEni)) return this.#settled(key, podEni, undefined);
    // The node of a pod that lives is not waited for; a store that is late may still show one that is gone.
    const pod = podView(this.#context.informers.pods.store.get(key));
    if (goal === 'release' && isOwnerLive(podEni, pod) && !(await ownerRuns(this.#context.client, podEni, signal)))
      return { requeueAfterMs: LAG_RECHECK_MS };
    if (steps.some(({ step }) => step.do === 'detach') && (await this.#isNodeNew(goal, podEni, pod, signal)))
      return 'again';
    let soonestMs: number | undefined;
    for (const { index, step } of steps) {
      const allocation = podEni.spec.allocations?.[index];
      if (allocation === undefined) continue;
      const outcome = await this.#interfaces.execute({ key, podEni, goal, index, allocation, step, signal });
      // The record changed under the other steps: decide again.
      if (outcome === 'again') return 'again';
      soonestMs = Math.min(soonestMs ?? Number.POSITIVE_INFINITY, outcome.requeueAfterMs ?? Number.POSITIVE_INFINITY);
    }
    return soonestMs === undefined || !Number.isFinite(soonestMs) ? {} : { requeueAfterMs: soonestMs };
  }

  /** Whether the node of an interface that a sandbox may use reports on sandboxes, and the stores did not know. */
  async #isNodeNew(goal: Goal, podEni: PodEni, pod: PodView, signal: AbortSignal): Promise<boolean> {
    const { client, informers, releaseConfirmationMs } = this.#context;
    const known = sandboxReport(podEni, informers, releaseConfirmationMs);
    if (known !== undefined || !awaitsSandbox(goal, podEni, pod)) return false;
    await refreshSandboxReport(podEni, client, informers, signal);
    return sandboxReport(podEni, informers, releaseConfirmationMs) !== undefined;
  }

  async #rebind(key: string, podEni: PodEni, signal: AbortSignal): Promise<Outcome> {
    const { informers, pendingPods, capacity, clock } = this.#context;
    const pod = informers.pods.store.get(key);
    if (pod === undefined || pod.spec.nodeName === '') return this.#settled(key, podEni, undefined);
    const { nodeName } = pod.spec;
    const identity = { namespace: pod.metadata.namespace ?? '', name: pod.metadata.name, uid: pod.metadata.uid ?? '' };
    this.#context.starts.begin(key, identity.uid);
    const node = this.#nodeView(nodeName);
    const isBehind = this.#admitter.standsBehindOthers(key, node);
    const plan = isBehind
      ? undefined
      : planRebind(podEni, identity, node, nodeName, { ...capacity, nowMs: clock.now() });
    if (plan === undefined || plan.kind === 'wait') {
      if (this.#isAttached(podEni)) {
        // Another pod took the address after the backup was made from which the record comes. Nobody counts the slot that the ENI has.
        pendingPods.leave(key);
        await this.#writer.detaching(podEni, signal);
        return 'again';
      }
      this.#startWait(key, podEni);
      return plan === undefined ? {} : this.#park(key, podEni, plan, signal);
    }
    await this.#writer.rebind(podEni, identity.uid, plan.target, this.#allocationsToBind(podEni), signal);
    // Only after the write: if it failed, later pods would take the place.
    pendingPods.leave(key);
    return 'again';
  }

  /** Whether the ENI of a reservation has a slot, wherever that is. */
  #isAttached({ spec, status }: PodEni): boolean {
    if (status?.phase !== 'Unbind') return false;
    const shown = (spec.allocations ?? []).map(({ eni }) => this.#context.observer.latest(eni.id)?.eni);
    return shown.some((eni) => eni?.status === 'InUse');
  }

  /** A fixed address moves to its next pod with the current security groups. */
  #allocationsToBind(podEni: PodEni): PodEni['spec']['allocations'] {
    const { spec, status } = podEni;
    if (status?.phase !== 'Unbind') return spec.allocations;
    return spec.allocations?.map((allocation) => {
      const networking = this.#context.informers.podNetworkings.store.get(allocation.intent?.networking ?? '');
      return networking === undefined || !isChecked(networking)
        ? allocation
        : withSecurityGroups(allocation, networking);
    });
  }

  /**
   * Writes the security groups of an edited PodNetworking into the record of a running pod, and wakes its reconcile.
   */
  async applySecurityGroups(podEni: PodEni, networking: PodNetworking, signal: AbortSignal): Promise<void> {
    const allocations = (podEni.spec.allocations ?? []).map((allocation) => withSecurityGroups(allocation, networking));
    await this.#writer.applySecurityGroups(podEni, allocations, signal);
    this.#context.wakePod(keyOf(podEni.metadata));
  }

  /** A reserved address waits without a slot. Observations will be stale when the wait ends. */
  #startWait(key: string, podEni: PodEni): void {
    if (podEni.status?.phase === 'Unbind') this.#context.capacity.slots.release(key);
    this.#interfaces.rest(key, podEni);
  }

  async #park(key: string, podEni: PodEni, plan: Waiting, signal: AbortSignal): Promise<Outcome> {
    this.#context.pendingPods.park(key, plan.waitsFor);
    const place = this.#context.pendingPods.placeOf(key);
    return this.#reporter.problem({ key, podEni, reason: plan.reason, message: plan.message, place, signal });
  }

  async #bind(
    key: string,
    podEni: PodEni,
    enis: Parameters<PodEniWriter['bind']>[1],
    signal: AbortSignal,
  ): Promise<Outcome> {
    await this.#writer.bind(podEni, enis, { fixed: isFixed(podEni) }, signal);
    this.#reporter.forget(key);
    this.#bindReport.tell(key, podEni, enis, (index) => this.#interfaces.operation(key, index)?.kind === 'modify');
    return 'again';
  }

  /** Nothing left to do: drops what is remembered of the record. */
  #settled(key: string, podEni: PodEni, untilMs: number | undefined): Outcome {
    this.#reporter.forget(key);
    this.#interfaces.rest(key, podEni);
    this.#context.pendingPods.leave(key);
    this.#context.starts.end(key);
    return untilMs === undefined ? {} : { requeueAfterMs: Math.max(1, untilMs - this.#context.clock.now()) };
  }

  async #finish(key: string, podEni: PodEni, signal: AbortSignal): Promise<Outcome> {
    const { released, capacity, pendingPods, log } = this.#context;
    if (!isHeldByUs(podEni)) return this.#settled(key, podEni, undefined);
    // Before the object goes, because its deletion makes the mirror check this.
    for (const { eni } of podEni.spec.allocations ?? []) if (eni.id !== '') released.add(eni.id);
    await this.#writer.removeFinalizers(podEni, signal);
    log.debug({ podEni: key }, 'released');
    for (const { eni } of podEni.spec.allocations ?? []) {
      if (eni.id === '' || eni.vSwitchID === undefined) continue;
      capacity.vSwitches.released(eni.vSwitchID);
      pendingPods.wakeForAddress(eni.vSwitchID, 1);
    }
    return 'again';
  }

  #nodeView(nodeName: string) {
    const { coreNodes, nodes } = this.#context.informers;
    return nodeView(coreNodes.store.get(nodeName), nodes.store.get(nodeName));
  }
}

function isHeldByUs({ metadata }: PodEni): boolean {
  const finalizers = metadata.finalizers ?? [];
  return finalizers.includes(FINALIZER_POD_ENI) || finalizers.includes(FINALIZER_POD_ENI_LEGACY);
}
