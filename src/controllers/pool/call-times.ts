import { LAG_MS, LOST_CALL_MS } from '../../allocation/interface-step.ts';
import type { Operation, OperationKind } from '../../allocation/operation.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { Clock } from '../../util/clock.ts';
import type { EndedCall } from '../eni/pending-calls.ts';

/** Entries that do not matter any more are dropped so often. */
const SWEEP_MS = 1000;

/** When calls for ENIs of pools ended, as long as what the cloud shows of these ENIs may be of before, or may change without another call. */
export class CallTimes {
  readonly #clock: Clock;
  readonly #observer: Pick<EniObserver, 'latest'>;
  readonly #startedMs: number;
  /** Of the clock that never jumps, as are the times of {@link #unanswered}. */
  readonly #startedAt: number;
  /** When the last call ended, epoch milliseconds, by ENI id. */
  readonly #ended = new Map<string, number>();
  /** When the last call that gives addresses back ended without an answer, by ENI id. */
  readonly #unanswered = new Map<string, number>();
  #sweptAt: number;

  constructor({ clock, observer }: { clock: Clock; observer: Pick<EniObserver, 'latest'> }) {
    this.#clock = clock;
    this.#observer = observer;
    this.#startedMs = clock.now();
    this.#startedAt = clock.monotonicMs();
    this.#sweptAt = this.#startedAt;
  }

  /** ENIs that are remembered. */
  get size(): number {
    this.#sweep();
    return this.#ended.size + this.#unanswered.size;
  }

  note({ eniId, kind, endedMs, failure }: Pick<EndedCall, 'eniId' | 'kind' | 'endedMs' | 'failure'>): void {
    const now = this.#clock.monotonicMs();
    if (now >= this.#sweptAt + SWEEP_MS) this.#sweep();
    this.#ended.set(eniId, endedMs);
    if (isReturn(kind) && failure?.kind === 'unavailable') this.#unanswered.set(eniId, now);
  }

  /** Nobody waits for this call any more; when it ends, it is noted all the same. */
  noteDropped(eniId: string, operation: Operation | undefined): void {
    const isUnderWay = operation?.state === 'running' && isReturn(operation.kind);
    if (isUnderWay && eniId !== '') this.#unanswered.set(eniId, this.#clock.monotonicMs());
  }

  /** No call of this term or an earlier one has ended since, epoch milliseconds. */
  quietSinceMs(eniId: string): number {
    return Math.max(this.#startedMs, this.#ended.get(eniId) ?? 0);
  }

  /** Until when a call without an answer may take addresses away, epoch milliseconds; one of an earlier leader among them. */
  heldUntilMs(eniId: string): number {
    return this.#untilMs(Math.max(this.#startedAt, this.#unanswered.get(eniId) ?? this.#startedAt));
  }

  /** The same for calls that this leader knows of; undefined without one. */
  knownUntilMs(eniId: string): number | undefined {
    const at = this.#unanswered.get(eniId);
    const untilMs = at === undefined ? 0 : this.#untilMs(at);
    return untilMs > this.#clock.now() ? untilMs : undefined;
  }

  #untilMs(at: number): number {
    return this.#clock.now() + Math.max(0, Math.ceil(at + LOST_CALL_MS - this.#clock.monotonicMs()));
  }

  #sweep(): void {
    const nowMs = this.#clock.now();
    this.#sweptAt = this.#clock.monotonicMs();
    for (const [id, at] of this.#unanswered) if (at + LOST_CALL_MS <= this.#sweptAt) this.#unanswered.delete(id);
    for (const [id, ms] of this.#ended) {
      const seenMs = this.#observer.latest(id)?.atMs ?? nowMs;
      // An observation from before may still be there.
      const mayLag = Math.min(seenMs, nowMs) < ms + LAG_MS;
      // A clock that was set back tells nothing.
      if (!mayLag || ms > nowMs) this.#ended.delete(id);
    }
  }
}

function isReturn(kind: OperationKind): boolean {
  return kind === 'unassignIpv4' || kind === 'unassignIpv6';
}
