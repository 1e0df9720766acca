import type { InterfaceStep } from '../../allocation/interface-step.ts';
import type { Operation, OperationKind } from '../../allocation/operation.ts';
import type { AddressCall } from '../../allocation/pool/eni-step.ts';
import type { CallClass } from '../../cloud/call-line.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { CloudChanges, CreateEniRequest } from '../../cloud/port.ts';
import type { QuotaScheduler, Turn } from '../../cloud/quota.ts';
import type { AttachTarget } from '../../crds/pod-eni.ts';
import type { Eni } from '../../ecs/eni.ts';
import type { ReconcileResult } from '../../kube/controller.ts';
import type { Clock } from '../../util/clock.ts';
import { assertNever } from '../../util/errors.ts';
import type { EniSearch, Seat } from './eni-search.ts';
import { type AtTurn, type EndedCall, PendingCalls } from './pending-calls.ts';

/** Result of a step: continue at once, or stop and look again after the given time. */
export type Outcome = 'again' | ReconcileResult;

/** The next step of one ENI, decided from current knowledge. */
export interface EniDecision {
  step: InterfaceStep | AddressCall;
  callClass: CallClass;
  /** The create request of the persisted intent; absent without an intent. */
  creation?: CreateEniRequest;
  /** When that intent was made, epoch milliseconds. */
  plannedMs?: number;
  target?: Pick<AttachTarget, 'instanceID' | 'trunkENIID'>;
  /** The security groups of the record. */
  securityGroupIds?: readonly string[];
}

/** The owner of one ENI: an interface of a pod, the trunk of a node, a mirror or an orphan. */
export interface EniSubject {
  /** Unique among all subjects; at most one call is in progress for it. */
  readonly id: string;
  /** The key to wake on news (owners.ts). */
  readonly owner: string;
  /** ENI id of its record; empty without one. */
  readonly eniId: string;
  /** Decides again from stores and observations; undefined when the subject no longer exists. */
  decide(): EniDecision | undefined;
  /** Called with each call that has ended. */
  ended?(call: EndedCall): void;
}

type StepOf<Do extends InterfaceStep['do']> = Extract<InterfaceStep, { do: Do }>;

/** What differs between subjects: how results are recorded and reported. */
export interface EniHandler {
  /** Persists the ENI that was created. */
  record(step: StepOf<'record'>): Promise<Outcome>;
  /** Persists a new intent, or reports why none is possible now. */
  newAttempt(step: StepOf<'newAttempt'>): Promise<Outcome>;
  /** A call waits, is in progress or was accepted. @param isNew it was not wanted before. */
  inProgress(step: EniDecision['step'], isNew: boolean): Promise<Outcome> | Outcome;
  pause(step: StepOf<'pause'>): Promise<Outcome>;
  blocked(step: StepOf<'blocked'>): Promise<Outcome>;
  done(step: StepOf<'done'>): Promise<Outcome> | Outcome;
}

/**
 * All mutating calls to the cloud go through here. A call waits for its turn by class and is decided again when it
 * comes. A call that is no longer needed is not sent, and a destructive call is based on an observation that is fresh
 * when it is sent (I3).
 */
export class EniDriver {
  readonly #cloud: CloudChanges;
  readonly #observer: EniObserver;
  readonly #clock: Clock;
  readonly #quota: QuotaScheduler;
  readonly #search: EniSearch;
  readonly #calls: PendingCalls;

  constructor(options: {
    cloud: CloudChanges;
    quota: QuotaScheduler;
    observer: EniObserver;
    search: EniSearch;
    clock: Clock;
    signal: AbortSignal;
    wake: (owner: string) => void;
  }) {
    this.#cloud = options.cloud;
    this.#observer = options.observer;
    this.#clock = options.clock;
    this.#quota = options.quota;
    this.#search = options.search;
    this.#calls = new PendingCalls(options);
  }

  /** Entries held for subjects. */
  get size(): number {
    return this.#calls.size;
  }

  /** The last call that was sent for a subject. */
  operation(id: string): Operation | undefined {
    return this.#calls.get(id);
  }

  /** The call that waits for its turn or is in progress. */
  callOf(id: string): OperationKind | undefined {
    const operation = this.#calls.get(id);
    return this.#calls.waiting(id) ?? (operation?.state === 'running' ? operation.kind : undefined);
  }

  /** A subject without an ENI stands still: drops its calls, but not that its intent may have made one. */
  rest(id: string): void {
    this.#calls.rest(id);
  }

  /** A subject is settled, gone or starts over: drops its calls, and the observation of its ENI when given. */
  forget(id: string, eni?: { id: string; owner: string }): void {
    this.#calls.clear(id);
    if (eni !== undefined && eni.id !== '') this.#observer.forget(eni.id, eni.owner);
  }

  /** Performs the decided step. @throws KubeApiError, TransportError of the handler */
  async perform(subject: EniSubject, decision: EniDecision, handler: EniHandler): Promise<Outcome> {
    const { step } = decision;
    const { id, owner, eniId } = subject;
    const { callClass } = decision;
    const wanted = {
      id,
      owner,
      callClass,
      onEni: (eni: Eni, atMs: number) => this.#observer.note(eni, atMs),
      onEnd: (call: EndedCall) => subject.ended?.(call),
    };
    switch (step.do) {
      case 'create':
      case 'attach':
      case 'detach':
      case 'delete':
      case 'modify':
      case 'assign':
      case 'unassign':
        return handler.inProgress(
          step,
          this.#calls.want({
            ...wanted,
            kind: kindOf(step),
            plannedMs: decision.plannedMs,
            turn: (request, signal) => this.#quota.turn(request, signal),
            atTurn: () => this.#atTurn(subject, step, (decided) => this.#callOf(decided)),
          }),
        );
      case 'find':
        return handler.inProgress(
          step,
          this.#calls.want({
            ...wanted,
            kind: step.do,
            turn: (request, signal) => this.#search.seat(request, signal),
            atTurn: () => this.#atTurn(subject, step, (decided) => this.#searchOf(decided)),
          }),
        );
      case 'observe':
        // A call whose turn has come waits for this and keeps its turn.
        this.#observer.expect(eniId, 'read', owner, callClass);
        return {};
      case 'waitForCall':
        return handler.inProgress(step, false);
      case 'waitForCloud':
        this.#calls.withdraw(id);
        this.#observer.expect(eniId, step.transition, owner, callClass);
        return handler.inProgress(step, false);
      case 'waitForNode':
        this.#calls.withdraw(id);
        return { requeueAfterMs: Math.max(1, step.untilMs - this.#clock.now()) };
      case 'record': {
        const outcome = await handler.record(step);
        this.#calls.clear(id);
        return outcome;
      }
      case 'newAttempt':
        this.#calls.withdraw(id);
        return handler.newAttempt(step);
      case 'pause':
        this.#calls.withdraw(id);
        // The last observation is older than what the pause waits for; observe again when it ends.
        if (step.failure === undefined && eniId !== '') this.#observer.forget(eniId, owner);
        return handler.pause(step);
      case 'blocked':
        this.#calls.withdraw(id);
        return handler.blocked(step);
      case 'done':
        this.#calls.withdraw(id);
        return handler.done(step);
      default:
        return assertNever(step);
    }
  }

  #atTurn<T>(subject: EniSubject, wanted: EniDecision['step'], callOf: (decided: EniDecision) => AtTurn<T>): AtTurn<T> {
    const decision = subject.decide();
    if (decision?.step.do === 'observe') return 'notYet';
    if (decision === undefined || nameOf(decision.step) !== nameOf(wanted)) return undefined;
    return callOf(decision);
  }

  #searchOf({ creation }: EniDecision): AtTurn<Seat> {
    if (creation === undefined) return undefined;
    return {
      eniId: '',
      send: async ({ turn: seat }) => {
        const { enis, sentAtMs } = await seat.ask({ attempt: creation.clientToken });
        return { eni: enis[0], asOfMs: sentAtMs };
      },
    };
  }

  /** The call of a decision; undefined when the step is not a call or lacks its parameters. */
  #callOf({ step, creation, target, securityGroupIds }: EniDecision): AtTurn<Turn> {
    const cloud = this.#cloud;
    switch (step.do) {
      case 'create':
        if (creation === undefined) return undefined;
        return { eniId: '', send: (leave) => cloud.createEni(creation, leave) };
      case 'attach': {
        if (target === undefined) return undefined;
        const request = { eniId: step.eni.id, instanceId: target.instanceID, ...trunkOf(target.trunkENIID) };
        return { eniId: step.eni.id, send: (leave) => cloud.attachEni(request, leave) };
      }
      case 'detach': {
        const { id, instanceId = '', trunkEniId } = step.eni;
        const request = { eniId: id, instanceId, ...trunkOf(trunkEniId) };
        return { eniId: id, send: (leave) => cloud.detachEni(request, leave) };
      }
      case 'delete': {
        const { id } = step.eni;
        return { eniId: id, send: (leave) => cloud.deleteEni(id, leave) };
      }
      case 'modify': {
        const { id } = step.eni;
        const groups = [...(securityGroupIds ?? [])];
        return { eniId: id, send: (leave) => cloud.modifyEniSecurityGroups(id, groups, leave) };
      }
      case 'assign': {
        const assign = step.family === 'ipv4' ? 'assignIpv4' : 'assignIpv6';
        return { eniId: step.eniId, send: (leave) => cloud[assign](step, leave) };
      }
      case 'unassign': {
        const { eniId, ips } = step;
        const unassign = step.family === 'ipv4' ? 'unassignIpv4' : 'unassignIpv6';
        return { eniId, send: (leave) => cloud[unassign]({ eniId, addresses: ips }, leave) };
      }
      default:
        return undefined;
    }
  }
}

/** Tells steps apart; a subject may wait for calls of either family. */
function nameOf(step: EniDecision['step']): string {
  return 'family' in step ? kindOf(step) : step.do;
}

type Call = Extract<
  EniDecision['step'],
  { do: 'create' | 'attach' | 'detach' | 'delete' | 'modify' | 'assign' | 'unassign' }
>;

/** One subject has calls for both families, one at a time. */
function kindOf(step: Call): OperationKind {
  if (step.do === 'assign') return step.family === 'ipv4' ? 'assignIpv4' : 'assignIpv6';
  if (step.do === 'unassign') return step.family === 'ipv4' ? 'unassignIpv4' : 'unassignIpv6';
  return step.do;
}

function trunkOf(trunkEniId: string | undefined): { trunkEniId?: string } {
  return trunkEniId === undefined ? {} : { trunkEniId };
}
