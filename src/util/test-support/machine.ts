import { systemClock } from '../clock.ts';
import { systemRandom } from '../random.ts';

/** The real clock and randomness, for tests against real sockets. */
export const machine = { clock: systemClock, random: systemRandom };
