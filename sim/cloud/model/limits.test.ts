import { describe, expect, test } from 'vitest';
import type { InstanceType } from './instance-types.ts';
import { CloudModel } from './model.ts';
import { TestAccount } from './test-account.ts';

/** The limits of each instance type of the table, reached exactly, with the refusal of one more. */

const TYPES = new CloudModel().instanceTypes();

describe.each(TYPES)('$instanceTypeId', (type) => {
  test(`${type.eniQuantity} adapters, the primary one included`, () => {
    const host = new Host(type);
    for (let count = 1; count < type.eniQuantity; count++) expect(host.attach(host.eni())).toBe('accepted');
    expect(host.attach(host.eni())).toBe('403 EniPerInstanceLimitExceeded');
    expect(host.described('EniQuantity')).toBe(type.eniQuantity);
  });

  test('the members that EniTotalQuantity has room for beside the adapters', () => {
    const host = new Host(type);
    const trunk = host.account.create({ InstanceType: 'Trunk' });
    const slots = type.eniTrunkSupported ? type.eniTotalQuantity - type.eniQuantity : 0;
    if (slots === 0) {
      expect(host.attach(trunk)).toBe('403 InvalidOperation.InvalidEniType');
      return;
    }
    expect(host.attach(trunk)).toBe('accepted');
    host.account.wait(1_500);
    for (let count = 0; count < slots; count++) expect(host.attach(host.eni(), trunk)).toBe('accepted');
    expect(host.attach(host.eni(), trunk)).toBe('403 EniPerInstanceLimitExceeded');
    expect(host.described('EniTotalQuantity')).toBe(type.eniQuantity + slots);
  });

  const { eniPrivateIpAddressQuantity: ipv4, eniIpv6AddressQuantity: ipv6 } = type;

  test(`${ipv4} IPv4 and ${ipv6} IPv6 addresses for an ENI in use, whether it came with them or got them later`, () => {
    const host = new Host(type);
    const most = { SecondaryPrivateIpAddressCount: ipv4 - 1, Ipv6AddressCount: Math.min(ipv6, 10) };
    const later = host.eni();
    expect(host.attach(later)).toBe('accepted');
    host.account.wait(1_500);
    expect(host.assign4(later, ipv4 - 1)).toBe('accepted');
    expect(host.assign4(later, 1)).toBe('403 InvalidOperation.Ipv4CountExceeded');
    for (let left = ipv6; left > 0; left -= 10) expect(host.assign6(later, Math.min(left, 10))).toBe('accepted');
    expect(host.assign6(later, 1)).toBe('403 InvalidOperation.Ipv6CountExceeded');
    expect([host.account.model.eni(later)?.ipv4.length, host.account.model.eni(later)?.ipv6.length]).toEqual([
      ipv4,
      ipv6,
    ]);
    host.account.ok('DetachNetworkInterface', { NetworkInterfaceId: later, InstanceId: host.instanceId });
    host.account.wait(1_500);

    expect(host.attach(host.account.create({ ...most, SecondaryPrivateIpAddressCount: ipv4 }))).toBe(
      '403 InvalidOperation.Ipv4CountExceeded',
    );
    // A new ENI may have ten IPv6 addresses, more than some types allow.
    if (ipv6 < 10) {
      expect(host.attach(host.account.create({ Ipv6AddressCount: ipv6 + 1 }))).toBe(
        '403 InvalidOperation.Ipv6CountExceeded',
      );
    }
    expect(host.attach(host.account.create(most))).toBe('accepted');
    expect(host.described('EniPrivateIpAddressQuantity')).toBe(ipv4);
    expect(host.described('EniIpv6AddressQuantity')).toBe(ipv6);
  });
});

/** An instance of the type. */
class Host {
  readonly account = new TestAccount();
  readonly instanceId: string;
  readonly #type: InstanceType;

  constructor(type: InstanceType) {
    this.#type = type;
    const { vSwitchId, securityGroupId } = this.account.network;
    const request = { instanceType: type.instanceTypeId, vSwitchId, securityGroupIds: [securityGroupId] };
    this.instanceId = this.account.model.runInstance(request, this.account.nowMs).instanceId;
  }

  eni(): string {
    return this.account.create();
  }

  /** Returns `accepted`, or status and code of the refusal. */
  attach(NetworkInterfaceId: string, TrunkNetworkInstanceId?: string): string {
    const call = { NetworkInterfaceId, InstanceId: this.instanceId, TrunkNetworkInstanceId };
    return this.account.refused('AttachNetworkInterface', call);
  }

  assign4(NetworkInterfaceId: string, SecondaryPrivateIpAddressCount: number): string {
    const call = { NetworkInterfaceId, SecondaryPrivateIpAddressCount };
    return this.account.refused('AssignPrivateIpAddresses', call);
  }

  assign6(NetworkInterfaceId: string, Ipv6AddressCount: number): string {
    return this.account.refused('AssignIpv6Addresses', { NetworkInterfaceId, Ipv6AddressCount });
  }

  /** A figure of DescribeInstanceTypes. */
  described(field: string): unknown {
    const answer = this.account.ok('DescribeInstanceTypes', { InstanceTypes: [this.#type.instanceTypeId] });
    const found = JSON.stringify(answer).match(new RegExp(`"${field}":(\\d+)`));
    return Number(found?.[1]);
  }
}
