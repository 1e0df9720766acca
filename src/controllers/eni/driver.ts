import type { InterfaceStep } from '../../allocation/interface-step.ts';
import type { Operation, OperationKind } from '../../allocation/operation.ts';
import type { CallClass } from '../../cloud/call-line.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { Cloud, CreateEniRequest } from '../../cloud/port.ts';
import type { QuotaScheduler, Turn } from '../../cloud/quota.ts';
import type { AttachTarget } from '../../crds/pod-eni.ts';
import type { Clock } from '../../util/clock.ts';
import { assertNever } from '../../util/errors.ts';
import type { EniSearch, Seat } from './eni-search.ts';
import { type AtTurn, type EndedCall, PendingCalls } from './pending-calls.ts';

/** What a visit came to: go on at once, or leave, and look again after a time when given. */
export type Outcome = 'again' | { requeueAfterMs?: number };

/** What is to become of one ENI, as it is decided from what is known now. */
export interface EniDecision {
  step: InterfaceStep;
  callClass: CallClass;
  /** What is, or was, asked for by the persisted intent; absent without an intent. */
  creation?: CreateEniRequest;
  /** When that intent was persisted, epoch milliseconds. */
  plannedMs?: number;
  /** Where it is to be attached. */
  target?: Pick<AttachTarget, 'instanceID' | 'trunkENIID'>;
  /** Those of the record. */
  securityGroupIds?: readonly string[];
}

/** Whoever has, or is to have, one ENI: an interface of a pod, the trunk of a node, a mirror, an orphan. */
export interface EniSubject {
  /** Its own among all subjects; at most one call is made for it at a time. */
  readonly id: string;
  /** Who is woken when there is news (owners.ts). */
  readonly owner: string;
  /** ENI id of its record; empty without. */
  readonly eniId: string;
  /** Decides anew, from stores and observations; undefined when there is no such subject any more. */
  decide(): EniDecision | undefined;
  /** Told of each call that has ended. */
  ended?(call: EndedCall): void;
}

type StepOf<Do extends InterfaceStep['do']> = Extract<InterfaceStep, { do: Do }>;

/** What differs between subjects: how something is recorded and told. */
export interface EniHandler {
  /** Persists what the cloud created. */
  record(step: StepOf<'record'>): Promise<Outcome>;
  /** Persists a new intent, or says why there can be none now. */
  newAttempt(step: StepOf<'newAttempt'>): Promise<Outcome>;
  /** A call is wanted, under way, or has been accepted. @param isNew it was not wanted before. */
  inProgress(step: InterfaceStep, isNew: boolean): Promise<Outcome> | Outcome;
  pause(step: StepOf<'pause'>): Promise<Outcome>;
  blocked(step: StepOf<'blocked'>): Promise<Outcome>;
  done(step: StepOf<'done'>): Promise<Outcome> | Outcome;
}

/**
 * The only one that changes the cloud. A step that is a call waits for its turn by class, and is decided anew when that comes: a
 * call that nobody needs any more is not sent, and what takes something away rests on an answer that is fresh when it leaves.
 */
export class EniDriver {
  readonly #cloud: Cloud;
  readonly #observer: EniObserver;
  readonly #clock: Clock;
  readonly #quota: QuotaScheduler;
  readonly #search: EniSearch;
  readonly #calls: PendingCalls;

  constructor(options: {
    cloud: Cloud;
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

  /** The last call that was sent for a subject. */
  operation(id: string): Operation | undefined {
    return this.#calls.get(id);
  }

  /** What waits for its turn, or is under way. */
  callOf(id: string): OperationKind | undefined {
    const operation = this.#calls.get(id);
    return this.#calls.waiting(id) ?? (operation?.state === 'running' ? operation.kind : undefined);
  }

  /** A subject is settled, gone, or begins anew: memory keeps nothing of its calls, and of its ENI when named. */
  forget(id: string, eniId = ''): void {
    this.#calls.clear(id);
    if (eniId !== '') this.#observer.forget(eniId);
  }

  /** Does what has been decided. @throws KubeApiError, TransportError of the handler */
  async perform(subject: EniSubject, decision: EniDecision, handler: EniHandler): Promise<Outcome> {
    const { step } = decision;
    const { id, owner, eniId } = subject;
    switch (step.do) {
      case 'create':
      case 'attach':
      case 'detach':
      case 'delete':
      case 'modify':
        return handler.inProgress(
          step,
          this.#calls.want({
            ...{ id, owner, kind: step.do, callClass: decision.callClass, plannedMs: decision.plannedMs },
            turn: (request, signal) => this.#quota.turn(request, signal),
            atTurn: () => this.#atTurn(subject, step, (decided) => this.#callOf(decided)),
            onEnd: (call) => subject.ended?.(call),
          }),
        );
      case 'find':
        return handler.inProgress(
          step,
          this.#calls.want({
            ...{ id, owner, kind: step.do, callClass: decision.callClass },
            turn: (request, signal) => this.#search.seat(request, signal),
            atTurn: () => this.#atTurn(subject, step, (decided) => this.#searchOf(decided)),
            onEnd: (call) => subject.ended?.(call),
          }),
        );
      case 'observe':
        // A call that has had its turn waits for this: it keeps its place.
        this.#observer.expect(eniId, 'read', owner, decision.callClass);
        return {};
      case 'waitForCall':
        return handler.inProgress(step, false);
      case 'waitForCloud':
        this.#calls.withdraw(id);
        this.#observer.expect(eniId, step.transition, owner, decision.callClass);
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
        // The last answer is older than what the pause waits for; ask again when it ends.
        if (step.failure === undefined && eniId !== '') this.#observer.forget(eniId);
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

  #atTurn<T>(subject: EniSubject, wanted: InterfaceStep, callOf: (decided: EniDecision) => AtTurn<T>): AtTurn<T> {
    const decision = subject.decide();
    if (decision?.step.do === 'observe') return 'notYet';
    if (decision?.step.do !== wanted.do) return undefined;
    return callOf(decision);
  }

  #searchOf({ creation }: EniDecision): AtTurn<Seat> {
    if (creation === undefined) return undefined;
    return {
      eniId: '',
      send: async ({ turn: seat }) => {
        const { enis, sentAtMs } = await seat.ask({ attempt: creation.clientToken });
        const [eni] = enis;
        if (eni !== undefined) this.#observer.note(eni, sentAtMs);
        return { eni, asOfMs: sentAtMs };
      },
    };
  }

  /** The call of a decision; undefined when it is none, or lacks what the call needs. */
  #callOf({ step, creation, target, securityGroupIds }: EniDecision): AtTurn<Turn> {
    const cloud = this.#cloud;
    switch (step.do) {
      case 'create':
        if (creation === undefined) return undefined;
        return {
          eniId: '',
          send: async (leave) => {
            const created = await cloud.createEni(creation, leave);
            this.#observer.note(created.eni, this.#clock.now());
            return created;
          },
        };
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
      default:
        return undefined;
    }
  }
}

function trunkOf(trunkEniId: string | undefined): { trunkEniId?: string } {
  return trunkEniId === undefined ? {} : { trunkEniId };
}
