import { onAbort } from '../util/abort.ts';
import type { Clock } from '../util/clock.ts';

/** `node`: only the node's namespace, because something changed there. */
export type LookScope = 'all' | 'node';

export interface LookLoopOptions {
  clock: Clock;
  /** How often the whole node is looked at without a trigger. */
  periodMs: number;
  /** Must not throw. */
  look: (scope: LookScope) => Promise<void>;
}

/** Batches a burst of changes into one look. */
const SETTLE_MS = { all: 200, node: 50 } as const;
/** A few looks follow changes at once, then one per interval: somebody who undoes each repair must not keep the agent busy. */
const BURST = 5;
const REFILL_MS = 5000;

/** When the node is looked at: at the start, every period, and soon after somebody wakes it. */
export class LookLoop {
  readonly #options: LookLoopOptions;
  /** When each kind of look is due. */
  readonly #dueMs: Record<LookScope, number>;
  #tokens = BURST;
  #refilledMs: number;
  #changed = Promise.withResolvers<void>();

  constructor(options: LookLoopOptions) {
    this.#options = options;
    this.#refilledMs = options.clock.monotonicMs();
    this.#dueMs = { all: this.#refilledMs, node: Number.POSITIVE_INFINITY };
  }

  wake(scope: LookScope): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#dueMs[scope] = Math.min(this.#dueMs[scope], nowMs + SETTLE_MS[scope]);
    this.#changed.resolve();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, look, periodMs } = this.#options;
    const stop = () => this.#changed.resolve();
    using _aborting = onAbort(signal, stop);
    while (!signal.aborted) {
      this.#changed = Promise.withResolvers();
      const nowMs = clock.monotonicMs();
      this.#refill(nowMs);
      const scope = this.#due(nowMs);
      if (scope === undefined) {
        const timer = clock.schedule(this.#nextMs() - nowMs, stop);
        await this.#changed.promise;
        timer.cancel();
        continue;
      }
      // Changes during a look are for the next one. A look at everything includes the node.
      this.#dueMs.node = Number.POSITIVE_INFINITY;
      if (scope === 'all') this.#dueMs.all = nowMs + periodMs;
      else this.#tokens -= 1;
      await look(scope);
    }
  }

  #due(nowMs: number): LookScope | undefined {
    if (this.#dueMs.all <= nowMs) return 'all';
    return this.#dueMs.node <= nowMs && this.#tokens > 0 ? 'node' : undefined;
  }

  #nextMs(): number {
    const nodeMs = this.#tokens > 0 ? this.#dueMs.node : Math.max(this.#dueMs.node, this.#refilledMs + REFILL_MS);
    return Math.min(this.#dueMs.all, nodeMs);
  }

  #refill(nowMs: number): void {
    const due = Math.floor((nowMs - this.#refilledMs) / REFILL_MS);
    if (due <= 0) return;
    this.#tokens = Math.min(BURST, this.#tokens + due);
    this.#refilledMs += due * REFILL_MS;
  }
}
