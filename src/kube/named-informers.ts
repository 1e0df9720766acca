import type { Informer } from './informer.ts';
import type { StoreHandler } from './store.ts';
import type { HasMetadata } from './types.ts';

/**
 * Single objects of a kind, each with a watch of its own: RBAC can grant a watch of objects by name only when the request
 * selects one name. To its users it is one informer.
 */
export class NamedInformers<T extends HasMetadata> {
  readonly #informers: readonly Informer<T>[];

  /** @param make an informer whose selector finds the object of this name and no other */
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

  /** Of the one that has heard nothing for the longest time; milliseconds. */
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
