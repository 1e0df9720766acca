import { type Random, seededRandom } from '../../../src/util/random.ts';
import { Collection } from './collection.ts';
import { qualifiedName } from './errors.ts';
import { Change } from './history.ts';
import { WriteJournal, type WriteVerb } from './journal.ts';
import { type KubeObject, type StoredObject, store, withVersion } from './objects.ts';
import { type ApiResource, builtInResources } from './resources.ts';

export interface ClusterOptions {
  /** Beyond the built-in kinds. */
  resources: readonly ApiResource[];
  seed: number;
  historyLimit: number;
  journalCapacity: number;
}

/** Who writes, when, and how; every write carries one. */
export interface WriteContext {
  actor: string;
  /** Whose fields `managedFields` says that these are. */
  manager: string;
  verb: WriteVerb;
  subresource: string;
  /** Since the epoch. */
  nowMs: number;
}

/** Everything that is stored at one moment. */
export interface Backup {
  readonly version: number;
  readonly objects: ReadonlyMap<string, readonly StoredObject[]>;
}

const NAME_SUFFIX_CHARACTERS = 'bcdfghjklmnpqrstvwxz2456789';

/** Everything that the server stores, with the one version that counts every write. */
export class ClusterState {
  readonly journal: WriteJournal;
  readonly #collections = new Map<string, Collection>();
  readonly #historyLimit: number;
  readonly #random: Random;
  #version = 1;
  #restores = 0;
  #uidCount = 0;
  #isCommitting = false;

  constructor(options: ClusterOptions) {
    this.journal = new WriteJournal(options.journalCapacity);
    this.#historyLimit = options.historyLimit;
    this.#random = seededRandom(options.seed);
    for (const resource of [...builtInResources(), ...options.resources]) this.define(resource);
  }

  /** Adds a resource, or replaces its definition; its objects stay as they are. */
  define(resource: ApiResource): void {
    const name = qualifiedName(resource);
    const existing = this.#collections.get(name);
    if (existing === undefined) this.#collections.set(name, new Collection(resource, this.#historyLimit));
    else existing.resource = resource;
  }

  /** Of the latest write, whatever it wrote. */
  get version(): number {
    return this.#version;
  }

  /** Grows with every write and every restore, also when the version goes back. */
  get generation(): number {
    return this.journal.lastSeq + this.#restores;
  }

  get collections(): Iterable<Collection> {
    return this.#collections.values();
  }

  /** @param name as `podenis.network.alibabacloud.com`, `pods` */
  find(name: string): Collection | undefined {
    return this.#collections.get(name);
  }

  /** Writes an object; its resource version is set here. */
  put(collection: Collection, key: string, object: KubeObject, context: WriteContext): StoredObject {
    const version = this.#next();
    const current = store(key, version, withVersion(object, version));
    this.#commit(collection, new Change(version, collection.get(key), current), context);
    return current;
  }

  /** Takes an object out. Returns its last state with the version of the deletion. */
  remove(collection: Collection, previous: StoredObject, context: WriteContext): KubeObject {
    const version = this.#next();
    this.#commit(collection, new Change(version, previous, undefined), context);
    return withVersion(previous.object, version);
  }

  /** Looks random, is determined by the seed, and never repeats. */
  nextUid(): string {
    this.#uidCount += 1;
    const [high, low] = [this.#bits32(), this.#bits32()];
    const count = this.#uidCount.toString(16).padStart(12, '0');
    return `${high}-${low.slice(0, 4)}-4${low.slice(4, 7)}-a${low.slice(5)}-${count}`;
  }

  /** What the server appends to `generateName`. */
  nextNameSuffix(): string {
    const pick = () => NAME_SUFFIX_CHARACTERS[Math.floor(this.#random.next() * NAME_SUFFIX_CHARACTERS.length)] ?? 'x';
    return Array.from({ length: 5 }, pick).join('');
  }

  #bits32(): string {
    return Math.floor(this.#random.next() * 2 ** 32)
      .toString(16)
      .padStart(8, '0');
  }

  #next(): number {
    this.#version += 1;
    return this.#version;
  }

  backup(): Backup {
    const objects = new Map([...this.#collections].map(([name, collection]) => [name, collection.list()]));
    return { version: this.#version, objects };
  }

  /**
   * Restores a backup. Watchers are not notified: the server restarts, and its connections break.
   *
   * @param version of the next write less one, not before that of the backup; what happened up to it is forgotten
   */
  restore({ objects }: Backup, version: number): void {
    this.#version = version;
    this.#restores += 1;
    for (const [name, collection] of this.#collections) collection.reset(objects.get(name) ?? [], version);
  }

  #commit(collection: Collection, change: Change, context: WriteContext): void {
    if (this.#isCommitting) throw new Error('a listener for writes must not write');
    this.#isCommitting = true;
    try {
      this.#tell(collection, change, context);
    } finally {
      this.#isCommitting = false;
    }
  }

  #tell(collection: Collection, change: Change, { nowMs, manager: _manager, ...context }: WriteContext): void {
    collection.commit(change);
    this.journal.record({
      ...context,
      timeMs: nowMs,
      resource: qualifiedName(collection.resource),
      key: change.key,
      version: change.version,
      before: change.previous?.object,
      after: change.current?.object,
    });
  }
}
