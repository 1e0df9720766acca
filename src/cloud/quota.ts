import { onAbort } from '../util/abort.ts';
import type { Clock, ScheduledCall } from '../util/clock.ts';
import { type CallClass, CallLine, type Place, type Waiter } from './call-line.ts';
import { LearntLimit } from './learnt-limit.ts';

const MINUTE_MS = 60_000;
const SECOND_MS = 1000;
/** A call sent this close to the end of a minute may be counted by the cloud in the next one; it is charged to both. */
const TAIL_MS = 250;
/** After a minute starts, how far the cloud's clock may lag behind ours. */
const GUARD_MS = 50;

/** Calls per minute that upstream assumes. The account's actual limits are in Alibaba Cloud's Quota Center. */
export const DEFAULT_LIMITS: Readonly<Record<string, number>> = {
  default: 500,
  AttachNetworkInterface: 500,
  CreateNetworkInterface: 500,
  DeleteNetworkInterface: 500,
  DescribeNetworkInterfaces: 800,
  DetachNetworkInterface: 400,
  AssignPrivateIpAddresses: 400,
  AssignIpv6Addresses: 400,
  UnassignPrivateIpAddresses: 400,
  UnassignIpv6Addresses: 400,
  DescribeVSwitches: 300,
  DescribeInstanceTypes: 400,
};

/** Current use of one API. */
export interface QuotaStatus {
  /** The configured limit or the one learnt from refusals, whichever is lower. */
  limitPerMinute: number;
  /** The limit learnt from refusals; absent without any. */
  learntPerMinute?: number;
  learntPerSecond?: number;
  usedThisMinute: number;
  waiting: number;
  waitingByClass: Readonly<Record<CallClass, number>>;
  /** When the next minute starts, epoch milliseconds. */
  nextMinuteAtMs: number;
}

/** Permission to make one call now. The holder must either give it back or report how the call ended. */
export interface Turn {
  readonly callClass: CallClass;
  /**
   * The latest time to send the call, epoch milliseconds; later it would count in a minute that it is not charged to.
   */
  readonly validUntilMs: number;
  /** The call is not made; the next in line gets the turn. Idempotent. */
  giveBack(): void;
  /**
   * Reports how the call ended. Idempotent.
   *
   * @returns after `throttled`, a request for another turn at the same place in line.
   */
  end(how: 'accepted' | 'throttled' | 'unknown'): TurnRequest;
}

/** A request for a turn. */
export interface TurnRequest {
  api: string;
  callClass: CallClass;
  /** From {@link QuotaScheduler.newPlace}; absent for a call that has not waited yet. */
  place?: Place;
}

/** Conditions under which a call may be sent. */
export interface SendLimit {
  signal: AbortSignal;
  /**
   * Called right before the call is written: throws when nothing may be sent any more, even if the signal has not
   * aborted yet.
   */
  assertAllowed?: () => void;
  /** Called when the call is written. */
  onSent?: () => void;
}

/** Permission to read: the class whose waiting call it is for. */
export interface ReadLeave extends SendLimit {
  callClass: CallClass;
}

/** Permission to change something: a turn that the caller holds, or as for reading. */
export type CallLeave = ReadLeave | (SendLimit & { turn: Turn });

interface TurnWaiter extends Waiter {
  resolve: (turn: Turn) => void;
}

interface Window {
  api: string;
  minute: number;
  used: number;
  /** The part of `used` that is charged to the next minute as well. */
  tail: number;
  second: number;
  usedThisSecond: number;
  learnt: LearntLimit;
  line: CallLine<TurnWaiter>;
  timer: ScheduledCall | undefined;
}

/**
 * Gives `limit × share` turns per API and clock minute: at once while the minute has turns left, then by class
 * (call-line.ts) from the next minute on. The cloud counts in fixed one-minute windows, so a token bucket would let up
 * to twice the quota through. After a refusal the API is closed until it is known what the cloud accepts
 * (learnt-limit.ts).
 */
export class QuotaScheduler {
  readonly #clock: Clock;
  #limits: Record<string, number>;
  #share: number;
  /** By API. */
  readonly #windows = new Map<string, Window>();
  /** A minute of which others may have used part. */
  #sharedMinute: number | undefined;
  #lastSerial = 0;

  /**
   * @param options.limits calls per minute by API name; `default` for the rest. Overrides {@link DEFAULT_LIMITS}.
   * @param options.share part of the limits that this process may use, in (0, 1].
   */
  constructor(options: { clock: Clock; limits?: Record<string, number>; share?: number }) {
    this.#clock = options.clock;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#share = options.share ?? 1;
  }

  /** Applies new limits; waiting calls go as soon as these permit. */
  setLimits({ limits, share }: { limits: Record<string, number>; share: number }): void {
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    this.#share = share;
    for (const window of this.#windows.values()) this.#release(window);
  }

  /** A term starts. The previous leader may have used the current minute, so half of it counts as used. */
  takeOver(): void {
    this.#sharedMinute = this.#minute();
    for (const window of this.#windows.values()) {
      this.#roll(window);
      window.used = Math.max(window.used, this.#usedByOthers(window.api));
    }
  }

  /**
   * Resolves when a call may be made; rejects with the signal's reason when it aborts first. If the call is no longer
   * needed by then, the holder gives the turn back.
   */
  async turn({ api, callClass, place }: TurnRequest, signal: AbortSignal): Promise<Turn> {
    signal.throwIfAborted();
    const window = this.#window(api);
    const { promise, resolve, reject } = Promise.withResolvers<Turn>();
    const waiter: TurnWaiter = {
      callClass,
      place: place ?? this.newPlace(),
      resolve: (turn) => {
        aborting.cancel();
        resolve(turn);
      },
    };
    const aborting = onAbort(signal, () => {
      window.line.remove(waiter);
      if (window.line.size === 0) this.#unplan(window);
      reject(signal.reason);
    });
    window.line.add(waiter);
    // Must not overtake waiters whose timer has not fired yet.
    this.#release(window);
    return promise;
  }

  /** Calls that wait for a turn. */
  get size(): number {
    return [...this.#windows.values()].reduce((sum, { line }) => sum + line.size, 0);
  }

  /** A place for a call that may have to wait again. @param sinceMs since when its subject has waited. */
  newPlace(sinceMs = this.#clock.now()): Place {
    this.#lastSerial += 1;
    return { sinceMs, serial: this.#lastSerial };
  }

  /** Names of the APIs that have a limit of their own or were called. */
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
      // The clock was set back, so it is unknown which of the cloud's minutes this is. What was let through counts in
      // this minute and the next, so that neither opens a second full window.
      window.tail = window.used;
    } else {
      window.used = minute === window.minute + 1 ? window.tail : 0;
      window.tail = 0;
      window.learnt.minuteTurned(this.#configured(window.api));
    }
    window.minute = minute;
  }

  /** When the next call may be sent, epoch milliseconds; infinite while a probe is in progress. */
  #opensAtMs(window: Window): number {
    this.#roll(window);
    const nowMs = this.#clock.now();
    if (window.used >= this.#limit(window)) return this.#minuteEndsAtMs(window) + GUARD_MS;
    return window.learnt.opensAtMs(nowMs, window.usedThisSecond);
  }

  /** Releases the calls that may go, and sets a timer for the rest. */
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
            // A refused call uses no quota.
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
