import type { Clock, ScheduledCall } from './clock.ts';

/** Work that runs once for all requests in one turn of the event loop. */
export class Coalesced {
  readonly #clock: Clock;
  readonly #run: () => void;
  #planned: ScheduledCall | undefined;

  constructor(clock: Clock, run: () => void) {
    this.#clock = clock;
    this.#run = run;
  }

  want(): void {
    this.#planned ??= this.#clock.schedule(0, () => {
      this.#planned = undefined;
      this.#run();
    });
  }

  cancel(): void {
    this.#planned?.cancel();
    this.#planned = undefined;
  }
}
