import { expect, test } from 'vitest';
import { TAG_OWNER } from '../../crds/names.ts';
import type { Eni } from '../../ecs/eni.ts';
import { orphansResponse } from './responses.ts';

const eni: Eni = {
  id: 'eni-1',
  type: 'Member',
  status: 'InUse',
  macAddress: '',
  vpcId: 'vpc-1',
  vSwitchId: 'vsw-1',
  zoneId: 'z',
  primaryIp: '10.0.0.1',
  ipv4: [],
  ipv6: [],
  securityGroupIds: [],
  resourceGroupId: '',
  description: '',
  tags: { [TAG_OWNER]: 'shop/web-0' },
  instanceId: 'i-1',
  trunkEniId: 'eni-9',
  deleteOnRelease: true,
  createdAtMs: Date.parse('2026-03-01T10:00:00Z'),
};
const orphans = [
  { eni, hold: undefined },
  { eni: { ...eni, id: 'eni-2' }, hold: 'tooYoung' as const },
];
const decisions = (braked: boolean, override: boolean) =>
  orphansResponse({ listed: 9, braked, orphans }, override).orphans.map(({ decision, why }) => [decision, why]);

test('an orphan is shown with its former owner, the decision and the reason', () => {
  const [first] = orphansResponse({ listed: 9, braked: false, orphans }, false).orphans;
  expect(first).toEqual({
    eniID: 'eni-1',
    type: 'Member',
    status: 'InUse',
    vSwitchID: 'vsw-1',
    ip: '10.0.0.1',
    instanceID: 'i-1',
    trunkENIID: 'eni-9',
    createdAt: '2026-03-01T10:00:00Z',
    madeFor: 'shop/web-0',
    decision: 'release',
    why: 'no object names it',
  });
});

test('the brake holds what would be released, unless overridden; age holds in any case', () => {
  const young = ['keep', 'younger than collector.minimumAge'];
  expect(decisions(true, false)).toEqual([['keep', 'the brake is on'], young]);
  expect(decisions(true, true)).toEqual([['release', 'no object names it'], young]);
});
