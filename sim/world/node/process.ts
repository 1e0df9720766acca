import type { Clock } from '../../../src/util/clock.ts';

/** What a process does on its machine, beside requests to the API server: an operation on the disk, or on the kernel. */
export interface MachineCall {
  /** Whose call it is. */
  process: string;
  /** Such as `disk rename` or `kernel add`. */
  operation: string;
}

/**
 * What goes wrong with an operation.
 * - `slow`: it takes longer.
 * - `failed`: nothing happens, and the process gets an error.
 * - `killed`: the process is killed before the operation, or right after it has taken effect.
 */
export type MachineFault =
  | { kind: 'slow'; ms: number }
  | { kind: 'failed' }
  | { kind: 'killed'; side: 'before' | 'after' };

/** Ends the message of an {@link InjectedError}. */
export const INJECTED = 'failed by a fault';

/** Thrown by an operation that fails by a fault. */
export class InjectedError extends Error {
  override name = 'InjectedError';
}

export interface ProcessOptions {
  name: string;
  clock: Clock;
  /** Asked once for each operation. */
  onCall: (call: MachineCall) => MachineFault | undefined;
  /** Ends the process because of a fault. */
  onKilled: () => void;
}

/** One life of a process. Operations take effect one after another in virtual time, and none does after its end. */
export class ProcessLife {
  readonly #options: ProcessOptions;
  readonly #end = Promise.withResolvers<void>();
  #isOver = false;
  #stalledUntilMs = 0;

  constructor(options: ProcessOptions) {
    this.#options = options;
  }

  /** Resolves when the process is killed. */
  get ended(): Promise<void> {
    return this.#end.promise;
  }

  end(): void {
    this.#isOver = true;
    this.#end.resolve();
  }

  /** As a stopped process: nothing that it does takes effect before that time of the clock. */
  stall(untilMs: number): void {
    this.#stalledUntilMs = Math.max(this.#stalledUntilMs, untilMs);
  }

  /** Resolves when the process is not stalled; never when it has ended. */
  async awake(): Promise<void> {
    const { clock } = this.#options;
    for (let leftMs = this.#leftMs(); leftMs > 0; leftMs = this.#leftMs()) await clock.sleep(leftMs);
    if (this.#isOver) await never();
  }

  /**
   * Does something on the machine. When the process ends before `effect`, nothing happens, and the result never comes.
   *
   * @throws InjectedError
   */
  async perform<T>(operation: string, durationMs: number, effect: () => T): Promise<T> {
    if (this.#isOver) return never();
    const { name, clock, onCall, onKilled } = this.#options;
    const fault = onCall({ process: name, operation });
    if (fault?.kind === 'killed' && fault.side === 'before') onKilled();
    const ms = durationMs + (fault?.kind === 'slow' ? fault.ms : 0);
    if (ms > 0) await clock.sleep(ms);
    await this.awake();
    if (fault?.kind === 'failed') throw new InjectedError(`${operation}: ${INJECTED}`);
    const result = effect();
    if (fault?.kind === 'killed') onKilled();
    await this.awake();
    return result;
  }

  #leftMs(): number {
    return this.#isOver ? 0 : this.#stalledUntilMs - this.#options.clock.monotonicMs();
  }
}

/** What a process that has ended waits for. */
function never(): Promise<never> {
  return new Promise(() => undefined);
}
