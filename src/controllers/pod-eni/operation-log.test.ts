import { expect, test } from 'vitest';
import type { EndedCall } from '../eni/pending-calls.ts';
import { joinOperations, OperationLog } from './operation-log.ts';

const call = (changes: Partial<EndedCall> = {}): EndedCall => ({
  kind: 'attach',
  endedMs: Date.parse('2026-01-01T00:00:01Z'),
  durationMs: 120,
  eniId: 'eni-1',
  requestId: 'R-1',
  ...changes,
});
const failure = {
  kind: 'throttled',
  code: 'Throttling.User',
  message: 'AttachNetworkInterface: Throttling.User: no (request id R-2)',
} as const;

test('keeps calls until they are written', () => {
  const log = new OperationLog();
  log.note('default/a', call());
  const first = log.pending('default/a');
  expect(first).toEqual([
    {
      time: '2026-01-01T00:00:01Z',
      action: 'AttachNetworkInterface',
      eniID: 'eni-1',
      requestID: 'R-1',
      durationMs: 120,
    },
  ]);
  // Ends while the write is in progress.
  log.note('default/a', call({ kind: 'create', eniId: '', requestId: 'R-2', failure }));
  log.written('default/a', first);
  expect(log.pending('default/a')).toEqual([
    {
      time: '2026-01-01T00:00:01Z',
      action: 'CreateNetworkInterface',
      requestID: 'R-2',
      durationMs: 120,
      code: 'Throttling.User',
    },
  ]);
  log.forget('default/a');
  expect(log.pending('default/a')).toEqual([]);
});

test('reads are not operations, but their failures are recorded', () => {
  const log = new OperationLog();
  log.note('default/a', call({ kind: 'find', failure }));
  expect(log.pending('default/a')).toEqual([]);
  expect(log.lastFailure('default/a')).toBe(failure.message);
  log.note('default/a', call());
  expect(log.lastFailure('default/a')).toBeUndefined();
});

test('a record keeps the newest twenty, oldest first', () => {
  const log = new OperationLog();
  for (let at = 0; at < 25; at++) log.note('default/a', call({ requestId: `R-${at}` }));
  const pending = log.pending('default/a');
  expect(pending.map(({ requestID }) => requestID)).toEqual(Array.from({ length: 20 }, (_, at) => `R-${at + 5}`));
  const joined = joinOperations(pending, pending.slice(0, 2));
  expect(joined).toHaveLength(20);
  expect(joined.at(-1)?.requestID).toBe('R-6');
});
