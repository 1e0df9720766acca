import { getEventListeners } from 'node:events';
import { expect, test } from 'vitest';
import { onAbort, orAborted } from './abort.ts';

const listenersOf = (signal: AbortSignal) => getEventListeners(signal, 'abort').length;

test('the listener is called once when the signal aborts', () => {
  const abort = new AbortController();
  const calls: unknown[] = [];
  onAbort(abort.signal, () => calls.push(abort.signal.reason));
  expect(calls).toEqual([]);
  abort.abort('enough');
  abort.abort('again');
  expect(calls).toEqual(['enough']);
});

test('a signal that has aborted already calls the listener before onAbort returns', () => {
  let calls = 0;
  const listener = onAbort(AbortSignal.abort(), () => {
    calls += 1;
  });
  expect(calls).toBe(1);
  listener.cancel();
});

test('a cancelled listener is not called, and the signal does not keep it', () => {
  const abort = new AbortController();
  const listener = onAbort(abort.signal, () => expect.unreachable());
  expect(listenersOf(abort.signal)).toBe(1);
  listener.cancel();
  listener.cancel();
  expect(listenersOf(abort.signal)).toBe(0);
  abort.abort();
});

test('using cancels at the end of the block, also when it throws', () => {
  const { signal } = new AbortController();
  expect(() => {
    using _listener = onAbort(signal, () => expect.unreachable());
    throw new Error('broken');
  }).toThrow('broken');
  expect(listenersOf(signal)).toBe(0);
});

test('without a signal nothing is called', () => {
  onAbort(undefined, () => expect.unreachable()).cancel();
});

test('orAborted gives the result, and leaves no listener', async () => {
  const { signal } = new AbortController();
  expect(await orAborted(Promise.resolve(1), signal)).toBe(1);
  await expect(orAborted(Promise.reject(new Error('refused')), signal)).rejects.toThrow('refused');
  expect(listenersOf(signal)).toBe(0);
});

test('orAborted throws the reason when the signal aborts first, or has aborted', async () => {
  const abort = new AbortController();
  const waiting = orAborted(new Promise(() => {}), abort.signal);
  abort.abort(new Error('stopped'));
  await expect(waiting).rejects.toThrow('stopped');
  await expect(orAborted(Promise.resolve(1), abort.signal)).rejects.toThrow('stopped');
  // One that fails later is not an unhandled rejection.
  await expect(orAborted(Promise.reject(new Error('late')), abort.signal)).rejects.toThrow('stopped');
});
