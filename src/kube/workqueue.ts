import { onAbort } from '../util/abort.ts';
import type { Clock } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import { DelayHeap } from './delay-heap.ts';

/** `high` keys are handed out first, but every fifth pick goes to a waiting `normal` key. */
export type QueuePriority = 'high' | 'normal';

/** Metrics callbacks of a queue. They must not throw and should be cheap. */
export interface WorkQueueMetrics {
  /** The number of waiting keys changed. */
  onDepth?(depth: number): void;
  /** A key was handed out after waiting this long. */
  onLatency?(waitedMs: number): void;
  /** A key was done after this working time. */
  onWorkDuration?(durationMs: number): void;
  /** A key was requeued with back-off. */
  onRetry?(): void;
}

export interface WorkQueueOptions {
  clock: Clock;
  random: Random;
  /** First back-off of a key; doubles with each failure. Default 5. */
  baseDelayMs?: number;
  /** Longest back-off of a key. Default 60,000; upstream's 15 minutes would leave pods waiting too long. */
  maxDelayMs?: number;
  metrics?: WorkQueueMetrics;
}

export interface AddOptions {
  priority?: QueuePriority;
}

/** High keys picked in a row before a waiting normal key gets its turn. */
const HIGH_PICKS_IN_A_ROW = 4;

type Entry =
  /** In a queue. `ticket` identifies the key's valid place; other places with the same key are stale. */
  | { state: 'queued'; priority: QueuePriority; ticket: number; sinceMs: number }
  | { state: 'processing'; startedMs: number }
  /** In progress and added again meanwhile: queued again when done. */
  | { state: 'dirty'; priority: QueuePriority; startedMs: number; sinceMs: number };

interface Waiter {
  resolve: (key: string | undefined) => void;
}

/**
 * A queue of keys with the guarantees of client-go's workqueue: a key is queued at most once, however often it is added; it
 * is never handed to two workers at a time; a key that is added while in progress is queued again afterwards. Keys of one
 * priority are handed out in order.
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

  /** Entries held for keys: waiting, in progress, delayed, backing off. */
  get size(): number {
    return this.#entries.size + this.#delayed.size + this.#failures.size;
  }

  /** Number of waiting keys, without those in progress and those delayed. */
  get depth(): number {
    return this.#depth;
  }

  /** Waiting time of the key that has waited longest; 0 when none waits. Iterates over all keys. */
  oldestWaitMs(): number {
    const nowMs = this.#clock.monotonicMs();
    let oldestMs = nowMs;
    for (const entry of this.#entries.values()) {
      if (entry.state === 'queued') oldestMs = Math.min(oldestMs, entry.sinceMs);
    }
    return nowMs - oldestMs;
  }

  /** Number of delayed keys. */
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

  /** Queues a key. No effect while it is waiting (except that `high` promotes it) and after shutdown. */
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

  /** Adds the key after `delayMs`; of several pending delays of one key the earliest wins. */
  addAfter(key: string, delayMs: number, options: AddOptions = {}): void {
    if (this.#shutDown) return;
    if (delayMs <= 0) this.add(key, options);
    else this.#delayed.add(key, delayMs, options.priority ?? 'normal');
  }

  /**
   * Adds the key after its back-off: `baseDelayMs` doubled for every failure since the last {@link forget}, never more
   * than `maxDelayMs`, minus up to 20 % jitter.
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

  /** The key succeeded: resets its back-off. Does not remove it from the queue. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** The object of the key is gone: drops its back-off and the time at which it was to be looked at. */
  drop(key: string): void {
    this.forget(key);
    this.#delayed.remove(key);
  }

  /** How often {@link addRateLimited} was called for the key since it was forgotten. */
  failures(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /**
   * Waits for the next key. The caller must call {@link done} for it.
   *
   * @returns undefined once the queue is shut down and empty
   * @throws the signal's reason when it aborts first
   */
  get(signal?: AbortSignal): Promise<string | undefined> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    const key = this.#take();
    if (key !== undefined || this.#shutDown) return Promise.resolve(key);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve: (taken) => {
          aborting.cancel();
          resolve(taken);
        },
      };
      this.#waiters.add(waiter);
      const aborting = onAbort(signal, () => {
        this.#waiters.delete(waiter);
        reject(signal?.reason);
      });
    });
  }

  /** The worker has finished the key. If it was added meanwhile, it is queued again. */
  done(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.state === 'queued') return;
    this.#metrics.onWorkDuration?.(this.#clock.monotonicMs() - entry.startedMs);
    this.#entries.delete(key);
    if (entry.state === 'dirty' && !this.#shutDown) this.#enqueue(key, entry.priority, entry.sinceMs);
  }

  /** Accepts no more keys, drops the delayed ones, and releases waiting workers once the queue is empty. Idempotent. */
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

/** A FIFO queue on an array: cheap at both ends, and it frees memory. */
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
