import { expect, test } from 'vitest';
import { CloudError } from '../../cloud/errors.ts';
import { QuotaScheduler, type Turn, type TurnRequest } from '../../cloud/quota.ts';
import { VirtualClock } from '../../util/test-support/virtual-clock.ts';
import { type AtTurn, PendingCalls } from './pending-calls.ts';

test('a call that is refused before it is sent uses no quota', async () => {
  const clock = new VirtualClock();
  const quota = new QuotaScheduler({ clock });
  const calls = new PendingCalls({ clock, quota, signal: new AbortController().signal, wake: () => undefined });
  const refused = new CloudError({
    kind: 'degraded',
    action: 'DetachNetworkInterface',
    code: 'Degraded.l1',
    message: '',
  });
  const turn = (request: TurnRequest, signal: AbortSignal) => quota.turn(request, signal);
  const atTurn = (): AtTurn<Turn> => ({ eniId: 'eni-1', send: () => Promise.reject(refused) });
  calls.want({ id: 'a', owner: 'a', kind: 'detach', callClass: 'release', turn, atTurn });
  await clock.advance(1);
  expect(calls.get('a')).toMatchObject({ kind: 'detach', state: 'failed', failure: { kind: 'degraded' } });
  expect(quota.status('DetachNetworkInterface').usedThisMinute).toBe(0);
});
