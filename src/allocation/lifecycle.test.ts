import { describe, expect, test } from 'vitest';
import { allocationTypeSchema } from '../crds/common.ts';
import type { Allocation, PodEni } from '../crds/pod-eni.ts';
import { rfc3339 } from '../util/clock.ts';
import { nextStep, type PodView, type Snapshot, type Step, targetOf } from './lifecycle.ts';
import {
  ALLOCATION_TYPE,
  allocation,
  boundEni,
  CLUSTER,
  elsewhere,
  eni,
  NOW_MS,
  podEni,
  running,
  seen,
  succeeded,
  TARGET,
  unborn,
} from './test-support/fixtures.ts';

const owner: PodView = { state: 'live', uid: 'uid-1', nodeName: 'node-1' };
const successor: PodView = { state: 'live', uid: 'uid-2', nodeName: 'node-2' };
const unscheduled: PodView = { state: 'live', uid: 'uid-2', nodeName: '' };
const none: PodView = { state: 'none' };

function next(
  record: PodEni,
  pod: PodView,
  interfaces: Snapshot['interfaces'] = [{}],
  more: Pick<Snapshot, 'trunk'> = {},
): Step {
  const snapshot = { podEni: record, pod, interfaces, clusterId: CLUSTER, nowMs: NOW_MS, ...more };
  const step = nextStep(snapshot);
  expect(nextStep(structuredClone(snapshot))).toEqual(step);
  return step;
}

const bindStatus = {
  phase: 'Bind',
  instanceID: 'i-1',
  trunkENIID: 'eni-trunk-1',
  eniInfos: { 'eni-1': { id: 'eni-1', vid: 7, status: 'Bind' } },
} as const;
const fixedForever = () => allocation({ allocationType: ALLOCATION_TYPE.fixedForever });
const fixedTtl = () => allocation({ allocationType: ALLOCATION_TYPE.fixedTtl });
const fixedIn = (phase: NonNullable<PodEni['status']>['phase'], more: Parameters<typeof podEni>[0] = {}) =>
  podEni({ allocations: [fixedForever()], status: phase === undefined ? {} : { phase }, ...more });

const bind = (step: object) => ({ do: 'interfaces', goal: 'bind', steps: [{ index: 0, step }] });
const release = (step: object) => ({ do: 'interfaces', goal: 'release', steps: [{ index: 0, step }] });
const hold = (step: object) => ({ do: 'interfaces', goal: 'hold', steps: [{ index: 0, step }] });

describe('an elastic PodENI', () => {
  test('goes from plan to Bind', () => {
    expect(next(podEni({ allocations: [unborn()] }), owner)).toEqual(bind({ do: 'create' }));
    const created = [{ operation: succeeded('create', 10, eni('Available')) }];
    expect(next(podEni({ allocations: [unborn()] }), owner, created)).toEqual(
      bind({ do: 'record', eni: eni('Available') }),
    );
    expect(next(podEni(), owner, [{ observation: seen(eni('Available')) }])).toEqual(
      bind({ do: 'attach', eni: eni('Available') }),
    );
    expect(next(podEni(), owner, [{ observation: seen(boundEni()) }])).toEqual({ do: 'bind', enis: [boundEni()] });
  });

  test('that is bound needs nothing (L2)', () => {
    expect(next(podEni({ status: bindStatus }), owner)).toEqual({ do: 'nothing' });
    expect(next(podEni({ status: bindStatus }), owner, [{ observation: seen(boundEni()) }])).toEqual({ do: 'nothing' });
  });

  test.each([
    ['another VLAN id', boundEni({ vlanId: 8 }), { do: 'bind', enis: [boundEni({ vlanId: 8 })] }],
    ['a detached ENI', eni('Available'), bind({ do: 'attach', eni: eni('Available') })],
    ['an ENI attached elsewhere', elsewhere(), bind({ do: 'detach', eni: elsewhere() })],
  ])('that is bound is repaired when the cloud shows %s', (_name, shown, expected) => {
    expect(next(podEni({ status: bindStatus }), owner, [{ observation: seen(shown) }])).toEqual(expected);
  });

  test('that is bound and whose ENI is gone is blocked until a person acts', () => {
    expect(next(podEni({ status: bindStatus }), owner, [{ observation: seen(undefined) }])).toMatchObject(
      bind({ do: 'blocked', reason: 'EniLost' }),
    );
  });

  test.each([
    ['is gone', none],
    ['was replaced by one of the same name', successor],
    ['was replaced and the new one has no node', unscheduled],
  ])('is deleted first when its pod %s, whatever the state in the cloud', (_name, pod) => {
    for (const phase of ['', 'Initial', 'Binding', 'Bind', 'Detaching', 'Unbind'] as const) {
      for (const shown of [undefined, eni('Available'), boundEni()]) {
        const observed = shown === undefined ? {} : { observation: seen(shown) };
        expect(next(podEni({ status: { phase } }), pod, [observed])).toEqual({ do: 'deleteObject' });
      }
    }
  });

  test('in phase Deleting is deleted, even with a pod', () => {
    expect(next(podEni({ status: { phase: 'Deleting' } }), owner)).toEqual({ do: 'deleteObject' });
    expect(next(fixedIn('Deleting'), owner)).toEqual({ do: 'deleteObject' });
  });
});

describe('a PodENI that is being deleted', () => {
  test.each([
    ['elastic', () => allocation()],
    ['fixed', fixedForever],
  ])('releases its ENI, %s, with or without a pod', (_name, of: () => Allocation) => {
    for (const pod of [owner, successor, none]) {
      for (const phase of ['', 'Bind', 'Unbind', 'Detaching', 'Deleting'] as const) {
        const record = podEni({ allocations: [of()], status: { phase }, deleted: true });
        expect(next(record, pod)).toEqual(release({ do: 'observe' }));
        expect(next(record, pod, [{ observation: seen(boundEni()) }])).toMatchObject(release({ do: 'detach' }));
        expect(next(record, pod, [{ observation: seen(eni('Available')) }])).toMatchObject(release({ do: 'delete' }));
        expect(next(record, pod, [{ observation: seen(undefined) }])).toEqual({ do: 'finish' });
      }
    }
  });

  test('never sends a create; an ENI left by an earlier one is found', () => {
    const record = podEni({ allocations: [unborn()], deleted: true });
    expect(next(record, owner)).toEqual(release({ do: 'find' }));
    expect(next(record, owner, [{ operation: running('create') }])).toEqual(release({ do: 'waitForCall' }));
    expect(next(record, owner, [{ operation: succeeded('find', 10) }])).toEqual({ do: 'finish' });
  });

  test('keeps its finalizer until every ENI is gone (L4)', () => {
    const other = allocation({ eni: { id: 'eni-2' } });
    const record = podEni({ allocations: [allocation(), other], deleted: true });
    expect(next(record, none, [{ observation: seen(undefined) }, { observation: seen(boundEni()) }])).toMatchObject({
      steps: [{ index: 1, step: { do: 'detach' } }],
    });
    expect(next(record, none, [{ observation: seen(undefined) }, { observation: seen(undefined) }])).toEqual({
      do: 'finish',
    });
  });

  test('without allocations loses its finalizer', () => {
    expect(next(podEni({ allocations: [], deleted: true }), none, [])).toEqual({ do: 'finish' });
  });
});

describe('a fixed PodENI', () => {
  test('is bound like an elastic one', () => {
    const record = podEni({ allocations: [fixedForever()], status: bindStatus });
    expect(next(record, owner)).toEqual({ do: 'nothing' });
    expect(next(fixedIn('Binding'), owner, [{ observation: seen(boundEni()) }])).toMatchObject({ do: 'bind' });
  });

  test.each([none, successor, unscheduled])('persists the detach before sending it: %j', (pod) => {
    for (const phase of [undefined, '', 'Initial', 'Binding', 'Bind'] as const) {
      expect(next(fixedIn(phase), pod, [{ observation: seen(boundEni()) }])).toEqual({ do: 'startDetach' });
    }
  });

  test('is detached and kept, even if its pod is back meanwhile', () => {
    for (const pod of [none, successor, owner]) {
      expect(next(fixedIn('Detaching'), pod, [{ observation: seen(boundEni()) }])).toMatchObject(
        hold({ do: 'detach' }),
      );
      expect(next(fixedIn('Detaching'), pod, [{ observation: seen(eni('Available')) }])).toEqual({ do: 'unbind' });
      expect(next(fixedIn('Detaching'), pod, [{ observation: seen(undefined) }])).toEqual({ do: 'unbind' });
    }
  });

  test('whose create got no response is kept with its intent', () => {
    const record = fixedIn('Detaching', {
      allocations: [{ ...unborn(), allocationType: ALLOCATION_TYPE.fixedForever }],
    });
    expect(next(record, none)).toEqual({ do: 'unbind' });
    expect(next(record, none, [{ operation: running('create') }])).toEqual(hold({ do: 'waitForCall' }));
  });

  test('moves to the next pod of its name and to its node', () => {
    expect(next(fixedIn('Unbind'), unscheduled)).toEqual({ do: 'nothing' });
    expect(next(fixedIn('Unbind'), successor)).toEqual({ do: 'rebind' });
    const rebound = { target: { ...TARGET, nodeName: 'node-2' }, uid: 'uid-2' };
    expect(next(fixedIn('Unbind', rebound), successor)).toEqual({ do: 'startBinding' });
    expect(next(fixedIn('Binding', rebound), successor, [{ observation: seen(eni('Available')) }])).toMatchObject(
      bind({ do: 'attach' }),
    );
  });

  test('is detached when it is attached though no pod has it, as after a restored backup', () => {
    const attached = [{ observation: seen(elsewhere()) }];
    expect(next(fixedIn('Unbind'), none, attached)).toEqual({ do: 'startDetach' });
    expect(next(fixedIn('Unbind'), successor, attached)).toEqual({ do: 'rebind' });
    expect(next(fixedIn('Unbind'), none, [{ observation: seen(eni('Available')) }])).toEqual({ do: 'nothing' });
  });

  test('gets a new target when that pod is replaced or moves before it is bound', () => {
    const third: PodView = { state: 'live', uid: 'uid-3', nodeName: 'node-2' };
    const moved: PodView = { state: 'live', uid: 'uid-2', nodeName: 'node-3' };
    const rebound = { target: { ...TARGET, nodeName: 'node-2' }, uid: 'uid-2' };
    expect(next(fixedIn('Unbind', rebound), third)).toEqual({ do: 'rebind' });
    expect(next(fixedIn('Unbind', rebound), moved)).toEqual({ do: 'rebind' });
  });

  test('without a pod stays forever with strategy Never', () => {
    const lastSeen = { podLastSeen: rfc3339(NOW_MS - 400 * 86_400_000) };
    expect(next(fixedIn('Unbind', { status: { phase: 'Unbind', ...lastSeen } }), none)).toEqual({ do: 'nothing' });
  });

  test('without a pod is deleted when its TTL has passed, not before', () => {
    const lastSeenSecondsAgo = (seconds: number) =>
      podEni({
        allocations: [fixedTtl()],
        status: { phase: 'Unbind', podLastSeen: rfc3339(NOW_MS - seconds * 1000) },
      });
    expect(next(lastSeenSecondsAgo(599), none)).toEqual({ do: 'nothing', untilMs: NOW_MS + 1000 });
    expect(next(lastSeenSecondsAgo(600), none)).toEqual({ do: 'deleteObject' });
    // The pod came back at the last moment and is served.
    expect(next(lastSeenSecondsAgo(600), successor)).toEqual({ do: 'rebind' });
  });

  test('keeps the whole record when one interface must be kept', () => {
    const record = podEni({
      allocations: [fixedTtl(), fixedForever(), allocation()],
      status: { phase: 'Unbind', podLastSeen: rfc3339(NOW_MS - 86_400_000) },
    });
    expect(next(record, none)).toEqual({ do: 'nothing' });
  });
});

describe('a PodENI of upstream, without target and intent,', () => {
  const { intent: _intent, ...upstreamAllocation } = allocation();
  const upstream = (status: PodEni['status'], type?: object): PodEni =>
    podEni({
      allocations: [
        { ...upstreamAllocation, ...(type === undefined ? {} : { allocationType: allocationTypeSchema.parse(type) }) },
      ],
      target: undefined,
      ...(status === undefined ? {} : { status }),
    });

  test('is adopted as it is when it is bound', () => {
    expect(next(upstream(bindStatus), owner)).toEqual({ do: 'nothing' });
    expect(next(upstream(bindStatus), owner, [{ observation: seen(boundEni()) }])).toEqual({ do: 'nothing' });
    expect(targetOf(upstream(bindStatus))).toEqual({ nodeName: '', instanceID: 'i-1', trunkENIID: 'eni-trunk-1' });
  });

  test('gets a target when it is not bound yet', () => {
    expect(next(upstream(undefined), owner)).toEqual({ do: 'rebind' });
    expect(next(upstream({ phase: 'Binding' }), owner)).toEqual({ do: 'rebind' });
    expect(next(upstream({ phase: 'Bind' }), owner, [{ observation: seen(boundEni()) }])).toEqual({ do: 'rebind' });
  });

  test('is detached, kept and given to the next pod when it is fixed', () => {
    const fixed = ALLOCATION_TYPE.fixedForever;
    expect(next(upstream(bindStatus, fixed), none)).toEqual({ do: 'startDetach' });
    expect(next(upstream({ ...bindStatus, phase: 'Detaching' }, fixed), none)).toEqual(hold({ do: 'observe' }));
    expect(next(upstream({ phase: 'Unbind', instanceID: '', trunkENIID: '' }, fixed), successor)).toEqual({
      do: 'rebind',
    });
  });

  test('is released', () => {
    const deleted = upstream(bindStatus);
    deleted.metadata.deletionTimestamp = rfc3339(NOW_MS);
    expect(next(deleted, none, [{ observation: seen(boundEni()) }])).toMatchObject(release({ do: 'detach' }));
  });
});

describe('with several interfaces', () => {
  const second = allocation({
    interface: 'eth1',
    eni: { id: 'eni-2', vSwitchID: 'vsw-1', securityGroupIDs: ['sg-1', 'sg-2'] },
  });
  const record = (status?: PodEni['status']) =>
    podEni({ allocations: [allocation(), second], ...(status === undefined ? {} : { status }) });
  const boundSecond = boundEni({ id: 'eni-2', vlanId: 8 });

  test('each takes its own step', () => {
    expect(next(record(), owner, [{ observation: seen(eni('Available')) }, {}])).toMatchObject({
      steps: [
        { index: 0, step: { do: 'attach' } },
        { index: 1, step: { do: 'observe' } },
      ],
    });
  });

  test('Bind is written when all are attached', () => {
    expect(next(record(), owner, [{ observation: seen(boundEni()) }, {}])).toMatchObject({
      steps: [{ index: 1, step: { do: 'observe' } }],
    });
    expect(next(record(), owner, [{ observation: seen(boundEni()) }, { observation: seen(boundSecond) }])).toEqual({
      do: 'bind',
      enis: [boundEni(), boundSecond],
    });
  });

  test('Bind is corrected when one of them has changed', () => {
    const observed = [{ observation: seen(boundEni()) }, { observation: seen(boundSecond) }];
    const infos = { 'eni-1': { vid: 7 }, 'eni-2': { vid: 9 } };
    expect(next(record({ ...bindStatus, eniInfos: infos }), owner, observed)).toMatchObject({ do: 'bind' });
    expect(next(record({ ...bindStatus, eniInfos: { ...infos, 'eni-2': { vid: 8 } } }), owner, observed)).toEqual({
      do: 'nothing',
    });
  });
});

describe('a condition that says not ready', () => {
  const ready = { type: 'Ready', reason: 'r', message: 'm', lastTransitionTime: rfc3339(NOW_MS) };
  const record = (status: 'True' | 'False') =>
    podEni({ status: { ...bindStatus, conditions: [{ ...ready, status }] } });

  test('triggers an observation and is cleared when the cloud state is correct', () => {
    expect(next(record('False'), owner)).toEqual(bind({ do: 'observe' }));
    expect(next(record('False'), owner, [{ observation: seen(boundEni()) }])).toMatchObject({ do: 'bind' });
    expect(next(record('True'), owner)).toEqual({ do: 'nothing' });
    expect(next(record('True'), owner, [{ observation: seen(boundEni()) }])).toEqual({ do: 'nothing' });
  });
});

describe('a replaced trunk', () => {
  const replaced = { trunk: { eniId: 'eni-trunk-9' } };
  const bound = podEni({ status: bindStatus });

  test('becomes the target of a record that is not bound', () => {
    expect(next(podEni(), owner, [{}], replaced)).toEqual({ do: 'rebind' });
    expect(next(podEni(), owner, [{ observation: seen(eni('Available')) }], replaced)).toEqual({ do: 'rebind' });
    expect(next(podEni(), owner, [{}], { trunk: {} })).toEqual({ do: 'rebind' });
  });

  test('becomes the target of a bound record only when the cloud shows its ENI detached', () => {
    expect(next(bound, owner, [{}], replaced)).toEqual({ do: 'nothing' });
    expect(next(bound, owner, [{ observation: seen(boundEni()) }], replaced)).toEqual({ do: 'nothing' });
    expect(next(bound, owner, [{ observation: seen(eni('Available')) }], replaced)).toEqual({ do: 'rebind' });
    expect(next(bound, owner, [{ observation: seen(undefined) }], replaced)).toMatchObject(bind({ do: 'blocked' }));
  });

  test('does not become the target while a call is in progress', () => {
    expect(next(podEni(), owner, [{ operation: running('attach') }], replaced)).toEqual(bind({ do: 'waitForCall' }));
  });

  test.each([{}, { trunk: { eniId: 'eni-trunk-1' } }])('is not assumed from %j', (more) => {
    expect(next(podEni(), owner, [{ observation: seen(eni('Available')) }], more)).toMatchObject(
      bind({ do: 'attach' }),
    );
  });
});
