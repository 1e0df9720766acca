import { type Change, type EventType, History } from './history.ts';
import type { KubeObject, StoredObject } from './objects.ts';
import type { ApiResource } from './resources.ts';

/** One open watch, as the collection sees it. */
export interface Watcher {
  matches(object: KubeObject): boolean;
  deliver(type: EventType, change: Change): void;
}

/** The objects of one resource, their history and who watches them. */
export class Collection {
  resource: ApiResource;
  readonly history: History;
  readonly watchers = new Set<Watcher>();
  readonly #objects = new Map<string, StoredObject>();
  #sorted: readonly StoredObject[] | undefined;

  constructor(resource: ApiResource, historyLimit: number) {
    this.resource = resource;
    this.history = new History(historyLimit);
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): StoredObject | undefined {
    return this.#objects.get(key);
  }

  /** In the order of their keys. */
  list(): readonly StoredObject[] {
    this.#sorted ??= inOrder(this.#objects.values());
    return this.#sorted;
  }

  /** As it was at an earlier version, which the history must still cover. */
  listAt(version: number): readonly StoredObject[] {
    const later = this.history.after(version);
    if (later.length === 0) return this.list();
    const objects = new Map(this.#objects);
    for (const { key, previous } of later.toReversed()) {
      if (previous === undefined) objects.delete(key);
      else objects.set(key, previous);
    }
    return inOrder(objects.values());
  }

  /** Takes over the state of a backup; of what happened before it nothing is known. */
  reset(objects: readonly StoredObject[], version: number): void {
    this.#objects.clear();
    for (const stored of objects) this.#objects.set(stored.key, stored);
    this.#sorted = undefined;
    this.history.clear(version);
    this.watchers.clear();
  }

  commit(change: Change): void {
    const { current, key } = change;
    if (current === undefined) this.#objects.delete(key);
    else this.#objects.set(key, current);
    this.#sorted = undefined;
    this.history.add(change);
    for (const watcher of [...this.watchers]) {
      const type = change.typeFor((object) => watcher.matches(object));
      if (type !== undefined) watcher.deliver(type, change);
    }
  }
}

function inOrder(objects: Iterable<StoredObject>): readonly StoredObject[] {
  return [...objects].sort((a, b) => (a.key < b.key ? -1 : 1));
}
