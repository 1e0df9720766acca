const EMPTY: ReadonlySet<never> = new Set<never>();

/** Maps a key to a set of values, in insertion order. Empty sets are dropped. */
export class MultiIndex<V> {
  readonly #sets = new Map<string, Set<V>>();

  add(key: string, value: V): void {
    const set = this.#sets.get(key);
    if (set === undefined) this.#sets.set(key, new Set([value]));
    else set.add(value);
  }

  delete(key: string, value: V): void {
    const set = this.#sets.get(key);
    if (set?.delete(value) && set.size === 0) this.#sets.delete(key);
  }

  get(key: string): ReadonlySet<V> {
    return this.#sets.get(key) ?? EMPTY;
  }
}
