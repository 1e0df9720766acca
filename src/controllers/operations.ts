import type { ObservedEni, Operation, OperationFailure, OperationKind } from '../allocation/observation.ts';
import { CloudError } from '../cloud/errors.ts';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';

/**
 * Cloud calls that run outside the workers. The outcome is kept until its reconciler has taken it over; a crash loses it,
 * which is why every call is preceded by a persisted intent.
 */
export class Operations {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #wake: (owner: string) => void;
  readonly #operations = new Map<string, Operation>();

  /**
   * @param options.signal ends what is under way, when the lease is lost or the process stops.
   * @param options.wake is called with the owner when one of its calls has ended.
   */
  constructor(options: { clock: Clock; signal: AbortSignal; wake: (owner: string) => void }) {
    this.#clock = options.clock;
    this.#signal = options.signal;
    this.#wake = options.wake;
  }

  get(id: string): Operation | undefined {
    return this.#operations.get(id);
  }

  clear(id: string): void {
    this.#operations.delete(id);
  }

  /** Starts a call unless one of this id is under way. */
  start(
    id: string,
    owner: string,
    kind: OperationKind,
    call: (signal: AbortSignal) => Promise<ObservedEni | undefined>,
  ): void {
    const before = this.#operations.get(id);
    if (before?.state === 'running') return;
    const failuresBefore = before?.state === 'failed' && before.kind === kind ? before.failures : 0;
    const running: Operation = { kind, state: 'running', sinceMs: this.#clock.now() };
    this.#operations.set(id, running);
    const finish = (operation: Operation) => {
      // Cleared or replaced meanwhile: nobody waits for this outcome.
      if (this.#operations.get(id) !== running) return;
      this.#operations.set(id, operation);
      this.#wake(owner);
    };
    call(this.#signal).then(
      (eni) => finish({ kind, state: 'succeeded', atMs: this.#clock.now(), ...(eni === undefined ? {} : { eni }) }),
      (error: unknown) =>
        finish({
          kind,
          state: 'failed',
          atMs: this.#clock.now(),
          failure: failureOf(error),
          failures: failuresBefore + 1,
        }),
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
