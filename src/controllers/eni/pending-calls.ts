import type { Operation, OperationFailure, OperationKind } from '../../allocation/operation.ts';
import type { CallClass, Place } from '../../cloud/call-line.ts';
import { CloudError } from '../../cloud/errors.ts';
import type { QuotaScheduler, TurnRequest } from '../../cloud/quota.ts';
import type { Eni } from '../../ecs/eni.ts';
import { onAbort } from '../../util/abort.ts';
import type { Clock } from '../../util/clock.ts';
import { errorMessage } from '../../util/errors.ts';

/** The result of a call. */
export interface CallResult {
  /** The ENI that a create or a search returned. */
  eni?: Eni | undefined;
  /** The addresses that an assign returned. */
  addresses?: readonly string[];
  requestId?: string;
  /** The moment at which the result was true, epoch milliseconds; absent: when the response came. */
  asOfMs?: number;
}

/** A call that has ended, for metrics and the operation log. */
export interface EndedCall {
  kind: OperationKind;
  endedMs: number;
  durationMs: number;
  eniId: string;
  requestId: string;
  failure?: OperationFailure;
  /** Its subject was dropped meanwhile: nobody waits for the result. */
  isForgotten?: true;
}

/** A permission to send a call, such as a turn of the quota. */
interface Leave {
  /** The call will not be made. */
  giveBack(): void;
}

export interface WantedCall<T extends Leave> {
  /** The subject of the call; it has at most one call. */
  id: string;
  /** The key to wake when the call has ended or must be decided again. */
  owner: string;
  kind: OperationKind;
  callClass: CallClass;
  /** When the intent was made, epoch milliseconds. */
  plannedMs?: number | undefined;
  /** Waits for its turn; rejects when the signal aborts first. */
  turn: (request: TurnRequest, signal: AbortSignal) => Promise<T>;
  /** Decides again, from current state, when the turn has come. */
  atTurn: () => AtTurn<T>;
  /** Called with the ENI that a create or a search returned, unless the result is not needed any more. */
  onEni?: ((eni: Eni, atMs: number) => void) | undefined;
  /** Called with each call that has ended, before the owner is woken. */
  onEnd?: ((ended: EndedCall) => void) | undefined;
}

/**
 * What to do at a turn: the call as decided now; `notYet` when something must be known first, for which the turn is
 * held a while; undefined when no call is wanted any more.
 */
export type AtTurn<T> =
  | { eniId: string; send: (leave: { signal: AbortSignal; turn: T }) => Promise<CallResult> }
  | 'notYet'
  | undefined;

export const API_OF_CALL: Readonly<Record<OperationKind, string>> = {
  create: 'CreateNetworkInterface',
  find: 'DescribeNetworkInterfaces',
  attach: 'AttachNetworkInterface',
  detach: 'DetachNetworkInterface',
  delete: 'DeleteNetworkInterface',
  modify: 'ModifyNetworkInterfaceAttribute',
  assignIpv4: 'AssignPrivateIpAddresses',
  assignIpv6: 'AssignIpv6Addresses',
  unassignIpv4: 'UnassignPrivateIpAddresses',
  unassignIpv6: 'UnassignIpv6Addresses',
};

interface Waiting {
  kind: OperationKind;
  callClass: CallClass;
  place: Place;
  abort: AbortController;
  /** While a turn is held: what had to be known first is known. */
  decideAgain?: () => void;
}

/** For how long a turn is held for a call that needs an observation first. The others in line wait meanwhile. */
const HOLD_MS = 5000;

/**
 * Cloud calls that run outside the workers. A call waits for its turn and is decided again when it comes; until then it
 * can be withdrawn without a trace. Its result is kept until its reconciler has processed it. A crash loses the result,
 * which is why an intent is persisted before every call.
 */
export class PendingCalls {
  readonly #clock: Clock;
  readonly #quota: QuotaScheduler;
  readonly #signal: AbortSignal;
  readonly #wake: (owner: string) => void;
  readonly #operations = new Map<string, Operation>();
  readonly #waiting = new Map<string, Waiting>();
  /** When a create was last in progress without a response, by id. */
  readonly #unanswered = new Map<string, number>();
  readonly #startedMs: number;
  /** Places in line of calls whose turn came too early. */
  readonly #kept = new Map<string, { kind: OperationKind; place: Place }>();

  /**
   * @param options.signal cancels calls in progress when the lease is lost or the process stops.
   * @param options.wake is called with the owner when one of its calls has ended or must be decided again.
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
    onAbort(options.signal, () => this.#abortAll());
  }

  /** Entries held for subjects. */
  get size(): number {
    return this.#operations.size + this.#waiting.size + this.#unanswered.size + this.#kept.size;
  }

  /** The last call that was sent: in progress, or its result. */
  get(id: string): Operation | undefined {
    return this.#operations.get(id);
  }

  /** The kind of the call that waits for its turn. */
  waiting(id: string): OperationKind | undefined {
    return this.#waiting.get(id)?.kind;
  }

  /** Cancels a waiting call. */
  withdraw(id: string): void {
    this.#kept.delete(id);
    this.#waiting.get(id)?.abort.abort();
    this.#waiting.delete(id);
  }

  /** Withdraws, and drops the result of the last call; a create that got no answer may still have had its effect. */
  rest(id: string): void {
    this.withdraw(id);
    const operation = this.#operations.get(id);
    if (operation?.kind === 'create' && operation.state === 'running') this.#unanswered.set(id, this.#clock.now());
    this.#operations.delete(id);
  }

  /** Withdraws, and drops the result of the last call after it was processed. */
  clear(id: string): void {
    this.rest(id);
    this.#unanswered.delete(id);
  }

  /**
   * Queues a call unless one with this id is in progress. One that already waits keeps its place.
   *
   * @returns whether the call is new.
   */
  want<T extends Leave>(wanted: WantedCall<T>): boolean {
    const { id, kind, callClass } = wanted;
    if (this.#signal.aborted || this.#operations.get(id)?.state === 'running') return false;
    const before = this.#waiting.get(id);
    if (before?.kind === kind && before.callClass === callClass) {
      before.decideAgain?.();
      return false;
    }
    const kept = before ?? this.#kept.get(id);
    const place = kept?.kind === kind ? kept.place : undefined;
    this.withdraw(id);
    // A pod has waited since its intent was made, however late that was written.
    const sinceMs = callClass === 'pod' ? wanted.plannedMs : undefined;
    const waiting = { kind, callClass, place: place ?? this.#quota.newPlace(sinceMs), abort: new AbortController() };
    this.#waiting.set(id, waiting);
    void this.#wait(wanted, waiting);
    return place === undefined;
  }

  /** Never rejects. */
  async #wait<T extends Leave>(wanted: WantedCall<T>, waiting: Waiting): Promise<void> {
    const { id, owner, kind, callClass, atTurn, onEni, onEnd } = wanted;
    const request = { api: API_OF_CALL[kind], callClass, place: waiting.place };
    const turn = await wanted.turn(request, waiting.abort.signal).catch(() => undefined);
    if (turn === undefined) return;
    const isWanted = () => this.#waiting.get(id) === waiting;
    let decided = isWanted() ? atTurn() : undefined;
    if (decided === 'notYet') {
      this.#wake(owner);
      // Given back, the turn would go to whoever is ready first, and a call of a low class might never be.
      await this.#hold(waiting);
      if (isWanted()) decided = atTurn();
    }
    if (!isWanted()) {
      turn.giveBack();
      return;
    }
    this.#waiting.delete(id);
    if (decided === undefined || decided === 'notYet') {
      turn.giveBack();
      if (decided === 'notYet') this.#kept.set(id, { kind, place: waiting.place });
      this.#wake(owner);
      return;
    }
    const before = this.#operations.get(id);
    const failuresBefore = before?.state === 'failed' && before.kind === kind ? before.failures : 0;
    if (kind === 'create' && (wanted.plannedMs ?? this.#startedMs) < this.#startedMs && !this.#unanswered.has(id)) {
      // A previous process may have sent it.
      this.#unanswered.set(id, this.#startedMs);
    }
    const running: Operation = { kind, state: 'running', sinceMs: this.#clock.now() };
    this.#operations.set(id, running);
    const startedMs = this.#clock.monotonicMs();
    const finish = (operation: Operation, ended: Pick<EndedCall, 'eniId' | 'requestId' | 'failure'>) => {
      const durationMs = Math.round(this.#clock.monotonicMs() - startedMs);
      const call = { kind, endedMs: this.#clock.now(), durationMs, ...ended };
      if (this.#operations.get(id) !== running) {
        onEnd?.({ ...call, isForgotten: true });
        return;
      }
      this.#operations.set(id, operation);
      if (operation.state === 'succeeded' && operation.eni !== undefined) onEni?.(operation.eni, operation.atMs);
      onEnd?.(call);
      this.#wake(owner);
    };
    try {
      const sentAtMs = this.#clock.now();
      const { eni, addresses, requestId = '', asOfMs } = await decided.send({ signal: this.#signal, turn });
      // The answer to a creation shows the ENI as of its request, however late it is read; one that was repeated, as of the first.
      const createdMs = this.#unanswered.has(id) ? (wanted.plannedMs ?? this.#startedMs) : sentAtMs;
      const atMs = asOfMs ?? (kind === 'create' ? createdMs : this.#clock.now());
      const found = { ...(eni === undefined ? {} : { eni }), ...(addresses === undefined ? {} : { addresses }) };
      finish(
        { kind, state: 'succeeded', atMs, ...found, ...this.#unansweredOf(id) },
        { eniId: eni?.id ?? decided.eniId, requestId },
      );
    } catch (error) {
      const failure = failureOf(error);
      if (failure.kind === 'throttled' && this.#operations.get(id) === running) {
        // A throttled call had no effect. It keeps its place and waits for quota.
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
      // In case the call was refused before it was sent.
      turn.giveBack();
    }
  }

  /** Until the call is wanted again, or not any more, or for {@link HOLD_MS}. */
  async #hold(waiting: Waiting): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#clock.schedule(HOLD_MS, resolve);
    using _aborting = onAbort(waiting.abort.signal, resolve);
    waiting.decideAgain = resolve;
    await promise;
    timer.cancel();
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

export function failureOf(error: unknown): OperationFailure {
  if (error instanceof CloudError) {
    const { kind, code, message, requestId } = error;
    return { kind, code, message, ...(requestId === undefined ? {} : { requestId }) };
  }
  return { kind: 'unavailable', code: 'Unexpected', message: errorMessage(error) };
}
