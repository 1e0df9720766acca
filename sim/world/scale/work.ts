import { Session } from 'node:inspector/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import * as z from 'zod';

const ROOT = join(import.meta.dirname, '..', '..', '..');

/** The virtual clock and its queue, whose cancelled calls leave it when their time has come. */
const CLOCK = ['src/util/test-support/', 'src/util/event-queue.ts'];

const coverageSchema = z.object({
  result: z.array(
    z.object({
      url: z.string(),
      functions: z.array(
        z.object({
          functionName: z.string(),
          ranges: z.array(z.object({ startOffset: z.number(), count: z.number() })),
        }),
      ),
    }),
  ),
});

/** How often each function of the product was busy: the executions of its busiest block. By `src/FILE NAME@OFFSET`. */
export type Work = ReadonlyMap<string, number>;

/**
 * Counts what the product executes, by the coverage counters of the engine: exact, and the same on every machine. Only code that
 * is loaded after the start is counted by blocks; import it then.
 */
export class WorkCounter {
  readonly #session: Session;

  private constructor(session: Session) {
    this.#session = session;
  }

  static async start(): Promise<WorkCounter> {
    // Optimised code does not count the calls of a function that it has inlined.
    for (const flag of ['--no-opt', '--no-maglev']) setFlagsFromString(flag);
    const session = new Session();
    session.connect();
    await session.post('Profiler.enable');
    await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
    return new WorkCounter(session);
  }

  /** Since the last call. */
  async take(): Promise<Work> {
    const { result } = coverageSchema.parse(await this.#session.post('Profiler.takePreciseCoverage'));
    const work = new Map<string, number>();
    for (const { url, functions } of result) {
      const file = url.startsWith('file:') ? relative(ROOT, fileURLToPath(url)) : '';
      if (!file.startsWith('src/') || CLOCK.some((path) => file.startsWith(path))) continue;
      for (const { functionName, ranges } of functions) {
        const name = `${file} ${functionName}@${ranges[0]?.startOffset ?? 0}`;
        const most = ranges.reduce((sum, { count }) => Math.max(sum, count), 0);
        if (most > 0) work.set(name, (work.get(name) ?? 0) + most);
      }
    }
    return work;
  }

  stop(): void {
    this.#session.disconnect();
  }
}

export function totalOf(work: Work): number {
  return [...work.values()].reduce((sum, count) => sum + count, 0);
}
