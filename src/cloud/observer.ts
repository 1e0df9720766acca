import type { Eni, EniObservation } from '../ecs/eni.ts';
import { onAbort } from '../util/abort.ts';
import type { Clock, ScheduledCall } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { CALL_CLASSES, type CallClass } from './call-line.ts';
import type { CloudReads } from './port.ts';
import type { ReadLeave } from './quota.ts';

/** The transition that the cloud is expected to finish; `read` only asks for the current state. */
export type Expectation = 'read' | 'attach' | 'detach' | 'delete';

const BATCH_IDS = 100;
/** Requests per poll; they are sent together. */
const BATCHES_AT_ONCE = 5;
/** A describe may still show the state before the call that started the transition. */
const LAG_MS = 5000;
/** While a transition takes long, its owner is woken this often so that it can report. */
const REPORT_MS = 15_000;
const PACE_MIN_MS = { attach: 100, other: 400 };
const PACE_MAX_MS = { attach: 500, other: 1000 };
/**
 * Reads that arrive together, for example when a Deployment is deleted, share a request; later ones follow the pace.
 */
const READ_GATHER_MS = 20;
/**
 * Minimum time between two polls per ENI in flight, so that few ENIs get fast answers and many take few calls. Attaches
 * are polled faster, because a pod waits for them.
 */
const PACE_PER_ENI_MS = { attach: 3.5, other: 5 };
/** Estimates are a little too short at times. What is seen unfinished more often takes long and follows the pace. */
const MOST_EARLY_POLLS = 1;
const FAILURE_PAUSE_MS = 1000;
/** After this time without a response, the other ENIs no longer wait for it: it may be lost. */
const OVERDUE_MS = 3000;
/** With this many overdue, the cloud is silent or refuses, and more requests would not help. */
const MOST_OVERDUE = 5;
/** Weight of the newest sample in a learnt duration; the first samples weigh more. */
const NEWEST_SHARE = 0.2;
/** After a poll found an operation already finished, the next poll comes a little earlier; twice as much each time. */
const SHORTEN_STEP = 0.02;
/** A poll this much after its time was late for reasons of ours and says nothing about the estimate. */
const PROMPT_MS = 500;
/** A sample counts as at most so many times the estimate, because one that hangs says nothing about the others. */
const OUTLIER_FACTOR = 2;
/** However slow the cloud was: when it has recovered, a pod must not wait longer than this for its first poll. */
const LONGEST_SAMPLE_MS = 10_000;
/** How long a state is kept that its owner has not asked for again. */
const KEPT_MS = 60_000;

type Lasting = Exclude<Expectation, 'read'>;

/** Learnt duration of one kind of operation. */
interface Duration {
  ms: number;
  /** Number of samples. */
  answers: number;
  /** How many of the latest polls in a row came after the operation had ended, and when the last of them was sent. */
  lateInARow: number;
  lateAtMs: number;
}

interface Watched {
  id: string;
  expectation: Expectation;
  owner: string;
  callClass: CallClass;
  sinceMs: number;
  dueMs: number;
  /** When the latest answered request for it was made. */
  answeredMs: number;
  /** Its age when it was last seen unfinished; 0 if it never was. */
  unfinishedMs: number;
  /** How often it was seen unfinished when it was due; others only filled a request. */
  unfinishedPolls: number;
  reportedMs: number;
}

/**
 * Polls the cloud for the state of asynchronous operations, and is the only place that does. It batches everything in
 * flight into describes of up to 100 ids, learns how long each kind of operation takes to avoid early polls, and wakes
 * the owners.
 */
export class EniObserver {
  readonly #cloud: CloudReads;
  readonly #clock: Clock;
  readonly #wake: (owner: string) => void;
  readonly #onError: (message: string) => void;
  /** By ENI, then by owner: a trunk is the node's and, where pods share its addresses, the pool's. */
  readonly #watched = new Map<string, Map<string, Watched>>();
  readonly #latest = new Map<string, EniObservation>();
  /** Initial estimates are short, so that the first poll is early rather than late. */
  readonly #durations: Record<Lasting, Duration> = {
    attach: { ms: 1000, answers: 0, lateInARow: 0, lateAtMs: -1 },
    detach: { ms: 1000, answers: 0, lateInARow: 0, lateAtMs: -1 },
    delete: { ms: 1000, answers: 0, lateInARow: 0, lateAtMs: -1 },
  };
  #lastAskedMs = 0;
  /** Batches that were sent and that nobody waits for any more. */
  #overdue = 0;
  #rouse: (() => void) | undefined;

  /** @param options.wake is called with the owner on news of one of its ENIs. */
  constructor(options: {
    cloud: CloudReads;
    clock: Clock;
    wake: (owner: string) => void;
    onError: (message: string) => void;
  }) {
    this.#cloud = options.cloud;
    this.#clock = options.clock;
    this.#wake = options.wake;
    this.#onError = options.onError;
  }

  /** ENIs being polled, and states kept for their owners. */
  get size(): number {
    return this.#entries().length + this.#latest.size;
  }

  /** Number of ENIs being polled, by expected transition. */
  inFlight(): Record<Expectation, number> {
    const counts = { read: 0, attach: 0, detach: 0, delete: 0 };
    for (const { expectation } of this.#entries()) counts[expectation] += 1;
    return counts;
  }

  /** The usual duration of an operation of this kind, learnt so far; milliseconds. */
  usualMs(kind: Lasting): number {
    return this.#durations[kind].ms;
  }

  latest(eniId: string): EniObservation | undefined {
    return this.#latest.get(eniId);
  }

  /** Records a state that another call returned, such as a create. */
  note(eni: Eni, atMs: number): void {
    this.#latest.set(eni.id, { atMs, eni });
  }

  /** Drops the state of an ENI that is settled for this owner; memory holds only ENIs in transition. Others still hear what they wait for. */
  forget(eniId: string, owner: string): void {
    this.#unwatch(eniId, owner);
    this.#latest.delete(eniId);
  }

  #unwatch(eniId: string, owner: string): void {
    const watched = this.#watched.get(eniId);
    watched?.delete(owner);
    if (watched?.size === 0) this.#watched.delete(eniId);
  }

  #entries(): Watched[] {
    return [...this.#watched.values()].flatMap((watched) => [...watched.values()]);
  }

  /**
   * Polls until the expectation is met or the cloud shows a different outcome, then wakes the owner. Repeated calls
   * share one poll.
   *
   * @param callClass the class that waits for the result; a request is as urgent as the most urgent ENI in it.
   */
  expect(eniId: string, expectation: Expectation, owner: string, callClass: CallClass): void {
    const nowMs = this.#clock.monotonicMs();
    const watched = this.#watched.get(eniId) ?? new Map<string, Watched>();
    const known = watched.get(owner);
    if (known?.expectation === expectation) {
      known.callClass = moreUrgent(known.callClass, callClass);
      return;
    }
    const dueMs = expectation === 'read' ? nowMs + READ_GATHER_MS : nowMs + this.#durations[expectation].ms;
    this.#watched.set(eniId, watched);
    watched.set(owner, {
      id: eniId,
      expectation,
      owner,
      callClass,
      sinceMs: nowMs,
      dueMs,
      answeredMs: 0,
      unfinishedMs: 0,
      unfinishedPolls: 0,
      reportedMs: nowMs,
    });
    this.#rouse?.();
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const waitMs = this.#nextAskMs() - this.#clock.monotonicMs();
      if (waitMs > 0) {
        await this.#rest(this.#latest.size === 0 ? waitMs : Math.min(waitMs, KEPT_MS), signal);
        this.#dropOld();
        continue;
      }
      this.#lastAskedMs = this.#clock.monotonicMs();
      const answers = this.#batches().map((batch) => this.#answered(batch, signal));
      const hasFailed = (await Promise.all(answers)).includes('failed');
      if (hasFailed && !signal.aborted) await this.#rest(FAILURE_PAUSE_MS, signal, true);
    }
  }

  /** What its owner neither used nor forgot: it may be gone. */
  #dropOld(): void {
    const oldestMs = this.#clock.now() - KEPT_MS;
    for (const [id, { atMs }] of this.#latest) if (atMs < oldestMs && !this.#watched.has(id)) this.#latest.delete(id);
  }

  /** Resolves when a batch was answered or failed, or when its answer is overdue, which is then still used if it comes. */
  async #answered(batch: Watched[], signal: AbortSignal): Promise<'ok' | 'failed' | 'overdue'> {
    const overdue = Promise.withResolvers<'overdue'>();
    let timer: ScheduledCall | undefined;
    let isOverdue = false;
    const leave = () => {
      if (this.#overdue >= MOST_OVERDUE) return;
      isOverdue = true;
      this.#overdue += 1;
      overdue.resolve('overdue');
    };
    // Not while it waits for quota: more requests would only make that queue longer.
    const onSent = () => {
      timer ??= this.#clock.schedule(OVERDUE_MS, leave);
    };
    const answer = this.#ask(batch, { signal, onSent })
      .then(
        () => 'ok' as const,
        (error: unknown) => {
          if (!signal.aborted) this.#onError(errorMessage(error));
          return 'failed' as const;
        },
      )
      .finally(() => {
        timer?.cancel();
        if (isOverdue) this.#overdue -= 1;
      });
    return Promise.race([answer, overdue.promise]);
  }

  #nextAskMs(): number {
    const due = { attach: Number.POSITIVE_INFINITY, other: Number.POSITIVE_INFINITY };
    const count = { attach: 0, other: 0 };
    /** When those are due that should have ended by then. */
    const ending: Record<Expectation, number[]> = { read: [], attach: [], detach: [], delete: [] };
    for (const { expectation, dueMs, unfinishedPolls } of this.#entries()) {
      const kind = expectation === 'attach' ? 'attach' : 'other';
      due[kind] = Math.min(due[kind], dueMs);
      count[kind] += 1;
      if (unfinishedPolls <= MOST_EARLY_POLLS) ending[expectation].push(dueMs);
    }
    // The first that is due waits for the pace, so that others share its request; but no longer than until a whole batch is
    // due, or all of them. How many reads are still to come is not known, so only a whole batch of them is asked early.
    const nextOf = (kind: 'attach' | 'other', fullMs: number) => {
      const leastMs = PACE_MIN_MS[kind];
      const paceMs = Math.min(PACE_MAX_MS[kind], Math.max(leastMs, count[kind] * PACE_PER_ENI_MS[kind]));
      return Math.max(due[kind], Math.min(this.#lastAskedMs + paceMs, Math.max(fullMs, this.#lastAskedMs + leastMs)));
    };
    return Math.min(
      nextOf('attach', lastOfBatch(ending.attach)),
      nextOf(
        'other',
        Math.min(
          lastOfBatch(ending.detach),
          lastOfBatch(ending.delete),
          ending.read.length < BATCH_IDS ? Number.POSITIVE_INFINITY : lastOfBatch(ending.read),
        ),
      ),
    );
  }

  /**
   * Everything that is due, urgent ENIs first. ENIs that are due soon fill the last request, where they cost nothing.
   */
  #batches(): Watched[][] {
    const nowMs = this.#clock.monotonicMs();
    const rankOf = ({ dueMs, callClass }: Watched) => (dueMs <= nowMs ? urgencyOf(callClass) : CALL_CLASSES.length);
    const waiting = this.#entries().sort((a, b) => rankOf(a) - rankOf(b) || a.dueMs - b.dueMs);
    const due = waiting.filter(({ dueMs }) => dueMs <= nowMs).length;
    const count = Math.min(BATCHES_AT_ONCE, Math.max(1, Math.ceil(due / BATCH_IDS)));
    return Array.from({ length: count }, (_, at) => waiting.slice(at * BATCH_IDS, (at + 1) * BATCH_IDS));
  }

  async #ask(batch: Watched[], limit: Pick<ReadLeave, 'signal' | 'onSent'>): Promise<void> {
    const callClass = batch.map((entry) => entry.callClass).reduce(moreUrgent, 'audit');
    const ids = [...new Set(batch.map((entry) => entry.id))];
    const askedMs = this.#clock.monotonicMs();
    const { enis, sentAtMs } = await this.#cloud.describeEnis({ ids }, { ...limit, callClass });
    const shown = new Map(enis.map((eni) => [eni.id, eni]));
    const nowMs = this.#clock.monotonicMs();
    const met: Watched[] = [];
    for (const entry of batch) {
      // Replaced or forgotten while the request was in progress: the response belongs to an older expectation.
      if (this.#watched.get(entry.id)?.get(entry.owner) !== entry) continue;
      // It was overdue, and a later request was answered before it.
      if (entry.answeredMs > askedMs) continue;
      entry.answeredMs = askedMs;
      const eni = shown.get(entry.id);
      this.#latest.set(entry.id, eni === undefined ? { atMs: sentAtMs } : { atMs: sentAtMs, eni });
      if (this.#judge(entry, eni, nowMs) === 'met') met.push(entry);
    }
    this.#learn(met, nowMs);
  }

  #judge(entry: Watched, eni: Eni | undefined, nowMs: number): 'met' | 'pending' | 'other' {
    const elapsedMs = nowMs - entry.sinceMs;
    const verdict = entry.expectation === 'read' ? 'met' : verdictOf(entry.expectation, eni, elapsedMs);
    if (verdict === 'pending') {
      entry.unfinishedMs = elapsedMs;
      if (entry.dueMs <= nowMs) entry.unfinishedPolls += 1;
      entry.dueMs = Math.max(entry.dueMs, nowMs + Math.min(3000, 100 + elapsedMs * 0.1));
      if (nowMs - entry.reportedMs >= REPORT_MS) {
        entry.reportedMs = nowMs;
        this.#wake(entry.owner);
      }
      return verdict;
    }
    this.#unwatch(entry.id, entry.owner);
    this.#wake(entry.owner);
    return verdict;
  }

  /**
   * Each operation took between `unfinishedMs` and now. If none was ever seen unfinished, the estimate may be too long,
   * unless the poll was late for reasons of ours. One response counts as one sample, however many ENIs it
   * contains.
   */
  #learn(met: readonly Watched[], nowMs: number): void {
    for (const kind of ['attach', 'detach', 'delete'] as const) {
      const ended = met.filter(({ expectation }) => expectation === kind);
      if (ended.length === 0) continue;
      const known = this.#durations[kind];
      const bounds = ended.filter(({ unfinishedMs }) => unfinishedMs > 0);
      const isPrompt = ended.some(({ dueMs }) => nowMs - dueMs <= PROMPT_MS);
      // When these are due was decided before the estimate was last shortened, so they say nothing about it.
      const isNews = ended.some(({ sinceMs }) => sinceMs > known.lateAtMs);
      if (bounds.length === 0 && !(isPrompt && isNews)) continue;
      known.answers += 1;
      if (bounds.length === 0) {
        known.lateInARow += 1;
        known.lateAtMs = this.#lastAskedMs;
        const shortestMs = Math.min(known.ms, ...ended.map(({ sinceMs }) => nowMs - sinceMs));
        known.ms += NEWEST_SHARE * (shortestMs * (1 - shorteningOf(known.lateInARow)) - known.ms);
        continue;
      }
      known.lateInARow = 0;
      const mostMs = Math.min(LONGEST_SAMPLE_MS, OUTLIER_FACTOR * known.ms);
      const samples = bounds.map(({ unfinishedMs, sinceMs }) => (unfinishedMs + nowMs - sinceMs) / 2);
      const sampleMs = samples.reduce((sum, ms) => sum + Math.min(ms, mostMs), 0) / samples.length;
      known.ms += Math.max(NEWEST_SHARE, 1 / known.answers) * (sampleMs - known.ms);
    }
  }

  async #rest(ms: number, signal: AbortSignal, deaf = false): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = Number.isFinite(ms) ? this.#clock.schedule(ms, resolve) : undefined;
    using _aborting = onAbort(signal, resolve);
    if (!deaf) this.#rouse = resolve;
    await promise;
    this.#rouse = undefined;
    timer?.cancel();
  }
}

/** When the first batch of these is due as a whole, or all of them if they fit into one. */
function lastOfBatch(dues: readonly number[]): number {
  if (dues.length === 0) return Number.POSITIVE_INFINITY;
  if (dues.length <= BATCH_IDS) return Math.max(...dues);
  return Float64Array.from(dues).sort()[BATCH_IDS - 1] ?? Number.POSITIVE_INFINITY;
}

function shorteningOf(lateInARow: number): number {
  return Math.min(1, SHORTEN_STEP * 2 ** (lateInARow - 1));
}

function urgencyOf(callClass: CallClass): number {
  return CALL_CLASSES.indexOf(callClass);
}

function moreUrgent(one: CallClass, other: CallClass): CallClass {
  return urgencyOf(one) <= urgencyOf(other) ? one : other;
}

function verdictOf(
  expectation: Exclude<Expectation, 'read'>,
  eni: Eni | undefined,
  elapsedMs: number,
): 'met' | 'pending' | 'other' {
  const late = elapsedMs > LAG_MS;
  switch (expectation) {
    case 'attach':
      if (eni?.status === 'InUse') return 'met';
      return eni?.status === 'Attaching' || !late ? 'pending' : 'other';
    case 'detach':
      if (eni === undefined || eni.status === 'Available') return 'met';
      return eni.status === 'Detaching' || !late ? 'pending' : 'other';
    case 'delete':
      if (eni === undefined) return 'met';
      return eni.status === 'Deleting' || !late ? 'pending' : 'other';
  }
}
