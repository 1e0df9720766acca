import { describe, expect, test } from 'vitest';
import type { PodEni } from '../crds/pod-eni.ts';
import { nextStep, type PodView, type Snapshot, type Step } from './lifecycle.ts';
import { boundEni, CLUSTER, eni, NOW_MS, podEni, running, seen, unborn } from './test-support/fixtures.ts';

const owner: PodView = { state: 'live', uid: 'uid-1', nodeName: 'node-1' };

const bindStatus = {
  phase: 'Bind',
  instanceID: 'i-1',
  trunkENIID: 'eni-trunk-1',
  eniInfos: { 'eni-1': { id: 'eni-1', vid: 7, status: 'Bind' } },
} as const;
const notReady = {
  ...bindStatus,
  conditions: [
    { type: 'Ready', status: 'False', reason: 'CloudError', message: '', lastTransitionTime: '2026-01-01T11:00:00Z' },
  ],
} satisfies PodEni['status'];

function next(record: PodEni, more: Partial<Snapshot> = {}): Step {
  return nextStep({ podEni: record, pod: owner, interfaces: [{}], clusterId: CLUSTER, nowMs: NOW_MS, ...more });
}

describe('a bound PodENI whose condition says that it is not ready', () => {
  test('is observed, even by a process that did not start the repair', () => {
    expect(next(podEni({ status: notReady }))).toMatchObject({
      do: 'interfaces',
      steps: [{ step: { do: 'observe' } }],
    });
  });

  test('becomes ready once the cloud matches the record', () => {
    expect(next(podEni({ status: notReady }), { interfaces: [{ observation: seen(boundEni()) }] })).toEqual({
      do: 'bind',
      enis: [boundEni()],
    });
  });
});

describe('when the node has a different trunk than the target', () => {
  const trunk = { eniId: 'eni-trunk-9' };

  test.each([
    ['shows it detached', { observation: seen(eni('Available')) }],
    ['shows it below the new trunk', { observation: seen(boundEni({ trunkEniId: 'eni-trunk-9' })) }],
  ])('a bound PodENI gets the new target if the cloud %s', (_name, known) => {
    expect(next(podEni({ status: bindStatus }), { trunk, interfaces: [known] })).toEqual({ do: 'rebind' });
  });

  test('a PodENI that is not bound yet gets the new target at once', () => {
    expect(next(podEni({ allocations: [unborn()] }), { trunk })).toEqual({ do: 'rebind' });
    expect(next(podEni({ allocations: [unborn()] }), { trunk: {} })).toEqual({ do: 'rebind' });
  });

  test('a bound PodENI stays where the cloud shows it, and without an observation', () => {
    const status = bindStatus;
    expect(next(podEni({ status }), { trunk })).toEqual({ do: 'nothing' });
    expect(next(podEni({ status }), { trunk, interfaces: [{ observation: seen(boundEni()) }] })).toEqual({
      do: 'nothing',
    });
    // Deleted for good: another trunk does not bring it back.
    expect(next(podEni({ status }), { trunk, interfaces: [{ observation: seen(undefined) }] })).toMatchObject({
      steps: [{ step: { do: 'blocked', reason: 'EniLost' } }],
    });
  });

  test('a call in progress is waited for', () => {
    const known = { observation: seen(eni('Available')), operation: running('attach') };
    expect(next(podEni(), { trunk, interfaces: [known] })).toMatchObject({ steps: [{ step: { do: 'waitForCall' } }] });
  });

  test('nothing changes while the trunk matches the target or the node is unknown', () => {
    const interfaces = [{ observation: seen(eni('Available')) }];
    const attach = { steps: [{ step: { do: 'attach' } }] };
    expect(next(podEni(), { trunk: { eniId: 'eni-trunk-1' }, interfaces })).toMatchObject(attach);
    expect(next(podEni(), { interfaces })).toMatchObject(attach);
  });
});
