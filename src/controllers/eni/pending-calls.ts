import type { Operation, OperationFailure, OperationKind } from '../../allocation/operation.ts';
import type { CallClass } from '../../cloud/call-line.ts';
import { CloudError } from '../../cloud/errors.ts';
import type { QuotaScheduler, TurnRequest } from '../../cloud/quota.ts';
import type { Eni } from '../../ecs/eni.ts';
import type { Clock } from '../../util/clock.ts';
import { errorMessage } from '../../util/errors.ts';

/** What a call brought. */
export interface CallResult {
  /** The ENI that a creation or a search has found. */
  eni?: Eni | undefined;
  requestId?: string;
  /** As of when that is true, epoch milliseconds; absent: when the answer came. */
  asOfMs?: number;
}

/** A call that has ended, for who keeps account of them. */
export interface EndedCall {
  kind: OperationKind;
  endedMs: number;
  durationMs: number;
  eniId: string;
  requestId: string;
  failure?: OperationFailure;
}

/** Something that a call waits for before it may leave. */
interface Leave {
  /** The call is not made. */
  giveBack(): void;
}

/** A call that is wanted. */
export interface WantedCall<T extends Leave> {
  /** Of whom the call is about; has at most one call. */
  id: string;
  /** Who is woken when it has ended, or must be decided anew. */
  owner: string;
  kind: OperationKind;
  callClass: CallClass;
  /** When the intent of a creation was persisted, epoch milliseconds. */
  plannedMs?: number | undefined;
  /** Waits for its turn; rejects when the signal aborts first. */
  turn: (request: TurnRequest, signal: AbortSignal) => Promise<T>;
  /** By what is known when its turn has come. */
  atTurn: () => AtTurn<T>;
  /** Told how it ended, before the owner is woken. */
  onEnd?: ((ended: EndedCall) => void) | undefined;
}

/**
 * What is to be done at a turn: the call as it is decided now; `notYet` when something has to be known first, which keeps
 * the place in line; undefined when it is not wanted any more.
 */
export type AtTurn<T> =
  | { eniId: string; send: (leave: { signal: AbortSignal; turn: T }) => Promise<CallResult> }
  | 'notYet'
  | undefined;

/** API by kind of call. */
export const API_OF_CALL: Readonly<Record<OperationKind, string>> = {
  create: 'CreateNetworkInterface',
  find: 'DescribeNetworkInterfaces',
  attach: 'AttachNetworkInterface',
  detach: 'DetachNetworkInterface',
  delete: 'DeleteNetworkInterface',
  modify: 'ModifyNetworkInterfaceAttribute',
};

interface Waiting {
  kind: OperationKind;
  callClass: CallClass;
  place: number;
  abort: AbortController;
}

/**
 * Cloud calls outside the workers. A call first waits for its turn, and is decided anew when that comes; until then it can be
 * withdrawn without a trace. How it ended is kept until its reconciler has taken that over; a crash loses it, which is why every
 * call is preceded by a persisted intent.
 */
export class PendingCalls {
  readonly #clock: Clock;
  readonly #quota: QuotaScheduler;
  readonly #signal: AbortSignal;
  readonly #wake: (owner: string) => void;
  readonly #operations = new Map<string, Operation>();
  readonly #waiting = new Map<string, Waiting>();
  /** When a creation was last under way without an answer, by id. */
  readonly #unanswered = new Map<string, number>();
  readonly #startedMs: number;
  /** Places in line of calls that have had their turn too early. */
  readonly #kept = new Map<string, { kind: OperationKind; place: number }>();

  /**
   * @param options.signal ends what is under way, when the lease is lost or the process stops.
   * @param options.wake is called with the owner when one of its calls has ended or must be decided anew.
   */
  constructor(options: {
    clock: Clock;
    quota: QuotaScheduler;
    signal: AbortSignal;
    wake: (owner: string) => void;
  }) {
    this.#clock = options.clock;
    this.#quota = options.quota;
    this.#startedMs = options.clock.now();
    this.#signal = options.signal;
    this.#wake = options.wake;
    options.signal.addEventListener('abort', () => this.#abortAll(), { once: true });
  }

  /** The last call that was sent: under way, or as it ended. */
  get(id: string): Operation | undefined {
    return this.#operations.get(id);
  }

  /** The call that waits for its turn. */
  waiting(id: string): OperationKind | undefined {
    return this.#waiting.get(id)?.kind;
  }

  /** The call that waits is not wanted any more. */
  withdraw(id: string): void {
    this.#kept.delete(id);
    this.#waiting.get(id)?.abort.abort();
    this.#waiting.delete(id);
  }

  /** As withdraw; and how the last call ended has been taken over. */
  clear(id: string): void {
    this.withdraw(id);
    this.#operations.delete(id);
    this.#unanswered.delete(id);
  }

  /**
   * Wants a call, unless one of this id is under way. One that waits already keeps its place.
   *
   * @returns whether it was not wanted before.
   */
  want<T extends Leave>(wanted: WantedCall<T>): boolean {
    const { id, kind, callClass } = wanted;
    if (this.#signal.aborted || this.#operations.get(id)?.state === 'running') return false;
    const before = this.#waiting.get(id);
    if (before?.kind === kind && before.callClass === callClass) return false;
    const kept = before ?? this.#kept.get(id);
    const place = kept?.kind === kind ? kept.place : undefined;
    this.withdraw(id);
    const waiting = { kind, callClass, place: place ?? this.#quota.newPlace(), abort: new AbortController() };
    this.#waiting.set(id, waiting);
    void this.#wait(wanted, waiting);
    return place === undefined;
  }

  /** Never rejects. */
  async #wait<T extends Leave>(wanted: WantedCall<T>, waiting: Waiting): Promise<void> {
    const { id, owner, kind, callClass, atTurn, onEnd } = wanted;
    const request = { api: API_OF_CALL[kind], callClass, place: waiting.place };
    const turn = await wanted.turn(request, waiting.abort.signal).catch(() => undefined);
    if (turn === undefined) return;
    if (this.#waiting.get(id) !== waiting) {
      turn.giveBack();
      return;
    }
    this.#waiting.delete(id);
    const decided = atTurn();
    if (decided === undefined || decided === 'notYet') {
      turn.giveBack();
      if (decided === 'notYet') this.#kept.set(id, { kind, place: waiting.place });
      this.#wake(owner);
      return;
    }
    const before = this.#operations.get(id);
    const failuresBefore = before?.state === 'failed' && before.kind === kind ? before.failures : 0;
    if (kind === 'create' && (wanted.plannedMs ?? this.#startedMs) < this.#startedMs && !this.#unanswered.has(id)) {
      // The process before may have sent it.
      this.#unanswered.set(id, this.#startedMs);
    }
    const running: Operation = { kind, state: 'running', sinceMs: this.#clock.now() };
    this.#operations.set(id, running);
    const startedMs = this.#clock.monotonicMs();
    const finish = (operation: Operation, ended: Pick<EndedCall, 'eniId' | 'requestId' | 'failure'>) => {
      // Cleared meanwhile: nobody waits for this outcome.
      if (this.#operations.get(id) !== running) return;
      this.#operations.set(id, operation);
      const durationMs = Math.round(this.#clock.monotonicMs() - startedMs);
      onEnd?.({ kind, endedMs: this.#clock.now(), durationMs, ...ended });
      this.#wake(owner);
    };
    try {
      const { eni, requestId = '', asOfMs } = await decided.send({ signal: this.#signal, turn });
      const atMs = asOfMs ?? this.#clock.now();
      const found = eni === undefined ? {} : { eni };
      finish(
        { kind, state: 'succeeded', atMs, ...found, ...this.#unansweredOf(id) },
        { eniId: eni?.id ?? decided.eniId, requestId },
      );
    } catch (error) {
      const failure = failureOf(error);
      if (failure.kind === 'throttled' && this.#operations.get(id) === running) {
        // Nothing happened. It keeps its place, and what it waits for is the quota.
        if (before === undefined) this.#operations.delete(id);
        else this.#operations.set(id, before);
        this.#kept.set(id, { kind, place: waiting.place });
        this.#wake(owner);
        return;
      }
      const atMs = this.#clock.now();
      if (kind === 'create' && failure.kind === 'unavailable' && this.#operations.get(id) === running) {
        this.#unanswered.set(id, atMs);
      }
      finish(
        { kind, state: 'failed', atMs, failure, failures: failuresBefore + 1, ...this.#unansweredOf(id) },
        { eniId: decided.eniId, requestId: failure.requestId ?? '', failure },
      );
    } finally {
      // Of a call that was refused before it left.
      turn.giveBack();
    }
  }

  #unansweredOf(id: string): { unansweredMs?: number } {
    const unansweredMs = this.#unanswered.get(id);
    return unansweredMs === undefined ? {} : { unansweredMs };
  }

  #abortAll(): void {
    for (const { abort } of this.#waiting.values()) abort.abort();
    this.#waiting.clear();
    this.#kept.clear();
  }
}

function failureOf(error: unknown): OperationFailure {
  if (error instanceof CloudError) {
    const { kind, code, message, requestId } = error;
    return { kind, code, message, ...(requestId === undefined ? {} : { requestId }) };
  }
  return { kind: 'unavailable', code: 'Unexpected', message: errorMessage(error) };
}
