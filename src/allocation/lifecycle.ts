import { ANNOTATION_POD_UID } from '../crds/names.ts';
import type { AttachTarget, PodEni } from '../crds/pod-eni.ts';
import type { Eni, EniObservation } from '../ecs/eni.ts';
import { latestMs } from '../util/clock.ts';
import { isAttachedAsRecorded } from './audit.ts';
import { type Goal, type InterfaceStep, type InterfaceView, nextInterfaceStep } from './interface-step.ts';
import type { Operation, SandboxReport } from './operation.ts';
import { isFixed, releaseDueMs } from './retention.ts';
import { isRewritten } from './rewritten.ts';

/** A time of the API server that is further in the future was written before our clock was set back. */
const LONGEST_BEHIND_MS = 10 * 60_000;

/** The pod of the PodENI's name. Finished pods (Succeeded, Failed) count as none. */
export type PodView = { state: 'none' } | { state: 'live'; uid: string; nodeName: string };

export interface Snapshot {
  podEni: PodEni;
  pod: PodView;
  /** A pod of this name existed while the record was unbound and went away without being bound. */
  successorGone?: boolean;
  /** Per entry of `spec.allocations`. */
  interfaces: { observation?: EniObservation; operation?: Operation }[];
  /** The current trunk of the pod's node, when known; without an ENI id the node has no trunk. */
  trunk?: { eniId?: string };
  /** Absent when no sandbox report will come: the node runs no agent of ours, is gone or is not ready. */
  sandbox?: SandboxReport;
  clusterId: string;
  nowMs: number;
}

/** What to do next for a PodENI. */
export type Step =
  /** Delete the PodENI object: persists that everything must be released. */
  | { do: 'deleteObject' }
  /** Persist that the interfaces will be detached and kept. */
  | { do: 'startDetach' }
  /** Give an unbound Fixed PodENI to the new pod: uid, node label and target. */
  | { do: 'rebind' }
  /** Write phase Binding: the record now belongs to the new pod. */
  | { do: 'startBinding' }
  /** Steps of interfaces by index; at least one. */
  | { do: 'interfaces'; goal: Goal; steps: { index: number; step: InterfaceStep }[] }
  /** Every interface is attached: write phase Bind. */
  | { do: 'bind'; enis: Eni[] }
  /** Every interface is detached: write phase Unbind. */
  | { do: 'unbind' }
  /** Nothing is left in the cloud: remove the finalizer. */
  | { do: 'finish' }
  /** Persist that the last pod of the name is gone: the retention of the reservation starts now. */
  | { do: 'podVanished' }
  /** Settled; look again at `untilMs` when given. */
  | { do: 'nothing'; untilMs?: number };

/** The next step of a PodENI (docs/design/allocation.md). Pure: the same snapshot always gives the same step. */
export function nextStep(snapshot: Snapshot): Step {
  const { podEni, pod } = snapshot;
  const phase = podEni.status?.phase ?? '';
  if (podEni.metadata.deletionTimestamp !== undefined) return towards('release', snapshot);
  if (phase === 'Deleting') return { do: 'deleteObject' };

  const isOwner = isOwnerLive(podEni, pod);
  if (isFixed(podEni)) return nextFixedStep(snapshot, phase, isOwner);
  return isOwner ? towardsBind(snapshot, phase) : { do: 'deleteObject' };
}

/** Whether the pod that the record was given to lives, as far as is known. */
export function isOwnerLive({ metadata }: PodEni, pod: PodView): boolean {
  return pod.state === 'live' && pod.uid === metadata.annotations?.[ANNOTATION_POD_UID];
}

function nextFixedStep(snapshot: Snapshot, phase: string, isOwner: boolean): Step {
  const { podEni, pod, nowMs } = snapshot;
  if (phase === 'Detaching') return towards('hold', snapshot);
  if (phase === 'Unbind') {
    if (pod.state === 'live') {
      if (pod.nodeName === '') return { do: 'nothing' };
      const isRebound = isOwner && podEni.spec.target?.nodeName === pod.nodeName;
      return isRebound ? { do: 'startBinding' } : { do: 'rebind' };
    }
    // A pod took the address after the backup was made from which the record comes.
    if (snapshot.interfaces.some(({ observation }) => observation?.eni?.status === 'InUse'))
      return { do: 'startDetach' };
    if (snapshot.successorGone === true) return { do: 'podVanished' };
    const dueMs = releaseDueMs(podEni);
    if (dueMs === 'never') return { do: 'nothing' };
    return nowMs >= dueMs ? { do: 'deleteObject' } : { do: 'nothing', untilMs: dueMs };
  }
  if (isOwner) return towardsBind(snapshot, phase);
  // Its pod went before there was an ENI, so there is no address to keep.
  return hasEni(podEni) ? { do: 'startDetach' } : { do: 'deleteObject' };
}

function hasEni({ spec }: PodEni): boolean {
  return (spec.allocations ?? []).some(({ eni }) => eni.id !== '');
}

function towardsBind(snapshot: Snapshot, phase: string): Step {
  const { podEni } = snapshot;
  const unobserved = snapshot.interfaces.every((known) => known.observation === undefined);
  if (phase === 'Bind' && unobserved && !saysNotReady(podEni) && !isRewritten(podEni)) return { do: 'nothing' };
  const target = targetOf(podEni);
  if (target === undefined || isTrunkReplaced(snapshot, target)) return { do: 'rebind' };
  return towards('bind', snapshot);
}

/** The node has a different trunk than the target, and no interface of the pod is attached to the old one. */
function isTrunkReplaced(snapshot: Snapshot, target: AttachTarget): boolean {
  const { trunk, podEni, interfaces } = snapshot;
  if (trunk === undefined || target.trunkENIID === undefined || trunk.eniId === target.trunkENIID) return false;
  const isBound = podEni.status?.phase === 'Bind';
  return interfaces.every(({ observation, operation }) => {
    if (operation?.state === 'running') return false;
    // A bound interface is moved only on evidence that it is detached.
    if (observation?.eni === undefined) return !isBound;
    return observation.eni.trunkEniId !== target.trunkENIID;
  });
}

/** A repair has begun, or an error was written, since the record was bound. */
function saysNotReady(podEni: PodEni): boolean {
  return podEni.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'False') === true;
}

/** Where the interfaces belong. For a PodENI that upstream bound, only its status says so. */
export function targetOf(podEni: PodEni): AttachTarget | undefined {
  if (podEni.spec.target !== undefined) return podEni.spec.target;
  const { instanceID, trunkENIID } = podEni.status ?? {};
  if (instanceID === undefined || instanceID === '') return undefined;
  return { nodeName: '', instanceID, ...(trunkENIID ? { trunkENIID } : {}) };
}

function towards(goal: Goal, snapshot: Snapshot): Step {
  const { podEni, clusterId, nowMs } = snapshot;
  const target = targetOf(podEni);
  const fixed = isFixed(podEni);
  const bound = podEni.status?.phase === 'Bind';
  const goalSince = goalTime(goal, podEni);
  const sandboxDueMs = goalSince === undefined ? undefined : sandboxDue(goal, snapshot, Date.parse(goalSince));
  const steps = (podEni.spec.allocations ?? []).map((allocation, index) => {
    const view: InterfaceView = {
      allocation,
      fixed,
      // After a restored backup a sandbox may run although its record is older than the binding.
      bound: bound || snapshot.sandbox?.exists === true,
      ...(target === undefined ? {} : { target }),
      ...(goalSince === undefined ? {} : { goalSinceMs: latestMs(goalSince) }),
      ...(sandboxDueMs === undefined ? {} : { sandboxDueMs }),
      ...snapshot.interfaces[index],
    };
    return { index, step: nextInterfaceStep(goal, view, clusterId, nowMs) };
  });
  const open = steps.filter(({ step }) => step.do !== 'done');
  if (open.length > 0) return { do: 'interfaces', goal, steps: open };
  if (goal === 'release') return { do: 'finish' };
  if (goal === 'hold') return { do: 'unbind' };
  const enis = steps.flatMap(({ step }) => (step.do === 'done' && step.eni !== undefined ? [step.eni] : []));
  const isAsRecorded = enis.every((eni) => isAttachedAsRecorded(podEni, eni));
  const isWritten = bound && isAsRecorded && !saysNotReady(podEni) && !isRewritten(podEni);
  return isWritten ? { do: 'nothing' } : { do: 'bind', enis };
}

function goalTime(goal: Goal, podEni: PodEni): string | undefined {
  // The time at which the pod was last known is written together with phase Detaching.
  const text = goal === 'release' ? podEni.metadata.deletionTimestamp : podEni.status?.podLastSeen;
  return goal === 'bind' ? undefined : text;
}

/**
 * Whether a detach towards this goal waits for the end of the pod's sandbox: an address may go to another pod only after no sandbox
 * uses it. A record that was never bound has no sandbox, because the agent sets up pod networking only after Bind. Someone who
 * deletes the PodENI of a running pod wants its ENI released regardless. Towards `hold` the pod was gone when that was written, so
 * a store that shows it is late.
 */
export function awaitsSandbox(goal: Goal, podEni: PodEni, pod: PodView): boolean {
  const phase = podEni.status?.phase;
  if (goal === 'bind' || (phase !== 'Bind' && phase !== 'Detaching')) return false;
  return goal === 'hold' || !isOwnerLive(podEni, pod);
}

function sandboxDue(goal: Goal, snapshot: Snapshot, goalSinceMs: number): number | undefined {
  const { podEni, pod, sandbox, nowMs } = snapshot;
  if (sandbox === undefined || sandbox.deleted) return undefined;
  if (!awaitsSandbox(goal, podEni, pod)) return undefined;
  // A clock that is behind makes the wait longer. A time far in the future was written before the clock was set back.
  return goalSinceMs - nowMs > sandbox.timeoutMs + LONGEST_BEHIND_MS ? nowMs : goalSinceMs + sandbox.timeoutMs;
}
