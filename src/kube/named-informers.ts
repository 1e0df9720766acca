import type { Informer } from './informer.ts';
import type { StoreHandler } from './store.ts';
import type { HasMetadata } from './types.ts';

/**
 * Watches single objects of a kind, each with its own watch, because RBAC can restrict a watch to object names only when the
 * request selects one name. It has the interface of one informer.
 */
export class NamedInformers<T extends HasMetadata> {
  readonly #informers: readonly Informer<T>[];

  /** @param make creates an informer that selects only the object with this name */
  constructor(names: readonly string[], make: (name: string) => Informer<T>) {
    this.#informers = [...new Set(names)].map(make);
  }

  /** @param key `namespace/name` */
  get(key: string): T | undefined {
    return this.#informers.map(({ store }) => store.get(key)).find((object) => object !== undefined);
  }

  /** True once every store was filled for the first time. */
  get hasSynced(): boolean {
    return this.#informers.every(({ hasSynced }) => hasSynced);
  }

  /** The highest staleness of all informers, in milliseconds. */
  get staleForMs(): number {
    return Math.max(0, ...this.#informers.map(({ staleForMs }) => staleForMs));
  }

  /** See {@link Informer.addHandler}. */
  addHandler(handler: StoreHandler<T>): () => void {
    const removals = this.#informers.map((informer) => informer.addHandler(handler));
    return () => {
      for (const remove of removals) remove();
    };
  }

  /** See {@link Informer.run}. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#informers.map((informer) => informer.run(signal)));
  }

  /** See {@link Informer.synced}. */
  async synced(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#informers.map((informer) => informer.synced(signal)));
  }
}
