import { TransportError } from '../../src/kube/errors.ts';
import type { Clock, ScheduledCall } from '../../src/util/clock.ts';
import { type ApiCall, type EventFault, type FaultCounts, type FaultPlan, faultName } from './faults.ts';
import { expired } from './model/errors.ts';
import { errorLine, type WatchLine } from './model/watches.ts';

export interface WatchStreamOptions {
  clock: Clock;
  call: ApiCall;
  faults: FaultPlan;
  counts: FaultCounts;
  /** From the write to the client. */
  eventMs: number;
  /** Events that wait for the client; the server ends the watch of one that is slower. */
  maxBuffered: number;
  signal: AbortSignal | undefined;
  /** Is called with the length of each chunk that the client reads. */
  onRead: (length: number) => void;
  /** The watch is over, whoever ended it. */
  onEnd: () => void;
}

/** Several lines come in one chunk, as they do from a socket; this bounds it. */
const LINES_PER_CHUNK = 500;

type Ending = { kind: 'ended' } | { kind: 'failed'; error: unknown };

/** What a client reads of one watch: lines come in order, each when its time has come. */
export class WatchStream implements AsyncIterable<string> {
  readonly call: ApiCall;
  readonly #options: WatchStreamOptions;
  /** On their way, in order; `text` undefined ends the watch. */
  #underway: { dueMs: number; text: string | undefined; error?: unknown }[] = [];
  #arrived: string[] = [];
  /** Lines of the beginning that the client has not read. */
  #initialLeft = 0;
  #timer: ScheduledCall | undefined;
  #reader: PromiseWithResolvers<void> | undefined;
  #ending: Ending | undefined;
  #isFrozen = false;
  #isDetached = false;
  readonly #onAbort = () => this.fail(this.#options.signal?.reason);

  constructor(options: WatchStreamOptions) {
    this.call = options.call;
    this.#options = options;
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** What the watch begins with; not bounded, since the server sends it at the client's pace. */
  begin(lines: readonly WatchLine[]): void {
    for (const line of lines) this.#send(line);
    this.#initialLeft = this.#underway.length;
  }

  push(line: WatchLine): void {
    const buffered = this.#underway.length + this.#arrived.length - this.#initialLeft;
    if (buffered > this.#options.maxBuffered) {
      this.#options.counts.add('overflow');
      this.end();
      return;
    }
    this.#send(line);
  }

  /** The server ends it in good order, behind what is under way. */
  end(): void {
    this.#detach();
    if (!this.#isFrozen) this.#enqueue({ text: undefined }, 0);
  }

  /** Nobody will read it. */
  discard(): void {
    this.#finish({ kind: 'ended' });
  }

  /** At once: what is under way is lost. */
  fail(error: unknown): void {
    if (this.#ending !== undefined) return;
    this.#finish({ kind: 'failed', error });
  }

  /** The connection breaks. */
  break(): void {
    this.fail(connectionBroke());
  }

  /** Nothing comes any more, not even an end; the watch stays open. */
  freeze(): void {
    this.#isFrozen = true;
  }

  /** An ERROR event of 410 comes next and ends the watch. */
  expire(): void {
    this.#enqueue({ text: errorLine(expired('too old resource version')) }, 0);
    this.end();
  }

  [Symbol.asyncIterator](): AsyncIterator<string, undefined> {
    return {
      next: () => this.#next(),
      return: () => {
        this.discard();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  async #next(): Promise<IteratorResult<string, undefined>> {
    for (;;) {
      if (this.#ending?.kind === 'failed') throw this.#ending.error;
      if (this.#arrived.length > 0) {
        const lines = this.#arrived.splice(0, LINES_PER_CHUNK);
        this.#initialLeft = Math.max(0, this.#initialLeft - lines.length);
        const value = lines.join('');
        this.#options.onRead(value.length);
        return { done: false, value };
      }
      if (this.#ending !== undefined) return { done: true, value: undefined };
      this.#reader ??= Promise.withResolvers<void>();
      await this.#reader.promise;
    }
  }

  #send(line: WatchLine): void {
    if (this.#isFrozen || this.#isDetached) return;
    const { call, faults, counts } = this.#options;
    const fault = faults.onEvent?.(call, line);
    if (fault !== undefined) counts.add(`event/${faultName(fault)}`);
    this.#sendWith(fault, line.text);
  }

  #sendWith(fault: EventFault | undefined, text: string): void {
    switch (fault?.kind) {
      case undefined:
        this.#enqueue({ text }, 0);
        break;
      case 'late':
        this.#enqueue({ text }, fault.ms);
        break;
      case 'doubled':
        this.#enqueue({ text }, 0);
        this.#enqueue({ text }, 0);
        break;
      case 'missed':
        break;
      case 'frozen':
        this.freeze();
        break;
      case 'ended':
        this.end();
        break;
      case 'expired':
        this.expire();
        break;
      case 'broken':
        this.#detach();
        this.#enqueue({ text: text.slice(0, text.length >> 1), error: connectionBroke() }, 0);
        break;
    }
  }

  #enqueue(item: { text: string | undefined; error?: unknown }, delayMs: number): void {
    if (this.#ending !== undefined) return;
    const { clock, eventMs } = this.#options;
    // One that is late holds up those behind it: only the first is waited for.
    this.#underway.push({ ...item, dueMs: clock.monotonicMs() + eventMs + delayMs });
    this.#plan();
  }

  #plan(): void {
    const next = this.#underway[0];
    if (next === undefined || this.#timer !== undefined) return;
    const waitMs = Math.max(0, next.dueMs - this.#options.clock.monotonicMs());
    this.#timer = this.#options.clock.schedule(waitMs, () => {
      this.#timer = undefined;
      this.#arrive();
    });
  }

  #arrive(): void {
    const nowMs = this.#options.clock.monotonicMs();
    let count = 0;
    for (const { dueMs, text, error } of this.#underway) {
      if (dueMs > nowMs) break;
      count += 1;
      if (text !== undefined) this.#arrived.push(text);
      if (text !== undefined && error === undefined) continue;
      this.#finish(error === undefined ? { kind: 'ended' } : { kind: 'failed', error });
      return;
    }
    this.#underway.splice(0, count);
    this.#wake();
    this.#plan();
  }

  /** No further events of the model are wanted. */
  #detach(): void {
    if (this.#isDetached) return;
    this.#isDetached = true;
    this.#options.onEnd();
  }

  #finish(ending: Ending): void {
    this.#detach();
    this.#ending ??= ending;
    this.#underway = [];
    this.#timer?.cancel();
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#wake();
  }

  #wake(): void {
    this.#reader?.resolve();
    this.#reader = undefined;
  }
}

function connectionBroke(): TransportError {
  return new TransportError('broken', 'the connection broke', { sent: true });
}
