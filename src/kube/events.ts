import type { Clock, ScheduledCall } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import type { KubeClient } from './client.ts';
import { isNotFound } from './errors.ts';
import { EVENT } from './kinds.ts';
import { microTime } from './micro-time.ts';
import { TokenBuckets } from './token-buckets.ts';
import { type HasMetadata, keyOf, type Resource } from './types.ts';

/** `v1.ObjectReference` as events carry it. */
export interface EventReference {
  apiVersion?: string | undefined;
  kind?: string | undefined;
  namespace?: string | undefined;
  name: string;
  uid?: string | undefined;
}

/** `events.k8s.io/v1` Event. */
export interface KubeEvent extends HasMetadata {
  eventTime: string;
  type: EventType;
  action: string;
  reason: string;
  note: string;
  regarding: EventReference;
  related?: EventReference;
  reportingController: string;
  reportingInstance: string;
  series?: { count: number; lastObservedTime: string };
}

export type EventType = 'Normal' | 'Warning';

export const eventResource: Resource<KubeEvent> = EVENT;

/** What happened, for a human reader. */
export interface EventInput {
  type: EventType;
  /** CamelCase, such as `AttachFailed`. */
  reason: string;
  /** The action that was being taken, CamelCase, such as `Attach`. */
  action: string;
  /** Truncated to 1,024 bytes. */
  note: string;
  related?: HasMetadata;
  /** Events of one object and reason with equal keys are one series. Default: the note. */
  noteKey?: string;
}

export interface EventRecorderOptions {
  client: Pick<KubeClient, 'create' | 'patch'>;
  /** Name of the component: `terway-controlplane/<controller>`. */
  controller: string;
  /** This process, normally the pod's name. */
  instance: string;
  clock: Clock;
  /** An event could not be sent, or was dropped. */
  onError?: (error: unknown) => void;
  /** An occurrence within this time after the last one belongs to the same series. Default 10 min. */
  seriesWindowMs?: number;
  /** Minimum time between two writes of a series. Default 10 s. */
  seriesIntervalMs?: number;
  /** Capacity of the queue of unsent events. Default 1,000. */
  maxQueued?: number;
}

/** Records events of one controller. */
export interface EventSink {
  /** Never throws and never waits. `regarding` needs `kind`, `apiVersion` and metadata. */
  event(regarding: HasMetadata, input: EventInput): void;
}

/** Occurrences of the same event. */
interface Series {
  body: KubeEvent;
  count: number;
  lastMs: number;
  /** Of the last write that was queued. */
  writtenMs: number;
  state: /** In the queue or being sent; an occurrence meanwhile goes with it or marks it dirty. */
    | { kind: 'sending'; isDirty: boolean }
    /** Everything is on the server. */
    | { kind: 'clean' }
    /** There are occurrences that are not on the server. */
    | { kind: 'dirty' };
  isCreated: boolean;
}

const SENDERS = 2;
const MAX_NOTE_BYTES = 1024;
const MAX_WORD_LENGTH = 128;
const MAX_SERIES = 4096;
/** As client-go: a burst of 25 per object, then one in five minutes. */
const PER_OBJECT = { capacity: 25, refillIntervalMs: 300_000 };

/**
 * Writes `events.k8s.io/v1` events without ever blocking a caller: {@link event} only queues, a few senders write with
 * background priority, and failures are reported and dropped. Repeated events become a series instead of new events.
 */
export class EventRecorder implements EventSink {
  readonly #options: Required<Omit<EventRecorderOptions, 'onError'>>;
  readonly #onError: (error: unknown) => void;
  /** MAX_SERIES at most. */
  readonly #series = new Map<string, Series>();
  readonly #buckets: TokenBuckets;
  /** `maxQueued` at most. */
  readonly #queue: Series[] = [];
  readonly #idle = new Set<() => void>();
  #sending = 0;
  #names = 0;
  #sweep: ScheduledCall | undefined;
  #isClosed = false;

  constructor(options: EventRecorderOptions) {
    const { seriesWindowMs = 600_000, seriesIntervalMs = 10_000, maxQueued = 1000 } = options;
    const { client, controller, instance, clock, onError = () => {} } = options;
    this.#options = { client, controller, instance, clock, seriesWindowMs, seriesIntervalMs, maxQueued };
    this.#onError = onError;
    this.#buckets = new TokenBuckets({ clock, ...PER_OBJECT });
  }

  event(regarding: HasMetadata, input: EventInput): void {
    this.#record(this.#options.controller, regarding, input);
  }

  /** The same recorder, with its queue and limits, under another controller's name. */
  forController(controller: string): EventSink {
    return { event: (regarding, input) => this.#record(controller, regarding, input) };
  }

  /**
   * Takes no more events and sends what is queued, unsent series included.
   *
   * @returns resolves when all is sent or `deadlineMs` has passed; never throws
   */
  async close(deadlineMs: number): Promise<void> {
    this.#isClosed = true;
    this.#sweep?.cancel();
    for (const series of this.#series.values()) if (series.state.kind === 'dirty') this.#enqueue(series);
    await this.flush(deadlineMs);
  }

  /** Resolves when the queue is empty, or `deadlineMs` has passed. */
  async flush(deadlineMs: number): Promise<void> {
    if (this.#sending === 0) return;
    await new Promise<void>((resolve) => {
      const finish = () => {
        deadline.cancel();
        this.#idle.delete(finish);
        resolve();
      };
      const deadline = this.#options.clock.schedule(deadlineMs, finish);
      this.#idle.add(finish);
    });
  }

  #record(controller: string, regarding: HasMetadata, input: EventInput): void {
    if (this.#isClosed) return;
    const { clock, seriesWindowMs } = this.#options;
    const subject = regarding.metadata.uid ?? keyOf(regarding.metadata);
    const seriesKey = JSON.stringify([subject, controller, input.type, input.reason, input.noteKey ?? input.note]);
    const nowMs = clock.monotonicMs();
    const known = this.#series.get(seriesKey);
    if (known === undefined || nowMs - known.lastMs > seriesWindowMs) {
      if (!this.#buckets.take(subject)) return;
      const body = this.#bodyOf(controller, regarding, input);
      const series: Series = {
        body,
        count: 1,
        lastMs: nowMs,
        writtenMs: nowMs,
        isCreated: false,
        state: { kind: 'dirty' },
      };
      this.#series.delete(seriesKey);
      this.#series.set(seriesKey, series);
      this.#forgetOldSeries(nowMs);
      this.#enqueue(series);
      return;
    }
    known.count += 1;
    known.lastMs = nowMs;
    known.body.series = { count: known.count, lastObservedTime: microTime(clock.now()) };
    if (known.state.kind === 'sending') {
      known.state.isDirty = true;
      return;
    }
    known.state = { kind: 'dirty' };
    this.#sendWhenDue(known, subject);
  }

  /** The first repetition is written soon; later ones are counted and written at intervals. */
  #sendWhenDue(series: Series, subject: string): void {
    const { clock, seriesIntervalMs } = this.#options;
    const isDue = series.count === 2 || clock.monotonicMs() - series.writtenMs >= seriesIntervalMs;
    if (isDue && this.#buckets.take(subject)) this.#enqueue(series);
    else this.#planSweep();
  }

  #enqueue(series: Series): void {
    const { clock, maxQueued } = this.#options;
    if (this.#queue.length >= maxQueued) {
      this.#onError(new Error(`event queue is full: dropped ${describe(series.body)}`));
      return;
    }
    series.state = { kind: 'sending', isDirty: false };
    series.writtenMs = clock.monotonicMs();
    this.#queue.push(series);
    if (this.#sending < SENDERS) {
      this.#sending += 1;
      void this.#send();
    }
  }

  /** One sender: works until the queue is empty. Never throws. */
  async #send(): Promise<void> {
    for (let series = this.#queue.shift(); series !== undefined; series = this.#queue.shift()) {
      try {
        await this.#write(series);
      } catch (error) {
        this.#onError(new Error(`event ${describe(series.body)}: ${errorMessage(error)}`, { cause: error }));
      }
      const hasMore = series.state.kind === 'sending' && series.state.isDirty;
      series.state = hasMore ? { kind: 'dirty' } : { kind: 'clean' };
      if (!hasMore) continue;
      const { uid } = series.body.regarding;
      if (this.#isClosed) this.#enqueue(series);
      else this.#sendWhenDue(series, uid ?? keyOf(series.body.regarding));
    }
    this.#sending -= 1;
    if (this.#sending === 0) for (const wake of [...this.#idle]) wake();
  }

  async #write(series: Series): Promise<void> {
    const { client } = this.#options;
    const { body } = series;
    const call = { priority: 'background', maxTries: 3 } as const;
    if (series.isCreated) {
      try {
        // The server allows no change to an existing event except to its series.
        await client.patch(eventResource, body.metadata, { type: 'merge', body: { series: body.series } }, call);
        return;
      } catch (error) {
        // Events expire on the server after an hour; an expired one is written again.
        if (!isNotFound(error)) throw error;
        body.metadata.name = this.#nameFor(body.regarding.name);
      }
    }
    await client.create(eventResource, body, call);
    series.isCreated = true;
  }

  /** Writes the counts of series that were not due when they grew. */
  #planSweep(): void {
    const { clock, seriesIntervalMs } = this.#options;
    if (this.#isClosed) return;
    this.#sweep ??= clock.schedule(seriesIntervalMs, () => {
      this.#sweep = undefined;
      let isAnyLeft = false;
      for (const series of this.#series.values()) {
        if (series.state.kind !== 'dirty') continue;
        const { uid } = series.body.regarding;
        const isDue = clock.monotonicMs() - series.writtenMs >= seriesIntervalMs;
        if (isDue && this.#buckets.take(uid ?? keyOf(series.body.regarding))) this.#enqueue(series);
        else isAnyLeft = true;
      }
      if (isAnyLeft) this.#planSweep();
    });
  }

  /** The map is in the order of the first occurrence, so this may split a series that is still growing. */
  #forgetOldSeries(nowMs: number): void {
    for (const [key, series] of this.#series) {
      const isOver = nowMs - series.lastMs > this.#options.seriesWindowMs;
      if (this.#series.size <= MAX_SERIES && !isOver) return;
      this.#series.delete(key);
    }
  }

  #bodyOf(controller: string, regarding: HasMetadata, input: EventInput): KubeEvent {
    const { clock, instance } = this.#options;
    const reference = referenceTo(regarding);
    return {
      // The server requires the namespace of the object; events of cluster-scoped objects are in `default`.
      metadata: { namespace: reference.namespace ?? 'default', name: this.#nameFor(reference.name) },
      eventTime: microTime(clock.now()),
      type: input.type,
      action: input.action.slice(0, MAX_WORD_LENGTH),
      reason: input.reason.slice(0, MAX_WORD_LENGTH),
      note: cutUtf8(input.note, MAX_NOTE_BYTES),
      regarding: reference,
      ...(input.related === undefined ? {} : { related: referenceTo(input.related) }),
      reportingController: `terway-controlplane/${controller}`,
      reportingInstance: instance.slice(0, MAX_WORD_LENGTH),
    };
  }

  /** Unique among all processes that report on the object: the time, and a number for events in the same millisecond. */
  #nameFor(regardingName: string): string {
    this.#names = (this.#names + 1) % 0x100000;
    const suffix = (BigInt(Math.floor(this.#options.clock.now())) * 0x100000n + BigInt(this.#names)).toString(16);
    return `${regardingName.slice(0, 230)}.${suffix}`;
  }
}

function referenceTo({ apiVersion, kind, metadata }: HasMetadata): EventReference {
  return { apiVersion, kind, namespace: metadata.namespace, name: metadata.name, uid: metadata.uid };
}

function describe(event: KubeEvent): string {
  return `${event.reason} of ${event.regarding.kind ?? 'object'} ${keyOf(event.regarding)}`;
}

/** The longest prefix of `text` that fits into `maxBytes` of UTF-8, without splitting a character. */
export function cutUtf8(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length <= maxBytes) return text;
  let end = maxBytes;
  // Continuation bytes are 10xxxxxx.
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}
