import { expect, test } from 'vitest';
import { nextStep, type PodView, type Snapshot } from './lifecycle.ts';
import { ALLOCATION_TYPE, allocation, boundEni, CLUSTER, eni, NOW_MS, podEni, seen } from './test-support/fixtures.ts';

const TIMEOUT_MS = 90_000;
const unsaid = { deleted: false, exists: false, timeoutMs: TIMEOUT_MS };
const gone: PodView = { state: 'none' };
// Deleted a minute ago by the fixture.
const leaving = (phase: 'Bind' | 'Binding' | 'Detaching') => podEni({ deleted: true, status: { phase } });

function stepOf(record: Snapshot['podEni'], more: Partial<Snapshot> = {}) {
  const step = nextStep({
    podEni: record,
    pod: gone,
    interfaces: [{ observation: seen(boundEni()) }],
    sandbox: unsaid,
    clusterId: CLUSTER,
    nowMs: NOW_MS,
    ...more,
  });
  return step.do === 'interfaces' ? step.steps[0]?.step : step;
}

test('an ENI that was bound stays attached until its node confirms that the sandbox is gone', () => {
  expect(stepOf(leaving('Bind'))).toEqual({ do: 'waitForNode', untilMs: NOW_MS - 60_000 + TIMEOUT_MS });
  expect(stepOf(leaving('Bind'), { sandbox: { deleted: true, exists: false, timeoutMs: TIMEOUT_MS } })).toEqual({
    do: 'detach',
    eni: boundEni(),
  });
});

test('so does an ENI that is kept for the next pod', () => {
  const kept = (podLastSeen: string) =>
    podEni({
      allocations: [allocation({ allocationType: ALLOCATION_TYPE.fixedForever })],
      status: { phase: 'Detaching', podLastSeen },
    });
  expect(stepOf(kept('2026-01-01T11:59:50Z'))).toEqual({ do: 'waitForNode', untilMs: NOW_MS + 80_000 });
  expect(stepOf(kept('2026-01-01T11:58:00Z'))).toMatchObject({ do: 'detach', unconfirmed: true });
});

test('a node that never confirms delays the detach only up to the bound, and the step says so (L4)', () => {
  expect(stepOf(leaving('Bind'), { sandbox: { deleted: false, exists: false, timeoutMs: 60_000 } })).toEqual({
    do: 'detach',
    eni: boundEni(),
    unconfirmed: true,
  });
});

test('nothing waits without an agent, for a record that was never bound, or for a detached ENI', () => {
  const { sandbox: _sandbox, ...withoutAgent } = { sandbox: unsaid, pod: gone };
  expect(
    nextStep({
      ...withoutAgent,
      podEni: leaving('Bind'),
      interfaces: [{ observation: seen(boundEni()) }],
      clusterId: CLUSTER,
      nowMs: NOW_MS,
    }),
  ).toMatchObject({ steps: [{ step: { do: 'detach', eni: boundEni() } }] });
  expect(stepOf(leaving('Binding'))).toEqual({ do: 'detach', eni: boundEni() });
  expect(stepOf(leaving('Bind'), { interfaces: [{ observation: seen(eni('Available')) }] })).toMatchObject({
    do: 'delete',
  });
});

test('deleting the PodENI of a running pod does not wait for its sandbox', () => {
  const pod: PodView = { state: 'live', uid: 'uid-1', nodeName: 'node-1' };
  expect(stepOf(leaving('Bind'), { pod })).toEqual({ do: 'detach', eni: boundEni() });
  expect(stepOf(leaving('Bind'), { pod: { ...pod, uid: 'uid-2' } })).toMatchObject({ do: 'waitForNode' });
});

test('an ENI that is gone is not replaced while a sandbox uses its address, although a restored record was never bound', () => {
  const pod: PodView = { state: 'live', uid: 'uid-1', nodeName: 'node-1' };
  const interfaces = [{ observation: seen(undefined) }];
  expect(stepOf(podEni(), { pod, interfaces })).toMatchObject({ do: 'find' });
  expect(stepOf(podEni(), { pod, interfaces, sandbox: { ...unsaid, exists: true } })).toMatchObject({
    do: 'blocked',
    reason: 'EniLost',
  });
});

test('a clock that is behind makes the wait longer, not shorter', () => {
  const nowMs = NOW_MS - 180_000;
  const interfaces = [{ observation: { atMs: nowMs, eni: boundEni() } }];
  const untilMs = NOW_MS - 60_000 + TIMEOUT_MS;
  expect(stepOf(leaving('Bind'), { nowMs, interfaces })).toEqual({ do: 'waitForNode', untilMs });
});

test('a clock that was set back does not make the wait longer', () => {
  const step = stepOf(leaving('Bind'), {
    nowMs: NOW_MS - 3_600_000,
    interfaces: [{ observation: { atMs: NOW_MS - 3_600_000, eni: boundEni() } }],
  });
  expect(step).toMatchObject({ do: 'detach', unconfirmed: true });
});
