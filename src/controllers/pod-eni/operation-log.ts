import type { OperationRecord } from '../../crds/pod-eni.ts';
import { rfc3339 } from '../../util/clock.ts';
import { API_OF_CALL, type EndedCall } from '../eni/pending-calls.ts';

/** Calls that a record keeps. */
const KEPT = 20;

/** What a status told before, with what is pending; oldest first. */
export function joinOperations(
  before: readonly OperationRecord[] | undefined,
  pending: readonly OperationRecord[],
): OperationRecord[] {
  return [...(before ?? []), ...pending].slice(-KEPT);
}

/**
 * The cloud calls for each PodENI that its status does not tell yet. They go into it with the next status write that is
 * made anyway; a crash before that loses them.
 */
export class OperationLog {
  readonly #pending = new Map<string, OperationRecord[]>();
  readonly #failures = new Map<string, string>();

  /** @param key of the PodENI. */
  note(key: string, { kind, endedMs, durationMs, eniId, requestId, failure }: EndedCall): void {
    if (failure !== undefined) this.#failures.set(key, failure.message);
    else this.#failures.delete(key);
    if (kind === 'find') return;
    const record: OperationRecord = {
      time: rfc3339(endedMs),
      action: API_OF_CALL[kind],
      durationMs,
      ...(eniId === '' ? {} : { eniID: eniId }),
      ...(requestId === '' ? {} : { requestID: requestId }),
      ...(failure === undefined ? {} : { code: failure.code }),
    };
    this.#pending.set(key, [...(this.#pending.get(key) ?? []), record].slice(-KEPT));
  }

  /** The message of the last call when it failed; code and request id are in it. */
  lastFailure(key: string): string | undefined {
    return this.#failures.get(key);
  }

  pending(key: string): readonly OperationRecord[] {
    return this.#pending.get(key) ?? [];
  }

  /** These have been written. */
  written(key: string, records: readonly OperationRecord[]): void {
    const left = this.pending(key).filter((record) => !records.includes(record));
    if (left.length === 0) this.#pending.delete(key);
    else this.#pending.set(key, left);
  }

  /** Nobody will write about this PodENI any more. */
  forget(key: string): void {
    this.#pending.delete(key);
    this.#failures.delete(key);
  }
}
