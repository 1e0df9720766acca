import type { OperationRecord } from '../../crds/pod-eni.ts';
import { rfc3339 } from '../../util/clock.ts';
import { API_OF_CALL, type EndedCall } from '../eni/pending-calls.ts';

/** The most calls that a record keeps. */
const KEPT = 20;

/** The operations of a status plus pending ones; oldest first. */
export function joinOperations(
  before: readonly OperationRecord[] | undefined,
  pending: readonly OperationRecord[],
): OperationRecord[] {
  return [...(before ?? []), ...pending].slice(-KEPT);
}

/**
 * Cloud calls for each PodENI that its status does not contain yet. They are written with the next status update that
 * is made anyway; a crash before that loses them.
 */
export class OperationLog {
  readonly #pending = new Map<string, OperationRecord[]>();
  readonly #failures = new Map<string, string>();

  /** Entries held for PodENIs. */
  get size(): number {
    return this.#pending.size + this.#failures.size;
  }

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

  /** The message of the last call if it failed, including code and request id. */
  lastFailure(key: string): string | undefined {
    return this.#failures.get(key);
  }

  pending(key: string): readonly OperationRecord[] {
    return this.#pending.get(key) ?? [];
  }

  /** Drops records that have been written. */
  written(key: string, records: readonly OperationRecord[]): void {
    const left = this.pending(key).filter((record) => !records.includes(record));
    if (left.length === 0) this.#pending.delete(key);
    else this.#pending.set(key, left);
  }

  /** The PodENI will not be written again. */
  forget(key: string): void {
    this.#pending.delete(key);
    this.#failures.delete(key);
  }
}
