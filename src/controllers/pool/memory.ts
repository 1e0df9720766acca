import type { OperationFailure } from '../../allocation/operation.ts';
import { REST_MS } from '../../allocation/pool/hand-out.ts';
import type { PoolPlan } from '../../allocation/pool/plan-pool.ts';
import type { Wanted } from '../../allocation/pool/pool-view.ts';
import type { PoolIntent } from '../../crds/node.ts';
import { rfc3339 } from '../../util/clock.ts';
import type { SentPool } from '../../wire/admin-channel.ts';

/** The cloud has refused to give an ENI more addresses, or to make one, and would do so again. */
export interface Refusal {
  failure: OperationFailure;
  /** Until when it is not asked again, epoch milliseconds. */
  untilMs: number;
}

/** For a while longer than they rest, shrinking keeps addresses that were in use. */
const REMEMBERED_MS = 60_000;
/** So long an ENI is not asked for again that was refused more addresses; each time twice as long. */
const FIRST_REFUSAL_MS = 15_000;
const LAST_REFUSAL_MS = 10 * 60_000;

/** What is remembered of a node between two looks; a new leader starts without it. */
export class PoolMemory {
  /** When addresses were freed, epoch milliseconds, by address. */
  readonly freedMs = new Map<string, number>();
  /** By ENI. */
  readonly #refusals = new Map<string, Refusal & { count: number }>();
  /** Of the last ENI that the cloud did not make, with what it was asked for. */
  #creation: (Refusal & { count: number; intent: PoolIntent }) | undefined;
  readonly #seen = new WeakSet<OperationFailure>();
  surplusSinceMs: number | undefined;
  wanted: Wanted | undefined;

  /** Whether the failure is seen for the first time. */
  isNews(failure: OperationFailure): boolean {
    const isNew = !this.#seen.has(failure);
    this.#seen.add(failure);
    return isNew;
  }

  /** A plan is about to be written: when the answer is lost, the addresses may be free all the same. */
  noteFreed({ freed }: PoolPlan['releases'], nowMs: number): void {
    for (const { ip } of freed) this.freedMs.set(ip, nowMs);
    for (const [ip, ms] of this.freedMs) if (ms < nowMs - REMEMBERED_MS) this.freedMs.delete(ip);
  }

  /** A plan was written. @param isAskedFor with intents */
  remember(
    { surplusSinceMs, wanted, status }: Pick<PoolPlan, 'surplusSinceMs' | 'wanted' | 'status'>,
    isAskedFor: boolean,
  ): void {
    const { networkInterfaces = {} } = status;
    this.surplusSinceMs = surplusSinceMs;
    this.wanted = isAskedFor ? undefined : wanted;
    for (const eniId of this.#refusals.keys()) if (networkInterfaces[eniId] === undefined) this.#refusals.delete(eniId);
  }

  /** Otherwise the ENI would be asked for, and refused, again and again. */
  refuse(eniId: string, failure: OperationFailure, nowMs: number): void {
    this.#refusals.set(eniId, nextRefusal(this.#refusals.get(eniId), failure, nowMs));
  }

  /** The same for ENIs that are to be made as this intent asks. Those of one plan are refused together, which counts once. */
  refuseCreation(intent: PoolIntent, failure: OperationFailure, nowMs: number): void {
    const before = this.#creation;
    if (before !== undefined && counts(before, nowMs)) return;
    this.#creation = { ...nextRefusal(before, failure, nowMs), intent };
  }

  /** The cloud has made an ENI. */
  made(): void {
    this.#creation = undefined;
  }

  /** Why no ENI is made now as the configuration asks; a corrected one is tried at once. */
  creationRefusal(asksFor: (intent: PoolIntent) => boolean, nowMs: number): Refusal | undefined {
    if (this.#creation !== undefined && !asksFor(this.#creation.intent)) this.#creation = undefined;
    return this.#creation !== undefined && counts(this.#creation, nowMs) ? this.#creation : undefined;
  }

  /** The ENI has got addresses. */
  granted(eniId: string): void {
    this.#refusals.delete(eniId);
  }

  /** By ENI, those that are not asked for now. */
  refusalsAt(nowMs: number): ReadonlyMap<string, Refusal> {
    return new Map([...this.#refusals].filter(([, refusal]) => counts(refusal, nowMs)));
  }

  /** Addresses that others get only when there is no other. */
  resting(nowMs: number): SentPool['resting'] {
    const freed = [...this.freedMs].filter(([, atMs]) => atMs > nowMs - REST_MS);
    return freed.map(([ip, atMs]) => ({ ip, freedAt: rfc3339(atMs) }));
  }
}

/** One whose time is further away than any is from before the clock was set back. */
function counts({ untilMs }: Refusal, nowMs: number): boolean {
  return untilMs > nowMs && untilMs <= nowMs + LAST_REFUSAL_MS;
}

function nextRefusal<R extends Refusal & { count: number }>(
  before: R | undefined,
  failure: OperationFailure,
  nowMs: number,
): Refusal & { count: number } {
  // Until the record is written, each look finds the same refusal.
  if (before?.failure === failure) return before;
  const count = (before?.count ?? 0) + 1;
  return { failure, count, untilMs: nowMs + Math.min(LAST_REFUSAL_MS, FIRST_REFUSAL_MS * 2 ** (count - 1)) };
}
