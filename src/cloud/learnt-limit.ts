/** Share by which a learnt limit grows after a minute without a refusal; doubled with each further one. */
const FIRST_GROWTH = 0.01;
/** How long no call is sent after the first refusal: a window of one second is over by then. */
const FIRST_PAUSE_MS = 1000;

/**
 * What the refusals of one API tell about its real limit. The first refusal stops all calls for a second; then one goes ahead to
 * see. When it is refused as well, the minute is used up: what was accepted in it is the limit, and the next minute is waited
 * for. When it is accepted, calls are counted in short windows: what was accepted in the second before is the limit of a second.
 * When the minute turns meanwhile, nothing is learnt. Either limit is forgotten slowly, as limits are raised, too.
 */
export class LearntLimit {
  #perMinute: number | undefined;
  #perSecond: number | undefined;
  #growth = FIRST_GROWTH;
  #acceptedThisMinute = 0;
  #hasRefusal = false;
  /** Calls accepted in the running second, and in the one when the first refusal came. */
  #second = { at: 0, accepted: 0 };
  #acceptedBeforeRefusal = 0;
  #state: 'open' | 'paused' | 'probing' = 'open';
  #closedUntilMs = 0;

  /** Calls in a minute that the cloud accepts, as far as it has refused more; undefined when it has not. */
  get perMinute(): number | undefined {
    return this.#perMinute === undefined ? undefined : Math.floor(this.#perMinute);
  }

  /** The same for a second. */
  get perSecond(): number | undefined {
    return this.#perSecond === undefined ? undefined : Math.floor(this.#perSecond);
  }

  /**
   * When the next call may be sent, epoch milliseconds; not after `nowMs` when at once.
   *
   * @param sentThisSecond calls of the running second.
   */
  opensAtMs(nowMs: number, sentThisSecond: number): number {
    if (this.#state === 'probing') return Number.POSITIVE_INFINITY;
    if (nowMs < this.#closedUntilMs) return this.#closedUntilMs;
    const { perSecond } = this;
    return perSecond !== undefined && sentThisSecond >= perSecond ? (Math.floor(nowMs / 1000) + 1) * 1000 : nowMs;
  }

  /** A call leaves. @returns whether it is the one that finds out. */
  sent(): boolean {
    if (this.#state !== 'paused') return false;
    this.#state = 'probing';
    return true;
  }

  /** The call that was to find out did not leave, or nobody knows how it ended. */
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

  /** @param minuteEndsAtMs when calls count anew. */
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

  /** A minute has begun. @param limit what is believed without experience, per minute. */
  minuteTurned(limit: number): void {
    if (!this.#hasRefusal) this.#forget(limit);
    this.#hasRefusal = false;
    this.#acceptedThisMinute = 0;
    // A call of this minute tells nothing about a refusal of the last one.
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
