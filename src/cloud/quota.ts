import type { Clock, ScheduledCall } from '../util/clock.ts';

const MINUTE_MS = 60_000;
/** A call released this close to the end of a minute may be counted by the cloud in the next one; it is charged to both. */
const TAIL_MS = 250;
/** After the turn of a minute, how long the cloud's clock may lag behind ours. */
const GUARD_MS = 50;

/** Calls per minute that upstream assumes (reference 5.6). The account's real figures stand in its quota centre. */
export const DEFAULT_LIMITS: Readonly<Record<string, number>> = {
  default: 500,
  AttachNetworkInterface: 500,
  CreateNetworkInterface: 500,
  DeleteNetworkInterface: 500,
  DescribeNetworkInterfaces: 800,
  DetachNetworkInterface: 400,
  DescribeVSwitches: 300,
  DescribeInstanceTypes: 400,
};

/** How busy one API is. */
export interface QuotaStatus {
  limitPerMinute: number;
  usedThisMinute: number;
  waiting: number;
  /** When the count starts again, epoch milliseconds. */
  nextMinuteAtMs: number;
}

interface Window {
  minute: number;
  used: number;
  /** Of `used`, those charged to the next minute as well. */
  tail: number;
  queue: { resolve: (validUntilMs: number) => void; reject: (reason: unknown) => void }[];
  timer: ScheduledCall | undefined;
}

/**
 * Lets `limit × share` calls per API through in a clock minute: at once while the minute has room, then in arrival order
 * from the next minute on. The cloud counts in fixed one-minute windows (budgets.md), so a token bucket would let twice the
 * quota through.
 */
export class QuotaScheduler {
  readonly #clock: Clock;
  #limits: Record<string, number>;
  #share: number;
  readonly #windows = new Map<string, Window>();

  /**
   * @param options.limits calls per minute by API name; `default` for the rest. Overrides {@link DEFAULT_LIMITS}.
   * @param options.share part of the limits that this process may use, in (0, 1].
   */
  constructor(options: { clock: Clock; limits?: Record<string, number>; share?: number }) {
    this.#clock = options.clock;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#share = options.share ?? 1;
  }

  /** Other limits from now on; what waits goes as soon as they let it. */
  setLimits({ limits, share }: { limits: Record<string, number>; share: number }): void {
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    this.#share = share;
    for (const [api, window] of this.#windows) this.#release(api, window);
  }

  /**
   * Resolves when a call of this API may be sent; rejects with the signal's reason when it aborts first.
   *
   * @returns until when it may leave, epoch milliseconds: later it would count in a minute that it is not charged to.
   */
  async acquire(api: string, signal: AbortSignal): Promise<number> {
    signal.throwIfAborted();
    const window = this.#window(api);
    const validUntilMs = window.queue.length === 0 ? this.#take(api, window) : undefined;
    if (validUntilMs !== undefined) return validUntilMs;
    return new Promise<number>((resolve, reject) => {
      const waiter = {
        resolve: (untilMs: number) => {
          signal.removeEventListener('abort', onAbort);
          resolve(untilMs);
        },
        reject,
      };
      const onAbort = () => {
        const at = window.queue.indexOf(waiter);
        if (at >= 0) window.queue.splice(at, 1);
        if (window.queue.length === 0) this.#unplan(window);
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      window.queue.push(waiter);
      this.#plan(api, window);
    });
  }

  /** Every API that has a limit of its own or was called, by name. */
  apis(): string[] {
    const named = Object.keys(this.#limits).filter((api) => api !== 'default');
    return [...new Set([...named, ...this.#windows.keys()])].sort();
  }

  status(api: string): QuotaStatus {
    const window = this.#window(api);
    this.#roll(window);
    return {
      limitPerMinute: this.#limit(api),
      usedThisMinute: window.used,
      waiting: window.queue.length,
      nextMinuteAtMs: (window.minute + 1) * MINUTE_MS,
    };
  }

  #limit(api: string): number {
    return Math.max(1, Math.floor((this.#limits[api] ?? this.#limits['default'] ?? 500) * this.#share));
  }

  #window(api: string): Window {
    const known = this.#windows.get(api);
    if (known !== undefined) return known;
    const window: Window = { minute: this.#minute(), used: 0, tail: 0, queue: [], timer: undefined };
    this.#windows.set(api, window);
    return window;
  }

  #minute(): number {
    return Math.floor((this.#clock.now() - GUARD_MS) / MINUTE_MS);
  }

  #roll(window: Window): void {
    const minute = this.#minute();
    if (minute === window.minute) return;
    if (minute < window.minute) {
      // The clock was set back. Which minute of the cloud this is, nobody knows: what was let through counts in it and in
      // the next one, so that neither opens a second full window.
      window.tail = window.used;
    } else {
      window.used = minute === window.minute + 1 ? window.tail : 0;
      window.tail = 0;
    }
    window.minute = minute;
  }

  /** @returns until when the call may leave; undefined when the minute is full. */
  #take(api: string, window: Window): number | undefined {
    this.#roll(window);
    if (window.used >= this.#limit(api)) return undefined;
    window.used += 1;
    const tailFromMs = (window.minute + 1) * MINUTE_MS - TAIL_MS;
    if (this.#clock.now() < tailFromMs) return tailFromMs;
    window.tail += 1;
    return tailFromMs + MINUTE_MS;
  }

  #plan(api: string, window: Window): void {
    if (window.timer !== undefined || window.queue.length === 0) return;
    const waitMs = (window.minute + 1) * MINUTE_MS + GUARD_MS - this.#clock.now();
    window.timer = this.#clock.schedule(Math.max(1, waitMs), () => this.#release(api, window));
  }

  /** Lets through what the minute has room for, and plans for the rest. */
  #release(api: string, window: Window): void {
    this.#unplan(window);
    while (window.queue.length > 0) {
      const validUntilMs = this.#take(api, window);
      if (validUntilMs === undefined) break;
      window.queue.shift()?.resolve(validUntilMs);
    }
    this.#plan(api, window);
  }

  #unplan(window: Window): void {
    window.timer?.cancel();
    window.timer = undefined;
  }
}
