import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { EniObserver } from './observer.ts';
import { MemoryCloud } from './test-support/memory-cloud.ts';

let clock: VirtualClock;
let cloud: MemoryCloud;
let observer: EniObserver;
let abort: AbortController;
let running: Promise<void>;
let woken: { owner: string; atMs: number }[];
let errors: string[];

beforeEach(() => {
  clock = new VirtualClock();
  cloud = new MemoryCloud(clock);
  abort = new AbortController();
  woken = [];
  errors = [];
  observer = new EniObserver({
    cloud,
    clock,
    wake: (owner) => woken.push({ owner, atMs: clock.monotonicMs() }),
    onError: (message) => errors.push(message),
  });
  running = observer.run(abort.signal);
});

afterEach(async () => {
  abort.abort();
  await running;
  expect(clock.pendingCalls).toBe(0);
});

const owners = () => woken.map(({ owner }) => owner);

/** Starts an attach that the cloud finishes after `ms`. */
function attach(id: string, ms: number): void {
  cloud.plan(id, 0, 'Attaching');
  cloud.plan(id, ms, 'InUse');
  observer.expect(id, 'attach', `pod/${id}`, 'pod');
}

function inFlight(): number {
  return Object.values(observer.inFlight()).reduce((sum, count) => sum + count, 0);
}

test('sends no request while nothing is expected', async () => {
  await clock.advance(3_600_000);
  expect(cloud.asked).toEqual([]);
  expect(clock.pendingCalls).toBe(0);
});

test('a read is answered soon, whatever its result', async () => {
  cloud.plan('eni-1', 0, 'Detaching');
  observer.expect('eni-1', 'read', 'pod/a', 'pod');
  observer.expect('eni-2', 'read', 'pod/b', 'pod');
  const askedAtMs = clock.now();
  await clock.advance(1000);
  expect(owners().sort()).toEqual(['pod/a', 'pod/b']);
  expect(observer.latest('eni-1')?.eni?.status).toBe('Detaching');
  expect(observer.latest('eni-1')?.atMs).toBeGreaterThanOrEqual(askedAtMs);
  expect(observer.latest('eni-2')).toEqual({ atMs: expect.any(Number) });
  expect(inFlight()).toBe(0);
  expect(cloud.asked).toHaveLength(1);
});

describe('a transition', () => {
  test.each([
    ['attach', 'Attaching', 'InUse'],
    ['detach', 'Detaching', 'Available'],
    ['detach', 'Detaching', 'gone'],
    ['delete', 'Deleting', 'gone'],
  ] as const)('%s is reported when the cloud shows %s → %s, not before', async (expectation, during, after) => {
    cloud.plan('eni-1', 0, during);
    cloud.plan('eni-1', 8000, after);
    observer.expect('eni-1', expectation, 'pod/a', 'pod');
    await clock.advance(7999);
    expect(owners()).toEqual([]);
    await clock.advance(2000);
    expect(owners()).toEqual(['pod/a']);
    expect(observer.latest('eni-1')?.eni?.status).toBe(after === 'gone' ? undefined : after);
  });

  test.each([
    ['attach', 'Available', 'Attaching', 'InUse'],
    ['attach', 'gone', 'Attaching', 'InUse'],
    ['detach', 'InUse', 'Detaching', 'Available'],
    ['delete', 'Available', 'Deleting', 'gone'],
  ] as const)('%s is awaited while a describe still shows %s', async (expectation, before, during, after) => {
    cloud.plan('eni-1', 0, before);
    cloud.plan('eni-1', 3000, during);
    cloud.plan('eni-1', 4000, after);
    observer.expect('eni-1', expectation, 'pod/a', 'pod');
    await clock.advance(3990);
    expect(owners()).toEqual([]);
    await clock.advance(2000);
    expect(owners()).toEqual(['pod/a']);
  });

  test.each([
    ['attach', 'Available'],
    ['attach', 'gone'],
    ['detach', 'InUse'],
    ['delete', 'Available'],
  ] as const)('%s that never begins is reported with the state in the cloud: %s', async (expectation, shown) => {
    cloud.plan('eni-1', 0, shown);
    observer.expect('eni-1', expectation, 'pod/a', 'pod');
    await clock.advance(5000);
    expect(owners()).toEqual([]);
    await clock.advance(3500);
    expect(owners()).toEqual(['pod/a']);
    expect(inFlight()).toBe(0);
  });

  test('that takes long wakes its owner now and then so that it can report', async () => {
    attach('eni-1', 100_000);
    await clock.advance(61_000);
    expect(woken.length).toBeGreaterThanOrEqual(3);
    expect(woken.length).toBeLessThanOrEqual(4);
    // And it is polled slowly.
    expect(cloud.asked.length).toBeLessThanOrEqual(40);
    expect(inFlight()).toBe(1);
    await clock.advance(60_000);
    expect(inFlight()).toBe(0);
  });
});

describe('requests are few', () => {
  test.each([
    [200, 1500, 10],
    [200, 5000, 20],
    [1000, 1500, 30],
  ])('for %i attachments at once of %i ms: at most %i', async (count, ms, most) => {
    for (let i = 0; i < count; i++) attach(`eni-${i}`, ms);
    await clock.advance(60_000);
    expect(woken).toHaveLength(count);
    expect(cloud.asked.length).toBeLessThanOrEqual(most);
  });

  test('a request contains each id once, and at most 100 ids', async () => {
    for (let i = 0; i < 350; i++) {
      attach(`eni-${i}`, 1500 + i);
      observer.expect(`eni-${i}`, 'attach', `pod/eni-${i}`, 'pod');
    }
    await clock.advance(60_000);
    for (const ids of cloud.asked) {
      expect(ids.length).toBeLessThanOrEqual(100);
      expect(new Set(ids).size).toBe(ids.length);
    }
    expect(owners().sort()).toEqual(Array.from({ length: 350 }, (_, i) => `pod/eni-${i}`).sort());
  });

  test('once it has learned how long an attachment takes', async () => {
    const questionsOf = async (round: number) => {
      const before = cloud.asked.length;
      attach(`eni-${round}`, 8000);
      await clock.advance(20_000);
      return cloud.asked.length - before;
    };
    const first = await questionsOf(0);
    let last = first;
    for (let round = 1; round < 20; round++) last = await questionsOf(round);
    expect(first).toBeGreaterThan(3);
    expect(last).toBeLessThanOrEqual(2);
  });

  test('and still answered within 300 ms for a single pod', async () => {
    for (let round = 0; round < 20; round++) {
      const startMs = clock.monotonicMs();
      attach(`eni-${round}`, 1500);
      await clock.advance(5000);
      expect((woken.at(-1)?.atMs ?? 0) - startMs).toBeLessThan(1500 + 300);
    }
  });
});

describe('reads that come while many ENIs are on the way', () => {
  /** When the read with this number was answered, counted from the moment in which the first request went out. */
  const answeredMs = async (count: number) => {
    for (let i = 0; i < 200; i++) {
      cloud.plan(`eni-slow-${i}`, 0, 'Detaching');
      observer.expect(`eni-slow-${i}`, 'detach', `pod/slow-${i}`, 'release');
    }
    await clock.advance(10_000);
    observer.expect('eni-first', 'read', 'pod/first', 'release');
    while (!owners().includes('pod/first')) await clock.advance(10);
    const sinceMs = clock.monotonicMs();
    await clock.advance(10);
    for (let i = 0; i < count; i++) observer.expect(`eni-${i}`, 'read', `pod/${i}`, 'release');
    await clock.advance(5000);
    return Math.max(...woken.filter(({ owner }) => /^pod\/\d/.test(owner)).map(({ atMs }) => atMs)) - sinceMs;
  };

  test('are asked soon when they fill a request', async () => {
    expect(await answeredMs(100)).toBeLessThan(500);
  });

  test('wait for the pace when they do not, so that others share the request', async () => {
    expect(await answeredMs(99)).toBeGreaterThan(800);
  });
});

describe('a learnt duration', () => {
  test('gets one sample per response, however many ENIs it is about', async () => {
    const usualAfter = async (count: number, round: number) => {
      for (let i = 0; i < count; i++) attach(`eni-${round}-${i}`, 600);
      await clock.advance(20_000);
      return observer.usualMs('attach');
    };
    // All have ended when they are polled.
    const usualMs = await usualAfter(1, 0);
    expect(await usualAfter(90, 1)).toBeGreaterThan(usualMs * 0.97);
  });

  test('is not misled by polls that came late because there were many', async () => {
    for (let round = 0; round < 10; round++) {
      attach(`eni-${round}`, 1500);
      await clock.advance(20_000);
    }
    const usualMs = observer.usualMs('attach');
    for (let i = 0; i < 3000; i++) attach(`eni-many-${i}`, 1500);
    await clock.advance(60_000);
    expect(observer.usualMs('attach')).toBeGreaterThan(usualMs * 0.9);
  });

  test('is not misled by attachments that hang', async () => {
    for (let round = 0; round < 3; round++) {
      attach(`eni-${round}`, 100_000);
      await clock.advance(130_000);
    }
    expect(observer.usualMs('attach')).toBeLessThan(5000);
  });

  test('is forgotten soon after a time in which everything hung', async () => {
    for (let round = 0; round < 50; round++) {
      attach(`eni-${round}`, 100_000);
      await clock.advance(130_000);
    }
    const waitedMs: number[] = [];
    for (let round = 50; round < 70; round++) {
      const startMs = clock.monotonicMs();
      attach(`eni-${round}`, 1500);
      await clock.advance(30_000);
      waitedMs.push((woken.at(-1)?.atMs ?? 0) - startMs);
    }
    expect(Math.max(...waitedMs)).toBeLessThan(10_500);
    expect(waitedMs.at(-1)).toBeLessThan(1800);
  });

  test('adapts to a cloud that has become faster', async () => {
    for (let round = 0; round < 70; round++) {
      attach(`eni-${round}`, round < 10 ? 6000 : 1500);
      await clock.advance(20_000);
      if (round === 9) expect(observer.usualMs('attach')).toBeGreaterThan(5000);
    }
    expect(observer.usualMs('attach')).toBeGreaterThan(1300);
    expect(observer.usualMs('attach')).toBeLessThan(1800);
  });
});

test('a state that nobody asks for again is forgotten after a minute', async () => {
  observer.expect('eni-1', 'read', 'pod/a', 'pod');
  await clock.advance(50_000);
  expect(observer.size).toBe(1);
  await clock.advance(80_000);
  expect(observer.size).toBe(0);
  expect(clock.pendingCalls).toBe(0);
});

test('nothing starves: a slow one is answered amid many that come and go', async () => {
  attach('eni-slow', 10_000);
  for (let tick = 0; tick < 100; tick++) {
    for (let i = 0; i < 30; i++) attach(`eni-${tick}-${i}`, 1500);
    await clock.advance(200);
  }
  expect(owners()).toContain('pod/eni-slow');
  const slow = woken.find(({ owner }) => owner === 'pod/eni-slow');
  expect(slow?.atMs).toBeLessThan(15_000);
});

describe('a failure', () => {
  test('is reported, delays the next request and loses nothing', async () => {
    cloud.failures.push(new Error('DescribeNetworkInterfaces: Throttling.User'), new Error('again'));
    attach('eni-1', 500);
    await clock.advance(10_000);
    expect(errors).toEqual(['DescribeNetworkInterfaces: Throttling.User', 'again']);
    expect(owners()).toEqual(['pod/eni-1']);
    expect(cloud.asked).toHaveLength(3);
  });

  test('that persists costs one request per second, whatever else is expected', async () => {
    cloud.failures.push(...Array.from({ length: 100 }, () => new Error('down')));
    for (let i = 0; i < 100; i++) {
      attach(`eni-${i}`, 500);
      await clock.advance(100);
    }
    expect(cloud.asked.length).toBeLessThanOrEqual(11);
  });
});

describe('an answer', () => {
  test('does not count for an expectation that came after its request', async () => {
    cloud.answerMs = 1000;
    cloud.plan('eni-1', 0, 'Available');
    observer.expect('eni-1', 'read', 'pod/a', 'pod');
    await clock.advance(500);
    expect(cloud.asked).toHaveLength(1);
    cloud.plan('eni-1', 0, 'Attaching');
    observer.expect('eni-1', 'attach', 'pod/a', 'pod');
    await clock.advance(600);
    expect(observer.latest('eni-1')).toBeUndefined();
    expect(owners()).toEqual([]);
    cloud.plan('eni-1', 0, 'InUse');
    await clock.advance(5000);
    expect(owners()).toEqual(['pod/a']);
  });

  test('tells each owner of an ENI, whatever the other waits for or has forgotten', async () => {
    cloud.plan('eni-1', 0, 'InUse');
    observer.expect('eni-1', 'read', 'pool/node-1', 'repair');
    observer.expect('eni-1', 'read', 'node/node-1', 'audit');
    await clock.advance(1500);
    expect(owners().sort()).toEqual(['node/node-1', 'pool/node-1']);
    expect(cloud.asked.flat()).toEqual(['eni-1']);

    observer.expect('eni-1', 'read', 'pool/node-1', 'repair');
    observer.expect('eni-1', 'attach', 'node/node-1', 'pod');
    observer.forget('eni-1', 'node/node-1');
    await clock.advance(5000);
    expect(owners().at(-1)).toBe('pool/node-1');
    expect(inFlight()).toBe(0);
  });

  test('does not restore an ENI that was forgotten in the meantime', async () => {
    cloud.answerMs = 1000;
    cloud.plan('eni-1', 0, 'InUse');
    observer.expect('eni-1', 'read', 'pod/a', 'pod');
    await clock.advance(500);
    observer.forget('eni-1', 'pod/a');
    await clock.advance(5000);
    expect(observer.latest('eni-1')).toBeUndefined();
    expect(owners()).toEqual([]);
    expect(inFlight()).toBe(0);
  });
});

describe('an answer that is lost', () => {
  const LOST_MS = 20_000;

  test('delays the others by three seconds', async () => {
    cloud.answerMs = LOST_MS;
    attach('eni-1', 500);
    await clock.advance(1500);
    cloud.answerMs = 20;
    attach('eni-2', 500);
    await clock.advance(4000);
    expect(owners().sort()).toEqual(['pod/eni-1', 'pod/eni-2']);
  });

  test('does not count when it comes after that of a later request', async () => {
    cloud.answerMs = LOST_MS;
    cloud.plan('eni-1', 0, 'Available');
    cloud.plan('eni-1', 2000, 'Attaching');
    observer.expect('eni-1', 'attach', 'pod/a', 'pod');
    await clock.advance(1500);
    cloud.answerMs = 20;
    await clock.advance(LOST_MS + 5000);
    expect(observer.latest('eni-1')?.eni?.status).toBe('Attaching');
  });

  test('of every request costs no more than six at a time', async () => {
    cloud.answerMs = 3_600_000;
    for (let i = 0; i < 200; i++) {
      attach(`eni-${i}`, 500);
      await clock.advance(1000);
    }
    expect(cloud.asked.length).toBeLessThanOrEqual(6);
  });
});

test('an abort ends a request in progress', async () => {
  cloud.answerMs = 3_600_000;
  attach('eni-1', 500);
  await clock.advance(5000);
  abort.abort();
  await running;
  expect(errors).toEqual([]);
});

test('a clock that is set back or forward stops nothing', async () => {
  attach('eni-1', 3000);
  await clock.advance(2000);
  clock.setWallClock(-3_600_000);
  attach('eni-2', 3000);
  await clock.advance(10_000);
  clock.setWallClock(7_200_000);
  attach('eni-3', 3000);
  await clock.advance(10_000);
  expect(owners()).toEqual(['pod/eni-1', 'pod/eni-2', 'pod/eni-3']);
  expect(observer.latest('eni-3')?.atMs).toBeGreaterThan(clock.now() - 10_000);
});
