import { orAborted } from '../util/abort.ts';
import type { Clock } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import type { KubeClient } from './client.ts';
import { Reflector, type ReflectorTiming } from './reflector.ts';
import { type Indexer, Store, type StoreHandler } from './store.ts';
import type { HasMetadata, Resource } from './types.ts';

export interface InformerOptions<T extends HasMetadata> {
  client: Pick<KubeClient, 'list' | 'watch'>;
  resource: Resource<T>;
  /** Default: all namespaces. */
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  /** Index name → function that returns the values for `store.byIndex`. */
  indexers?: Readonly<Record<string, Indexer<T>>>;
  /** Reduces each object to the needed fields before it is stored; may change its argument. */
  transform?: (object: T) => T;
  clock: Clock;
  random: Random;
  /** Called for every error; the informer handles it, so none is fatal. */
  onError?: (error: unknown) => void;
  /** The store was filled from a complete list: the first time, and after each relist. */
  onSynced?: (resourceVersion: string) => void;
  timing?: Partial<ReflectorTiming>;
}

/** A store that is kept up to date. One per kind and process, shared by all controllers. */
export class Informer<T extends HasMetadata> {
  readonly store: Store<T>;
  readonly #reflector: Reflector<T>;
  readonly #firstSync = Promise.withResolvers<void>();
  #hasSynced = false;
  #hasStarted = false;

  constructor(options: InformerOptions<T>) {
    const { indexers = {}, transform, onError } = options;
    this.store = new Store<T>({
      indexers,
      ...(transform === undefined ? {} : { transform }),
      onHandlerError: (cause, key) =>
        onError?.(new Error(`a handler of ${options.resource.plural} failed on ${key}`, { cause })),
    });
    this.#reflector = new Reflector<T>({
      ...options,
      store: this.store,
      onSynced: (resourceVersion) => {
        this.#hasSynced = true;
        this.#firstSync.resolve();
        options.onSynced?.(resourceVersion);
      },
    });
  }

  /** True once the store was filled for the first time. */
  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** See {@link Reflector.lastSyncedResourceVersion}. */
  get lastSyncedResourceVersion(): string | undefined {
    return this.#reflector.lastSyncedResourceVersion;
  }

  /** Milliseconds since the server last sent anything; for readiness. Beyond three minutes something is wrong. */
  get staleForMs(): number {
    return this.#reflector.staleForMs;
  }

  /** Lists everything again, and does not wait for it. A list that is under way goes on: many who ask must not keep it from its end. */
  requestList(): void {
    if (this.#reflector.lastSyncedResourceVersion !== undefined) void this.#reflector.relist();
  }

  /**
   * Lists everything again, because a watch may be late. Resolves when the store shows a state that is not older than this
   * call and the handlers have seen it.
   *
   * @throws the signal's reason when it aborts first
   */
  async relist(signal: AbortSignal): Promise<void> {
    await orAborted(this.#reflector.relist(), signal);
  }

  /** See {@link Store.addHandler}. */
  addHandler(handler: StoreHandler<T>): () => void {
    return this.store.addHandler(handler);
  }

  /** Keeps the store up to date until the signal aborts, then resolves. Never throws because of the server. */
  async run(signal: AbortSignal): Promise<void> {
    if (this.#hasStarted) throw new Error('this informer was started before');
    this.#hasStarted = true;
    await this.#reflector.run(signal);
  }

  /**
   * Resolves once the store was filled for the first time and the handlers have seen it.
   *
   * @throws the signal's reason when it aborts first
   */
  async synced(signal: AbortSignal): Promise<void> {
    if (!this.#hasSynced) await orAborted(this.#firstSync.promise, signal);
  }
}
