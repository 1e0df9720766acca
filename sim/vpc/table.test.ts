import { describe, expect, test } from 'vitest';
import { TestAccount } from '../cloud/model/test-account.ts';
import { compileTable, gateways, type SwitchTable } from './table.ts';

function compile(account: TestAccount): SwitchTable {
  return compileTable(account.model.snapshot(), []);
}

function eniOf(account: TestAccount, eniId: string) {
  return compile(account).enis.find(({ id }) => id === eniId);
}

describe('gateways', () => {
  test.each([
    ['10.1.0.0/24', '', ['10.1.0.253']],
    ['10.0.0.0/16', '', ['10.0.255.253']],
    ['192.168.7.248/29', '', ['192.168.7.253']],
    ['10.1.0.0/24', '2408::/64', ['10.1.0.253', '2408::ffff:ffff:ffff:fffd']],
  ])('of %s and %s', (cidrBlock, ipv6CidrBlock, expected) => {
    expect(gateways({ cidrBlock, ipv6CidrBlock })).toEqual(expected);
  });
});

describe('ENIs', () => {
  test('through the life of a trunk and its member', () => {
    const account = new TestAccount();
    const { instanceId, securityGroupId, vpcId, vSwitchId } = account.network;
    const trunk = account.create({ InstanceType: 'Trunk' });
    const member = account.create({ Ipv6AddressCount: 1, Ipv4PrefixCount: 1 });
    const snapshot = account.model.eni(member);
    expect(eniOf(account, member)).toEqual({
      id: member,
      kind: 'secondary',
      attached: false,
      plugged: false,
      status: 'Available',
      instanceId: '',
      trunkId: '',
      vlanId: 0,
      vpcId,
      vSwitchId,
      mac: snapshot?.macAddress,
      addresses: [snapshot?.ipv4[0], '2408:4321:180:1701::10'],
      prefixes: snapshot?.ipv4Prefixes,
      securityGroupIds: [securityGroupId],
    });
    account.attach(trunk);
    expect(eniOf(account, trunk)).toMatchObject({ kind: 'trunk', attached: false, status: 'Attaching', instanceId });
    account.wait(1_500);
    expect(eniOf(account, trunk)).toMatchObject({
      attached: true,
      plugged: true,
      status: 'InUse on a Running instance',
    });
    account.attach(member, trunk);
    const place = { kind: 'member', instanceId, trunkId: trunk, vlanId: 1 };
    expect(eniOf(account, member)).toMatchObject({ ...place, attached: false, plugged: false });
    account.wait(1_500);
    expect(eniOf(account, member)).toMatchObject({ ...place, attached: true });
    account.model.setInstanceStatus(instanceId, 'Stopped', account.nowMs);
    expect(eniOf(account, member)).toMatchObject({ ...place, attached: false, plugged: true });
    account.model.setInstanceStatus(instanceId, 'Running', account.nowMs);
    const detach = { NetworkInterfaceId: member, InstanceId: instanceId, TrunkNetworkInstanceId: trunk };
    account.ok('DetachNetworkInterface', detach);
    expect(eniOf(account, member)).toMatchObject({ ...place, attached: false, plugged: false, status: 'Detaching' });
    account.wait(1_500);
    expect(eniOf(account, member)).toMatchObject({ kind: 'secondary', instanceId: '', vlanId: 0 });
  });

  test('a member is not attached when its trunk is not', () => {
    const account = new TestAccount();
    const trunk = account.trunkInUse();
    const member = account.create();
    account.attach(member, trunk);
    account.wait(1_500);
    const snapshot = account.model.snapshot();
    for (const eni of snapshot.enis) if (eni.id === trunk) eni.status = 'Detaching';
    expect(compileTable(snapshot, []).enis.find(({ id }) => id === member)?.attached).toBe(false);
  });
});

test('the network with its gateways, and the nodes', () => {
  const account = new TestAccount();
  const { vpcId, vSwitchId, otherZoneVSwitchId, instanceId } = account.network;
  const node = { instanceId, netnsPath: '/run/netns/x', configurePrimary: true };
  const table = compileTable(account.model.snapshot(), [node]);
  expect(table.nodes).toEqual([node]);
  expect(table.vpcs).toEqual([{ id: vpcId, cidrs: ['10.0.0.0/8', '2408:4321:180:1700::/56'] }]);
  expect(table.vSwitches).toEqual([
    {
      id: vSwitchId,
      vpcId,
      cidrs: ['10.1.0.0/16', '2408:4321:180:1701::/64'],
      gateways: ['10.1.255.253', '2408:4321:180:1701:ffff:ffff:ffff:fffd'],
    },
    { id: otherZoneVSwitchId, vpcId, cidrs: ['10.2.0.0/24'], gateways: ['10.2.0.253'] },
  ]);
});

test('rules of security groups, seen from the group', () => {
  const account = new TestAccount();
  const { securityGroupId, otherSecurityGroupId, vpcId } = account.network;
  const enterprise = account.model.createSecurityGroup({ vpcId, type: 'enterprise' }, account.nowMs);
  const authorize = (action: string, rule: Record<string, string>) =>
    account.ok(action, { SecurityGroupId: securityGroupId, Permissions: [rule] });
  authorize('AuthorizeSecurityGroup', {
    IpProtocol: 'tcp',
    PortRange: '80/90',
    SourcePortRange: '1/9',
    Policy: 'drop',
    Priority: '7',
    SourceCidrIp: '10.0.0.9',
    Ipv6SourceCidrIp: 'fd00::/64',
    DestCidrIp: '10.1.0.0/16',
  });
  authorize('AuthorizeSecurityGroupEgress', {
    IpProtocol: 'ICMPv6',
    PortRange: '-1/-1',
    DestGroupId: otherSecurityGroupId,
    Ipv6DestCidrIp: 'fd00::1',
  });
  expect(compile(account).securityGroups).toEqual([
    {
      id: securityGroupId,
      enterprise: false,
      innerAccess: true,
      rules: [
        {
          id: expect.any(String),
          egress: false,
          drop: true,
          priority: 7,
          protocol: 'tcp',
          ports: [80, 90],
          sourcePorts: [1, 9],
          remoteCidrs: ['10.0.0.9/32', 'fd00::/64'],
          remoteGroup: '',
          localCidrs: ['10.1.0.0/16'],
        },
        {
          id: expect.any(String),
          egress: true,
          drop: false,
          priority: 1,
          protocol: 'icmpv6',
          ports: null,
          sourcePorts: null,
          remoteCidrs: ['fd00::1/128'],
          remoteGroup: otherSecurityGroupId,
          localCidrs: [],
        },
      ],
    },
    { id: otherSecurityGroupId, enterprise: false, innerAccess: true, rules: [] },
    { id: enterprise, enterprise: true, innerAccess: false, rules: [] },
  ]);
});
