import type { KubeObject } from './objects.ts';

/** One write that changed something. */
export interface WriteRecord {
  /** 1, 2, 3 … without gaps. */
  seq: number;
  timeMs: number;
  /** Who wrote: the replica of a transport, or whom a test played. */
  actor: string;
  verb: WriteVerb;
  /** `podenis.network.alibabacloud.com`, `pods`. */
  resource: string;
  /** `status`, `eviction`, `binding`, `finalize`, or `''`. */
  subresource: string;
  /** `namespace/name`, or `name`. */
  key: string;
  version: number;
  /** Undefined for what was created. */
  before: KubeObject | undefined;
  /** Undefined for what is gone. */
  after: KubeObject | undefined;
}

export type WriteVerb = 'create' | 'update' | 'patch' | 'delete' | 'deletecollection';

/** The latest writes, up to a number of them, and those who are told of each. */
export class WriteJournal {
  readonly #capacity: number;
  readonly #ring: WriteRecord[] = [];
  readonly #listeners = new Set<(record: WriteRecord) => void>();
  #lastSeq = 0;

  constructor(capacity: number) {
    this.#capacity = Math.max(1, capacity);
  }

  get lastSeq(): number {
    return this.#lastSeq;
  }

  record(write: Omit<WriteRecord, 'seq'>): void {
    this.#lastSeq += 1;
    const record = { seq: this.#lastSeq, ...write };
    this.#ring[(record.seq - 1) % this.#capacity] = record;
    for (const listener of this.#listeners) listener(record);
  }

  /** Records with a `seq` above this one, oldest first, as far as they are kept. */
  since(seq: number): WriteRecord[] {
    const records: WriteRecord[] = [];
    for (let at = Math.max(seq + 1, this.#lastSeq - this.#capacity + 1, 1); at <= this.#lastSeq; at++) {
      const record = this.#ring[(at - 1) % this.#capacity];
      if (record !== undefined) records.push(record);
    }
    return records;
  }

  /** Calls `listener` right after each change until the returned function is called. It must not write. */
  subscribe(listener: (record: WriteRecord) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
