import { expect, test } from 'vitest';
import type { CallClass } from '../../cloud/call-line.ts';
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

test('a call that looks at its ENI first keeps its turn, but not for ever', async () => {
  const clock = new VirtualClock();
  const quota = new QuotaScheduler({ clock, limits: { DetachNetworkInterface: 1 } });
  const calls = new PendingCalls({ clock, quota, signal: new AbortController().signal, wake: () => undefined });
  const turn = (request: TurnRequest, signal: AbortSignal) => quota.turn(request, signal);
  const sent: string[] = [];
  const seen = new Set(['urgent']);
  const want = (id: string, callClass: CallClass) => {
    const send = (leave: { turn: Turn }) => {
      leave.turn.end('accepted');
      sent.push(id);
      return Promise.resolve({});
    };
    const atTurn = (): AtTurn<Turn> => (seen.has(id) ? { eniId: id, send } : 'notYet');
    calls.want({ id, owner: id, kind: 'detach', callClass, turn, atTurn });
  };
  want('looks', 'release');
  await clock.advance(1000);
  want('urgent', 'pod');
  await clock.advance(1000);
  seen.add('looks');
  want('looks', 'release');
  await clock.advance(1000);
  expect(sent).toEqual(['looks']);
  await clock.advance(60_000);
  expect(sent).toEqual(['looks', 'urgent']);
  await clock.advance(60_000);
  want('never looks', 'release');
  await clock.advance(1000);
  calls.clear('urgent');
  want('urgent', 'pod');
  await clock.advance(5000);
  expect(sent).toEqual(['looks', 'urgent', 'urgent']);
});

test('a creation without an answer is remembered by a subject that rests, and not by one that has ended', async () => {
  const clock = new VirtualClock();
  const quota = new QuotaScheduler({ clock });
  const calls = new PendingCalls({ clock, quota, signal: new AbortController().signal, wake: () => undefined });
  const create = async (kind: 'unavailable' | 'exhausted') => {
    const failure = new CloudError({ kind, action: 'CreateNetworkInterface', code: '', message: '' });
    const turn = (request: TurnRequest, signal: AbortSignal) => quota.turn(request, signal);
    const atTurn = (): AtTurn<Turn> => ({ eniId: '', send: () => Promise.reject(failure) });
    calls.want({ id: 'a', owner: 'a', kind: 'create', callClass: 'pod', plannedMs: clock.now(), turn, atTurn });
    await clock.advance(1);
  };
  await create('unavailable');
  const unansweredMs = clock.now() - 1;
  calls.rest('a');
  expect(calls.get('a')).toBeUndefined();
  await create('exhausted');
  expect(calls.get('a')).toMatchObject({ failure: { kind: 'exhausted' }, unansweredMs });
  calls.clear('a');
  await create('exhausted');
  expect(calls.get('a')).not.toHaveProperty('unansweredMs');
  calls.clear('a');
  expect(calls.size).toBe(0);
});
