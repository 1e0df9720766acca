import { describe, expect, test } from 'vitest';
import { checkNetworking, type NetworkView } from './networking-check.ts';

const view: NetworkView = {
  withIpv6: false,
  vpcId: 'vpc-1',
  vSwitches: new Map(
    [
      ['vsw-1', 'vpc-1'],
      ['vsw-2', 'vpc-1'],
      ['vsw-far', 'vpc-2'],
      ['vsw-farther', 'vpc-3'],
    ].map(([id = '', vpcId = '']) => [id, { id, vpcId, zoneId: 'z', availableIpCount: 1, ipv6CidrBlock: '' }]),
  ),
  securityGroups: new Map(
    [
      ['sg-1', 'vpc-1', 'normal'],
      ['sg-2', 'vpc-1', 'normal'],
      ['sg-e', 'vpc-1', 'enterprise'],
      ['sg-far', 'vpc-2', 'normal'],
    ].map(([id = '', vpcId = '', type = '']) => [id, { id, vpcId, type }]),
  ),
};
const good = { vSwitchOptions: ['vsw-1', 'vsw-2'], securityGroupIDs: ['sg-1', 'sg-2'] };

test('all that exists in the VPC of the cluster is ready', () => {
  expect(checkNetworking(good, view)).toEqual([
    { type: 'VSwitchesReady', ok: true, reason: 'Found', message: '2 vSwitches exist in vpc-1' },
    { type: 'SecurityGroupsReady', ok: true, reason: 'Found', message: '2 security groups exist in vpc-1' },
  ]);
});

describe('every problem is named', () => {
  test.each([
    [{ vSwitchOptions: [] }, 'VSwitchMissing', 'spec.vSwitchOptions is empty; name at least one vSwitch'],
    [{ vSwitchOptions: undefined }, 'VSwitchMissing', 'spec.vSwitchOptions is empty; name at least one vSwitch'],
    [
      { vSwitchOptions: ['vsw-1', 'vsw-x'] },
      'VSwitchNotFound',
      'spec.vSwitchOptions: vsw-x does not exist in this account and region',
    ],
    [
      { vSwitchOptions: ['vsw-x', 'vsw-1', 'vsw-y'] },
      'VSwitchNotFound',
      'spec.vSwitchOptions: vsw-x, vsw-y do not exist in this account and region',
    ],
    [
      { vSwitchOptions: ['vsw-1', 'vsw-far', 'vsw-farther'] },
      'VSwitchInOtherVPC',
      'spec.vSwitchOptions: vsw-far (vpc-2), vsw-farther (vpc-3) are in another VPC; the cluster uses vpc-1',
    ],
  ])('of vSwitches: %j', (changes, reason, message) => {
    const [vSwitches, securityGroups] = checkNetworking({ ...good, ...changes }, view);
    expect(vSwitches).toEqual({ type: 'VSwitchesReady', ok: false, reason, message });
    expect(securityGroups?.ok).toBe(true);
  });

  test.each([
    [[], 'SecurityGroupMissing', 'spec.securityGroupIDs is empty; name at least one security group'],
    [['sg-x'], 'SecurityGroupNotFound', 'spec.securityGroupIDs: sg-x does not exist in this account and region'],
    [
      ['sg-1', 'sg-far'],
      'SecurityGroupInOtherVPC',
      'spec.securityGroupIDs: sg-far (vpc-2) is in another VPC; the cluster uses vpc-1',
    ],
    [
      ['sg-1', 'sg-e'],
      'SecurityGroupKindsDiffer',
      'spec.securityGroupIDs mixes basic and enterprise security groups (sg-1, sg-e); all groups of one ENI must be of one kind',
    ],
  ])('of security groups: %j', (securityGroupIDs, reason, message) => {
    const [vSwitches, securityGroups] = checkNetworking({ ...good, securityGroupIDs }, view);
    expect(securityGroups).toEqual({ type: 'SecurityGroupsReady', ok: false, reason, message });
    expect(vSwitches?.ok).toBe(true);
  });

  test('of both at once', () => {
    expect(checkNetworking({}, view).map((condition) => condition.reason)).toEqual([
      'VSwitchMissing',
      'SecurityGroupMissing',
    ]);
  });
});
