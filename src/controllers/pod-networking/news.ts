import { PodNetworkingStats } from '../../allocation/pod-networking-stats.ts';
import type { WorkQueue } from '../../kube/workqueue.ts';
import type { Clock } from '../../util/clock.ts';
import type { Checked } from './status.ts';

/** Minimum interval between two writes without news about the spec. */
export const FIGURES_EVERY_MS = 10_000;
/** Pod changes come in batches and are processed together. */
const GATHER_MS = 250;

/** What this process knows of one PodNetworking. */
export interface Known {
  checked: Checked;
  generation: number | undefined;
  checkDueMs: number;
  writtenMs: number;
  /** The cloud reported free addresses, and no pod was woken yet. */
  isNews: boolean;
}

/** Queues a PodNetworking when the stats of its pods changed, and when someone wants it checked. */
export class NetworkingNews {
  readonly stats = new PodNetworkingStats((name) => this.changed(name));
  readonly known = new Map<string, Known>();
  readonly #clock: Clock;
  readonly #queue: Pick<WorkQueue, 'addAfter'>;

  constructor(options: { clock: Clock; queue: Pick<WorkQueue, 'addAfter'> }) {
    this.#clock = options.clock;
    this.#queue = options.queue;
  }

  /** Entries held for PodNetworkings and their PodENIs. */
  get size(): number {
    return this.known.size + this.stats.size;
  }

  /** The stats of its pods changed. */
  changed(name: string): void {
    this.#queue.addAfter(name, this.#delayOf(name));
  }

  /** Requests a check after this time, earlier than the regular one. */
  wantCheck(name: string, afterMs: number): void {
    const known = this.known.get(name);
    if (known !== undefined) known.checkDueMs = Math.min(known.checkDueMs, this.#clock.now() + afterMs);
    this.#queue.addAfter(name, afterMs);
  }

  #delayOf(name: string): number {
    const isRollingOut = this.stats.of(name).rollout.outdated.size > 0;
    if (isRollingOut) return GATHER_MS;
    const writtenMs = this.known.get(name)?.writtenMs ?? Number.NEGATIVE_INFINITY;
    const restMs = writtenMs + FIGURES_EVERY_MS - this.#clock.now();
    return Math.min(FIGURES_EVERY_MS, Math.max(GATHER_MS, restMs));
  }
}
