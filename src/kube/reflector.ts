import type { Clock } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import { BackOff } from './back-off.ts';
import { decode, type KubeClient } from './client.ts';
import {
  isExpired,
  isInvalid,
  isTooLargeResourceVersion,
  isTooManyRequests,
  KubeApiError,
  TransportError,
} from './errors.ts';
import type { Store } from './store.ts';
import { compareResourceVersions, type HasMetadata, keyOf, type Resource } from './types.ts';
import { WatchGuard } from './watch-guard.ts';

export interface ReflectorOptions<T extends HasMetadata> {
  client: Pick<KubeClient, 'list' | 'watch'>;
  resource: Resource<T>;
  store: Store<T>;
  namespace?: string | undefined;
  labelSelector?: string | undefined;
  fieldSelector?: string | undefined;
  clock: Clock;
  random: Random;
  /** Something went wrong and is being dealt with: a failed list or watch, an object that cannot be parsed. */
  onError?: ((error: unknown) => void) | undefined;
  /** The store was filled from a complete list. */
  onSynced?: ((resourceVersion: string) => void) | undefined;
  timing?: Partial<ReflectorTiming> | undefined;
}

export interface ReflectorTiming {
  /** The server ends a watch after a time from `[min, 2 × min)`, so that the watches of many clients do not end together. */
  minWatchSeconds: number;
  /** Beyond the server's own limit, before we end the watch ourselves. */
  watchGraceMs: number;
  /**
   * A watch that brought nothing for so long, not even one of the bookmarks that a server sends each minute, is taken for
   * dead even though its connection lives.
   */
  silenceLimitMs: number;
  /** The same for a watch that is still bringing the present objects. */
  initialSilenceLimitMs: number;
  minBackOffMs: number;
  maxBackOffMs: number;
  pageSize: number;
}

const DEFAULT_TIMING: ReflectorTiming = {
  minWatchSeconds: 300,
  watchGraceMs: 10_000,
  silenceLimitMs: 150_000,
  initialSilenceLimitMs: 30_000,
  minBackOffMs: 500,
  maxBackOffMs: 30_000,
  pageSize: 500,
};

/** A watch that failed this often in a row from the same version is not tried from there again. */
const FAILURES_UNTIL_RELIST = 5;
/** A watch that ended sooner than this, without an event, did not do its work. */
const SHORT_WATCH_MS = 1000;
/** A watch that ended so much before its time was ended by something else. */
const EARLY_END_MS = 1000;

/** A watch-list brought nothing more although its end was still to come. */
class NoInitialEventsEndError extends Error {
  override name = 'NoInitialEventsEndError';
}

/** The server's history went backwards. */
class RewoundError extends Error {
  override name = 'RewoundError';
}

/**
 * Keeps a store equal to what the API server has: one complete list, then a watch from its version, for ever. There is no
 * way for it to fall silent: every failure leads to another attempt, after a jittered back-off.
 *
 * The list comes as a stream (watch-list) where the server can, otherwise in pages. Neither asks for a version, so that it
 * is current, never a stale cache's. A watch that breaks is resumed from the last version seen; only when the server has
 * forgotten that version, has not come to it yet, or keeps failing on it, everything is listed again.
 */
export class Reflector<T extends HasMetadata> {
  readonly #options: ReflectorOptions<T>;
  readonly #timing: ReflectorTiming;
  readonly #backOff: BackOff;
  /** The same resource without `parse`: one object that cannot be read must not take the others with it. */
  readonly #raw: Resource<HasMetadata>;
  #listMode: 'watch-list' | 'pages' = 'watch-list';
  /** From where the next watch goes on; undefined when a complete list is needed. */
  #resumeFrom: string | undefined;
  /**
   * The last watch did not end as it should, so the server may have been restored from a backup. Of a watch from a version that
   * is still to come it shows nothing and refuses nothing: who does not look would wait for ever.
   */
  #mayBeRewound = false;
  #failuresInARow = 0;
  #lastContactMs: number;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#timing = { ...DEFAULT_TIMING, ...options.timing };
    const { minBackOffMs: minMs, maxBackOffMs: maxMs } = this.#timing;
    this.#backOff = new BackOff({ random: options.random, minMs, maxMs });
    const { group, version, plural, kind, namespaced } = options.resource;
    this.#raw = { group, version, plural, kind, namespaced };
    this.#lastContactMs = options.clock.monotonicMs();
  }

  /** Version up to which the store is complete; undefined before the first list, and when a new one is needed. */
  get lastSyncedResourceVersion(): string | undefined {
    return this.#resumeFrom;
  }

  /** Milliseconds since the server last told us anything; a healthy server sends a bookmark each minute. */
  get staleForMs(): number {
    return this.#options.clock.monotonicMs() - this.#lastContactMs;
  }

  /** Runs until the signal aborts; never throws. To be called once. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const delayMs = await this.#round(signal);
      if (delayMs > 0 && !signal.aborted) await clock.sleep(delayMs, signal).catch(() => {});
    }
  }

  /** One list if needed, and one watch. Returns how long to wait before the next. */
  async #round(signal: AbortSignal): Promise<number> {
    const startedMs = this.#options.clock.monotonicMs();
    try {
      if (this.#resumeFrom !== undefined && this.#mayBeRewound) await this.#checkHistory(signal);
      if (this.#resumeFrom === undefined && this.#listMode === 'pages') await this.#listInPages(signal);
      const eventCount = await this.#watch(signal);
      const isShort = eventCount === 0 && this.#options.clock.monotonicMs() - startedMs < SHORT_WATCH_MS;
      if (!isShort) return 0;
      throw new TransportError('broken', `the watch of ${this.#raw.plural} ended at once`, { sent: true });
    } catch (error) {
      return signal.aborted ? 0 : this.#afterFailure(error);
    }
  }

  #afterFailure(error: unknown): number {
    this.#failuresInARow += 1;
    const isInitial = this.#resumeFrom === undefined;
    if (isInitial && this.#listMode === 'watch-list' && isUnsupportedWatchList(error)) {
      this.#listMode = 'pages';
      return this.#backOff.next();
    }
    this.#options.onError?.(error);
    if (isConnectionFailure(error)) this.#mayBeRewound = true;
    if (error instanceof RewoundError) this.#options.store.rewound();
    const mustRelist =
      isExpired(error) ||
      isTooLargeResourceVersion(error) ||
      error instanceof RewoundError ||
      // A server that is away says nothing about our version; listing everything again would hit it when it comes back.
      (this.#failuresInARow >= FAILURES_UNTIL_RELIST && !isConnectionFailure(error));
    if (mustRelist) {
      this.#resumeFrom = undefined;
      this.#failuresInARow = 0;
    }
    const askedMs = isTooManyRequests(error) && error instanceof KubeApiError ? (error.retryAfterMs ?? 0) : 0;
    return askedMs + this.#backOff.next();
  }

  /**
   * Looks where the server is: the version of a list that asks for none is the newest of all. A server that was restored and
   * has passed our version since cannot be told from one that was not; so this comes before the watch is resumed.
   *
   * @throws RewoundError
   */
  async #checkHistory(signal: AbortSignal): Promise<void> {
    const { client, namespace, labelSelector, fieldSelector } = this.#options;
    const selection = { namespace, labelSelector, fieldSelector };
    const { resourceVersion } = await client.list(this.#raw, { ...selection, limit: 1, signal, maxTries: 1 });
    this.#checkProgress(resourceVersion);
    this.#mayBeRewound = false;
  }

  async #listInPages(signal: AbortSignal): Promise<void> {
    const { client, store, namespace, labelSelector, fieldSelector } = this.#options;
    const objects: T[] = [];
    const unreadable = new Set<string>();
    let continueToken: string | undefined;
    let resourceVersion: string;
    do {
      const page = await client.list(this.#raw, {
        namespace,
        labelSelector,
        fieldSelector,
        limit: this.#timing.pageSize,
        continueToken,
        signal,
        // The loop around this has its own back-off; an expired token must come here, not be repeated.
        maxTries: 2,
      });
      for (const raw of page.items) {
        const object = this.#read(raw);
        if (object === undefined) unreadable.add(keyOf(raw.metadata));
        else objects.push(object);
      }
      ({ continueToken, resourceVersion } = page);
      this.#contact();
    } while (continueToken !== undefined);
    store.replace(objects, resourceVersion, unreadable);
    this.#synced(resourceVersion);
  }

  /** Follows one watch to its end. Returns the number of events, bookmarks included. */
  async #watch(signal: AbortSignal): Promise<number> {
    const { client, clock, random, resource, namespace, labelSelector, fieldSelector } = this.#options;
    const { minWatchSeconds, watchGraceMs, silenceLimitMs, initialSilenceLimitMs } = this.#timing;
    const timeoutSeconds = Math.round(minWatchSeconds * (1 + random.next()));
    const initial = this.#resumeFrom === undefined ? { objects: [] as T[], unreadable: new Set<string>() } : undefined;
    const guard = new WatchGuard({
      clock,
      signal,
      what: `watch of ${resource.plural}`,
      limitMs: timeoutSeconds * 1000 + watchGraceMs,
      silenceLimitMs: initial === undefined ? silenceLimitMs : initialSilenceLimitMs,
    });
    let eventCount = 0;
    const startedMs = clock.monotonicMs();
    try {
      const events = await client.watch(this.#raw, {
        namespace,
        labelSelector,
        fieldSelector,
        timeoutSeconds,
        signal: guard.signal,
        ...(initial === undefined ? { resourceVersion: this.#resumeFrom } : { sendInitialEvents: true }),
      });
      this.#contact();
      for await (const event of events) {
        eventCount += 1;
        this.#contact();
        guard.alive();
        if (this.#resumeFrom !== undefined) {
          this.#progressed();
          if (event.type === 'BOOKMARK') this.#bookmark(event.resourceVersion);
          else this.#apply(event.type, event.object);
        } else if (event.type !== 'BOOKMARK') {
          const object = this.#read(event.object);
          if (object === undefined) initial?.unreadable.add(keyOf(event.object.metadata));
          else initial?.objects.push(object);
        } else if (event.initialEventsEnd && initial !== undefined) {
          this.#options.store.replace(initial.objects, event.resourceVersion, initial.unreadable);
          initial.objects = [];
          this.#synced(event.resourceVersion);
          guard.setSilenceLimit(silenceLimitMs);
        }
      }
      // Its bookmarks tell that the server is where we are, and its end at the time agreed that it did not restart.
      this.#mayBeRewound = eventCount === 0 || clock.monotonicMs() - startedMs < timeoutSeconds * 1000 - EARLY_END_MS;
      return eventCount;
    } catch (error) {
      if (guard.reason?.failure === 'silent' && this.#resumeFrom === undefined) {
        throw new NoInitialEventsEndError(guard.reason.message, { cause: guard.reason });
      }
      // What the guard found out is more to the point than the broken stream that follows from it.
      throw guard.reason ?? error;
    } finally {
      guard.end();
    }
  }

  #apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', raw: HasMetadata): void {
    const { store } = this.#options;
    this.#advanceTo(raw.metadata.resourceVersion);
    const object = this.#read(raw);
    if (type === 'DELETED') store.remove(raw.metadata, object);
    else if (object === undefined) store.markUnreadable(raw.metadata);
    else store.upsert(object);
  }

  #bookmark(resourceVersion: string): void {
    this.#advanceTo(resourceVersion);
    this.#options.store.progressTo(resourceVersion);
  }

  /** Versions of one watch only grow. When they do not, etcd was restored, and our store shows a future that is no more. */
  #advanceTo(resourceVersion: string | undefined): void {
    if (resourceVersion === undefined) return;
    this.#checkProgress(resourceVersion);
    this.#resumeFrom = resourceVersion;
  }

  /** @throws RewoundError when the server is at a version before ours */
  #checkProgress(resourceVersion: string): void {
    if (compareResourceVersions(resourceVersion, this.#resumeFrom) >= 0) return;
    throw new RewoundError(
      `${this.#raw.plural}: the server is at version ${resourceVersion}, but had been at ${this.#resumeFrom}`,
    );
  }

  /** Parses and reduces; undefined, and reported, when the object cannot be read. */
  #read(raw: HasMetadata): T | undefined {
    try {
      return this.#options.store.ingest(decode(this.#options.resource, raw));
    } catch (cause) {
      this.#options.onError?.(new Error(`${this.#raw.kind} ${keyOf(raw.metadata)} cannot be read`, { cause }));
      return undefined;
    }
  }

  #synced(resourceVersion: string): void {
    this.#resumeFrom = resourceVersion;
    this.#mayBeRewound = false;
    this.#options.onSynced?.(resourceVersion);
  }

  #progressed(): void {
    this.#failuresInARow = 0;
    this.#backOff.reset();
  }

  #contact(): void {
    this.#lastContactMs = this.#options.clock.monotonicMs();
  }
}

/**
 * Servers without watch-list refuse its parameters (400, 422). Those older still ignore them, and then the bookmark that
 * ends the initial events never comes.
 */
function isUnsupportedWatchList(error: unknown): boolean {
  if (error instanceof NoInitialEventsEndError) return true;
  return isInvalid(error) || (error instanceof KubeApiError && error.code === 400);
}

function isConnectionFailure(error: unknown): boolean {
  return error instanceof TransportError && error.failure !== 'malformed';
}
