import fc from 'fast-check';
import { expect, test } from 'vitest';
import { seededRandom } from './random.ts';
import { settled, VirtualClock } from './test-support/virtual-clock.ts';

/** Guarantees that simulations on virtual time rely on. */

const plans = fc.array(fc.record({ inMs: fc.nat(20), isCancelled: fc.boolean() }), { maxLength: 60 });

test('each call is made once, at its time, and calls of one instant in their order of scheduling', async () => {
  await fc.assert(
    fc.asyncProperty(plans, async (planned) => {
      const clock = new VirtualClock();
      const made: [order: number, atMs: number][] = [];
      const calls = planned.map(({ inMs }, order) =>
        clock.schedule(inMs, () => made.push([order, clock.monotonicMs()])),
      );
      for (const [order, { isCancelled }] of planned.entries()) if (isCancelled) calls[order]?.cancel();
      await clock.advance(1000);
      expect(made).toEqual(
        planned
          .map(({ inMs, isCancelled }, order) => ({ inMs, isCancelled, order }))
          .filter(({ isCancelled }) => !isCancelled)
          .sort((a, b) => a.inMs - b.inMs)
          .map(({ inMs, order }) => [order, inMs]),
      );
      expect([clock.pendingCalls, clock.nextDueMs()]).toEqual([0, undefined]);
    }),
  );
});

test('time only moves forward when calls schedule and cancel others, and wall clock jumps do not matter', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), async (seed) => {
      const run = async (jumps: boolean): Promise<string[]> => {
        const random = seededRandom(seed);
        const clock = new VirtualClock();
        const log: string[] = [];
        let planned = 0;
        const handles: { cancel(): void }[] = [];
        const plan = () => {
          if (planned >= 80) return;
          const [name, dueMs] = [planned++, clock.monotonicMs() + Math.floor(random.next() * 10)];
          handles.push(
            clock.schedule(dueMs - clock.monotonicMs(), () => {
              expect(clock.monotonicMs()).toBe(dueMs);
              log.push(`${name} at ${dueMs}`);
              const jumpMs = 10_000 * (random.next() - 0.5);
              if (jumps) clock.setWallClock(jumpMs);
              for (let more = Math.floor(random.next() * 3); more > 0; more--) plan();
              handles[Math.floor(random.next() * handles.length)]?.cancel();
            }),
          );
        };
        for (let i = 0; i < 5; i++) plan();
        let lastMs = 0;
        while (await clock.step()) {
          expect(clock.monotonicMs()).toBeGreaterThanOrEqual(lastMs);
          lastMs = clock.monotonicMs();
        }
        expect(clock.pendingCalls).toBe(0);
        return log;
      };
      expect(await run(true)).toEqual(await run(false));
    }),
  );
});

test('settling completes promise chains of any length and kind', async () => {
  const links = fc.array(fc.constantFrom('await', 'microtask', 'tick', 'generator', 'abort'), { maxLength: 300 });
  await fc.assert(
    fc.asyncProperty(links, async (chain) => {
      let done = 0;
      void (async () => {
        for (const link of chain) {
          await hop(link);
          done += 1;
        }
      })();
      await settled();
      expect(done).toBe(chain.length);
    }),
  );
});

/** One await of a kind that needs no socket, file or timer. */
async function hop(kind: 'await' | 'microtask' | 'tick' | 'generator' | 'abort'): Promise<void> {
  switch (kind) {
    case 'await':
      return;
    case 'microtask':
      return new Promise(queueMicrotask);
    case 'tick':
      return new Promise((resolve) => process.nextTick(resolve));
    case 'generator': {
      for await (const _ of three()) void _;
      return;
    }
    case 'abort': {
      const abort = new AbortController();
      const aborted = new Promise<void>((resolve) => {
        AbortSignal.any([abort.signal]).addEventListener('abort', () => resolve(), { once: true });
      });
      void Promise.resolve().then(() => abort.abort());
      return aborted;
    }
  }
}

async function* three(): AsyncGenerator<number> {
  for (let i = 0; i < 3; i++) yield i;
}

test('a step makes one call, with all its effects, and none beyond its limit', async () => {
  const clock = new VirtualClock();
  const log: string[] = [];
  const worker = async (name: string) => {
    await clock.sleep(10);
    for (let i = 0; i < 100; i++) await Promise.resolve();
    log.push(name);
  };
  void worker('a');
  void worker('b');
  expect(await clock.step(9)).toBe(false);
  expect([clock.monotonicMs(), clock.nextDueMs()]).toEqual([0, 10]);
  expect(await clock.step(10)).toBe(true);
  expect([log, clock.monotonicMs()]).toEqual([['a'], 10]);
  expect(await clock.step(10)).toBe(true);
  expect(log).toEqual(['a', 'b']);
  expect(await clock.step()).toBe(false);
});

test('calls that were due while the process was suspended are made late', async () => {
  const clock = new VirtualClock();
  const times: number[] = [];
  clock.schedule(10, () => times.push(clock.monotonicMs()));
  clock.freeze(50);
  await clock.advance(0);
  expect(times).toEqual([50]);
});

test('a call can cancel another of the same instant', async () => {
  const clock = new VirtualClock();
  const log: string[] = [];
  clock.schedule(5, () => second.cancel());
  const second = clock.schedule(5, () => log.push('second'));
  await clock.advance(5);
  expect(log).toEqual([]);
});
