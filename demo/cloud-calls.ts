import type { AdminClient } from '../sim/cloud/admin-client.ts';
import type { JournalEntry } from '../sim/cloud/model/journal.ts';
import { isTransient } from '../test/cluster/watch.ts';
import { pauseQuietly } from '../tools/machine/poll.ts';

/** How the calls of one ENI are told, in the order of its life. */
const VERBS: readonly [action: string, verb: string][] = [
  ['CreateNetworkInterface', 'Create'],
  ['AttachNetworkInterface', 'Attach'],
  ['DetachNetworkInterface', 'Detach'],
  ['DeleteNetworkInterface', 'Delete'],
];

/** `Create 1, Attach 1`; empty without calls. */
export function describeCalls(calls: ReadonlyMap<string, number> | undefined): string {
  return VERBS.flatMap(([action, verb]) => {
    const number = calls?.get(action);
    return number === undefined ? [] : [`${verb} ${number}`];
  }).join(', ');
}

/** Which calls the simulated cloud has got, as its journal has them: in total, and those that named one ENI. */
export class CloudCalls {
  readonly #cloud: AdminClient;
  readonly #totals = new Map<string, number>();
  readonly #byEni = new Map<string, Map<string, number>>();
  #lastSeq = 0;

  constructor(cloud: AdminClient) {
    this.#cloud = cloud;
  }

  /** Takes note of what has happened since the last time. */
  async refresh(): Promise<void> {
    for (const entry of await this.#cloud.journal(this.#lastSeq)) this.#add(entry);
  }

  /** Refreshes until the signal aborts. */
  async follow(intervalMs: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.refresh();
      } catch (error) {
        // A simulator that has gone is noticed elsewhere, and its end is told there.
        if (!isTransient(error) && !(error instanceof TypeError)) throw error;
      }
      await pauseQuietly(intervalMs, signal);
    }
  }

  /** Calls that created or changed this ENI, such as `Create 1, Attach 1`. */
  ofEni(eniId: string): string {
    return describeCalls(this.#byEni.get(eniId));
  }

  /** Number of calls by API, most first. */
  totals(): [action: string, number: number][] {
    return [...this.#totals].sort(([, left], [, right]) => right - left);
  }

  total(action: string): number {
    return this.#totals.get(action) ?? 0;
  }

  #add(entry: JournalEntry): void {
    // Two refreshes may overlap.
    if (entry.seq <= this.#lastSeq) return;
    this.#lastSeq = entry.seq;
    if (entry.kind !== 'call') return;
    increment(this.#totals, entry.action);
    for (const id of entry.objectIds) {
      let calls = this.#byEni.get(id);
      if (calls === undefined) {
        calls = new Map();
        this.#byEni.set(id, calls);
      }
      increment(calls, entry.action);
    }
  }
}

function increment(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
