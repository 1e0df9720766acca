import { jsonEqual } from './patch.ts';
import { compareResourceVersions, type HasMetadata, keyOf, type ObjectKey, type ObjectMeta } from './types.ts';

/** How a change became known: by a full list, by a watch event, or because we wrote it ourselves. */
export type ChangeOrigin = 'list' | 'watch' | 'write';

/** Callbacks for changes of a store, called in order, after the store has changed. */
export interface StoreHandler<T> {
  onAdd?(object: T, origin: ChangeOrigin): void;
  onUpdate?(previous: T, current: T, origin: ChangeOrigin): void;
  /** With the last known state. */
  onDelete?(last: T, origin: ChangeOrigin): void;
}

/** The index values of an object; an empty list leaves it out. Must be pure: it is called again to remove the object. */
export type Indexer<T> = (object: T) => readonly string[];

export interface StoreOptions<T> {
  indexers?: Readonly<Record<string, Indexer<T>>>;
  /** Reduces an object to the needed fields before it is stored. May change and return its argument. */
  transform?: (object: T) => T;
  /** A handler or an indexer threw. */
  onHandlerError?: (error: unknown, key: string) => void;
}

/**
 * The latest known objects of one kind. Objects are shared, so nobody may change them.
 *
 * An older state never replaces a newer one. There are two sources: the watch, which is ordered but late, and the server's
 * responses to our own writes ({@link noteWritten}), which are immediate but may overtake the watch.
 */
export class Store<T extends HasMetadata> {
  readonly #objects = new Map<string, T>();
  readonly #indexes = new Map<string, Index<T>>();
  readonly #handlers = new Set<StoreHandler<T>>();
  readonly #transform: ((object: T) => T) | undefined;
  readonly #onHandlerError: ((error: unknown, key: string) => void) | undefined;
  /** Deleted uids that the watch may still report; an entry is dropped when the watch has caught up. */
  readonly #deletedUids = new Set<string>();
  #unreadableKeys: ReadonlySet<string> = new Set();
  /** Version up to which the list and the watch are complete. */
  #progress: string | undefined;
  /** The server's history went backwards since the last list. */
  #isRewound = false;

  constructor(options: StoreOptions<T> = {}) {
    this.#transform = options.transform;
    this.#onHandlerError = options.onHandlerError;
    for (const [name, indexer] of Object.entries(options.indexers ?? {})) {
      this.#indexes.set(name, new Index(this.#guardIndexer(indexer)));
    }
  }

  get size(): number {
    return this.#objects.size;
  }

  /** Uids that were deleted by our own writes and that the watch has not reported yet. */
  get unconfirmedDeletions(): ReadonlySet<string> {
    return this.#deletedUids;
  }

  /** Objects on the server that could not be parsed. Check here too before concluding that an object does not exist. */
  get unreadableKeys(): ReadonlySet<string> {
    return this.#unreadableKeys;
  }

  /** @param key `namespace/name`, or `name` for a cluster-scoped kind */
  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(): T[] {
    return [...this.#objects.values()];
  }

  /** Like {@link list} without the array; the store must not change during iteration. */
  values(): IterableIterator<T> {
    return this.#objects.values();
  }

  keys(): string[] {
    return [...this.#objects.keys()];
  }

  /** @throws Error when no such index was declared */
  byIndex(name: string, value: string): T[] {
    const found: T[] = [];
    for (const key of this.#index(name).keysOf(value)) {
      const object = this.#objects.get(key);
      if (object !== undefined) found.push(object);
    }
    return found;
  }

  /** All values in the index. */
  indexValues(name: string): string[] {
    return this.#index(name).values();
  }

  /**
   * Adds a handler and calls its `onAdd` for the existing objects.
   *
   * @returns a function that removes the handler
   */
  addHandler(handler: StoreHandler<T>): () => void {
    this.#handlers.add(handler);
    for (const object of [...this.#objects.values()]) this.#guard(object, () => handler.onAdd?.(object, 'list'));
    return () => {
      this.#handlers.delete(handler);
    };
  }

  /**
   * Stores the server's response to our own write, so that readers see it before the watch brings it. The echo on the watch is
   * then dropped. Only for objects that the informer's selector covers.
   */
  noteWritten(written: T): void {
    const object = this.#transform === undefined ? written : this.#transform(written);
    const key = keyOf(object.metadata);
    const { uid, resourceVersion } = object.metadata;
    const stored = this.#objects.get(key);
    if (uid !== undefined && this.#deletedUids.has(uid)) return;
    if (stored !== undefined) {
      if (isNewer(object, stored)) this.#put(key, object, 'write');
      return;
    }
    // The watch is past this version but the object is not here, so it was deleted since.
    if (this.#progress !== undefined && compareResourceVersions(resourceVersion, this.#progress) <= 0) return;
    this.#put(key, object, 'write');
  }

  /**
   * Removes an object that the server reported as gone (`DeleteResult` `gone`, or a 404). Later watch events of that uid are
   * ignored.
   */
  noteDeleted(key: string, uid: string): void {
    const stored = this.#objects.get(key);
    if (stored?.metadata.uid !== uid) return;
    this.#deletedUids.add(uid);
    this.#take(key, stored, stored, 'write');
  }

  /** For the reflector: reduces an object before it is passed to {@link upsert} or {@link replace}. */
  ingest(object: T): T {
    return this.#transform === undefined ? object : this.#transform(object);
  }

  /** For the reflector: an ADDED or MODIFIED event of an object that went through {@link ingest}. */
  upsert(object: T): void {
    const { uid, resourceVersion } = object.metadata;
    this.progressTo(resourceVersion);
    const key = keyOf(object.metadata);
    this.#setReadable(key);
    if (uid !== undefined && this.#deletedUids.has(uid)) return;
    const stored = this.#objects.get(key);
    if (stored === undefined || isNewer(object, stored)) this.#put(key, object, 'watch');
  }

  /** For the reflector: a DELETED event. `last` is undefined when it could not be parsed. */
  remove(meta: ObjectMeta, last: T | undefined): void {
    this.progressTo(meta.resourceVersion);
    const key = keyOf(meta);
    this.#setReadable(key);
    if (meta.uid !== undefined) this.#deletedUids.delete(meta.uid);
    const stored = this.#objects.get(key);
    if (stored === undefined || stored.metadata.uid !== meta.uid) return;
    // With a selector DELETED also means "no longer matches", and our own write may have brought it back since.
    if (compareResourceVersions(meta.resourceVersion, stored.metadata.resourceVersion) < 0) return;
    this.#take(key, stored, last ?? stored, 'watch');
  }

  /** For the reflector: an event with an object that could not be parsed. The stored state stays. */
  markUnreadable(meta: ObjectKey & { resourceVersion?: string | undefined }): void {
    this.progressTo(meta.resourceVersion);
    this.#unreadableKeys = new Set(this.#unreadableKeys).add(keyOf(meta));
  }

  /** For the reflector: every change up to this version has been delivered. */
  progressTo(resourceVersion: string | undefined): void {
    if (compareResourceVersions(resourceVersion, this.#progress) > 0) this.#progress = resourceVersion;
  }

  /**
   * For the reflector: the server's history went backwards (etcd restored from a backup). Versions are reused, so they no
   * longer say what is newer, and the next list replaces everything.
   */
  rewound(): void {
    this.#isRewound = true;
  }

  /**
   * For the reflector: a complete list at `resourceVersion`. It replaces everything except what we wrote after that version:
   * missing objects are deleted, different ones are updated. A list older than the last known version implies {@link rewound}.
   *
   * @param objects that went through {@link ingest}
   * @param unreadable keys in the list that could not be parsed; their stored state stays
   */
  replace(objects: readonly T[], resourceVersion: string, unreadable: ReadonlySet<string> = new Set()): void {
    const isRewound = this.#isRewound || compareResourceVersions(resourceVersion, this.#progress) < 0;
    this.#isRewound = false;
    if (isRewound) this.#deletedUids.clear();
    const listed = new Set<string>();
    const listedUids = new Set<string>();
    for (const { metadata } of objects) {
      listed.add(keyOf(metadata));
      if (metadata.uid !== undefined) listedUids.add(metadata.uid);
    }
    this.#progress = resourceVersion;
    this.#unreadableKeys = unreadable;
    // Forget deletions that the list includes; the watch will still report the others.
    for (const uid of this.#deletedUids) if (!listedUids.has(uid)) this.#deletedUids.delete(uid);
    const isLaterWrite = (stored: T) =>
      !isRewound && compareResourceVersions(stored.metadata.resourceVersion, resourceVersion) > 0;
    // Deletions first, because an address or a name may have moved from one object to another.
    for (const [key, stored] of [...this.#objects]) {
      if (listed.has(key) || unreadable.has(key)) continue;
      if (!isLaterWrite(stored)) this.#take(key, stored, stored, 'list');
    }
    for (const object of objects) {
      const key = keyOf(object.metadata);
      const { uid } = object.metadata;
      if (uid !== undefined && this.#deletedUids.has(uid)) continue;
      const stored = this.#objects.get(key);
      // The same version may be another state when versions are reused.
      const isSame = isRewound
        ? jsonEqual(stored, object)
        : stored?.metadata.resourceVersion === object.metadata.resourceVersion;
      // Even over a newer version: an etcd restored with bumped versions shows an older state at a newer version.
      if (stored === undefined || !(isSame || isLaterWrite(stored))) this.#put(key, object, 'list');
    }
  }

  #put(key: string, object: T, origin: ChangeOrigin): void {
    const stored = this.#objects.get(key);
    // Another uid is another object: handlers must see the deletion of the first, or they would keep its state.
    if (stored !== undefined && stored.metadata.uid !== object.metadata.uid) this.#take(key, stored, stored, origin);
    const previous = this.#objects.get(key);
    this.#objects.set(key, object);
    for (const index of this.#indexes.values()) index.update(key, previous, object);
    for (const handler of [...this.#handlers]) {
      this.#guard(object, () => {
        if (previous === undefined) handler.onAdd?.(object, origin);
        else handler.onUpdate?.(previous, object, origin);
      });
    }
  }

  #take(key: string, stored: T, last: T, origin: ChangeOrigin): void {
    this.#objects.delete(key);
    for (const index of this.#indexes.values()) index.update(key, stored, undefined);
    for (const handler of [...this.#handlers]) this.#guard(stored, () => handler.onDelete?.(last, origin));
  }

  #guard(object: T, call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#onHandlerError?.(error, keyOf(object.metadata));
    }
  }

  /** When an indexer throws, the object is found by its key only, and the others are unaffected. */
  #guardIndexer(indexer: Indexer<T>): Indexer<T> {
    return (object) => {
      try {
        return indexer(object);
      } catch (error) {
        this.#onHandlerError?.(error, keyOf(object.metadata));
        return [];
      }
    };
  }

  #index(name: string): Index<T> {
    const index = this.#indexes.get(name);
    if (index === undefined) throw new Error(`no index '${name}'`);
    return index;
  }

  #setReadable(key: string): void {
    if (!this.#unreadableKeys.has(key)) return;
    const remaining = new Set(this.#unreadableKeys);
    remaining.delete(key);
    this.#unreadableKeys = remaining;
  }
}

function isNewer(object: HasMetadata, stored: HasMetadata): boolean {
  return compareResourceVersions(object.metadata.resourceVersion, stored.metadata.resourceVersion) > 0;
}

/** Keys by value. Most values have one key, and a Set for it would cost more than the rest of the entry. */
class Index<T> {
  readonly #indexer: Indexer<T>;
  readonly #keys = new Map<string, string | Set<string>>();

  constructor(indexer: Indexer<T>) {
    this.#indexer = indexer;
  }

  keysOf(value: string): Iterable<string> {
    const keys = this.#keys.get(value);
    return typeof keys === 'string' ? [keys] : (keys ?? []);
  }

  values(): string[] {
    return [...this.#keys.keys()];
  }

  update(key: string, previous: T | undefined, current: T | undefined): void {
    const before = previous === undefined ? [] : this.#indexer(previous);
    const after = current === undefined ? [] : this.#indexer(current);
    for (const value of before) if (!after.includes(value)) this.#remove(value, key);
    for (const value of after) if (!before.includes(value)) this.#add(value, key);
  }

  #add(value: string, key: string): void {
    const keys = this.#keys.get(value);
    if (keys === undefined) this.#keys.set(value, key);
    else if (typeof keys === 'string') this.#keys.set(value, new Set([keys, key]));
    else keys.add(key);
  }

  #remove(value: string, key: string): void {
    const keys = this.#keys.get(value);
    if (keys === key) this.#keys.delete(value);
    else if (keys instanceof Set && keys.delete(key) && keys.size === 0) this.#keys.delete(value);
  }
}
