/** What happened in the account: every call with its outcome, every completion, every act of the administrator. */

export interface JournalEntry {
  /** 1, 2, 3 … without gaps. */
  seq: number;
  timeMs: number;
  /** `call`: a request of the API; `completion`: the end of an asynchronous change; `admin`: by hand, not by API. */
  kind: 'call' | 'completion' | 'admin';
  /** API name; of a completion `Attached`, `Detached` or `Deleted`. */
  action: string;
  /** `OK` or the error code. */
  outcome: string;
  requestId: string;
  accessKeyId: string;
  /** Parameters as sent, long values cut. */
  params: Record<string, string>;
  /** Objects that the entry created, changed or removed; empty for a read. */
  objectIds: string[];
  clientToken: string;
  /** True when a ClientToken was recognised and nothing was changed. */
  replayed: boolean;
}

export type JournalRecord = Omit<JournalEntry, 'seq'>;

/** Calls per action, and objects that came and went. */
export interface Counters {
  /** action → outcome (`OK` or the code) → number of calls. */
  calls: Record<string, Record<string, number>>;
  /** ENIs that came into being, by any way. */
  eniCreated: number;
  /** ENIs that are gone, by any way. */
  eniDeleted: number;
  eniAttached: number;
  eniDetached: number;
  /** Calls answered from a remembered ClientToken. */
  replayed: number;
}

/** A bounded ring: the oldest entries fall out, counters stay. */
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

  /** `seq` of the latest entry that changed an object; 0 before the first. */
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

  /** Entries with `seq` above `sinceSeq`, oldest first, as far as the ring still holds them. */
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
