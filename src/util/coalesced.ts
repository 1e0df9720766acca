import type { Clock, ScheduledCall } from './clock.ts';

/** Work that many ask for at one time and that is done once for all of them, when the event loop turns. */
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
