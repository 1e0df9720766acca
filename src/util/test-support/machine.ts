import { systemClock } from '../clock.ts';
import { systemRandom } from '../random.ts';

/** The machine's own clock and chance, for tests against real sockets. */
export const machine = { clock: systemClock, random: systemRandom };
