import { describe, expect, test } from 'vitest';
import type { BehaviourChanges } from './behaviour.ts';
import { accountViolations } from './invariants.ts';
import { TestAccount } from './test-account.ts';

/** Rate limits, lagging lists and failing attachments, on virtual time. */

function accountWith(changes: BehaviourChanges): TestAccount {
  const account = new TestAccount();
  account.model.setBehaviour(changes, account.nowMs);
  return account;
}

/** Ids from DescribeNetworkInterfaces, in its order. */
function listed(account: TestAccount, filter: object = {}): string[] {
  const body = account.ok('DescribeNetworkInterfaces', { MaxResults: 500, ...filter });
  return [...JSON.stringify(body).matchAll(/"NetworkInterfaceId":"(eni-[^"]+)"/g)].map(([, id = '']) => id);
}

describe('a rate window', () => {
  test.each([60_000, 1000] as const)('of %i ms allows its number of calls, and so does the next one', (windowMs) => {
    const account = accountWith({ rateWindows: { DescribeVpcs: { limit: 2, windowMs } } });
    account.nowMs = 100 * 60_000 + windowMs - 2;
    const call = () => account.refused('DescribeVpcs', {});
    expect([call(), call(), call()]).toEqual(['accepted', 'accepted', '400 Throttling.User']);
    account.nowMs += 1;
    expect(call()).toBe('400 Throttling.User');
    account.nowMs += 1;
    expect([call(), call(), call()]).toEqual(['accepted', 'accepted', '400 Throttling.User']);
    expect(account.model.counters().calls['DescribeVpcs']).toMatchObject({ OK: 4, 'Throttling.User': 3 });
  });

  test.each(['Throttling', 'Throttling.User', 'Throttling.Api'] as const)('refuses with %s', (code) => {
    const account = accountWith({ rateWindows: { DescribeVpcs: { limit: 0, windowMs: 1000, code } } });
    expect(account.refused('DescribeVpcs', {})).toBe(`400 ${code}`);
  });

  test('applies to its API only; default applies to each other API separately', () => {
    const account = accountWith({
      rateWindows: { DescribeVpcs: { limit: 2, windowMs: 60_000 }, default: { limit: 1, windowMs: 60_000 } },
    });
    const calls = ['DescribeVpcs', 'DescribeVpcs', 'DescribeZones', 'DescribeZones', 'DescribeRegions'];
    expect(calls.map((action) => account.refused(action, {}))).toEqual([
      ...['accepted', 'accepted', 'accepted', '400 Throttling.User', 'accepted'],
    ]);
  });

  test('counts calls that the API refuses, and a throttled call changes nothing', () => {
    const account = accountWith({ rateWindows: { DeleteNetworkInterface: { limit: 1, windowMs: 60_000 } } });
    const eni = account.create();
    expect(account.refused('DeleteNetworkInterface', { NetworkInterfaceId: 'eni-none' })).toBe(
      '404 InvalidEniId.NotFound',
    );
    expect(account.refused('DeleteNetworkInterface', { NetworkInterfaceId: eni })).toBe('400 Throttling.User');
    expect(account.model.eni(eni)?.status).toBe('Available');
  });
});

describe('a tag filter', () => {
  test('covers the oldest 1,000 resources, whatever the other filters are', () => {
    const account = accountWith({ tagFilterMaxResources: 1000 });
    const { otherSecurityGroupId, otherZoneVSwitchId } = account.network;
    const Tag = [{ Key: 'cluster', Value: 'c1' }];
    for (let count = 0; count < 1000; count += 1) account.create({ Tag });
    const young = account.create({ Tag, SecurityGroupIds: [otherSecurityGroupId], VSwitchId: otherZoneVSwitchId });
    expect(account.ok('DescribeNetworkInterfaces', { Tag })['TotalCount']).toBe(1000);
    expect(listed(account, { Tag, SecurityGroupId: otherSecurityGroupId })).toEqual([]);
    expect(listed(account, { Tag, VSwitchId: otherZoneVSwitchId, NetworkInterfaceId: [young] })).toEqual([]);
    expect(listed(account, { SecurityGroupId: otherSecurityGroupId })).toEqual([young]);
    // The vendor recommends ListTagResources instead.
    const page = account.ok('ListTagResources', { ResourceType: 'eni', ResourceId: [young] });
    expect(JSON.stringify(page)).toContain(young);
  });

  test('covers everything by default', () => {
    const account = new TestAccount();
    const Tag = [{ Key: 'cluster' }];
    for (let count = 0; count < 1001; count += 1) account.create({ Tag });
    expect(account.ok('DescribeNetworkInterfaces', { Tag })['TotalCount']).toBe(1001);
  });

  test('by resource group has the same limit', () => {
    const account = accountWith({ tagFilterMaxResources: 1 });
    const [first] = [account.create({ ResourceGroupId: 'rg-1' }), account.create({ ResourceGroupId: 'rg-1' })];
    expect(listed(account, { ResourceGroupId: 'rg-1' })).toEqual([first]);
  });
});

describe('a lagging list', () => {
  test('does not show a new ENI yet; the attribute call does', () => {
    const account = accountWith({ listLag: { createdMs: 2000, deletedMs: 0 } });
    const eni = account.create();
    expect(listed(account, { NetworkInterfaceId: [eni] })).toEqual([]);
    expect(account.ok('DescribeNetworkInterfaceAttribute', { NetworkInterfaceId: eni })['Status']).toBe('Available');
    account.wait(1999);
    expect(listed(account)).not.toContain(eni);
    account.wait(1);
    expect(listed(account, { NetworkInterfaceId: [eni] })).toEqual([eni]);
  });

  test('shows a deleted ENI in its last state, and filters match it', () => {
    const account = accountWith({ listLag: { createdMs: 0, deletedMs: 3000 } });
    const [eni, later] = [account.create({ Tag: [{ Key: 'a', Value: 'b' }] }), account.create()];
    account.ok('DeleteNetworkInterface', { NetworkInterfaceId: eni });
    account.wait(1500 + 2999);
    expect(account.model.eni(eni)).toBeUndefined();
    expect(listed(account)).toEqual([account.network.primaryEniId, eni, later]);
    expect(listed(account, { Status: 'Deleting', Tag: [{ Key: 'a' }] })).toEqual([eni]);
    expect(account.refused('DeleteNetworkInterface', { NetworkInterfaceId: eni })).toBe('404 InvalidEniId.NotFound');
    account.wait(1);
    expect(listed(account)).toEqual([account.network.primaryEniId, later]);
  });
});

describe('an attachment', () => {
  test('that fails falls back to Available and frees its VLAN id', () => {
    const account = new TestAccount();
    const trunk = account.trunkInUse();
    account.model.setBehaviour({ attachFaults: [{ outcome: 'fails', count: 1 }] }, account.nowMs);
    const [unlucky, lucky] = [account.create(), account.create()];
    account.attach(unlucky, trunk);
    account.attach(lucky, trunk);
    expect(account.model.eni(unlucky)).toMatchObject({ status: 'Attaching', type: 'Member' });
    account.wait(1500);
    expect(account.model.eni(unlucky)).toMatchObject({ status: 'Available', type: 'Secondary' });
    expect(account.model.eni(unlucky)?.attachment).toBeUndefined();
    expect(account.model.eni(lucky)).toMatchObject({ status: 'InUse', attachment: { trunk: { vlanId: 2 } } });
    expect(account.model.journal().map(({ action }) => action)).toContain('AttachFailed');
    account.attach(unlucky, trunk);
    account.wait(1500);
    expect(account.model.eni(unlucky)).toMatchObject({ status: 'InUse', attachment: { trunk: { vlanId: 1 } } });
    expect(accountViolations(account.model)).toEqual([]);
  });

  test('that hangs stays Attaching until it is ended by hand', () => {
    const account = accountWith({ attachFaults: [{ outcome: 'hangs' }] });
    const eni = account.create();
    account.attach(eni);
    account.wait(24 * 3600 * 1000);
    expect(account.model.eni(eni)?.status).toBe('Attaching');
    expect(account.model.nextDueMs()).toBeUndefined();
    expect(
      account.refused('DetachNetworkInterface', { NetworkInterfaceId: eni, InstanceId: account.network.instanceId }),
    ).toBe('400 InvalidOperation.InvalidEniState');
    account.model.detachEniByHand(eni, account.nowMs);
    expect(account.model.eni(eni)?.status).toBe('Available');
  });

  test('fails only for the named ENI or instance', () => {
    const account = new TestAccount();
    const [struck, spared] = [account.create(), account.create()];
    account.model.setBehaviour(
      {
        attachFaults: [
          { outcome: 'hangs', eniId: struck },
          { outcome: 'hangs', instanceId: 'i-other' },
        ],
      },
      account.nowMs,
    );
    account.attach(struck);
    account.attach(spared);
    account.wait(1500);
    expect([struck, spared].map((id) => account.model.eni(id)?.status)).toEqual(['Attaching', 'InUse']);
  });
});

test.each([
  [true, ['Primary', 'Trunk', 'Member']],
  [false, ['Primary', 'Trunk']],
])('the InstanceId filter returns Members: %s', (instanceFilterReturnsMembers, types) => {
  const account = new TestAccount();
  const trunk = account.trunkInUse();
  const member = account.create();
  account.attach(member, trunk);
  account.wait(1500);
  account.model.setBehaviour({ instanceFilterReturnsMembers }, account.nowMs);
  const found = listed(account, { InstanceId: account.network.instanceId });
  expect(found.map((id) => account.model.eni(id)?.type)).toEqual(types);
  expect(listed(account, { Type: 'Member' })).toEqual([member]);
});

test('parts that are not given stay unchanged', () => {
  const account = accountWith({ tagFilterMaxResources: 7 });
  const holds = account.model.setBehaviour({ listLag: { createdMs: 1, deletedMs: 2 } }, account.nowMs);
  expect(holds).toMatchObject({ tagFilterMaxResources: 7, listLag: { createdMs: 1, deletedMs: 2 }, rateWindows: {} });
});
