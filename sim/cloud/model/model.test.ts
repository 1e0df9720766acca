import { beforeEach, describe, expect, test } from 'vitest';
import { TestAccount } from './test-account.ts';

/** The life of ENIs and the limits of instances. */

let account: TestAccount;

beforeEach(() => {
  account = new TestAccount();
});

describe('an ENI', () => {
  test('goes Available, Attaching, InUse, Detaching, Available, Deleting, gone', () => {
    const eniId = account.create();
    expect(account.model.eni(eniId)).toMatchObject({ status: 'Available', type: 'Secondary' });
    account.attach(eniId);
    expect(account.model.eni(eniId)).toMatchObject({
      status: 'Attaching',
      attachment: { instanceId: account.network.instanceId },
    });
    account.wait(1_499);
    expect(account.model.eni(eniId)?.status).toBe('Attaching');
    account.wait(1);
    expect(account.model.eni(eniId)?.status).toBe('InUse');
    account.ok('DetachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId: account.network.instanceId });
    expect(account.model.eni(eniId)?.status).toBe('Detaching');
    account.wait(1_500);
    expect(account.model.eni(eniId)).toMatchObject({ status: 'Available', type: 'Secondary' });
    expect(account.model.eni(eniId)?.attachment).toBeUndefined();
    account.ok('DeleteNetworkInterface', { NetworkInterfaceId: eniId });
    expect(account.model.eni(eniId)?.status).toBe('Deleting');
    account.wait(1_500);
    expect(account.model.eni(eniId)).toBeUndefined();
    expect(account.refused('DeleteNetworkInterface', { NetworkInterfaceId: eniId })).toBe('404 InvalidEniId.NotFound');
  });

  test('refuses calls that its status does not allow', () => {
    const eniId = account.create();
    const call = { NetworkInterfaceId: eniId, InstanceId: account.network.instanceId };
    expect(account.refused('DetachNetworkInterface', call)).toBe('400 InvalidOperation.InvalidEniState');
    account.attach(eniId);
    expect(account.refused('AttachNetworkInterface', call)).toBe('400 InvalidOperation.InvalidEniState');
    expect(account.refused('DetachNetworkInterface', call)).toBe('400 InvalidOperation.InvalidEniState');
    expect(account.refused('DeleteNetworkInterface', call)).toBe('400 InvalidOperation.InvalidEniState');
    account.wait(1_500);
    expect(account.refused('DeleteNetworkInterface', call)).toBe('400 InvalidOperation.InvalidEniState');
  });

  test('accepts Detach while Detaching and Delete while Deleting, without starting again', () => {
    const eniId = account.create();
    account.attach(eniId);
    account.wait(1_500);
    const call = { NetworkInterfaceId: eniId, InstanceId: account.network.instanceId };
    account.ok('DetachNetworkInterface', call);
    account.wait(1_000);
    account.ok('DetachNetworkInterface', call);
    account.wait(500);
    expect(account.model.eni(eniId)?.status).toBe('Available');
    account.ok('DeleteNetworkInterface', call);
    account.wait(1_000);
    account.ok('DeleteNetworkInterface', call);
    account.wait(500);
    expect(account.model.eni(eniId)).toBeUndefined();
  });

  test('is not attached to an instance that does not fit', () => {
    const far = account.create({ VSwitchId: account.network.otherZoneVSwitchId });
    const eniId = account.create();
    const InstanceId = account.network.instanceId;
    expect(account.refused('AttachNetworkInterface', { NetworkInterfaceId: 'eni-none', InstanceId })).toBe(
      '404 InvalidEniId.NotFound',
    );
    expect(account.refused('AttachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId: 'i-none' })).toBe(
      '404 InvalidEcsId.NotFound',
    );
    expect(account.refused('AttachNetworkInterface', { NetworkInterfaceId: far, InstanceId })).toBe(
      '403 InvalidOperation.AvailabilityZoneMismatch',
    );
    const vpcId = account.model.createVpc({ cidrBlock: '10.0.0.0/8' }, account.nowMs);
    const vSwitchId = account.model.createVSwitch(
      { vpcId, zoneId: 'cn-hangzhou-i', cidrBlock: '10.9.0.0/24' },
      account.nowMs,
    );
    const stranger = account.create({
      VSwitchId: vSwitchId,
      SecurityGroupIds: [account.model.createSecurityGroup({ vpcId }, account.nowMs)],
    });
    expect(account.refused('AttachNetworkInterface', { NetworkInterfaceId: stranger, InstanceId })).toBe(
      '403 InvalidOperation.VpcMismatch',
    );
    account.model.setInstanceStatus(InstanceId, 'Starting', account.nowMs);
    expect(account.refused('AttachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId })).toBe(
      '400 InvalidOperation.InvalidEcsState',
    );
    account.model.setInstanceStatus(InstanceId, 'Stopped', account.nowMs);
    account.attach(eniId);
  });

  test('is neither detached nor deleted if it is primary', () => {
    const call = { NetworkInterfaceId: account.network.primaryEniId, InstanceId: account.network.instanceId };
    expect(account.refused('DetachNetworkInterface', call)).toBe('400 InvalidOperation.DetachPrimaryEniNotAllowed');
    expect(account.refused('DeleteNetworkInterface', call)).toBe('400 InvalidOperation.InvalidEniState');
  });
});

describe('limits of the instance type', () => {
  test('primary, secondary and trunk ENIs share EniQuantity', () => {
    account.trunkInUse();
    account.attach(account.create());
    const third = { NetworkInterfaceId: account.create(), InstanceId: account.network.instanceId };
    expect(account.refused('AttachNetworkInterface', third)).toBe('403 EniPerInstanceLimitExceeded');
  });

  test('members have EniTotalQuantity - EniQuantity slots, including those in flight', () => {
    const trunk = account.trunkInUse();
    account.attach(account.create(), trunk);
    account.attach(account.create(), trunk);
    const third = {
      NetworkInterfaceId: account.create(),
      InstanceId: account.network.instanceId,
      TrunkNetworkInstanceId: trunk,
    };
    expect(account.refused('AttachNetworkInterface', third)).toBe('403 EniPerInstanceLimitExceeded');
  });

  test('one trunk per instance, none without trunk support', () => {
    account.trunkInUse();
    const second = {
      NetworkInterfaceId: account.create({ InstanceType: 'Trunk' }),
      InstanceId: account.network.instanceId,
    };
    expect(account.refused('AttachNetworkInterface', second)).toBe('403 EniPerInstanceLimitExceeded');
    const flat = account.model.runInstance(
      {
        instanceType: 'ecs.test.flat',
        vSwitchId: account.network.vSwitchId,
        securityGroupIds: [account.network.securityGroupId],
      },
      account.nowMs,
    );
    expect(account.refused('AttachNetworkInterface', { ...second, InstanceId: flat.instanceId })).toBe(
      '403 InvalidOperation.InvalidEniType',
    );
  });
});

describe('a member', () => {
  test('has a trunk and a VLAN id while attached; the id is free again after the detachment', () => {
    const trunk = account.trunkInUse();
    const [a, b] = [account.create(), account.create()];
    account.attach(a, trunk);
    account.attach(b, trunk);
    account.wait(1_500);
    expect(account.model.eni(a)).toMatchObject({
      type: 'Member',
      status: 'InUse',
      attachment: { trunk: { eniId: trunk, vlanId: 1 } },
    });
    expect(account.model.eni(b)?.attachment?.trunk?.vlanId).toBe(2);
    account.ok('DetachNetworkInterface', {
      NetworkInterfaceId: a,
      InstanceId: account.network.instanceId,
      TrunkNetworkInstanceId: trunk,
    });
    const c = account.create();
    expect(
      account.refused('AttachNetworkInterface', {
        NetworkInterfaceId: c,
        InstanceId: account.network.instanceId,
        TrunkNetworkInstanceId: trunk,
      }),
    ).toBe('403 EniPerInstanceLimitExceeded');
    account.wait(1_500);
    expect(account.model.eni(a)).toMatchObject({ type: 'Secondary', status: 'Available' });
    account.attach(c, trunk);
    expect(account.model.eni(c)?.attachment?.trunk?.vlanId).toBe(1);
  });

  test('needs a trunk that is in use on the same instance', () => {
    const trunk = account.create({ InstanceType: 'Trunk' });
    const call = { NetworkInterfaceId: account.create(), InstanceId: account.network.instanceId };
    expect(account.refused('AttachNetworkInterface', { ...call, TrunkNetworkInstanceId: 'eni-none' })).toBe(
      '404 InvalidEniId.NotFound',
    );
    expect(account.refused('AttachNetworkInterface', { ...call, TrunkNetworkInstanceId: account.create() })).toBe(
      '403 InvalidOperation.InvalidEniType',
    );
    expect(account.refused('AttachNetworkInterface', { ...call, TrunkNetworkInstanceId: trunk })).toBe(
      '400 InvalidOperation.InvalidEniState',
    );
    account.attach(trunk);
    expect(account.refused('AttachNetworkInterface', { ...call, TrunkNetworkInstanceId: trunk })).toBe(
      '400 InvalidOperation.InvalidEniState',
    );
    account.wait(1_500);
    const other = account.model.runInstance(
      {
        instanceType: 'ecs.test.small',
        vSwitchId: account.network.vSwitchId,
        securityGroupIds: [account.network.securityGroupId],
      },
      account.nowMs,
    );
    expect(
      account.refused('AttachNetworkInterface', {
        ...call,
        InstanceId: other.instanceId,
        TrunkNetworkInstanceId: trunk,
      }),
    ).toBe('400 InvalidOperation.InvalidEniState');
  });

  test('is detached by naming its trunk, and keeps the trunk from being detached', () => {
    const trunk = account.trunkInUse();
    const member = account.create();
    account.attach(member, trunk);
    account.wait(1_500);
    const call = { NetworkInterfaceId: member, InstanceId: account.network.instanceId };
    expect(account.refused('DetachNetworkInterface', call)).toBe('403 InvalidOperation.InvalidEniType');
    expect(
      account.refused('DetachNetworkInterface', { NetworkInterfaceId: trunk, InstanceId: account.network.instanceId }),
    ).toBe('403 InvalidOperation.EniLinked');
  });

  test('is listed under its trunk by the attribute call only', () => {
    const trunk = account.trunkInUse();
    const member = account.create();
    account.attach(member, trunk);
    expect(account.ok('DescribeNetworkInterfaceAttribute', { NetworkInterfaceId: trunk })).toMatchObject({
      Attachment: { MemberNetworkInterfaceIds: { MemberNetworkInterfaceId: [member] } },
    });
    expect(JSON.stringify(account.ok('DescribeNetworkInterfaces', { NetworkInterfaceId: [trunk] }))).not.toContain(
      'MemberNetworkInterfaceId',
    );
  });
});

test('a released instance deletes its ENIs or leaves them, depending on DeleteOnRelease', () => {
  const trunk = account.trunkInUse();
  const [goes, stays] = [account.create(), account.create({ DeleteOnRelease: false })];
  account.attach(goes, trunk);
  account.attach(stays, trunk);
  account.model.releaseInstance(account.network.instanceId, account.nowMs);
  expect([trunk, goes, account.network.primaryEniId].map((id) => account.model.eni(id))).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  expect(account.model.eni(stays)).toMatchObject({ status: 'Available', type: 'Secondary' });
  account.wait(5_000);
  expect(account.model.eni(stays)?.status).toBe('Available');
});
