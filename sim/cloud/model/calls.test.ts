import { beforeEach, describe, expect, test } from 'vitest';
import { TestAccount } from './test-account.ts';

/** Addresses, security groups, tags, tokens, pages and the journal. */

let account: TestAccount;

beforeEach(() => {
  account = new TestAccount();
});

describe('addresses', () => {
  test('the first and the last three are reserved; an exhausted vSwitch refuses', () => {
    const vSwitchId = account.model.createVSwitch(
      { vpcId: account.network.vpcId, zoneId: 'cn-hangzhou-i', cidrBlock: '10.3.0.0/29' },
      account.nowMs,
    );
    const got = [1, 2, 3, 4].map(() => account.model.eni(account.create({ VSwitchId: vSwitchId }))?.ipv4[0]);
    expect(got).toEqual(['10.3.0.1', '10.3.0.2', '10.3.0.3', '10.3.0.4']);
    const next = { VSwitchId: vSwitchId, SecurityGroupIds: [account.network.securityGroupId] };
    expect(account.refused('CreateNetworkInterface', next)).toBe('403 InvalidVSwitchId.IpNotEnough');
  });

  test('a wanted address must be free and inside the block', () => {
    const params = {
      VSwitchId: account.network.otherZoneVSwitchId,
      SecurityGroupIds: [account.network.securityGroupId],
    };
    expect(account.model.eni(account.create({ ...params, PrimaryIpAddress: '10.2.0.77' }))?.ipv4).toEqual([
      '10.2.0.77',
    ]);
    expect(account.refused('CreateNetworkInterface', { ...params, PrimaryIpAddress: '10.2.0.77' })).toBe(
      '400 InvalidPrivateIpAddress.Duplicated',
    );
    for (const PrimaryIpAddress of ['10.2.0.0', '10.2.0.253', '10.2.0.255', '10.4.0.1', 'x']) {
      expect(account.refused('CreateNetworkInterface', { ...params, PrimaryIpAddress })).toBe(
        '403 InvalidVSwitchId.IpInvalid',
      );
    }
  });

  test('secondary addresses and prefixes come and go', () => {
    const eniId = account.create({ SecondaryPrivateIpAddressCount: 2, Ipv6AddressCount: 1 });
    const before = account.model.eni(eniId);
    expect([before?.ipv4.length, before?.ipv6]).toEqual([3, ['2408:4321:180:1701::10']]);
    account.ok('AssignPrivateIpAddresses', { NetworkInterfaceId: eniId, Ipv4PrefixCount: 1 });
    account.ok('AssignIpv6Addresses', { NetworkInterfaceId: eniId, Ipv6PrefixCount: 1 });
    const withPrefixes = account.model.eni(eniId);
    expect([withPrefixes?.ipv4Prefixes, withPrefixes?.ipv6Prefixes]).toEqual([
      ['10.1.0.16/28'],
      ['2408:4321:180:1701:1::/80'],
    ]);
    const primary = String(before?.ipv4[0]);
    expect(
      account.refused('UnassignPrivateIpAddresses', { NetworkInterfaceId: eniId, PrivateIpAddress: [primary] }),
    ).toBe('403 InvalidIp.IpUnassigned');
    account.ok('UnassignPrivateIpAddresses', { NetworkInterfaceId: eniId, PrivateIpAddress: before?.ipv4.slice(1) });
    account.ok('UnassignPrivateIpAddresses', { NetworkInterfaceId: eniId, Ipv4Prefix: ['10.1.0.16/28'] });
    account.ok('UnassignIpv6Addresses', { NetworkInterfaceId: eniId, Ipv6Address: ['2408:4321:180:1701:0:0:0:10'] });
    expect(account.model.eni(eniId)).toMatchObject({ ipv4: [primary], ipv4Prefixes: [], ipv6: [] });
    expect(
      account.refused('AssignIpv6Addresses', {
        NetworkInterfaceId: account.create({ VSwitchId: account.network.otherZoneVSwitchId }),
        Ipv6AddressCount: 1,
      }),
    ).toBe('403 InvalidVSwitch.Ipv6NotTurnOn');
  });

  test.each([
    ['CreateNetworkInterface', { SecondaryPrivateIpAddressCount: 1, Ipv4PrefixCount: 1 }],
    ['CreateNetworkInterface', { Ipv6AddressCount: 1, Ipv6PrefixCount: 1 }],
    ['AssignPrivateIpAddresses', { SecondaryPrivateIpAddressCount: 1, Ipv4PrefixCount: 1 }],
    ['AssignIpv6Addresses', { Ipv6AddressCount: 1, Ipv6PrefixCount: 1 }],
    ['UnassignPrivateIpAddresses', { PrivateIpAddress: ['10.1.0.9'], Ipv4Prefix: ['10.1.0.16/28'] }],
    ['UnassignIpv6Addresses', { Ipv6Address: ['2408::1'], Ipv6Prefix: ['2408::/80'] }],
  ])('%s takes addresses or prefixes: %j', (action, params) => {
    const { vSwitchId: VSwitchId, securityGroupId } = account.network;
    const where = { NetworkInterfaceId: account.create(), VSwitchId, SecurityGroupIds: [securityGroupId] };
    expect(account.refused(action, { ...where, ...params })).toBe('400 InvalidParameter.Conflict');
  });

  test('of an ENI change while it is Available or InUse', () => {
    const eniId = account.create({ SecondaryPrivateIpAddressCount: 1, Ipv6AddressCount: 1 });
    const { ipv4 = [], ipv6 = [] } = account.model.eni(eniId) ?? {};
    account.attach(eniId);
    for (const [action, params] of [
      ['AssignPrivateIpAddresses', { SecondaryPrivateIpAddressCount: 1 }],
      ['UnassignPrivateIpAddresses', { PrivateIpAddress: ipv4.slice(1) }],
      ['AssignIpv6Addresses', { Ipv6AddressCount: 1 }],
      ['UnassignIpv6Addresses', { Ipv6Address: ipv6 }],
    ] as const) {
      expect(account.refused(action, { NetworkInterfaceId: eniId, ...params }), action).toBe(
        '400 InvalidOperation.InvalidEniState',
      );
    }
    account.wait(1_500);
    account.ok('UnassignPrivateIpAddresses', { NetworkInterfaceId: eniId, PrivateIpAddress: ipv4.slice(1) });
  });

  test('a call unassigns up to 32 IPv4 and 10 IPv6 addresses', () => {
    const { ipv4 = [] } = account.model.eni(account.create({ SecondaryPrivateIpAddressCount: 33 })) ?? {};
    const all = { NetworkInterfaceId: account.model.enis().at(-1)?.id ?? '', PrivateIpAddress: ipv4.slice(1) };
    expect(account.refused('UnassignPrivateIpAddresses', all)).toBe('400 InvalidParameter');
    account.ok('UnassignPrivateIpAddresses', { ...all, PrivateIpAddress: ipv4.slice(2) });
    const Ipv6Address = Array.from({ length: 11 }, (_, i) => `2408::${i}`);
    expect(account.refused('UnassignIpv6Addresses', { ...all, Ipv6Address })).toBe('400 InvalidParameter');
  });

  test('an attached ENI has the limits of the instance type, any other ENI those of the API', () => {
    const eniId = account.create();
    expect(
      account.refused('AssignPrivateIpAddresses', { NetworkInterfaceId: eniId, SecondaryPrivateIpAddressCount: 50 }),
    ).toBe('400 InvalidParameter');
    account.attach(eniId);
    account.wait(1_500);
    // ecs.test.small: 10 IPv4 addresses per ENI, including the primary one, and 1 IPv6 address.
    expect(
      account.refused('AssignPrivateIpAddresses', { NetworkInterfaceId: eniId, SecondaryPrivateIpAddressCount: 10 }),
    ).toBe('403 InvalidOperation.Ipv4CountExceeded');
    account.ok('AssignPrivateIpAddresses', { NetworkInterfaceId: eniId, SecondaryPrivateIpAddressCount: 9 });
    expect(account.refused('AssignIpv6Addresses', { NetworkInterfaceId: eniId, Ipv6AddressCount: 2 })).toBe(
      '403 InvalidOperation.Ipv6CountExceeded',
    );
  });
});

describe('security groups', () => {
  test('must exist, be in the VPC, be at most ten and of one kind', () => {
    const groups = (SecurityGroupIds: string[]) =>
      account.refused('CreateNetworkInterface', { VSwitchId: account.network.vSwitchId, SecurityGroupIds });
    expect(groups([])).toBe('400 MissingParameter');
    expect(groups(['sg-none'])).toBe('404 InvalidSecurityGroupId.NotFound');
    const vpcId = account.model.createVpc({ cidrBlock: '10.0.0.0/8' }, account.nowMs);
    expect(groups([account.model.createSecurityGroup({ vpcId }, account.nowMs)])).toBe(
      '403 InvalidOperation.VpcMismatch',
    );
    const many = Array.from({ length: 11 }, () =>
      account.model.createSecurityGroup({ vpcId: account.network.vpcId }, account.nowMs),
    );
    expect(groups(many)).toBe('403 InstanceSecurityGroupLimitExceeded');
    expect(groups(many.slice(1))).toBe('accepted');
    const enterprise = account.model.createSecurityGroup(
      { vpcId: account.network.vpcId, type: 'enterprise' },
      account.nowMs,
    );
    expect(groups([account.network.securityGroupId, enterprise])).toBe('400 InvalidParameter.Conflict');
  });

  test('Modify replaces the list; a group in use cannot be deleted', () => {
    const eniId = account.create();
    account.ok('ModifyNetworkInterfaceAttribute', {
      NetworkInterfaceId: eniId,
      SecurityGroupId: [account.network.otherSecurityGroupId],
      DeleteOnRelease: false,
    });
    expect(account.model.eni(eniId)).toMatchObject({
      securityGroupIds: [account.network.otherSecurityGroupId],
      deleteOnRelease: false,
    });
    expect(() => account.model.deleteSecurityGroup(account.network.otherSecurityGroupId, account.nowMs)).toThrow(
      /still in use/,
    );
  });
});

test('a tag may be ack.aliyun.com but not begin with aliyun', () => {
  expect(account.model.eni(account.create({ Tag: [{ Key: 'ack.aliyun.com', Value: 'c1' }] }))?.tags).toEqual({
    'ack.aliyun.com': 'c1',
  });
  const refusedTag = (Key: string, Value = '') =>
    account.refused('CreateNetworkInterface', {
      VSwitchId: account.network.vSwitchId,
      SecurityGroupIds: [account.network.securityGroupId],
      Tag: [{ Key, Value }],
    });
  for (const key of ['aliyun', 'acs:x', 'http://x', 'x'.repeat(129), ''])
    expect(refusedTag(key)).toBe('400 InvalidTagKey.Malformed');
  expect(refusedTag('k', 'v'.repeat(129))).toBe('400 InvalidTagValue.Malformed');
});

test('a ClientToken is forgotten after its time and must be ASCII of at most 64', () => {
  const first = account.create({ ClientToken: 't' });
  expect(account.create({ ClientToken: 't' })).toBe(first);
  account.wait(24 * 3_600_000);
  expect(account.create({ ClientToken: 't' })).not.toBe(first);
  const params = { VSwitchId: account.network.vSwitchId, SecurityGroupIds: [account.network.securityGroupId] };
  for (const ClientToken of ['ü', 'x'.repeat(65)])
    expect(account.refused('CreateNetworkInterface', { ...params, ClientToken })).toBe('400 InvalidParameter');
});

test('the journal and the counters record what happened', () => {
  const mark = account.model.journal().at(-1)?.seq ?? 0;
  const eniId = account.create({ ClientToken: 'token' });
  account.create({ ClientToken: 'token' });
  account.ok('DeleteNetworkInterface', { NetworkInterfaceId: eniId });
  account.refused('DeleteNetworkInterface', { NetworkInterfaceId: 'eni-none' });
  account.wait(1_500);
  expect(
    account.model
      .journal(mark)
      .map((entry) => [entry.kind, entry.action, entry.outcome, entry.objectIds, entry.replayed]),
  ).toEqual([
    ['call', 'CreateNetworkInterface', 'OK', [eniId], false],
    ['call', 'CreateNetworkInterface', 'OK', [], true],
    ['call', 'DeleteNetworkInterface', 'OK', [eniId], false],
    ['call', 'DeleteNetworkInterface', 'InvalidEniId.NotFound', [], false],
    ['completion', 'Deleted', 'OK', [eniId], false],
  ]);
  expect(account.model.counters()).toMatchObject({
    calls: { CreateNetworkInterface: { OK: 2 }, DeleteNetworkInterface: { OK: 1, 'InvalidEniId.NotFound': 1 } },
    eniCreated: 2,
    eniDeleted: 1,
    eniCount: 1,
    replayed: 1,
  });
});

describe('pages of DescribeNetworkInterfaces', () => {
  test('follow NextToken without repeating or losing anything, even if ENIs are deleted meanwhile', () => {
    const ids = Array.from({ length: 35 }, () => account.create({ Tag: [{ Key: 'k', Value: 'v' }] }));
    const seen: string[] = [];
    let NextToken: string | undefined;
    do {
      const body = account.ok('DescribeNetworkInterfaces', {
        Tag: [{ Key: 'k', Value: 'v' }],
        MaxResults: 1,
        NextToken,
      });
      seen.push(...idsOf(body));
      NextToken = String(body['NextToken']) || undefined;
      const gone = seen[0];
      if (seen.length === 10 && gone !== undefined) account.model.deleteEniByHand(gone, account.nowMs);
    } while (NextToken !== undefined);
    expect(seen).toEqual(ids);
  });

  test('clamp MaxResults to 10–500, and limit PageSize to 100', () => {
    for (let index = 0; index < 12; index++) account.create();
    expect(idsOf(account.ok('DescribeNetworkInterfaces', { MaxResults: 1 })).length).toBe(10);
    expect(account.ok('DescribeNetworkInterfaces', { MaxResults: 9_999 })).toMatchObject({
      PageSize: 500,
      TotalCount: 13,
      NextToken: '',
    });
    expect(idsOf(account.ok('DescribeNetworkInterfaces', { PageNumber: 2, PageSize: 10 })).length).toBe(3);
    expect(account.refused('DescribeNetworkInterfaces', { PageSize: 101 })).toBe('400 InvalidParameter');
    expect(account.refused('DescribeNetworkInterfaces', { NextToken: 'nonsense' })).toBe('400 InvalidParameter');
  });
});

function idsOf(body: Record<string, unknown>): string[] {
  return [...JSON.stringify(body).matchAll(/"NetworkInterfaceId":"([^"]+)"/g)].map((match) => match[1] ?? '');
}

test('an IPv6 block must be in the VPC, and an instance can have addresses of it', () => {
  const account = new TestAccount();
  const { vpcId, vSwitchId, securityGroupId } = account.network;
  const create = (cidrBlock: string, ipv6CidrBlock: string) => () =>
    account.model.createVSwitch({ vpcId, zoneId: 'cn-hangzhou-i', cidrBlock, ipv6CidrBlock }, account.nowMs);
  expect(create('10.9.0.0/24', '2408:4321:180:1800::/64')).toThrow(/must lie in the VPC's 2408:4321:180:1700::/);
  expect(create('10.9.0.0/24', '2408:4321:180:1709::/64')).not.toThrow();
  const { primaryEniId } = account.model.runInstance(
    { instanceType: 'ecs.test.small', vSwitchId, securityGroupIds: [securityGroupId], ipv6AddressCount: 1 },
    account.nowMs,
  );
  expect(account.model.eni(primaryEniId)?.ipv6).toEqual(['2408:4321:180:1701::10']);
});

test('members of a basic group can be isolated, those of an enterprise group always are', () => {
  const account = new TestAccount();
  const { vpcId } = account.network;
  const policy = (request: { type?: 'normal' | 'enterprise'; innerAccessPolicy?: 'Accept' | 'Drop' }) => {
    const id = account.model.createSecurityGroup({ vpcId, ...request }, account.nowMs);
    return account.model.snapshot().securityGroups.find((group) => group.id === id)?.innerAccessPolicy;
  };
  expect(policy({})).toBe('Accept');
  expect(policy({ innerAccessPolicy: 'Drop' })).toBe('Drop');
  expect(policy({ type: 'enterprise', innerAccessPolicy: 'Accept' })).toBe('Drop');
});
