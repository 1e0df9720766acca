import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import type { CallClass } from './call-line.ts';
import { QuotaScheduler, type TurnRequest } from './quota.ts';

const MINUTE_MS = 60_000;
const API = 'AttachNetworkInterface';
const never = new AbortController().signal;

/** When each of `count` calls was let through, in request order. */
class Calls {
  readonly clock = new VirtualClock();
  readonly quota: QuotaScheduler;
  readonly released: { index: number; atMs: number }[] = [];
  #asked = 0;

  constructor(limit: number, share?: number) {
    this.quota = new QuotaScheduler({
      clock: this.clock,
      limits: { [API]: limit },
      ...(share === undefined ? {} : { share }),
    });
  }

  ask(count: number, signal = never): void {
    for (let i = 0; i < count; i++) {
      const index = this.#asked++;
      this.quota.turn({ api: API, callClass: 'pod' }, signal).then(
        () => this.released.push({ index, atMs: this.clock.now() }),
        () => {},
      );
    }
  }

  get counts(): number[] {
    const perMinute = new Map<number, number>();
    for (const { atMs } of this.released) {
      const minute = Math.floor(atMs / MINUTE_MS);
      perMinute.set(minute, (perMinute.get(minute) ?? 0) + 1);
    }
    return [...perMinute.values()];
  }
}

test('calls go at once while the minute has turns left, then in order from the next minute on', async () => {
  const calls = new Calls(3);
  await calls.clock.advance(10_000);
  calls.ask(8);
  await calls.clock.advance(0);
  expect(calls.released.map(({ index }) => index)).toEqual([0, 1, 2]);
  expect(calls.quota.status(API)).toMatchObject({ limitPerMinute: 3, usedThisMinute: 3, waiting: 5 });
  await calls.clock.advance(49_999);
  expect(calls.released).toHaveLength(3);
  await calls.clock.advance(1000);
  expect(calls.released.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5]);
  await calls.clock.advance(MINUTE_MS);
  expect(calls.released.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(calls.clock.pendingCalls).toBe(0);
});

test('a newcomer does not overtake those who wait', async () => {
  const calls = new Calls(2);
  calls.ask(3);
  await calls.clock.advance(MINUTE_MS - 1);
  // The clock shows the next minute, but the queue has not been served yet.
  calls.clock.freeze(60);
  calls.ask(1);
  await calls.clock.advance(1000);
  expect(calls.released.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
});

test('within a class those who have waited longest go first, whenever they ask', async () => {
  const clock = new VirtualClock();
  await clock.advance(10_000);
  const quota = new QuotaScheduler({ clock, limits: { [API]: 1 } });
  const order: string[] = [];
  const ask = (name: string, request: Omit<TurnRequest, 'api'>) =>
    void quota.turn({ api: API, ...request }, never).then(() => order.push(name));
  await quota.turn({ api: API, callClass: 'pod' }, never);
  ask('old', { callClass: 'pod', place: quota.newPlace(4000) });
  ask('older', { callClass: 'pod', place: quota.newPlace(3000) });
  ask('now', { callClass: 'pod' });
  ask('release', { callClass: 'release', place: quota.newPlace(1) });
  ask('as old', { callClass: 'pod', place: quota.newPlace(4000) });
  ask('oldest', { callClass: 'pod', place: quota.newPlace(2000) });
  await clock.advance(10 * MINUTE_MS);
  expect(order).toEqual(['oldest', 'older', 'old', 'as old', 'now', 'release']);
});

test('each API has its own count, and the default for those that are not listed', async () => {
  const clock = new VirtualClock();
  const quota = new QuotaScheduler({ clock, limits: { [API]: 1, default: 2 } });
  await quota.turn({ api: API, callClass: 'pod' }, never);
  await quota.turn({ api: 'DescribeInstances', callClass: 'pod' }, never);
  await quota.turn({ api: 'DescribeInstances', callClass: 'pod' }, never);
  expect(quota.status('DescribeInstances')).toMatchObject({ limitPerMinute: 2, usedThisMinute: 2, waiting: 0 });
  expect(quota.status(API)).toMatchObject({ limitPerMinute: 1, usedThisMinute: 1 });
  expect(quota.status('DescribeNetworkInterfaces').limitPerMinute).toBe(800);
});

test.each([
  [500, 0.5, 250],
  [7, 0.5, 3],
  [1, 0.01, 1],
])('of %i calls a share of %d is %i, at least one', (limit, share, expected) => {
  expect(new Calls(limit, share).quota.status(API).limitPerMinute).toBe(expected);
});

describe('an abort', () => {
  test('leaves the queue and gives the place to the next call', async () => {
    const calls = new Calls(1);
    const abort = new AbortController();
    calls.ask(1);
    const reason = new Error('the lease was lost');
    const waiting = calls.quota.turn({ api: API, callClass: 'pod' }, abort.signal);
    calls.ask(1);
    expect(calls.quota.status(API).waiting).toBe(2);
    abort.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    expect(calls.quota.status(API).waiting).toBe(1);
    await calls.clock.advance(MINUTE_MS + 1000);
    expect(calls.released).toHaveLength(2);
  });

  test('before the request takes no place', async () => {
    const calls = new Calls(1);
    await expect(
      calls.quota.turn({ api: API, callClass: 'pod' }, AbortSignal.abort(new Error('gone'))),
    ).rejects.toThrow('gone');
    expect(calls.quota.status(API).usedThisMinute).toBe(0);
  });

  test('of all waiting calls leaves no timer behind', async () => {
    const calls = new Calls(1);
    const abort = new AbortController();
    calls.ask(5, abort.signal);
    expect(calls.clock.pendingCalls).toBe(1);
    abort.abort();
    await calls.clock.advance(0);
    expect(calls.clock.pendingCalls).toBe(0);
  });
});

describe('a call near the end of a minute', () => {
  // It may be counted in either minute, and the cloud's clock may differ a little.
  test.each([
    [-200, 50],
    [-200, 250],
    [-50, 300],
    [0, 300],
    [40, 300],
  ])('at %i ms counts in both', async (atMs, laterMs) => {
    const calls = new Calls(4);
    await calls.clock.advance(MINUTE_MS + atMs);
    calls.ask(4);
    await calls.clock.advance(laterMs);
    calls.ask(4);
    await calls.clock.advance(MINUTE_MS - 1000);
    expect(calls.released).toHaveLength(4);
    await calls.clock.advance(2000);
    expect(calls.released).toHaveLength(8);
  });

  test('that waits for a connection until the minute has ended is no longer covered', async () => {
    const calls = new Calls(4);
    const startMs = calls.clock.now();
    await calls.clock.advance(MINUTE_MS - 1000);
    expect((await calls.quota.turn({ api: API, callClass: 'pod' }, never)).validUntilMs).toBe(
      startMs + MINUTE_MS - 250,
    );
    await calls.clock.advance(900);
    // It is charged to both minutes, so it may be sent in either.
    expect((await calls.quota.turn({ api: API, callClass: 'pod' }, never)).validUntilMs).toBe(
      startMs + 2 * MINUTE_MS - 250,
    );
    await calls.clock.advance(1000);
    expect(calls.quota.status(API).usedThisMinute).toBe(1);
  });
});

describe('a clock that is set back', () => {
  test.each([100, 61_000, 3_600_000])('by %i ms opens no second window and stops nothing for long', async (backMs) => {
    const calls = new Calls(5);
    await calls.clock.advance(10 * MINUTE_MS + 5000);
    calls.ask(12);
    await calls.clock.advance(100);
    expect(calls.released).toHaveLength(5);
    calls.clock.setWallClock(-backMs);
    calls.ask(1);
    await calls.clock.advance(100);
    expect(calls.released).toHaveLength(5);
    await calls.clock.advance(3 * MINUTE_MS);
    expect(calls.released.length).toBeGreaterThanOrEqual(10);
    await calls.clock.advance(MINUTE_MS);
    expect(calls.released).toHaveLength(13);
    expect(Math.max(...calls.counts)).toBeLessThanOrEqual(5);
  });

  test('or forward serves waiting calls', async () => {
    const calls = new Calls(1);
    calls.ask(3);
    calls.clock.setWallClock(3_600_000);
    await calls.clock.advance(3 * MINUTE_MS);
    expect(calls.released).toHaveLength(3);
  });
});

describe('classes', () => {
  /** The classes of calls in the order of their turns. */
  async function served(asked: readonly CallClass[], limit: number, minutes: number): Promise<CallClass[]> {
    const clock = new VirtualClock();
    const quota = new QuotaScheduler({ clock, limits: { [API]: limit } });
    await Promise.all(Array.from({ length: limit }, () => quota.turn({ api: API, callClass: 'audit' }, never)));
    const order: CallClass[] = [];
    for (const callClass of asked) {
      void quota.turn({ api: API, callClass }, never).then(() => order.push(callClass));
      await clock.advance(1);
    }
    await clock.advance(minutes * MINUTE_MS + 100);
    return order;
  }

  test('the more urgent call goes first, even if it came later', async () => {
    expect(await served(['audit', 'release', 'repair', 'move', 'pod'], 5, 1)).toEqual([
      'pod',
      'move',
      'repair',
      'release',
      'audit',
    ]);
  });

  test('a pod behind two thousand releases waits only for the next minute', async () => {
    const asked: CallClass[] = [...Array.from({ length: 2000 }, () => 'release' as const), 'pod'];
    expect((await served(asked, 400, 1))[0]).toBe('pod');
  });

  test('nobody starves: one turn in ten is for the oldest call', async () => {
    const asked: CallClass[] = ['audit', ...Array.from({ length: 500 }, () => 'pod' as const)];
    const order = await served(asked, 50, 1);
    expect(order.indexOf('audit')).toBe(9);
  });
});

describe('a turn', () => {
  test('that is given back goes to the next call and is not counted', async () => {
    const calls = new Calls(1);
    const turn = await calls.quota.turn({ api: API, callClass: 'release' }, never);
    calls.ask(1);
    turn.giveBack();
    turn.giveBack();
    await calls.clock.advance(0);
    expect(calls.released).toHaveLength(1);
    expect(calls.quota.status(API)).toMatchObject({ usedThisMinute: 1, waiting: 0 });
  });

  test('from the end of a minute that is given back in the next one is free there', async () => {
    const calls = new Calls(1);
    await calls.clock.advance(MINUTE_MS - 100);
    const turn = await calls.quota.turn({ api: API, callClass: 'release' }, never);
    await calls.clock.advance(1000);
    expect(calls.quota.status(API).usedThisMinute).toBe(1);
    turn.giveBack();
    expect(calls.quota.status(API).usedThisMinute).toBe(0);
  });

  test('after a takeover half of the minute counts as used by the previous leader', async () => {
    const calls = new Calls(10);
    await calls.clock.advance(10_000);
    calls.quota.takeOver();
    calls.ask(10);
    await calls.clock.advance(40_000);
    expect(calls.released).toHaveLength(5);
    await calls.clock.advance(20_000);
    expect(calls.released).toHaveLength(10);
  });
});

describe('a cloud that accepts less than is assumed', () => {
  /** The cloud's own count, in windows of `windowMs`. */
  async function scene(options: { believed: number; real: number; windowMs: number; calls: number; minutes: number }) {
    const clock = new VirtualClock();
    const quota = new QuotaScheduler({ clock, limits: { [API]: options.believed } });
    const perWindow = new Map<number, number>();
    const perMinute: { accepted: number; refused: number }[] = [];
    const order: number[] = [];
    const call = async (index: number) => {
      let request: TurnRequest = { api: API, callClass: 'pod' };
      for (;;) {
        const turn = await quota.turn(request, never);
        const nowMs = clock.now();
        const window = Math.floor(nowMs / options.windowMs);
        const used = perWindow.get(window) ?? 0;
        const isAccepted = used < options.real;
        if (isAccepted) perWindow.set(window, used + 1);
        const at = Math.floor(clock.monotonicMs() / MINUTE_MS);
        const { accepted, refused } = perMinute[at] ?? { accepted: 0, refused: 0 };
        perMinute[at] = isAccepted ? { accepted: accepted + 1, refused } : { accepted, refused: refused + 1 };
        await clock.sleep(100);
        request = turn.end(isAccepted ? 'accepted' : 'throttled');
        if (isAccepted) {
          order.push(index);
          return;
        }
      }
    };
    for (let index = 0; index < options.calls; index += 1) void call(index);
    await clock.advance(options.minutes * MINUTE_MS);
    return { quota, perMinute, order };
  }

  test('in a minute: hardly any refusals after the first minute, and no call is overtaken', async () => {
    const { quota, perMinute, order } = await scene({
      believed: 500,
      real: 300,
      windowMs: MINUTE_MS,
      calls: 2000,
      minutes: 8,
    });
    expect(quota.status(API).learntPerMinute).toBeGreaterThanOrEqual(300);
    const later = perMinute.slice(1);
    const refused = later.reduce((sum, minute) => sum + minute.refused, 0);
    expect(refused / later.reduce((sum, minute) => sum + minute.accepted, 0)).toBeLessThan(0.02);
    expect(perMinute.slice(0, 6).map(({ accepted }) => accepted)).toEqual(Array.from({ length: 6 }, () => 300));
    expect(order).toHaveLength(2000);
    expect(order).toEqual([...order].sort((a, b) => a - b));
  });

  test('in a second: calls continue at that rate within the minute', async () => {
    const { perMinute, order } = await scene({ believed: 500, real: 10, windowMs: 1000, calls: 300, minutes: 1 });
    expect(order).toHaveLength(300);
    // All calls let through at once are refused together; afterwards only probes are refused.
    expect(perMinute[0]?.refused).toBeLessThan(300);
  });

  test('and later accepts more again', async () => {
    const { quota } = await scene({ believed: 500, real: 300, windowMs: MINUTE_MS, calls: 400, minutes: 30 });
    expect(quota.status(API).learntPerMinute).toBeUndefined();
  });
});

test('in no minute of the cloud are there more calls than the limit, and all get through in order', async () => {
  const burst = fc.record({ pauseMs: fc.oneof(fc.nat(400), fc.nat(70_000)), count: fc.nat(8) });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.array(burst, { minLength: 1, maxLength: 12 }),
      fc.integer({ min: -50, max: 200 }),
      async (limit, bursts, skewMs) => {
        const calls = new Calls(limit);
        await calls.clock.advance(30_000);
        let asked = 0;
        for (const { pauseMs, count } of bursts) {
          await calls.clock.advance(pauseMs);
          calls.ask(count);
          asked += count;
        }
        await calls.clock.advance((asked / limit + 2) * 2 * MINUTE_MS);
        expect(calls.released.map(({ index }) => index)).toEqual(Array.from({ length: asked }, (_, at) => at));
        // The cloud's clock differs from ours, and the request takes a moment.
        const perMinute = new Map<number, number>();
        for (const { atMs } of calls.released) {
          const minute = Math.floor((atMs + skewMs) / MINUTE_MS);
          perMinute.set(minute, (perMinute.get(minute) ?? 0) + 1);
        }
        expect(Math.max(0, ...perMinute.values())).toBeLessThanOrEqual(limit);
      },
    ),
    { numRuns: 40 },
  );
}, 30_000);
