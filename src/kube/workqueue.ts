import type { Clock } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import { DelayHeap } from './delay-heap.ts';

/** `high` keys are handed out first, but every fifth pick goes to a waiting `normal` key. */
export type QueuePriority = 'high' | 'normal';

/** Observers of a queue. They must not throw and should be cheap. */
export interface WorkQueueMetrics {
  /** The number of keys that wait changed. */
  onDepth?(depth: number): void;
  /** A key was handed out after waiting this long. */
  onLatency?(waitedMs: number): void;
  /** A key was handed back after being worked on this long. */
  onWorkDuration?(durationMs: number): void;
  /** A key was put back with back-off. */
  onRetry?(): void;
}

export interface WorkQueueOptions {
  clock: Clock;
  random: Random;
  /** First back-off of a key; doubles with each failure. Default 5. */
  baseDelayMs?: number;
  /** Longest back-off of a key. Default 60,000, so that nothing waits for upstream's quarter of an hour. */
  maxDelayMs?: number;
  metrics?: WorkQueueMetrics;
}

export interface AddOptions {
  priority?: QueuePriority;
}

/** Low-priority keys are never left behind for more than this many picks in a row. */
const HIGH_PICKS_IN_A_ROW = 4;

type Entry =
  /** In a queue. `ticket` names the one place in line that is valid; others with the same key are leftovers. */
  | { state: 'queued'; priority: QueuePriority; ticket: number; sinceMs: number }
  | { state: 'processing'; startedMs: number }
  /** Being worked on, and added again meanwhile: goes back in line when done. */
  | { state: 'dirty'; priority: QueuePriority; startedMs: number; sinceMs: number };

interface Waiter {
  resolve: (key: string | undefined) => void;
}

/**
 * A queue of keys with the guarantees of client-go's: a key waits at most once, however often it is added; it is never
 * handed to two workers at a time; added while being worked on, it comes again afterwards. Keys are handed out in the
 * order in which they came, per priority.
 */
export class WorkQueue {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #baseDelayMs: number;
  readonly #maxDelayMs: number;
  readonly #metrics: WorkQueueMetrics;
  readonly #entries = new Map<string, Entry>();
  readonly #queues: Record<QueuePriority, FifoQueue> = { high: new FifoQueue(), normal: new FifoQueue() };
  readonly #failures = new Map<string, number>();
  readonly #delayed: DelayHeap<QueuePriority>;
  readonly #waiters = new Set<Waiter>();
  #depth = 0;
  #tickets = 0;
  #highPicksInARow = 0;
  #shutDown = false;

  constructor(options: WorkQueueOptions) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#baseDelayMs = options.baseDelayMs ?? 5;
    this.#maxDelayMs = options.maxDelayMs ?? 60_000;
    this.#metrics = options.metrics ?? {};
    this.#delayed = new DelayHeap(this.#clock, (key, priority) => this.add(key, { priority }));
  }

  /** Keys that wait in line; those being worked on and those delayed do not count. */
  get depth(): number {
    return this.#depth;
  }

  /** How long the key that waits longest in line has done so; 0 when none waits. Looks at every key. */
  oldestWaitMs(): number {
    const nowMs = this.#clock.monotonicMs();
    let oldestMs = nowMs;
    for (const entry of this.#entries.values()) {
      if (entry.state === 'queued') oldestMs = Math.min(oldestMs, entry.sinceMs);
    }
    return nowMs - oldestMs;
  }

  /** Keys that wait for their time. */
  get delayedCount(): number {
    return this.#delayed.size;
  }

  /** Keys handed out and not yet {@link done}. */
  get processingCount(): number {
    return this.#entries.size - this.#depth;
  }

  get isShutDown(): boolean {
    return this.#shutDown;
  }

  /** Puts a key in line. Without effect while it waits already (except that `high` promotes it) and after shutdown. */
  add(key: string, options: AddOptions = {}): void {
    if (this.#shutDown) return;
    const priority = options.priority ?? 'normal';
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      this.#enqueue(key, priority, this.#clock.monotonicMs());
      return;
    }
    switch (entry.state) {
      case 'queued':
        if (priority === 'high' && entry.priority === 'normal') {
          entry.priority = 'high';
          entry.ticket = ++this.#tickets;
          this.#queues.high.push(key, entry.ticket);
        }
        return;
      case 'processing': {
        const sinceMs = this.#clock.monotonicMs();
        this.#entries.set(key, { state: 'dirty', priority, startedMs: entry.startedMs, sinceMs });
        return;
      }
      case 'dirty':
        if (priority === 'high') entry.priority = 'high';
    }
  }

  /** Adds the key after `delayMs`; of several pending delays of one key the earliest counts. */
  addAfter(key: string, delayMs: number, options: AddOptions = {}): void {
    if (this.#shutDown) return;
    if (delayMs <= 0) this.add(key, options);
    else this.#delayed.add(key, delayMs, options.priority ?? 'normal');
  }

  /**
   * Adds the key after its back-off: `baseDelayMs` doubled for every failure since the last {@link forget}, never more
   * than `maxDelayMs`, spread downwards by up to a fifth.
   *
   * @returns the delay that was chosen
   */
  addRateLimited(key: string, options: AddOptions = {}): number {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const fullMs = Math.min(this.#maxDelayMs, this.#baseDelayMs * 2 ** Math.min(failures, 40));
    const delayMs = fullMs * (1 - 0.2 * this.#random.next());
    this.#metrics.onRetry?.();
    this.addAfter(key, delayMs, options);
    return delayMs;
  }

  /** The key succeeded: its back-off starts anew. Does not take it out of the line. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** How often {@link addRateLimited} was called for the key since it was forgotten. */
  failures(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /**
   * The next key, as soon as there is one. The caller owes a {@link done} for it.
   *
   * @returns undefined once the queue is shut down and empty
   * @throws the signal's reason when it aborts first
   */
  get(signal?: AbortSignal): Promise<string | undefined> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    const key = this.#take();
    if (key !== undefined || this.#shutDown) return Promise.resolve(key);
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiters.delete(waiter);
        reject(signal?.reason);
      };
      const waiter: Waiter = {
        resolve: (taken) => {
          signal?.removeEventListener('abort', onAbort);
          resolve(taken);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiters.add(waiter);
    });
  }

  /** The worker is through with the key. If it was added meanwhile it goes back in line. */
  done(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.state === 'queued') return;
    this.#metrics.onWorkDuration?.(this.#clock.monotonicMs() - entry.startedMs);
    this.#entries.delete(key);
    if (entry.state === 'dirty' && !this.#shutDown) this.#enqueue(key, entry.priority, entry.sinceMs);
  }

  /** Takes no more keys, drops the delayed ones, and lets waiting workers go once the line is empty. Idempotent. */
  shutDown(): void {
    this.#shutDown = true;
    this.#delayed.clear();
    for (const waiter of this.#waiters) waiter.resolve(undefined);
    this.#waiters.clear();
  }

  #enqueue(key: string, priority: QueuePriority, sinceMs: number): void {
    const ticket = ++this.#tickets;
    this.#entries.set(key, { state: 'queued', priority, ticket, sinceMs });
    this.#queues[priority].push(key, ticket);
    this.#setDepth(this.#depth + 1);
    for (const waiter of this.#waiters) {
      this.#waiters.delete(waiter);
      waiter.resolve(this.#take());
      break;
    }
  }

  #take(): string | undefined {
    if (this.#depth === 0) return undefined;
    const preferNormal = this.#highPicksInARow >= HIGH_PICKS_IN_A_ROW;
    const first = preferNormal ? 'normal' : 'high';
    const second = preferNormal ? 'high' : 'normal';
    return this.#takeFrom(first) ?? this.#takeFrom(second);
  }

  #takeFrom(priority: QueuePriority): string | undefined {
    const queue = this.#queues[priority];
    for (let place = queue.shift(); place !== undefined; place = queue.shift()) {
      const entry = this.#entries.get(place.key);
      if (entry?.state !== 'queued' || entry.ticket !== place.ticket) continue;
      const startedMs = this.#clock.monotonicMs();
      this.#highPicksInARow = priority === 'high' ? this.#highPicksInARow + 1 : 0;
      this.#entries.set(place.key, { state: 'processing', startedMs });
      this.#setDepth(this.#depth - 1);
      this.#metrics.onLatency?.(startedMs - entry.sinceMs);
      return place.key;
    }
    return undefined;
  }

  #setDepth(depth: number): void {
    this.#depth = depth;
    this.#metrics.onDepth?.(depth);
  }
}

interface Place {
  key: string;
  ticket: number;
}

/** A first-in-first-out line on an array: cheap at both ends, and it gives memory back. */
class FifoQueue {
  #places: Place[] = [];
  #head = 0;

  push(key: string, ticket: number): void {
    this.#places.push({ key, ticket });
  }

  shift(): Place | undefined {
    const place = this.#places[this.#head];
    if (place === undefined) return undefined;
    this.#head += 1;
    // Compacting when half is used up costs each element one move on average.
    if (this.#head > 1024 && this.#head * 2 > this.#places.length) {
      this.#places = this.#places.slice(this.#head);
      this.#head = 0;
    } else if (this.#head === this.#places.length) {
      this.#places = [];
      this.#head = 0;
    }
    return place;
  }
}
