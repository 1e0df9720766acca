import { describe, expect, test } from 'vitest';
import { TestAccount } from '../sim/cloud/model/test-account.ts';
import { changingCalls, cloudProblems, memberEniIds, returnProblems } from './checks.ts';
import type { PodRow } from './pod-record.ts';

/** One node with its trunk, and two member ENIs in use on it. */
function account() {
  const cloud = new TestAccount();
  const trunk = cloud.trunkInUse();
  const members = [cloud.create(), cloud.create()];
  for (const member of members) cloud.attach(member, trunk);
  cloud.wait(1500);
  const problems = (memberIds: string[], membersCreated = 2) =>
    cloudProblems(cloud.model.snapshot(cloud.nowMs), cloud.model.counters(), {
      nodes: 1,
      otherInstances: 0,
      memberIds,
      membersCreated,
    });
  return { cloud, members, trunk, problems };
}

describe('the cloud', () => {
  test('has what it should', () => {
    const { cloud, members, problems } = account();
    expect(memberEniIds(cloud.model.snapshot(cloud.nowMs))).toEqual(members);
    expect(problems(members)).toEqual([]);
  });

  test('has an ENI too many, or lacks one', () => {
    const { members, problems } = account();
    const [first = '', second = ''] = members;
    expect(problems([first])).toContain(`the cloud has member ENIs that no pod has: ${second}`);
    expect(problems([first, second, 'eni-gone'])).toContain('the cloud lacks member ENIs of pods: eni-gone');
  });

  test('has an ENI that has not been attached', () => {
    const { cloud, members, problems } = account();
    const loose = cloud.create();
    expect(problems([...members, loose], 3)).toEqual([`${loose} is Available in the cloud instead of InUse`]);
  });

  test('has made more ENIs than there were pods', () => {
    const { members, problems } = account();
    expect(problems(members, 1)).toContain('ENIs created: 4 instead of 3');
  });
});

test('a pod of fixed address has to keep it, with its ENI, and be elsewhere', () => {
  const before: PodRow = {
    name: 'database-0',
    app: 'database',
    phase: 'Bind',
    node: 'node-1',
    address: '10.10.0.4',
    eniId: 'eni-a',
    trunkId: 'eni-t1',
    vlan: '1',
    vSwitch: 'vsw-pods',
    tookMs: 2000,
    served: true,
  };
  expect(returnProblems(before, { ...before, node: 'node-2', trunkId: 'eni-t2', vlan: '7' })).toEqual([]);
  expect(returnProblems(before, { ...before, address: '10.10.0.9', eniId: 'eni-b' })).toEqual([
    'the address is 10.10.0.9, not 10.10.0.4 any more',
    'the ENI is eni-b, not eni-a any more',
    'the node is still node-1',
  ]);
});

test('calls that only read are not counted as changes', () => {
  const calls = { CreateNetworkInterface: { OK: 2, Throttling: 1 }, DescribeNetworkInterfaces: { OK: 9 } };
  const none = { eniCreated: 0, eniDeleted: 0, eniAttached: 0, eniDetached: 0, replayed: 0 };
  expect(changingCalls({ calls, ...none })).toBe(3);
});
