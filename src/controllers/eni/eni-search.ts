import { attemptTags } from '../../allocation/identity.ts';
import { CALL_CLASSES, type CallClass } from '../../cloud/call-line.ts';
import { CloudError } from '../../cloud/errors.ts';
import type { Cloud, DescribedEnis, EniFilter } from '../../cloud/port.ts';
import type { QuotaScheduler, ReadLeave, Turn, TurnRequest } from '../../cloud/quota.ts';
import { TAG_ATTEMPT, TAG_CLUSTER } from '../../crds/names.ts';
import type { Eni } from '../../ecs/eni.ts';
import type { Clock } from '../../util/clock.ts';

/** What is known of an ENI whose id is not: the ClientToken of its creation, or the instance that it is the trunk of. */
export type EniQuestion = { attempt: string } | { trunkOf: string };

/** A share of a turn: the request leaves when everyone who has a seat in it has asked or given it back. */
export interface Seat {
  ask(question: EniQuestion): Promise<DescribedEnis>;
  /** Nothing is asked after all. Idempotent. */
  giveBack(): void;
}

const API = 'DescribeNetworkInterfaces';
/** Questions come in crowds, such as after a restart or when nodes join. */
const GATHER_MS = 250;
/** The most of the API's limit that searches take for long: those who wait for an ENI with an id ask by the same API. */
const SHARE = 0.25;
/** So many requests may leave at once before that share counts. */
const BURST = 8;
/** Pages of a listing before the first one was made. */
const PAGES_AT_FIRST = 4;
/** Throttled answers in a row after which a question is given up; who asked decides anew. */
const THROTTLED_TRIES = 10;

interface Asker {
  callClass: CallClass;
  place: number;
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
 * Finds ENIs whose id is unknown. The API takes one tag value or one instance in a request, so that each question would cost
 * one; when more are asked together than a listing of the VPC has pages, that listing answers all of them. An answer is for
 * questions asked before its request left.
 */
export class EniSearch {
  readonly #cloud: Cloud;
  readonly #quota: QuotaScheduler;
  readonly #clock: Clock;
  readonly #clusterId: string;
  readonly #vpcId: string;
  readonly #signal: AbortSignal;
  readonly #waiting = new Set<Asker>();
  #pages = PAGES_AT_FIRST;
  /** Until when the share is used up by what was sent, monotonic milliseconds. */
  #spentUntilMs = 0;
  #isServing = false;
  /** Ends the wait for a turn that was asked for somebody who is not the first any more. */
  #turnWait: AbortController | undefined;

  /** @param options.signal ends every search, when the lease is lost or the process stops. */
  constructor(options: {
    cloud: Cloud;
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
    options.signal.addEventListener('abort', () => this.#turnWait?.abort(options.signal.reason), { once: true });
  }

  /**
   * Resolves when a request is about to leave in which a question has a place. Whoever gets the seat asks or gives it back before
   * doing anything else: the others in the request wait for that.
   *
   * @throws the signal's reason when it aborts first
   */
  seat({ callClass, place }: Omit<TurnRequest, 'api'>, signal: AbortSignal): Promise<Seat> {
    if (signal.aborted || this.#signal.aborted) return Promise.reject(signal.reason ?? this.#signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<Seat>();
    const onAbort = () => {
      const isFirst = this.#first() === asker;
      this.#waiting.delete(asker);
      if (isFirst) this.#turnWait?.abort();
      reject(signal.reason);
    };
    const asker: Asker = {
      callClass,
      place: place ?? this.#quota.newPlace(),
      sinceMs: this.#clock.monotonicMs(),
      resolve: (seat) => {
        signal.removeEventListener('abort', onAbort);
        resolve(seat);
      },
      reject: (reason) => {
        signal.removeEventListener('abort', onAbort);
        reject(reason);
      },
    };
    signal.addEventListener('abort', onAbort, { once: true });
    this.#waiting.add(asker);
    if (this.#first() === asker) this.#turnWait?.abort();
    if (!this.#isServing) void this.#serve();
    return promise;
  }

  /** Waits for a seat and asks; what the cloud throttles is asked again at its place. @throws CloudError */
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
   * Lists the VPC page by page, and keeps what is wanted. Not by tag: such a filter covers 1,000 resources at most.
   *
   * @throws CloudError
   */
  async list(keep: (eni: Eni) => boolean, leave: ReadLeave | { signal: AbortSignal; turn: Turn }) {
    const described = await this.#cloud.describeEnis({ vpcId: this.#vpcId }, leave, keep);
    this.#pages = described.requests;
    return described;
  }

  /** Serves until nobody waits. Never rejects. */
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
      // Only the signal ends it early.
      for (const asker of this.#waiting) asker.reject(reason);
      this.#waiting.clear();
    } finally {
      this.#isServing = false;
    }
  }

  /** When the next request may leave as far as others are concerned; infinitely early when nobody waits. */
  #opensAtMs(): number {
    let sinceMs = Number.POSITIVE_INFINITY;
    for (const asker of this.#waiting) sinceMs = Math.min(sinceMs, asker.sinceMs);
    if (!Number.isFinite(sinceMs)) return Number.NEGATIVE_INFINITY;
    return Math.max(sinceMs + GATHER_MS, this.#spentUntilMs - BURST * this.#paceMs());
  }

  #paceMs(): number {
    return 60_000 / (this.#quota.status(API).limitPerMinute * SHARE);
  }

  /** For the first of those who wait; undefined when that is another one by now, or nobody. */
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
    for (const asker of this.#waiting) if (first === undefined || isBefore(asker, first)) first = asker;
    return first;
  }

  /** Everybody when a listing is cheaper than a request for each, else the first alone. */
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
    // Who comes meanwhile is served by the next one: two listings at a time would cost twice.
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
    return { tags: attemptTags(this.#clusterId, question.attempt) };
  }

  /** Keys of the questions that an ENI answers. */
  #keysOf({ tags, type, instanceId }: Eni): string[] {
    const attempt = tags[TAG_CLUSTER] === this.#clusterId ? tags[TAG_ATTEMPT] : undefined;
    return [
      ...(attempt === undefined ? [] : [keyOf({ attempt })]),
      ...(type === 'Trunk' && instanceId !== undefined ? [keyOf({ trunkOf: instanceId })] : []),
    ];
  }
}

function keyOf(question: EniQuestion): string {
  return 'trunkOf' in question ? `trunk/${question.trunkOf}` : `attempt/${question.attempt}`;
}

function isBefore(one: Asker, other: Asker): boolean {
  const ranks = CALL_CLASSES.indexOf(one.callClass) - CALL_CLASSES.indexOf(other.callClass);
  return ranks === 0 ? one.place < other.place : ranks < 0;
}
