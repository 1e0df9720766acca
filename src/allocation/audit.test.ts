import { describe, expect, test } from 'vitest';
import type { PodEni } from '../crds/pod-eni.ts';
import type { Eni } from '../ecs/eni.ts';
import { suspicionOf } from './audit.ts';
import { allocation, boundEni, elsewhere, eni, podEni } from './test-support/fixtures.ts';

const bindStatus = {
  phase: 'Bind',
  instanceID: 'i-1',
  trunkENIID: 'eni-trunk-1',
  eniInfos: { 'eni-1': { id: 'eni-1', vid: 7, status: 'Bind' } },
} as const;

function suspicion(record: PodEni, shown: Eni | undefined) {
  return suspicionOf(record, 'eni-1', shown);
}

describe('the ENI of a bound record is observed', () => {
  const record = podEni({ status: bindStatus });

  test.each([
    ['is missing', undefined],
    ['is detached', eni('Available')],
    ['is attached to another node', elsewhere()],
    ['is a member of another trunk', boundEni({ trunkEniId: 'eni-trunk-2' })],
    ['has another VLAN id', boundEni({ vlanId: 8 })],
  ])('when it %s', (_what, shown) => {
    expect(suspicion(record, shown)).toBe('place');
  });

  test('when it has other security groups', () => {
    expect(suspicion(record, boundEni({ securityGroupIds: ['sg-9'] }))).toBe('securityGroups');
  });

  test('but not when the listing agrees with the record', () => {
    expect(suspicion(record, boundEni())).toBeUndefined();
  });

  test('but not for what a record of upstream does not say', () => {
    const { securityGroupIDs: _, ...bare } = allocation().eni;
    const theirs = podEni({ allocations: [allocation({ eni: bare })], status: { phase: 'Bind' } });
    expect(suspicion(theirs, elsewhere({ securityGroupIds: ['sg-9'] }))).toBeUndefined();
    expect(suspicion(theirs, eni('Available'))).toBe('place');
  });
});

test('a reserved ENI is observed when it is attached', () => {
  const record = podEni({ status: { phase: 'Unbind' } });
  expect(suspicion(record, boundEni())).toBe('place');
  expect(suspicion(record, eni('Available'))).toBeUndefined();
  expect(suspicion(record, undefined)).toBeUndefined();
});

test('a record that is on its way somewhere is left to its own controller', () => {
  expect(suspicion(podEni({ status: { ...bindStatus, phase: 'Detaching' } }), eni('Available'))).toBeUndefined();
  expect(suspicion(podEni({ status: bindStatus, deleted: true }), undefined)).toBeUndefined();
  expect(suspicion(podEni({}), undefined)).toBeUndefined();
});
