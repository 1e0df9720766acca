import type { ObservedEni, Operation, OperationFailure, OperationKind } from '../allocation/observation.ts';
import { CloudError } from '../cloud/errors.ts';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';

/** What a call brought. */
export interface CallResult {
  /** The ENI that a creation or a search has found. */
  eni?: ObservedEni | undefined;
  requestId?: string;
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

/**
 * Cloud calls that run outside the workers. The outcome is kept until its reconciler has taken it over; a crash loses it,
 * which is why every call is preceded by a persisted intent.
 */
export class Operations {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #wake: (owner: string) => void;
  readonly #onEnd: (owner: string, ended: EndedCall) => void;
  readonly #operations = new Map<string, Operation>();

  /**
   * @param options.signal ends what is under way, when the lease is lost or the process stops.
   * @param options.wake is called with the owner when one of its calls has ended.
   * @param options.onEnd is told before that how it ended.
   */
  constructor(options: {
    clock: Clock;
    signal: AbortSignal;
    wake: (owner: string) => void;
    onEnd?: (owner: string, ended: EndedCall) => void;
  }) {
    this.#clock = options.clock;
    this.#signal = options.signal;
    this.#wake = options.wake;
    this.#onEnd = options.onEnd ?? (() => {});
  }

  get(id: string): Operation | undefined {
    return this.#operations.get(id);
  }

  clear(id: string): void {
    this.#operations.delete(id);
  }

  /**
   * Starts a call unless one of this id is under way.
   *
   * @param work.eniId empty for a call that is not about an ENI which exists already.
   */
  start(
    work: { id: string; owner: string; kind: OperationKind; eniId: string },
    call: (signal: AbortSignal) => Promise<CallResult>,
  ): void {
    const { id, owner, kind, eniId } = work;
    const before = this.#operations.get(id);
    if (before?.state === 'running') return;
    const failuresBefore = before?.state === 'failed' && before.kind === kind ? before.failures : 0;
    const running: Operation = { kind, state: 'running', sinceMs: this.#clock.now() };
    const startedMs = this.#clock.monotonicMs();
    this.#operations.set(id, running);
    const finish = (operation: Operation, ended: Pick<EndedCall, 'eniId' | 'requestId' | 'failure'>) => {
      // Cleared or replaced meanwhile: nobody waits for this outcome.
      if (this.#operations.get(id) !== running) return;
      this.#operations.set(id, operation);
      const durationMs = Math.round(this.#clock.monotonicMs() - startedMs);
      this.#onEnd(owner, { kind, endedMs: this.#clock.now(), durationMs, ...ended });
      this.#wake(owner);
    };
    call(this.#signal).then(
      ({ eni, requestId = '' }) =>
        finish(
          { kind, state: 'succeeded', atMs: this.#clock.now(), ...(eni === undefined ? {} : { eni }) },
          { eniId: eni?.id ?? eniId, requestId },
        ),
      (error: unknown) => {
        const failure = failureOf(error);
        finish(
          { kind, state: 'failed', atMs: this.#clock.now(), failure, failures: failuresBefore + 1 },
          { eniId, requestId: failure.requestId ?? '', failure },
        );
      },
    );
  }
}

function failureOf(error: unknown): OperationFailure {
  if (error instanceof CloudError) {
    const { kind, code, message, requestId } = error;
    return { kind, code, message, ...(requestId === undefined ? {} : { requestId }) };
  }
  return { kind: 'unavailable', code: 'Unexpected', message: errorMessage(error) };
}
