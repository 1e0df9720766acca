/** The history of the account: every call with its outcome, every completion, every action of the administrator. */

export interface JournalEntry {
  /** 1, 2, 3 … without gaps. */
  seq: number;
  timeMs: number;
  /** `call`: an API request. `completion`: the end of an asynchronous change. `admin`: a manual action outside the API. */
  kind: 'call' | 'completion' | 'admin';
  /** API name. For a completion `Attached`, `Detached` or `Deleted`. */
  action: string;
  /** `OK` or the error code. */
  outcome: string;
  requestId: string;
  accessKeyId: string;
  /** Parameters as sent; long values are truncated. */
  params: Record<string, string>;
  /** Objects that the entry created, changed or removed. Empty for a read. */
  objectIds: string[];
  clientToken: string;
  /** True when a known ClientToken was used, so that nothing changed. */
  replayed: boolean;
}

export type JournalRecord = Omit<JournalEntry, 'seq'>;

/** Number of calls per action, and of objects created and deleted. */
export interface Counters {
  /** action → outcome (`OK` or the code) → number of calls. */
  calls: Record<string, Record<string, number>>;
  /** ENIs created in any way. */
  eniCreated: number;
  /** ENIs deleted in any way. */
  eniDeleted: number;
  eniAttached: number;
  eniDetached: number;
  /** Calls answered from a remembered ClientToken. */
  replayed: number;
}

/** A bounded ring. The oldest entries are dropped; counters stay. */
export class Journal {
  readonly #capacity: number;
  readonly #ring: JournalEntry[] = [];
  readonly #calls = new Map<string, Map<string, number>>();
  readonly #listeners = new Set<(entry: JournalEntry) => void>();
  #lastSeq = 0;
  #lastChange = 0;
  readonly totals = { eniCreated: 0, eniDeleted: 0, eniAttached: 0, eniDetached: 0, replayed: 0 };

  constructor(capacity: number) {
    this.#capacity = Math.max(1, capacity);
  }

  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** `seq` of the latest entry that changed an object. 0 before the first. */
  get lastChange(): number {
    return this.#lastChange;
  }

  record(record: JournalRecord): JournalEntry {
    this.#lastSeq += 1;
    const entry: JournalEntry = { seq: this.#lastSeq, ...record };
    if (entry.objectIds.length > 0 && !entry.replayed) this.#lastChange = entry.seq;
    this.#ring[(entry.seq - 1) % this.#capacity] = entry;
    if (entry.kind === 'call') {
      let outcomes = this.#calls.get(entry.action);
      if (outcomes === undefined) {
        outcomes = new Map();
        this.#calls.set(entry.action, outcomes);
      }
      outcomes.set(entry.outcome, (outcomes.get(entry.outcome) ?? 0) + 1);
    }
    if (entry.replayed) this.totals.replayed += 1;
    for (const listener of this.#listeners) listener(entry);
    return entry;
  }

  /** Entries with `seq` above `sinceSeq` that the ring still holds, oldest first. */
  since(sinceSeq: number, limit = Number.POSITIVE_INFINITY): JournalEntry[] {
    const first = Math.max(sinceSeq + 1, this.#lastSeq - this.#capacity + 1, 1);
    const entries: JournalEntry[] = [];
    for (let seq = first; seq <= this.#lastSeq && entries.length < limit; seq++) {
      const entry = this.#ring[(seq - 1) % this.#capacity];
      if (entry !== undefined) entries.push(entry);
    }
    return entries;
  }

  counters(): Counters {
    const calls: Record<string, Record<string, number>> = {};
    for (const [action, outcomes] of this.#calls) calls[action] = Object.fromEntries(outcomes);
    return { calls, ...this.totals };
  }

  /** Calls `listener` synchronously with each new entry until the returned function is called. */
  subscribe(listener: (entry: JournalEntry) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
