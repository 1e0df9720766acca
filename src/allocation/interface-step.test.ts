import { describe, expect, test } from 'vitest';
import type { Eni } from '../ecs/eni.ts';
import { FRESH_MS, type Goal, type InterfaceStep } from './interface-step.ts';
import type { OperationKind } from './operation.ts';
import {
  boundEni,
  CLUSTER,
  elsewhere,
  eni,
  FAILURE_KINDS,
  failed,
  NOW_MS,
  running,
  seen,
  interfaceStep as step,
  succeeded,
  unborn,
} from './test-support/fixtures.ts';

/** The step in the words of the table in docs/design/allocation.md. */
function word(taken: InterfaceStep): string {
  switch (taken.do) {
    case 'waitForCloud':
      return `wait ${taken.transition}`;
    case 'blocked':
      return taken.reason;
    default:
      return taken.do;
  }
}

const goals: readonly Goal[] = ['bind', 'hold', 'release'];

/**
 * Rows of the table in docs/design/allocation.md: the state in the cloud, and the step towards bind, hold and release.
 */
const table: [shown: string, Eni | undefined, bind: string, hold: string, release: string][] = [
  ['Available', eni('Available'), 'attach', 'done', 'delete'],
  ['Attaching', eni('Attaching', { instanceId: 'i-1' }), 'wait attach', 'wait attach', 'wait attach'],
  ['InUse at the target', boundEni(), 'done', 'detach', 'detach'],
  ['InUse elsewhere', elsewhere(), 'detach', 'detach', 'detach'],
  ['InUse on another trunk', boundEni({ trunkEniId: 'eni-trunk-9' }), 'detach', 'detach', 'detach'],
  ['InUse without a trunk', boundEni({ trunkEniId: '' }), 'detach', 'detach', 'detach'],
  ['InUse without a VLAN id', boundEni({ vlanId: 0 }), 'detach', 'detach', 'detach'],
  ['Detaching', boundEni({ status: 'Detaching' }), 'wait detach', 'wait detach', 'wait detach'],
  ['Deleting', eni('Deleting'), 'wait delete', 'wait delete', 'wait delete'],
  ['Creating', eni('Creating'), 'wait attach', 'wait attach', 'wait attach'],
  ['an unknown status', eni('Unknown'), 'wait attach', 'wait attach', 'wait attach'],
  ['CreateFailed', eni('CreateFailed'), 'delete', 'done', 'delete'],
  ['nothing', undefined, 'find', 'done', 'done'],
];

describe.each(table)('when the cloud shows %s', (_name, shown, ...expected) => {
  test.each(goals.map((goal, at) => [goal, expected[at]] as const))('%s: %s', (goal, expectedStep) => {
    expect(word(step(goal, { observation: seen(shown) }))).toBe(expectedStep);
  });
});

test('bind is done with the attached ENI, so that its VLAN id and address can be written', () => {
  expect(step('bind', { observation: seen(boundEni()) })).toEqual({ do: 'done', eni: boundEni() });
});

describe('without an observation', () => {
  test.each(goals)('%s observes', (goal) => {
    expect(step(goal, {})).toEqual({ do: 'observe' });
  });

  test.each(goals)('%s waits for our own call first', (goal) => {
    for (const kind of ['create', 'find', 'attach', 'detach', 'delete'] as const) {
      for (const shown of [undefined, eni('Available'), boundEni()]) {
        expect(step(goal, { observation: seen(shown), operation: running(kind) })).toEqual({ do: 'waitForCall' });
        expect(step(goal, { allocation: unborn(), operation: running(kind) })).toEqual({ do: 'waitForCall' });
      }
    }
  });
});

describe('an observation from before the end of a call', () => {
  test.each<OperationKind>(['attach', 'detach', 'delete'])('after an accepted %s waits for the cloud', (kind) => {
    for (const goal of goals) {
      const view = { observation: seen(eni('Available'), 500), operation: succeeded(kind, 200) };
      expect(step(goal, view)).toEqual({ do: 'waitForCloud', transition: kind });
    }
  });

  test.each<OperationKind>(['attach', 'detach', 'delete'])('after a failed %s is ignored', (kind) => {
    for (const failureKind of FAILURE_KINDS) {
      const view = { observation: seen(eni('Available'), 500), operation: failed(kind, failureKind) };
      for (const goal of goals) expect(step(goal, view)).toEqual({ do: 'observe' });
    }
  });
});

describe('a describe that lags behind an accepted call is not acted upon', () => {
  test.each([
    ['bind', 'attach', eni('Available')],
    ['hold', 'detach', boundEni()],
    ['release', 'detach', boundEni()],
    ['release', 'delete', eni('Available')],
    ['release', 'delete', eni('CreateFailed')],
  ] as const)('%s after %s', (goal, kind, shown) => {
    const at = (ageMs: number) => step(goal, { observation: seen(shown, 0), operation: succeeded(kind, ageMs) });
    expect(at(100)).toEqual({ do: 'waitForCloud', transition: kind });
    expect(at(4999)).toEqual({ do: 'waitForCloud', transition: kind });
    // It did not take effect, for example an attach that was rolled back: sent again.
    expect(at(5001)).toMatchObject({ do: kind });
  });
});

describe('after a failure the call is repeated with growing pauses', () => {
  const view = (kind: OperationKind, ageMs: number, failures: number): Parameters<typeof step>[1] => {
    const operation = failed(kind, 'invalid', { ageMs, failures });
    const shown = kind === 'detach' ? boundEni() : eni('Available');
    return kind === 'create' || kind === 'find'
      ? { allocation: unborn(), operation }
      : { observation: seen(shown, 0), operation };
  };

  test.each([
    ['bind', 'create'],
    ['bind', 'attach'],
    ['hold', 'detach'],
    ['release', 'detach'],
    ['release', 'delete'],
    ['release', 'find'],
  ] as const)('%s: %s', (goal, kind) => {
    for (const [failures, pauseMs] of [
      [1, 1000],
      [2, 2000],
      [5, 16_000],
      [7, 60_000],
      [500, 60_000],
    ] as const) {
      const failure = { kind: 'invalid', code: 'Code', message: 'the cloud refused' };
      const untilMs = NOW_MS - (pauseMs - 1) + pauseMs;
      expect(step(goal, view(kind, pauseMs - 1, failures))).toEqual({ do: 'pause', untilMs, failure });
      expect(step(goal, view(kind, pauseMs, failures))).toMatchObject({ do: kind });
    }
  });

  test('a failure of another kind of call does not delay', () => {
    const operation = failed('attach', 'state', { ageMs: 10 });
    expect(step('release', { observation: seen(eni('Available'), 0), operation })).toMatchObject({ do: 'delete' });
  });
});

describe('a destructive call (I3)', () => {
  const destructive = [
    ['bind', elsewhere(), 'detach'],
    ['hold', boundEni(), 'detach'],
    ['release', boundEni(), 'detach'],
    ['release', eni('Available'), 'delete'],
    ['release', eni('CreateFailed'), 'delete'],
    ['bind', eni('CreateFailed'), 'delete'],
  ] as const;

  test.each(destructive)('towards %s needs a fresh observation', (goal, shown, call) => {
    expect(step(goal, { observation: seen(shown, FRESH_MS) })).toMatchObject({ do: call });
    expect(step(goal, { observation: seen(shown, FRESH_MS + 1) })).toEqual({ do: 'observe' });
  });

  test.each(destructive)('towards %s is not sent for an ENI that is not ours', (goal, shown) => {
    for (const tags of [
      {},
      { ...shown.tags, 'ack.aliyun.com': 'another-cluster' },
      { ...shown.tags, creator: 'terway' },
      { 'ack.aliyun.com': CLUSTER },
    ]) {
      expect(step(goal, { observation: seen({ ...shown, tags }) })).toEqual({
        do: 'blocked',
        reason: 'EniNotOurs',
        message: 'eni-1 does not carry the tags of this cluster, so it is neither changed nor released',
      });
    }
  });

  test('is sent for an ENI that upstream created', () => {
    const tags = { 'ack.aliyun.com': CLUSTER, creator: 'terway-controller' };
    expect(step('release', { observation: seen({ ...boundEni(), tags }) })).toMatchObject({ do: 'detach' });
  });
});

describe('an ENI that does not match its record (I8)', () => {
  const groups = [['sg-9'], ['sg-1'], [], ['sg-1', 'sg-9']];
  const elsewhere: Partial<Eni> = { vSwitchId: 'vsw-9' };

  test('in another vSwitch is neither attached nor bound', () => {
    const message = 'eni-1 is in vSwitch vsw-9, but the PodENI records vsw-1';
    for (const shown of [eni('Available', elsewhere), boundEni(elsewhere)]) {
      expect(step('bind', { observation: seen(shown) })).toEqual({ do: 'blocked', reason: 'EniMismatch', message });
    }
  });

  test.each(groups)('with other security groups gets those of the record first: %j', (...ids) => {
    for (const shown of [eni('Available', { securityGroupIds: ids }), boundEni({ securityGroupIds: ids })]) {
      expect(step('bind', { observation: seen(shown) })).toEqual({ do: 'modify', eni: shown });
    }
  });

  test('with the same security groups in another order matches', () => {
    const observation = seen(boundEni({ securityGroupIds: ['sg-2', 'sg-1'] }));
    expect(step('bind', { observation })).toMatchObject({ do: 'done' });
  });

  test.each([...groups.map((ids) => ({ securityGroupIds: ids })), elsewhere])(
    'is released nevertheless: %j',
    (changes) => {
      expect(step('release', { observation: seen(eni('Available', changes)) })).toMatchObject({ do: 'delete' });
      expect(step('release', { observation: seen(boundEni(changes)) })).toMatchObject({ do: 'detach' });
    },
  );

  test('a record of upstream that names neither matches anything', () => {
    const observation = seen(boundEni());
    expect(step('bind', { allocation: { eni: { id: 'eni-1' } }, observation })).toMatchObject({ do: 'done' });
  });
});

describe('a change of security groups', () => {
  const drifted = boundEni({ securityGroupIds: ['sg-9'] });

  test('needs a fresh observation', () => {
    expect(step('bind', { observation: seen(drifted, 5001) })).toEqual({ do: 'observe' });
  });

  test('is not sent for an ENI without our tags', () => {
    expect(step('bind', { observation: seen({ ...drifted, tags: {} }) })).toMatchObject({
      do: 'blocked',
      reason: 'EniNotOurs',
    });
  });

  test('that was accepted may not be visible for a while and is observed again', () => {
    const operation = succeeded('modify', 1000);
    expect(step('bind', { observation: seen(drifted, 2000), operation })).toEqual({ do: 'observe' });
    expect(step('bind', { observation: seen(drifted, 500), operation })).toEqual({ do: 'observe' });
    expect(step('bind', { observation: seen(drifted, 100), operation: succeeded('modify', 6000) })).toMatchObject({
      do: 'modify',
    });
    expect(step('bind', { observation: seen(boundEni(), 500), operation })).toMatchObject({ do: 'done' });
  });

  test('that was refused is sent again after a pause', () => {
    const operation = failed('modify', 'invalid', { ageMs: 500 });
    expect(step('bind', { observation: seen(drifted), operation })).toMatchObject({ do: 'pause' });
    expect(
      step('bind', { observation: seen(drifted), operation: failed('modify', 'invalid', { ageMs: 1000 }) }),
    ).toMatchObject({ do: 'modify' });
  });
});

test('a target without a trunk means a whole ENI', () => {
  const target = { nodeName: 'n', instanceID: 'i-1' };
  const own = eni('InUse', { instanceId: 'i-1' });
  expect(step('bind', { target, observation: seen(own) })).toMatchObject({ do: 'done' });
  expect(step('bind', { target, observation: seen(boundEni()) })).toMatchObject({ do: 'detach' });
});

describe('after the clock was set back by an hour', () => {
  const future = -3600_000;

  test('nothing waits for the hour to pass', () => {
    expect(step('bind', { observation: seen(boundEni(), future) })).toEqual({ do: 'observe' });
    for (const operation of [succeeded('attach', future), failed('attach', 'throttled', { ageMs: future })]) {
      expect(step('bind', { observation: seen(eni('Available')), operation })).toMatchObject({ do: 'attach' });
      expect(step('bind', { observation: seen(boundEni()), operation })).toMatchObject({ do: 'done' });
    }
    const operation = failed('create', 'throttled', { ageMs: future });
    expect(step('bind', { allocation: unborn(), operation })).toEqual({ do: 'create' });
  });

  test('a created ENI is still recorded, and a running call is still waited for', () => {
    const operation = succeeded('create', future, eni('Available'));
    expect(step('bind', { allocation: unborn(), operation })).toMatchObject({ do: 'record' });
    const call = { kind: 'attach', state: 'running', sinceMs: NOW_MS - future } as const;
    expect(step('bind', { observation: seen(eni('Available')), operation: call })).toEqual({ do: 'waitForCall' });
  });
});
