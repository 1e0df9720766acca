import { expect, test } from 'vitest';
import { Coalesced } from './coalesced.ts';
import { VirtualClock } from './test-support/virtual-clock.ts';

test('concurrent requests run the work once, and a later request runs it again', async () => {
  const clock = new VirtualClock();
  let runs = 0;
  const work = new Coalesced(clock, () => {
    runs += 1;
  });
  for (let at = 0; at < 500; at += 1) work.want();
  expect(runs).toBe(0);
  await clock.advance(0);
  expect(runs).toBe(1);
  work.want();
  await clock.advance(0);
  expect(runs).toBe(2);
  work.want();
  work.cancel();
  await clock.advance(0);
  expect(runs).toBe(2);
});
