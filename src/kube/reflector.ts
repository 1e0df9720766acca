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
  /** Called for errors that the reflector recovers from: a failed list or watch, an object that cannot be parsed. */
  onError?: ((error: unknown) => void) | undefined;
  /** The store was filled from a complete list. */
  onSynced?: ((resourceVersion: string) => void) | undefined;
  timing?: Partial<ReflectorTiming> | undefined;
}

export interface ReflectorTiming {
  /** The requested duration of a watch is random in `[min, 2 × min)`, so that the watches of many clients do not end together. */
  minWatchSeconds: number;
  /** Grace after the server's own limit, before we end the watch ourselves. */
  watchGraceMs: number;
  /**
   * A watch that brought nothing for this long, not even one of the bookmarks that a server sends every minute, counts as dead
   * even though its connection is alive.
   */
  silenceLimitMs: number;
  /** The same for a watch that is still sending the initial objects. */
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

/** After this many failures in a row from the same version, everything is listed again. */
const FAILURES_UNTIL_RELIST = 5;
/** A watch that ended sooner than this, without an event, counts as failed. */
const SHORT_WATCH_MS = 1000;
/** A watch that ended this much before its requested duration did not end normally. */
const EARLY_END_MS = 1000;

/** A watch-list went silent before its final bookmark. */
class NoInitialEventsEndError extends Error {
  override name = 'NoInitialEventsEndError';
}

/** The server's history went backwards. */
class RewoundError extends Error {
  override name = 'RewoundError';
}

/** What a watch-list has brought so far. Changes of the meantime may come before its final bookmark. */
class InitialObjects<T> {
  readonly objects = new Map<string, T>();
  readonly unreadable = new Set<string>();

  /** @param object as read; undefined when it cannot be parsed */
  apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', { metadata }: HasMetadata, object: T | undefined): void {
    const key = keyOf(metadata);
    this.objects.delete(key);
    this.unreadable.delete(key);
    if (type === 'DELETED') return;
    if (object === undefined) this.unreadable.add(key);
    else this.objects.set(key, object);
  }
}

/**
 * Keeps a store in sync with the API server: one complete list, then watches from its version, forever. Every failure leads
 * to another attempt, after a jittered back-off.
 *
 * The list comes as a stream (watch-list) if the server supports that, otherwise in pages. Neither asks for a version, so
 * the result is current and never from a stale cache. A broken watch is resumed from the last version seen. Everything is
 * listed again only when the server has compacted that version, has not reached it yet, or keeps failing on it.
 */
export class Reflector<T extends HasMetadata> {
  readonly #options: ReflectorOptions<T>;
  readonly #timing: ReflectorTiming;
  readonly #backOff: BackOff;
  /** The same resource without `parse`, so that one object that cannot be parsed does not fail the whole list. */
  readonly #raw: Resource<HasMetadata>;
  #listMode: 'watch-list' | 'pages' = 'watch-list';
  /** Version from which the next watch resumes; undefined when a complete list is needed. */
  #resumeFrom: string | undefined;
  /**
   * The last watch did not end normally, so the server may have been restored from a backup. It accepts a watch from a version
   * in its future and sends nothing, so without a check the watch would wait forever.
   */
  #mayBeRewound = false;
  #failuresInARow = 0;
  #lastContactMs: number;
  /** Ends the present round, so that a new list begins at once. */
  #round = new AbortController();
  /** Those who wait for a list that began after their call. */
  #relists = Promise.withResolvers<void>();

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#timing = { ...DEFAULT_TIMING, ...options.timing };
    const { minBackOffMs: minMs, maxBackOffMs: maxMs } = this.#timing;
    this.#backOff = new BackOff({ random: options.random, minMs, maxMs });
    const { group, version, plural, kind, namespaced } = options.resource;
    this.#raw = { group, version, plural, kind, namespaced };
    this.#lastContactMs = options.clock.monotonicMs();
  }

  /** Version up to which the store is complete; undefined before the first list and when a new one is needed. */
  get lastSyncedResourceVersion(): string | undefined {
    return this.#resumeFrom;
  }

  /** Milliseconds since the server last sent anything; a healthy server sends a bookmark every minute. */
  get staleForMs(): number {
    return this.#options.clock.monotonicMs() - this.#lastContactMs;
  }

  /** Lists everything again. Resolves when the store shows a state that is not older than this call. */
  relist(): Promise<void> {
    this.#resumeFrom = undefined;
    this.#round.abort(new Error('everything is listed again'));
    return this.#relists.promise;
  }

  /** Runs until the signal aborts; never throws. To be called once. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      this.#round = new AbortController();
      const either = AbortSignal.any([signal, this.#round.signal]);
      const delayMs = await this.#listAndWatch(either);
      if (delayMs > 0 && !either.aborted) await clock.sleep(delayMs, either).catch(() => {});
    }
  }

  /** One list if needed, and one watch. Returns how long to wait before the next. */
  async #listAndWatch(signal: AbortSignal): Promise<number> {
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
      // An unreachable server says nothing about our version, and listing everything again would hit it when it comes back.
      (this.#failuresInARow >= FAILURES_UNTIL_RELIST && !isConnectionFailure(error));
    if (mustRelist) {
      this.#resumeFrom = undefined;
      this.#failuresInARow = 0;
    }
    const askedMs = isTooManyRequests(error) && error instanceof KubeApiError ? (error.retryAfterMs ?? 0) : 0;
    return askedMs + this.#backOff.next();
  }

  /**
   * Checks the server's current version: a list without a version returns the newest. A restored server that has since passed
   * our version cannot be told from one that was not restored, so this comes before the watch is resumed.
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
        // The loop around this has its own back-off, and an expired token must not be retried.
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
    const initial = this.#resumeFrom === undefined ? new InitialObjects<T>() : undefined;
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
      guard.opened();
      for await (const event of events) {
        eventCount += 1;
        this.#contact();
        guard.alive();
        if (this.#resumeFrom !== undefined) {
          this.#progressed();
          if (event.type === 'BOOKMARK') this.#bookmark(event.resourceVersion);
          else this.#apply(event.type, event.object);
        } else if (event.type !== 'BOOKMARK') {
          initial?.apply(event.type, event.object, this.#read(event.object));
        } else if (event.initialEventsEnd && initial !== undefined) {
          this.#options.store.replace([...initial.objects.values()], event.resourceVersion, initial.unreadable);
          initial.objects.clear();
          this.#synced(event.resourceVersion);
          guard.setSilenceLimit(silenceLimitMs);
        }
      }
      // Its bookmarks prove that the server is at our version, and its timely end that the server did not restart.
      this.#mayBeRewound = eventCount === 0 || clock.monotonicMs() - startedMs < timeoutSeconds * 1000 - EARLY_END_MS;
      return eventCount;
    } catch (error) {
      if (guard.reason?.failure === 'silent' && this.#resumeFrom === undefined) {
        throw new NoInitialEventsEndError(guard.reason.message, { cause: guard.reason });
      }
      // The guard's error says more than the broken stream that it causes.
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

  /** Versions within a watch only grow. If not, etcd was restored, and our store shows a state that no longer exists. */
  #advanceTo(resourceVersion: string | undefined): void {
    if (resourceVersion === undefined) return;
    this.#checkProgress(resourceVersion);
    this.#resumeFrom = resourceVersion;
  }

  /** @throws RewoundError when the server is at a version before ours */
  #checkProgress(resourceVersion: string): void {
    if (compareResourceVersions(resourceVersion, this.#resumeFrom) >= 0) return;
    throw new RewoundError(
      `${this.#raw.plural}: the server went back from version ${this.#resumeFrom} to ${resourceVersion}`,
    );
  }

  /** Parses and reduces an object; when it cannot be parsed, reports that and returns undefined. */
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
    this.#relists.resolve();
    this.#relists = Promise.withResolvers<void>();
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
 * Servers without watch-list refuse its parameters (400, 422). Even older ones ignore them, and then the bookmark that ends
 * the initial events never comes.
 */
function isUnsupportedWatchList(error: unknown): boolean {
  if (error instanceof NoInitialEventsEndError) return true;
  return isInvalid(error) || (error instanceof KubeApiError && error.code === 400);
}

function isConnectionFailure(error: unknown): boolean {
  return error instanceof TransportError && error.failure !== 'malformed';
}
