import { type KubeObject, type StoredObject, store, textOf, withVersion } from './objects.ts';

export type EventType = 'ADDED' | 'MODIFIED' | 'DELETED';

/** One write of one object. Its lines are made once, whoever watches. */
export class Change {
  readonly version: number;
  /** Undefined when the write created the object. */
  readonly previous: StoredObject | undefined;
  /** Undefined when the write deleted it. */
  readonly current: StoredObject | undefined;
  readonly #lines: Partial<Record<EventType, string>> = {};

  constructor(version: number, previous: StoredObject | undefined, current: StoredObject | undefined) {
    this.version = version;
    this.previous = previous;
    this.current = current;
  }

  get key(): string {
    return (this.current ?? this.previous)?.key ?? '';
  }

  /** What a watch shows whose selector matches as said; undefined when it shows nothing. */
  typeFor(matches: (object: KubeObject) => boolean): EventType | undefined {
    const { previous, current } = this;
    const wasShown = previous !== undefined && matches(previous.object);
    const isShown = current !== undefined && matches(current.object);
    if (isShown) return wasShown ? 'MODIFIED' : 'ADDED';
    return wasShown ? 'DELETED' : undefined;
  }

  line(type: EventType): string {
    const line = this.#lines[type] ?? eventLine(type, this.#text(type));
    this.#lines[type] = line;
    return line;
  }

  #text(type: EventType): string {
    const { previous, current, version } = this;
    if (type !== 'DELETED') return current === undefined ? '' : textOf(current);
    // The state before, with the version at which it went out of sight.
    return previous === undefined ? '' : textOf(store(previous.key, version, withVersion(previous.object, version)));
  }
}

export function eventLine(type: EventType | 'BOOKMARK' | 'ERROR', objectText: string): string {
  return `{"type":"${type}","object":${objectText}}\n`;
}

/** The latest changes of one resource, oldest first, up to a number of them. */
export class History {
  readonly #limit: number;
  #changes: Change[] = [];
  /** Changes up to this version are forgotten. */
  #forgotten = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The newest version from which the history is not complete any more. */
  get forgotten(): number {
    return this.#forgotten;
  }

  get size(): number {
    return this.#changes.length;
  }

  add(change: Change): void {
    this.#changes.push(change);
    // In one go, so that forgetting costs nothing per write.
    if (this.#changes.length >= this.#limit * 2) this.#drop(this.#changes.length - this.#limit);
  }

  /** Forgets what happened up to `version`. */
  compact(version: number): void {
    this.#drop(this.#firstAfter(version));
    this.#forgotten = Math.max(this.#forgotten, version);
  }

  /** Begins anew at `version`. */
  clear(version: number): void {
    this.#changes = [];
    this.#forgotten = version;
  }

  after(version: number): readonly Change[] {
    return this.#changes.slice(this.#firstAfter(version));
  }

  #drop(count: number): void {
    if (count === 0) return;
    this.#forgotten = this.#changes[count - 1]?.version ?? this.#forgotten;
    this.#changes = this.#changes.slice(count);
  }

  #firstAfter(version: number): number {
    let [low, high] = [0, this.#changes.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#changes[middle]?.version ?? 0) > version) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
