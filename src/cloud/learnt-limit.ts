/** Growth of a learnt limit after a minute without a refusal; doubled with each further one. */
const FIRST_GROWTH = 0.01;
/** Pause after the first refusal: a one-second window has passed by then. */
const FIRST_PAUSE_MS = 1000;

/**
 * Learns the real limit of one API from refusals. The first refusal stops all calls for a second; then one call is sent
 * as a probe. If it is refused too, the minute is used up: the calls accepted in it are the limit per minute, and calls
 * wait for the next minute. If it is accepted, the limit is per second: what was accepted in the second before the
 * refusal. If the minute ends first, nothing is learnt. Both limits grow slowly again, because limits are also raised.
 */
export class LearntLimit {
  #perMinute: number | undefined;
  #perSecond: number | undefined;
  #growth = FIRST_GROWTH;
  #acceptedThisMinute = 0;
  #hasRefusal = false;
  /** Calls accepted in the current second, and in the second of the first refusal. */
  #second = { at: 0, accepted: 0 };
  #acceptedBeforeRefusal = 0;
  #state: 'open' | 'paused' | 'probing' = 'open';
  #closedUntilMs = 0;

  /** Calls per minute that the cloud accepts, learnt from refusals; undefined without any. */
  get perMinute(): number | undefined {
    return this.#perMinute === undefined ? undefined : Math.floor(this.#perMinute);
  }

  /** Calls per second that the cloud accepts, learnt from refusals; undefined without any. */
  get perSecond(): number | undefined {
    return this.#perSecond === undefined ? undefined : Math.floor(this.#perSecond);
  }

  /**
   * When the next call may be sent, epoch milliseconds; not after `nowMs` means at once.
   *
   * @param sentThisSecond calls of the current second.
   */
  opensAtMs(nowMs: number, sentThisSecond: number): number {
    if (this.#state === 'probing') return Number.POSITIVE_INFINITY;
    if (nowMs < this.#closedUntilMs) return this.#closedUntilMs;
    const { perSecond } = this;
    return perSecond !== undefined && sentThisSecond >= perSecond ? (Math.floor(nowMs / 1000) + 1) * 1000 : nowMs;
  }

  /** A call is sent. @returns whether it is the probe. */
  sent(): boolean {
    if (this.#state !== 'paused') return false;
    this.#state = 'probing';
    return true;
  }

  /** The probe was not sent, or its result is unknown. */
  probeLost(): void {
    if (this.#state === 'probing') this.#state = 'paused';
  }

  accepted(isProbe: boolean, sentAtMs: number): void {
    this.#acceptedThisMinute += 1;
    const second = Math.floor(sentAtMs / 1000);
    if (this.#second.at !== second) this.#second = { at: second, accepted: 0 };
    this.#second.accepted += 1;
    if (!isProbe || this.#state !== 'probing') return;
    this.#state = 'open';
    this.#perSecond = Math.max(1, this.#acceptedBeforeRefusal);
    this.#growth = FIRST_GROWTH;
  }

  /** @param minuteEndsAtMs when the next minute starts. */
  refused(isProbe: boolean, sentAtMs: number, minuteEndsAtMs: number): void {
    this.#hasRefusal = true;
    if (this.#state === 'open') {
      this.#state = 'paused';
      this.#acceptedBeforeRefusal = this.#second.at === Math.floor(sentAtMs / 1000) ? this.#second.accepted : 0;
      this.#closedUntilMs = sentAtMs + FIRST_PAUSE_MS;
    } else if (isProbe && this.#state === 'probing') {
      this.#state = 'paused';
      this.#perMinute = Math.max(1, this.#acceptedThisMinute);
      this.#growth = FIRST_GROWTH;
      this.#closedUntilMs = minuteEndsAtMs;
    }
  }

  /** A minute has started. @param limit the assumed limit per minute. */
  minuteTurned(limit: number): void {
    if (!this.#hasRefusal) this.#forget(limit);
    this.#hasRefusal = false;
    this.#acceptedThisMinute = 0;
    // A call of this minute says nothing about a refusal of the previous one.
    this.#state = 'open';
  }

  #forget(limit: number): void {
    const grown = (value: number | undefined, most: number) => {
      const next = value === undefined ? undefined : Math.max(value + 1, value * (1 + this.#growth));
      return next === undefined || next >= most ? undefined : next;
    };
    this.#perMinute = grown(this.#perMinute, limit);
    this.#perSecond = grown(this.#perSecond, limit);
    this.#growth *= 2;
  }
}
