import { attemptTags } from '../../allocation/identity.ts';
import { CALL_CLASSES, type CallClass, isBefore, type Place } from '../../cloud/call-line.ts';
import { CloudError } from '../../cloud/errors.ts';
import type { CloudReads, DescribedEnis, EniFilter } from '../../cloud/port.ts';
import type { QuotaScheduler, ReadLeave, Turn, TurnRequest } from '../../cloud/quota.ts';
import { TAG_ATTEMPT, TAG_CLUSTER } from '../../crds/names.ts';
import type { Eni } from '../../ecs/eni.ts';
import { onAbort } from '../../util/abort.ts';
import type { Clock } from '../../util/clock.ts';

/** Identifies ENIs without an id: the ClientToken of its create, the instance whose trunk it is, or that of which they are secondary ones. */
export type EniQuestion = { attempt: string } | { trunkOf: string } | { secondariesOf: string };

/** A place in the next request. The request leaves once every seat has asked or was given back. */
export interface Seat {
  ask(question: EniQuestion): Promise<DescribedEnis>;
  /** Gives up the place without asking. Idempotent. */
  giveBack(): void;
}

const API = 'DescribeNetworkInterfaces';
/** Questions come in batches, for example after a restart or when nodes join. */
const GATHER_MS = 250;
/** Share of the API's limit that searches may use in the long run; waits for ENIs with an id use the same API. */
const SHARE = 0.25;
/** This many requests may leave at once before the share applies. */
const BURST = 8;
/** Assumed pages of a listing before the first one was made. */
const PAGES_AT_FIRST = 4;
/** After this many throttled responses in a row a question fails; its owner decides again. */
const THROTTLED_TRIES = 10;

interface Asker {
  callClass: CallClass;
  place: Place;
  sinceMs: number;
  resolve: (seat: Seat) => void;
  reject: (reason: unknown) => void;
}

interface Asked {
  question: EniQuestion;
  resolve: (answer: DescribedEnis) => void;
  reject: (error: unknown) => void;
}

/**
 * Finds ENIs whose id is unknown. The API filters by one tag value or one instance per request, so each question would
 * cost one request. When more questions wait than a listing of the VPC has pages, the listing answers all of them. An
 * answer is valid only for questions asked before its request was sent.
 */
export class EniSearch {
  readonly #cloud: CloudReads;
  readonly #quota: QuotaScheduler;
  readonly #clock: Clock;
  readonly #clusterId: string;
  readonly #vpcId: string;
  readonly #signal: AbortSignal;
  readonly #waiting = new Set<Asker>();
  #pages = PAGES_AT_FIRST;
  /** Until when requests already sent use up the share, monotonic milliseconds. */
  #spentUntilMs = 0;
  #isServing = false;
  /** Cancels the wait for a turn that was requested for a waiter who is no longer first. */
  #turnWait: AbortController | undefined;

  /** @param options.signal ends every search, when the lease is lost or the process stops. */
  constructor(options: {
    cloud: CloudReads;
    quota: QuotaScheduler;
    clock: Clock;
    clusterId: string;
    vpcId: string;
    signal: AbortSignal;
  }) {
    this.#cloud = options.cloud;
    this.#quota = options.quota;
    this.#clock = options.clock;
    this.#clusterId = options.clusterId;
    this.#vpcId = options.vpcId;
    this.#signal = options.signal;
    onAbort(options.signal, () => this.#turnWait?.abort(options.signal.reason));
  }

  /** Questions that wait for a request. */
  get size(): number {
    return this.#waiting.size;
  }

  /**
   * Resolves when a request is about to leave that has a place for one question. The holder of the seat must ask or
   * give it back before doing anything else, because the other seats wait for it.
   *
   * @throws the signal's reason when it aborts first
   */
  seat({ callClass, place }: Omit<TurnRequest, 'api'>, signal: AbortSignal): Promise<Seat> {
    if (signal.aborted || this.#signal.aborted) return Promise.reject(signal.reason ?? this.#signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<Seat>();
    const asker: Asker = {
      callClass,
      place: place ?? this.#quota.newPlace(),
      sinceMs: this.#clock.monotonicMs(),
      resolve: (seat) => {
        aborting.cancel();
        resolve(seat);
      },
      reject: (reason) => {
        aborting.cancel();
        reject(reason);
      },
    };
    const aborting = onAbort(signal, () => {
      const isFirst = this.#first() === asker;
      this.#waiting.delete(asker);
      if (isFirst) this.#turnWait?.abort();
      reject(signal.reason);
    });
    this.#waiting.add(asker);
    if (this.#first() === asker) this.#turnWait?.abort();
    if (!this.#isServing) void this.#serve();
    return promise;
  }

  /** Waits for a seat and asks; a throttled question is asked again at its place. @throws CloudError */
  async ask(question: EniQuestion, { signal, callClass }: ReadLeave): Promise<DescribedEnis> {
    const place = this.#quota.newPlace();
    for (let throttled = 1; ; throttled += 1) {
      const seat = await this.seat({ callClass, place }, signal);
      try {
        return await seat.ask(question);
      } catch (error) {
        if (!(error instanceof CloudError) || error.kind !== 'throttled' || throttled === THROTTLED_TRIES) throw error;
      }
    }
  }

  /**
   * Lists the VPC page by page and returns what `keep` selects. Does not filter by tag, because a tag filter covers at
   * most 1,000 resources.
   *
   * @throws CloudError
   */
  async list(keep: (eni: Eni) => boolean, leave: ReadLeave | { signal: AbortSignal; turn: Turn }) {
    const described = await this.#cloud.describeEnis({ vpcId: this.#vpcId }, leave, keep);
    this.#pages = described.requests;
    return described;
  }

  /** Serves until no question waits. Never rejects. */
  async #serve(): Promise<void> {
    this.#isServing = true;
    try {
      while (this.#waiting.size > 0) {
        const waitMs = this.#opensAtMs() - this.#clock.monotonicMs();
        if (waitMs > 0) await this.#clock.sleep(waitMs, this.#signal);
        const turn = await this.#turn();
        if (turn !== undefined) await this.#board(turn);
      }
    } catch (reason) {
      // Only the signal ends the loop early.
      for (const asker of this.#waiting) asker.reject(reason);
      this.#waiting.clear();
    } finally {
      this.#isServing = false;
    }
  }

  /** When the share of the quota permits the next request; infinitely early when nobody waits. */
  #opensAtMs(): number {
    let sinceMs = Number.POSITIVE_INFINITY;
    for (const asker of this.#waiting) sinceMs = Math.min(sinceMs, asker.sinceMs);
    if (!Number.isFinite(sinceMs)) return Number.NEGATIVE_INFINITY;
    return Math.max(sinceMs + GATHER_MS, this.#spentUntilMs - BURST * this.#paceMs());
  }

  #paceMs(): number {
    return 60_000 / (this.#quota.status(API).limitPerMinute * SHARE);
  }

  /** A turn for the first waiter; undefined when the first waiter has changed, or nobody waits. */
  async #turn(): Promise<Turn | undefined> {
    const first = this.#first();
    if (first === undefined) return undefined;
    const abort = new AbortController();
    this.#turnWait = abort;
    try {
      return await this.#quota.turn({ api: API, callClass: first.callClass, place: first.place }, abort.signal);
    } catch (reason) {
      this.#signal.throwIfAborted();
      if (abort.signal.aborted) return undefined;
      throw reason;
    } finally {
      this.#turnWait = undefined;
    }
  }

  #first(): Asker | undefined {
    let first: Asker | undefined;
    for (const asker of this.#waiting) if (first === undefined || isMoreUrgent(asker, first)) first = asker;
    return first;
  }

  /** Takes everyone when a listing is cheaper than one request each, otherwise only the first. */
  async #board(turn: Turn): Promise<void> {
    const first = this.#first();
    const boarding = this.#waiting.size > this.#pages ? [...this.#waiting] : first === undefined ? [] : [first];
    const choices = await Promise.all(
      boarding.map((asker) => {
        this.#waiting.delete(asker);
        const { promise, resolve } = Promise.withResolvers<Asked | undefined>();
        asker.resolve({
          giveBack: () => resolve(undefined),
          ask: (question) =>
            new Promise((answer, reject) => {
              resolve({ question, resolve: answer, reject });
            }),
        });
        return promise;
      }),
    );
    const asked = choices.filter((choice) => choice !== undefined);
    const [only] = asked;
    if (only === undefined) turn.giveBack();
    else if (asked.length === 1) void this.#askOne(only, turn);
    // Questions that arrive in the meantime wait for the next one: two concurrent listings would cost twice.
    else await this.#askAll(asked, turn);
  }

  async #askOne(asked: Asked, turn: Turn): Promise<void> {
    this.#spend(1);
    try {
      asked.resolve(await this.#cloud.describeEnis(this.#filterOf(asked.question), { signal: this.#signal, turn }));
    } catch (error) {
      asked.reject(error);
    }
  }

  async #askAll(asked: readonly Asked[], turn: Turn): Promise<void> {
    const wanted = new Set(asked.map(({ question }) => keyOf(question)));
    try {
      const { enis, sentAtMs, requests } = await this.list((eni) => this.#keysOf(eni).some((key) => wanted.has(key)), {
        signal: this.#signal,
        turn,
      });
      this.#spend(requests);
      const found = new Map<string, Eni[]>();
      for (const eni of enis) for (const key of this.#keysOf(eni)) found.set(key, [...(found.get(key) ?? []), eni]);
      for (const { question, resolve } of asked) {
        resolve({ enis: found.get(keyOf(question)) ?? [], sentAtMs, requests });
      }
    } catch (error) {
      this.#spend(1);
      for (const { reject } of asked) reject(error);
    }
  }

  #spend(requests: number): void {
    this.#spentUntilMs = Math.max(this.#clock.monotonicMs(), this.#spentUntilMs) + requests * this.#paceMs();
  }

  #filterOf(question: EniQuestion): EniFilter {
    if ('trunkOf' in question) return { instanceId: question.trunkOf, type: 'Trunk' };
    if ('secondariesOf' in question) return { instanceId: question.secondariesOf, type: 'Secondary' };
    return { tags: attemptTags(this.#clusterId, question.attempt) };
  }

  #keysOf({ tags, type, instanceId }: Eni): string[] {
    const attempt = tags[TAG_CLUSTER] === this.#clusterId ? tags[TAG_ATTEMPT] : undefined;
    return [
      ...(attempt === undefined ? [] : [keyOf({ attempt })]),
      ...(type === 'Trunk' && instanceId !== undefined ? [keyOf({ trunkOf: instanceId })] : []),
      ...(type === 'Secondary' && instanceId !== undefined ? [keyOf({ secondariesOf: instanceId })] : []),
    ];
  }
}

function keyOf(question: EniQuestion): string {
  if ('trunkOf' in question) return `trunk/${question.trunkOf}`;
  return 'attempt' in question ? `attempt/${question.attempt}` : `secondaries/${question.secondariesOf}`;
}

function isMoreUrgent(one: Asker, other: Asker): boolean {
  const ranks = CALL_CLASSES.indexOf(one.callClass) - CALL_CLASSES.indexOf(other.callClass);
  return ranks === 0 ? isBefore(one.place, other.place) : ranks < 0;
}
