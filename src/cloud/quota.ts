import type { Clock, ScheduledCall } from '../util/clock.ts';
import { type CallClass, CallLine, type Waiter } from './call-line.ts';
import { LearntLimit } from './learnt-limit.ts';

const MINUTE_MS = 60_000;
const SECOND_MS = 1000;
/** A call released this close to the end of a minute may be counted by the cloud in the next one; it is charged to both. */
const TAIL_MS = 250;
/** After the turn of a minute, how long the cloud's clock may lag behind ours. */
const GUARD_MS = 50;

/** Calls per minute that upstream assumes. The account's real figures stand in its quota centre. */
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
  /** As configured, or as refusals have taught, whichever is less. */
  limitPerMinute: number;
  /** What refusals have taught; absent without such. */
  learntPerMinute?: number;
  learntPerSecond?: number;
  usedThisMinute: number;
  waiting: number;
  waitingByClass: Readonly<Record<CallClass, number>>;
  /** When the count starts again, epoch milliseconds. */
  nextMinuteAtMs: number;
}

/** Leave to make one call now. Whoever holds one either gives it back or says how the call ended. */
export interface Turn {
  readonly callClass: CallClass;
  /** Until when the call may leave, epoch milliseconds: later it would count in a minute that it is not charged to. */
  readonly validUntilMs: number;
  /** The call is not made: the next in line has the turn. Idempotent. */
  giveBack(): void;
  /**
   * How the call ended. Idempotent.
   *
   * @returns after `throttled`, a request for another turn at the place in line that the call has had.
   */
  end(how: 'accepted' | 'throttled' | 'unknown'): TurnRequest;
}

/** Who asks for a turn. */
export interface TurnRequest {
  api: string;
  callClass: CallClass;
  /** Of {@link QuotaScheduler.newPlace}, for a call that has waited before; absent for a new one. */
  place?: number;
}

/** Until when a call may be sent. */
export interface SendLimit {
  signal: AbortSignal;
  /** Asked right before the call is written: throws when nothing may leave any more, though the signal has not aborted yet. */
  assertHeld?: () => void;
}

/** Leave to read: whom the wait for quota is for. */
export interface ReadLeave extends SendLimit {
  callClass: CallClass;
}

/** Leave to change something: a turn that the caller has, or as for reading. */
export type CallLeave = ReadLeave | (SendLimit & { turn: Turn });

interface TurnWaiter extends Waiter {
  resolve: (turn: Turn) => void;
}

interface Window {
  api: string;
  minute: number;
  used: number;
  /** Of `used`, those charged to the next minute as well. */
  tail: number;
  second: number;
  usedThisSecond: number;
  learnt: LearntLimit;
  line: CallLine<TurnWaiter>;
  timer: ScheduledCall | undefined;
}

/**
 * Gives `limit × share` turns per API in a clock minute: at once while the minute has room, then by class (call-line.ts) from
 * the next minute on. The cloud counts in fixed one-minute windows, so a token bucket would let twice the quota through. A
 * refusal closes the API until it is known what the cloud does accept (learnt-limit.ts).
 */
export class QuotaScheduler {
  readonly #clock: Clock;
  #limits: Record<string, number>;
  #share: number;
  readonly #windows = new Map<string, Window>();
  /** A minute of which others may have used a part. */
  #sharedMinute: number | undefined;
  #lastPlace = 0;

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
    for (const window of this.#windows.values()) this.#release(window);
  }

  /**
   * A term begins. The leader before may have used the running minute, so half of it counts as used.
   */
  takeOver(): void {
    this.#sharedMinute = this.#minute();
    for (const window of this.#windows.values()) {
      this.#roll(window);
      window.used = Math.max(window.used, this.#usedByOthers(window.api));
    }
  }

  /**
   * Resolves when a call may be made; rejects with the signal's reason when it aborts first. Who then finds that the call is not
   * needed any more gives the turn back.
   */
  async turn({ api, callClass, place }: TurnRequest, signal: AbortSignal): Promise<Turn> {
    signal.throwIfAborted();
    const window = this.#window(api);
    const { promise, resolve, reject } = Promise.withResolvers<Turn>();
    const onAbort = () => {
      window.line.remove(waiter);
      if (window.line.size === 0) this.#unplan(window);
      reject(signal.reason);
    };
    const waiter: TurnWaiter = {
      callClass,
      place: place ?? this.newPlace(),
      resolve: (turn) => {
        signal.removeEventListener('abort', onAbort);
        resolve(turn);
      },
    };
    signal.addEventListener('abort', onAbort, { once: true });
    window.line.add(waiter);
    // Nobody overtakes those whom a timer has not served yet.
    this.#release(window);
    return promise;
  }

  /** A place behind everybody's, for a call that may come to wait again. */
  newPlace(): number {
    this.#lastPlace += 1;
    return this.#lastPlace;
  }

  /** Every API that has a limit of its own or was called, by name. */
  apis(): string[] {
    const named = Object.keys(this.#limits).filter((api) => api !== 'default');
    return [...new Set([...named, ...this.#windows.keys()])].sort();
  }

  status(api: string): QuotaStatus {
    const window = this.#window(api);
    this.#roll(window);
    const { perMinute, perSecond } = window.learnt;
    return {
      limitPerMinute: this.#limit(window),
      ...(perMinute === undefined ? {} : { learntPerMinute: perMinute }),
      ...(perSecond === undefined ? {} : { learntPerSecond: perSecond }),
      usedThisMinute: window.used,
      waiting: window.line.size,
      waitingByClass: window.line.counts(),
      nextMinuteAtMs: this.#minuteEndsAtMs(window),
    };
  }

  #configured(api: string): number {
    return Math.max(1, Math.floor((this.#limits[api] ?? this.#limits['default'] ?? 500) * this.#share));
  }

  #limit({ api, learnt }: Window): number {
    return Math.min(this.#configured(api), learnt.perMinute ?? Number.POSITIVE_INFINITY);
  }

  #window(api: string): Window {
    const known = this.#windows.get(api);
    if (known !== undefined) return known;
    const minute = this.#minute();
    const window: Window = {
      api,
      minute,
      used: minute === this.#sharedMinute ? this.#usedByOthers(api) : 0,
      tail: 0,
      second: 0,
      usedThisSecond: 0,
      learnt: new LearntLimit(),
      line: new CallLine(),
      timer: undefined,
    };
    this.#windows.set(api, window);
    return window;
  }

  #usedByOthers(api: string): number {
    return Math.floor(this.#configured(api) / 2);
  }

  #minute(): number {
    return Math.floor((this.#clock.now() - GUARD_MS) / MINUTE_MS);
  }

  #minuteEndsAtMs({ minute }: Window): number {
    return (minute + 1) * MINUTE_MS;
  }

  #roll(window: Window): void {
    const second = Math.floor(this.#clock.now() / SECOND_MS);
    if (second !== window.second) Object.assign(window, { second, usedThisSecond: 0 });
    const minute = this.#minute();
    if (minute === window.minute) return;
    if (minute < window.minute) {
      // The clock was set back. Which minute of the cloud this is, nobody knows: what was let through counts in it and in
      // the next one, so that neither opens a second full window.
      window.tail = window.used;
    } else {
      window.used = minute === window.minute + 1 ? window.tail : 0;
      window.tail = 0;
      window.learnt.minuteTurned(this.#configured(window.api));
    }
    window.minute = minute;
  }

  /** When the next call may leave, epoch milliseconds; infinite while one that left is to tell. */
  #opensAtMs(window: Window): number {
    this.#roll(window);
    const nowMs = this.#clock.now();
    if (window.used >= this.#limit(window)) return this.#minuteEndsAtMs(window) + GUARD_MS;
    return window.learnt.opensAtMs(nowMs, window.usedThisSecond);
  }

  /** Lets go whoever may, and plans for the rest. */
  #release(window: Window): void {
    this.#unplan(window);
    while (window.line.size > 0) {
      const opensAtMs = this.#opensAtMs(window);
      if (opensAtMs > this.#clock.now()) {
        this.#plan(window, opensAtMs);
        return;
      }
      const waiter = window.line.next();
      waiter?.resolve(this.#take(window, waiter));
    }
  }

  #take(window: Window, { callClass, place }: TurnWaiter): Turn {
    const { api, minute, second, learnt } = window;
    const sentAtMs = this.#clock.now();
    window.used += 1;
    window.usedThisSecond += 1;
    const isProbe = learnt.sent();
    const tailFromMs = this.#minuteEndsAtMs(window) - TAIL_MS;
    const isTail = sentAtMs >= tailFromMs;
    if (isTail) window.tail += 1;
    let isOver = false;
    const refund = () => {
      if (window.minute === minute) window.used -= 1;
      if (isTail && (window.minute === minute || window.minute === minute + 1)) {
        if (window.minute === minute) window.tail -= 1;
        else window.used -= 1;
      }
    };
    const giveBack = () => {
      if (isOver) return;
      isOver = true;
      refund();
      if (window.second === second) window.usedThisSecond -= 1;
      if (isProbe) learnt.probeLost();
      this.#release(window);
    };
    return {
      callClass,
      validUntilMs: isTail ? tailFromMs + MINUTE_MS : tailFromMs,
      giveBack,
      end: (how) => {
        if (!isOver) {
          isOver = true;
          if (how === 'accepted') learnt.accepted(isProbe, sentAtMs);
          else if (how === 'throttled') {
            // What is refused uses nothing up.
            refund();
            learnt.refused(isProbe, sentAtMs, this.#minuteEndsAtMs(window) + GUARD_MS);
          } else if (isProbe) learnt.probeLost();
          this.#release(window);
        }
        return { api, callClass, place };
      },
    };
  }

  #plan(window: Window, opensAtMs: number): void {
    if (!Number.isFinite(opensAtMs)) return;
    const waitMs = Math.max(1, opensAtMs - this.#clock.now());
    window.timer = this.#clock.schedule(waitMs, () => this.#release(window));
  }

  #unplan(window: Window): void {
    window.timer?.cancel();
    window.timer = undefined;
  }
}
