import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { seededRandom } from '../util/random.ts';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { WorkQueue } from './workqueue.ts';

let clock: VirtualClock;
let queue: WorkQueue;

beforeEach(() => {
  clock = new VirtualClock();
  queue = new WorkQueue({ clock, random: seededRandom(1) });
});

/** Takes the waiting keys without waiting for more. */
async function drain(): Promise<string[]> {
  const keys: string[] = [];
  while (queue.depth > 0) {
    const key = await queue.get();
    if (key === undefined) break;
    keys.push(key);
    queue.done(key);
  }
  return keys;
}

test('a key is queued once, and keys come in the order of their first addition', async () => {
  for (const key of ['a', 'b', 'a', 'c', 'b']) queue.add(key);
  expect(queue.depth).toBe(3);
  expect(await drain()).toEqual(['a', 'b', 'c']);
});

test('a key in progress is not handed out again until done', async () => {
  queue.add('a');
  expect(await queue.get()).toBe('a');
  queue.add('a');
  queue.add('a');
  expect(queue.depth).toBe(0);
  queue.done('a');
  expect(await drain()).toEqual(['a']);
  expect(queue.processingCount).toBe(0);
});

test('a waiting worker gets the next key, one worker per key', async () => {
  const first = queue.get();
  const second = queue.get();
  queue.add('a');
  queue.add('b');
  expect(await Promise.all([first, second])).toEqual(['a', 'b']);
});

test('an aborted wait takes no key', async () => {
  const abort = new AbortController();
  const waiting = queue.get(abort.signal);
  abort.abort(new Error('stop'));
  await expect(waiting).rejects.toThrow('stop');
  queue.add('a');
  expect(await drain()).toEqual(['a']);
});

test('the earliest of several delays wins, with one timer', async () => {
  queue.addAfter('a', 1000);
  queue.addAfter('a', 200);
  queue.addAfter('a', 500);
  queue.addAfter('b', 300);
  expect(clock.pendingCalls).toBe(1);
  await clock.advance(199);
  expect(await drain()).toEqual([]);
  await clock.advance(2);
  expect(await drain()).toEqual(['a']);
  await clock.advance(5000);
  expect(await drain()).toEqual(['b']);
  expect(queue.delayedCount).toBe(0);
});

test('a key that is dropped has no delay any more, and may get another', async () => {
  queue.addAfter('a', 1000);
  queue.addAfter('b', 1000);
  queue.addRateLimited('a');
  queue.drop('a');
  expect(queue.size).toBe(1);
  queue.addAfter('a', 3000);
  await clock.advance(1000);
  expect(await drain()).toEqual(['b']);
  await clock.advance(2000);
  expect(await drain()).toEqual(['a']);
  expect(queue.size).toBe(0);
});

test('delays that were dropped or replaced do not pile up', async () => {
  for (let at = 0; at < 5000; at += 1) {
    queue.addAfter(`gone-${at}`, 1_000_000);
    queue.drop(`gone-${at}`);
    queue.addAfter('kept', 900_000 - at);
  }
  expect(queue.size).toBe(1);
  await clock.advance(900_000 - 4999);
  expect(await drain()).toEqual(['kept']);
});

test('a delay beyond the longest timer is kept', async () => {
  queue.addAfter('a', 10 * 3_600_000);
  await clock.advance(10 * 3_600_000 - 10);
  expect(queue.depth).toBe(0);
  await clock.advance(20);
  expect(queue.depth).toBe(1);
});

test('back-off doubles from 5 ms, never exceeds a minute, and resets with forget', () => {
  const delays = Array.from({ length: 25 }, () => queue.addRateLimited('a'));
  for (const [i, delayMs] of delays.entries()) {
    const fullMs = Math.min(60_000, 5 * 2 ** i);
    expect(delayMs).toBeLessThanOrEqual(fullMs);
    expect(delayMs).toBeGreaterThanOrEqual(fullMs * 0.8);
  }
  expect(queue.failures('a')).toBe(25);
  expect(queue.addRateLimited('b')).toBeLessThanOrEqual(5);
  queue.forget('a');
  expect(queue.addRateLimited('a')).toBeLessThanOrEqual(5);
});

test('high keys go first, but normal ones do not starve', async () => {
  for (let i = 0; i < 10; i++) queue.add(`normal-${i}`);
  for (let i = 0; i < 10; i++) queue.add(`high-${i}`, { priority: 'high' });
  const order = await drain();
  expect(order.slice(0, 6)).toEqual(['high-0', 'high-1', 'high-2', 'high-3', 'normal-0', 'high-4']);
  expect(new Set(order).size).toBe(20);
});

test('a waiting key is promoted, not duplicated', async () => {
  queue.add('a');
  queue.add('b');
  queue.add('b', { priority: 'high' });
  expect(await drain()).toEqual(['b', 'a']);
});

test('the old place of a promoted key is skipped', async () => {
  queue.add('a');
  queue.add('b');
  queue.add('a', { priority: 'high' });
  expect(await queue.get()).toBe('a');
  queue.done('a');
  queue.add('c');
  queue.add('a');
  expect(await drain()).toEqual(['b', 'c', 'a']);
});

test('a key added as high while in progress comes back as high', async () => {
  queue.add('a');
  await queue.get();
  queue.add('b');
  queue.add('a', { priority: 'high' });
  queue.done('a');
  expect(await drain()).toEqual(['a', 'b']);
});

test('after shutdown the queue drains, waiting workers are released, and nothing is added', async () => {
  queue.add('a');
  queue.addAfter('later', 10);
  queue.shutDown();
  queue.add('b');
  await clock.advance(100);
  expect(await queue.get()).toBe('a');
  queue.add('a');
  queue.done('a');
  expect(await queue.get()).toBeUndefined();
  expect(clock.pendingCalls).toBe(0);
});

test('metrics report depth, waiting time and working time', async () => {
  const seen: string[] = [];
  queue = new WorkQueue({
    clock,
    random: seededRandom(1),
    metrics: {
      onDepth: (depth) => seen.push(`depth ${depth}`),
      onLatency: (ms) => seen.push(`waited ${ms}`),
      onWorkDuration: (ms) => seen.push(`worked ${ms}`),
    },
  });
  queue.add('a');
  await clock.advance(30);
  await queue.get();
  await clock.advance(20);
  queue.done('a');
  expect(seen).toEqual(['depth 1', 'depth 0', 'waited 30', 'worked 20']);
});

test('every key is handed out after its last addition, and never twice at a time', async () => {
  const operation = fc.record({
    kind: fc.constantFrom('add', 'high', 'after', 'limited', 'get', 'done', 'tick'),
    key: fc.constantFrom('a', 'b', 'c', 'd'),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 80 }), async (operations) => {
      clock = new VirtualClock();
      queue = new WorkQueue({ clock, random: seededRandom(7) });
      const running = new Set<string>();
      /** Added, or becoming due, since it was last handed out. */
      const owed = new Set<string>();
      const take = async () => {
        const key = await queue.get();
        if (key === undefined) throw new Error('shut down');
        expect(running.has(key)).toBe(false);
        running.add(key);
        owed.delete(key);
      };
      for (const { kind, key } of operations) {
        switch (kind) {
          case 'add':
          case 'high':
            queue.add(key, { priority: kind === 'high' ? 'high' : 'normal' });
            owed.add(key);
            break;
          case 'after':
            queue.addAfter(key, 50);
            break;
          case 'limited':
            queue.addRateLimited(key);
            break;
          case 'get':
            if (queue.depth > 0) await take();
            break;
          case 'done':
            running.delete(key);
            queue.done(key);
            break;
          case 'tick':
            await clock.advance(20);
        }
      }
      await clock.advance(120_000);
      for (const key of running) queue.done(key);
      running.clear();
      while (queue.depth > 0) await take();
      expect([...owed]).toEqual([]);
      expect(queue.delayedCount).toBe(0);
      expect(queue.processingCount).toBe(running.size);
    }),
    { numRuns: 60 },
  );
});
