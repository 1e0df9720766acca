import { expect, test } from 'vitest';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { quotaCommand } from './quota.ts';
import { screenOf } from './report.ts';

test('what was learnt from refusals stands beside the limit', async () => {
  const clock = new VirtualClock();
  const nextMinuteAt = new Date(clock.now() + 40_000).toISOString();
  const api = (name: string, limitPerMinute: number, more: object = {}) => ({
    api: name,
    limitPerMinute,
    usedThisMinute: 0,
    waiting: 0,
    nextMinuteAt,
    ...more,
  });
  const apis = [
    api('AttachNetworkInterface', 500),
    api('CreateNetworkInterface', 300, { learntPerMinute: 300, usedThisMinute: 300, waiting: 12 }),
    api('DetachNetworkInterface', 400, { learntPerSecond: 5 }),
  ];
  const report = await quotaCommand({ clock, controlPlane: { ask: async (_, schema) => schema.parse({ apis }) } });
  expect(report.lines(screenOf({ isTerminal: false, columns: undefined, colours: false }))).toEqual([
    'API                     LIMIT   LEARNT  USED  WAITING  NEXT MINUTE',
    'AttachNetworkInterface    500        -     0        0          40s',
    'CreateNetworkInterface    300  300/min   300       12          40s',
    'DetachNetworkInterface    400      5/s     0        0          40s',
  ]);
  expect(report.exitCode).toBe(1);
});
