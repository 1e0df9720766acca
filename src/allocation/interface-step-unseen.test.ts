import { describe, expect, test } from 'vitest';
import { rfc3339 } from '../util/clock.ts';
import type { Goal } from './interface-step.ts';
import type { OperationKind } from './operation.ts';
import {
  allocation,
  eni,
  FAILURE_KINDS,
  failed,
  intent,
  NOW_MS,
  seen,
  interfaceStep as step,
  succeeded,
  unborn,
} from './test-support/fixtures.ts';

// Steps of an interface whose ENI may be there without being shown: a create, an attach or a describe may be late.

const goals: readonly Goal[] = ['bind', 'hold', 'release'];

describe('while no id is recorded', () => {
  const missing = { allocation: unborn() };

  test('bind creates, hold and release do not', () => {
    expect(step('bind', missing)).toEqual({ do: 'create' });
    expect(step('hold', missing)).toEqual({ do: 'done' });
    expect(step('release', missing)).toEqual({ do: 'find' });
  });

  test.each(goals)('%s records the ENI that a create or a search returned', (goal) => {
    for (const kind of ['create', 'find'] as const) {
      const operation = succeeded(kind, 50, eni('Available'));
      expect(step(goal, { ...missing, operation })).toEqual({ do: 'record', eni: eni('Available') });
    }
  });

  test('a create without a persisted intent is never sent (I2)', () => {
    const { intent: _intent, ...plain } = unborn();
    expect(step('bind', { allocation: plain })).toEqual({ do: 'newAttempt', avoidVSwitch: false });
    expect(step('release', { allocation: plain })).toEqual({ do: 'done' });
  });

  test('a vSwitch without free addresses is given up at once, with its failure', () => {
    const operation = failed('create', 'exhausted', { ageMs: 1 });
    expect(step('bind', { ...missing, operation })).toMatchObject({
      do: 'newAttempt',
      avoidVSwitch: true,
      failure: { kind: 'exhausted' },
    });
  });

  test('but only after a search for the ENI of an unanswered create, as long as it may appear', () => {
    const operation = failed('create', 'exhausted', { ageMs: 1, unansweredMsAgo: 1500 });
    expect(step('bind', { ...missing, operation })).toEqual({ do: 'find' });
    const searched = (ageMs: number, unansweredMsAgo: number) =>
      step('bind', {
        ...missing,
        operation: { kind: 'find', state: 'succeeded', atMs: NOW_MS - ageMs, unansweredMs: NOW_MS - unansweredMsAgo },
      });
    expect(searched(100, 2000)).toEqual({ do: 'pause', untilMs: NOW_MS + 4900 });
    expect(searched(5000, 8000)).toEqual({ do: 'find' });
    expect(searched(100, 30_100)).toEqual({ do: 'newAttempt', avoidVSwitch: false });
  });

  test.each(['limit', 'notFound', 'invalid'] as const)('the same for a create that is refused with %s', (kind) => {
    const operation = failed('create', kind, { ageMs: 1, unansweredMsAgo: 1500 });
    expect(step('bind', { ...missing, operation })).toEqual({ do: 'find' });
  });

  test('a used token: the ENI it created is adopted; otherwise a new attempt is made', () => {
    expect(step('bind', { ...missing, operation: failed('create', 'token', { ageMs: 1 }) })).toEqual({ do: 'find' });
    expect(step('bind', { ...missing, operation: succeeded('find', 1, eni('Available')) })).toMatchObject({
      do: 'record',
    });
    expect(step('bind', { ...missing, operation: succeeded('find', 1) })).toEqual({
      do: 'newAttempt',
      avoidVSwitch: false,
    });
  });

  test.each(FAILURE_KINDS.filter((kind) => kind !== 'exhausted' && kind !== 'token'))(
    'after %s the same create is sent again',
    (kind) => {
      expect(step('bind', { ...missing, operation: failed('create', kind) })).toMatchObject({ do: 'pause' });
      expect(step('bind', { ...missing, operation: failed('create', kind, { ageMs: 1000 }) })).toEqual({
        do: 'create',
      });
    },
  );

  test.each(FAILURE_KINDS)('release looks for the ENI even if the last create failed with %s', (kind) => {
    // An earlier create, sent by a process that crashed, may have taken effect.
    expect(step('release', { ...missing, operation: failed('create', kind) })).toEqual({ do: 'find' });
  });

  describe('release keeps searching', () => {
    const at = (createdMsAgo: number, searchedMsAgo: number, releasedMsAgo = 600_000) =>
      step('release', {
        allocation: unborn({ createdAt: rfc3339(NOW_MS - createdMsAgo) }),
        operation: succeeded('find', searchedMsAgo),
        goalSinceMs: NOW_MS - releasedMsAgo,
      });

    test('until half a minute after the intent', () => {
      expect(at(2000, 1000)).toEqual({ do: 'pause', untilMs: NOW_MS + 4000 });
      expect(at(20_000, 5000)).toEqual({ do: 'find' });
      expect(at(29_000, 1000)).toEqual({ do: 'pause', untilMs: NOW_MS + 1000 });
    });

    test('after a search from before that', () => {
      expect(at(31_000, 2000)).toEqual({ do: 'find' });
      expect(at(31_000, 500)).toEqual({ do: 'done' });
    });

    test('while a response may lag behind a create that waited for quota until the release', () => {
      expect(at(600_000, 100, 1000)).toEqual({ do: 'pause', untilMs: NOW_MS + 4000 });
      expect(at(600_000, 100, 6000)).toEqual({ do: 'done' });
    });
  });
});

describe('an ENI that is gone while it should be bound', () => {
  test('is searched for by its tags before a new attempt: a describe may lag behind its create', () => {
    const gone = seen(undefined, 0);
    expect(step('bind', { observation: gone })).toEqual({ do: 'find' });
    expect(step('bind', { observation: seen(undefined, 500), operation: succeeded('find', 100) })).toEqual({
      do: 'observe',
    });
    expect(step('bind', { observation: gone, operation: succeeded('find', 100) })).toEqual({
      do: 'pause',
      untilMs: NOW_MS + 4900,
    });
    // An observation from before the end of the wait does not count, however late it is examined.
    expect(step('bind', { observation: seen(undefined, 100), operation: succeeded('find', 5000) })).toEqual({
      do: 'observe',
    });
    expect(step('bind', { observation: gone, operation: succeeded('find', 5000) })).toEqual({
      do: 'newAttempt',
      avoidVSwitch: false,
    });
    expect(step('bind', { observation: gone, operation: failed('find', 'throttled', { ageMs: 1 }) })).toMatchObject({
      do: 'pause',
      failure: { kind: 'throttled' },
    });
  });

  test('is never replaced silently when it was bound', () => {
    const view = { bound: true, observation: seen(undefined, 0) };
    expect(step('bind', view)).toEqual({
      do: 'blocked',
      reason: 'EniLost',
      message: 'eni-1 no longer exists in the cloud; delete the pod to give its successor a new ENI',
    });
    expect(step('bind', { ...view, fixed: true })).toMatchObject({ do: 'blocked', reason: 'EniLost' });
  });

  test('is never replaced silently when it holds a fixed address (I4), but searched for like any other', () => {
    const view = { fixed: true, observation: seen(undefined, 0) };
    expect(step('bind', view)).toEqual({ do: 'find' });
    expect(step('bind', { ...view, operation: succeeded('find', 100) })).toMatchObject({ do: 'pause' });
    expect(step('bind', { ...view, operation: succeeded('find', 5000) })).toEqual({
      do: 'blocked',
      reason: 'EniLost',
      message:
        'eni-1, which holds the fixed address 10.0.0.5, no longer exists in the cloud; delete this PodENI to let the pod get another address',
    });
  });
});

describe('an ENI that is free while it should be held', () => {
  const at = (heldMsAgo: number, operation?: ReturnType<typeof succeeded>) =>
    step('hold', {
      observation: seen(eni('Available'), 0),
      goalSinceMs: NOW_MS - heldMsAgo,
      ...(operation === undefined ? {} : { operation }),
    });

  test('may have been attached a moment ago: a describe does not show it yet', () => {
    expect(at(1000)).toEqual({ do: 'pause', untilMs: NOW_MS + 4000 });
    expect(at(1000, succeeded('attach', 1200))).toEqual({ do: 'pause', untilMs: NOW_MS + 4000 });
    expect(at(5000)).toMatchObject({ do: 'done' });
  });

  test('is believed to be free after our own detach', () => {
    expect(at(1000, succeeded('detach', 100))).toMatchObject({ do: 'done' });
  });
});

describe('an ENI that is gone while it should be released', () => {
  const at = (releasedMsAgo: number, operation?: ReturnType<typeof succeeded>) =>
    step('release', {
      observation: seen(undefined, 0),
      goalSinceMs: NOW_MS - releasedMsAgo,
      ...(operation === undefined ? {} : { operation }),
    });

  test('may have been created a moment ago: a describe does not show it yet', () => {
    expect(at(1000)).toEqual({ do: 'pause', untilMs: NOW_MS + 4000 });
    expect(at(4999)).toEqual({ do: 'pause', untilMs: NOW_MS + 1 });
    expect(at(5000)).toEqual({ do: 'done' });
  });

  test('is believed to be gone after our own delete', () => {
    expect(at(1000, succeeded('delete', 100))).toEqual({ do: 'done' });
  });

  test('unless it is so young that a describe may not show it yet, although it still exists', () => {
    const young = (plannedMsAgo: number, goal: Goal, kind: OperationKind) =>
      step(goal, {
        allocation: allocation({ intent: intent({ createdAt: rfc3339(NOW_MS - plannedMsAgo) }) }),
        observation: seen(undefined, 0),
        goalSinceMs: NOW_MS - 1000,
        operation: succeeded(kind, 100),
      });
    for (const [goal, kind] of [
      ['release', 'delete'],
      ['hold', 'detach'],
    ] as const) {
      expect(young(2000, goal, kind)).toEqual({ do: 'pause', untilMs: NOW_MS + 3000 });
      expect(young(5000, goal, kind)).toEqual({ do: 'done' });
    }
  });
});
