import { beforeEach, expect, test } from 'vitest';
import { seededRandom } from '../util/random.ts';
import { settled, VirtualClock } from '../util/test-support/virtual-clock.ts';
import { type ControllerOptions, type ReconcileOutcome, ReconcileTimeoutError, runController } from './controller.ts';
import { KubeApiError } from './errors.ts';
import { WorkQueue } from './workqueue.ts';

let clock: VirtualClock;
let queue: WorkQueue;
let abort: AbortController;
let outcomes: ReconcileOutcome[];

beforeEach(() => {
  clock = new VirtualClock();
  queue = new WorkQueue({ clock, random: seededRandom(1) });
  abort = new AbortController();
  outcomes = [];
});

function start(reconcile: ControllerOptions['reconcile'], options: Partial<ControllerOptions> = {}): Promise<void> {
  const onReconcile = ({ outcome }: { outcome: ReconcileOutcome }) => outcomes.push(outcome);
  const fixed = { name: 'test', queue, clock, signal: abort.signal, onReconcile };
  return runController({ ...fixed, workers: 2, reconcile, ...options });
}

test('runs keys side by side up to the number of workers, and one key only once', async () => {
  let running = 0;
  let most = 0;
  const ended = start(async () => {
    most = Math.max(most, ++running);
    await clock.sleep(10);
    running -= 1;
  });
  for (let i = 0; i < 6; i++) queue.add(`key-${i}`);
  await clock.advance(100);
  expect(most).toBe(2);
  expect(outcomes).toHaveLength(6);
  abort.abort();
  await ended;
});

test('many keys that never await do not block the event loop', async () => {
  let done = 0;
  const ended = start(async () => {
    // A millisecond of work.
    clock.freeze(1);
    done += 1;
  });
  for (let i = 0; i < 200; i++) queue.add(`key-${i}`);
  let [most, before] = [0, 0];
  do {
    await settled();
    most = Math.max(most, done - before);
    before = done;
  } while (await clock.step());
  expect(done).toBe(200);
  expect(most).toBeLessThan(20);
  abort.abort();
  await ended;
});

test('a failed key is retried with back-off, and a success ends it', async () => {
  let calls = 0;
  const ended = start(async () => {
    calls += 1;
    if (calls < 4) throw new Error('not yet');
  });
  queue.add('a');
  await clock.advance(1000);
  expect(calls).toBe(4);
  expect(outcomes.map(({ kind }) => kind)).toEqual(['failed', 'failed', 'failed', 'done']);
  expect(queue.failures('a')).toBe(0);
  abort.abort();
  await ended;
});

test('a conflict is retried at once and does not count as a failure', async () => {
  let calls = 0;
  const ended = start(async () => {
    if (++calls === 1) throw new KubeApiError({ code: 409, reason: 'Conflict', message: 'modified' });
  });
  queue.add('a');
  await clock.advance(10);
  expect(outcomes.map(({ kind }) => kind)).toEqual(['conflict', 'done']);
  abort.abort();
  await ended;
});

test('a requeued key runs after its delay', async () => {
  const at: number[] = [];
  const ended = start(async () => {
    at.push(clock.monotonicMs());
    return at.length < 3 ? { requeueAfterMs: 500 } : {};
  });
  queue.add('a');
  await clock.advance(5000);
  expect(at).toEqual([0, 500, 1000]);
  abort.abort();
  await ended;
});

test('the time limit aborts the run of a key, not the others', async () => {
  const ended = start(
    async (key, signal) => {
      if (key === 'slow') await clock.sleep(60_000, signal);
    },
    { reconcileTimeoutMs: 1000 },
  );
  queue.add('slow');
  queue.add('quick');
  await clock.advance(1001);
  expect(outcomes.map(({ kind }) => kind)).toEqual(['done', 'failed']);
  const failed = outcomes[1];
  expect(failed?.kind === 'failed' && failed.error).toBeInstanceOf(ReconcileTimeoutError);
  abort.abort();
  await ended;
});

test('stopping aborts the runs, waits for them, and does not count as a failure', async () => {
  let isCleanedUp = false;
  const ended = start(async (_, signal) => {
    try {
      await clock.sleep(60_000, signal);
    } finally {
      await clock.sleep(50);
      isCleanedUp = true;
    }
  });
  queue.add('a');
  await clock.advance(10);
  abort.abort(new Error('stop'));
  await clock.advance(100);
  await ended;
  expect(isCleanedUp).toBe(true);
  expect(outcomes).toEqual([{ kind: 'aborted' }]);
  expect(queue.isShutDown).toBe(true);
});
