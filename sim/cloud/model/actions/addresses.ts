import * as z from 'zod';
import type { Account } from '../account.ts';
import { defineAction } from '../action.ts';
import { addressLimits, checkInstanceSettled, checkRegion, vSwitchOf } from '../checks.ts';
import { parseIpv6 } from '../cidr.ts';
import { NO_EXTRA_ADDRESSES, releaseAddresses, takeAddresses } from '../eni-factory.ts';
import type { Eni } from '../entities.ts';
import { ApiError, invalidEniState, missingParameter } from '../errors.ts';
import { integer, requiredText, text, texts } from '../params.ts';
import { checkOneKind, exclusive } from './eni.ts';

/** Adds secondary IPv4 addresses or /28 prefixes to an Available or InUse ENI. */
export const assignPrivateIpAddresses = defineAction({
  name: 'AssignPrivateIpAddresses',
  product: 'Ecs',
  params: z.object({
    RegionId: requiredText,
    NetworkInterfaceId: requiredText,
    PrivateIpAddress: texts(49),
    SecondaryPrivateIpAddressCount: integer(1, 49),
    Ipv4Prefix: texts(10),
    Ipv4PrefixCount: integer(1, 10),
    ClientToken: text,
  }),
  handle: ({ account, touched }, params) => {
    checkRegion(account, params.RegionId);
    exclusive(
      'PrivateIpAddress',
      params.PrivateIpAddress,
      'SecondaryPrivateIpAddressCount',
      params.SecondaryPrivateIpAddressCount,
    );
    exclusive('Ipv4Prefix', params.Ipv4Prefix, 'Ipv4PrefixCount', params.Ipv4PrefixCount);
    const addressCount = params.PrivateIpAddress.length || (params.SecondaryPrivateIpAddressCount ?? 0);
    const prefixCount = params.Ipv4Prefix.length || (params.Ipv4PrefixCount ?? 0);
    if (addressCount + prefixCount === 0) throw missingParameter('SecondaryPrivateIpAddressCount');
    checkOneKind(addressCount, prefixCount, ['PrivateIpAddress', 'Ipv4Prefix']);
    const eni = changeable(account, params.NetworkInterfaceId);
    const limit = addressLimits(account, eni).secondaryIpv4;
    if (eni.ipv4.length - 1 + eni.ipv4Prefixes.length + addressCount + prefixCount > limit) {
      throw new ApiError(
        'InvalidOperation.Ipv4CountExceeded',
        403,
        `"${eni.id}" can have at most ${limit} secondary IPv4 addresses.`,
      );
    }
    const added = takeAddresses(
      account,
      vSwitchOf(account, eni),
      {
        ...NO_EXTRA_ADDRESSES,
        secondaryIps: params.PrivateIpAddress,
        secondaryIpCount: params.SecondaryPrivateIpAddressCount ?? 0,
        ipv4Prefixes: params.Ipv4Prefix,
        ipv4PrefixCount: params.Ipv4PrefixCount ?? 0,
      },
      false,
    );
    eni.ipv4.push(...added.ipv4);
    account.noteAssigned(eni, added.ipv4);
    eni.ipv4Prefixes.push(...added.ipv4Prefixes);
    touched.push(eni.id);
    return {
      AssignedPrivateIpAddressesSet: {
        NetworkInterfaceId: eni.id,
        PrivateIpSet: { PrivateIpAddress: added.ipv4 },
        Ipv4PrefixSet: { Ipv4Prefixes: added.ipv4Prefixes },
      },
    };
  },
});

/** Removes secondary IPv4 addresses and prefixes, all or none. The primary address counts as not assigned. */
export const unassignPrivateIpAddresses = defineAction({
  name: 'UnassignPrivateIpAddresses',
  product: 'Ecs',
  params: z.object({
    RegionId: requiredText,
    NetworkInterfaceId: requiredText,
    PrivateIpAddress: texts(32),
    Ipv4Prefix: texts(10),
  }),
  handle: ({ account, touched }, params) => {
    checkRegion(account, params.RegionId);
    if (params.PrivateIpAddress.length + params.Ipv4Prefix.length === 0) throw missingParameter('PrivateIpAddress');
    checkOneKind(params.PrivateIpAddress.length, params.Ipv4Prefix.length, ['PrivateIpAddress', 'Ipv4Prefix']);
    const eni = changeable(account, params.NetworkInterfaceId);
    const secondary = eni.ipv4.slice(1);
    checkAssigned(params.PrivateIpAddress, secondary);
    checkAssigned(params.Ipv4Prefix, eni.ipv4Prefixes);
    eni.ipv4 = eni.ipv4.filter((ip, index) => index === 0 || !params.PrivateIpAddress.includes(ip));
    eni.ipv4Prefixes = eni.ipv4Prefixes.filter((prefix) => !params.Ipv4Prefix.includes(prefix));
    releaseAddresses(account, eni.vSwitchId, {
      ipv4: params.PrivateIpAddress,
      ipv4Prefixes: params.Ipv4Prefix,
      ipv6: [],
      ipv6Prefixes: [],
    });
    touched.push(eni.id);
    return {};
  },
});

/** Adds IPv6 addresses or /80 prefixes to an Available or InUse ENI. The vSwitch must have an IPv6 block. */
export const assignIpv6Addresses = defineAction({
  name: 'AssignIpv6Addresses',
  product: 'Ecs',
  params: z.object({
    RegionId: requiredText,
    NetworkInterfaceId: requiredText,
    Ipv6Address: texts(10),
    Ipv6AddressCount: integer(1, 10),
    Ipv6Prefix: texts(10),
    Ipv6PrefixCount: integer(1, 10),
    ClientToken: text,
  }),
  handle: ({ account, touched }, params) => {
    checkRegion(account, params.RegionId);
    exclusive('Ipv6Address', params.Ipv6Address, 'Ipv6AddressCount', params.Ipv6AddressCount);
    exclusive('Ipv6Prefix', params.Ipv6Prefix, 'Ipv6PrefixCount', params.Ipv6PrefixCount);
    const addressCount = params.Ipv6Address.length || (params.Ipv6AddressCount ?? 0);
    const prefixCount = params.Ipv6Prefix.length || (params.Ipv6PrefixCount ?? 0);
    if (addressCount + prefixCount === 0) throw missingParameter('Ipv6AddressCount');
    checkOneKind(addressCount, prefixCount, ['Ipv6Address', 'Ipv6Prefix']);
    const eni = changeable(account, params.NetworkInterfaceId);
    const limit = addressLimits(account, eni).ipv6;
    if (eni.ipv6.length + eni.ipv6Prefixes.length + addressCount + prefixCount > limit) {
      throw new ApiError(
        'InvalidOperation.Ipv6CountExceeded',
        403,
        `"${eni.id}" can have at most ${limit} IPv6 addresses.`,
      );
    }
    const added = takeAddresses(
      account,
      vSwitchOf(account, eni),
      {
        ...NO_EXTRA_ADDRESSES,
        ipv6: params.Ipv6Address,
        ipv6Count: params.Ipv6AddressCount ?? 0,
        ipv6Prefixes: params.Ipv6Prefix,
        ipv6PrefixCount: params.Ipv6PrefixCount ?? 0,
      },
      false,
    );
    eni.ipv6.push(...added.ipv6);
    account.noteAssigned(eni, added.ipv6);
    eni.ipv6Prefixes.push(...added.ipv6Prefixes);
    touched.push(eni.id);
    return {
      NetworkInterfaceId: eni.id,
      Ipv6Sets: { Ipv6Address: added.ipv6 },
      Ipv6PrefixSets: { Ipv6Prefix: added.ipv6Prefixes },
    };
  },
});

/** Removes IPv6 addresses and prefixes, all or none. */
export const unassignIpv6Addresses = defineAction({
  name: 'UnassignIpv6Addresses',
  product: 'Ecs',
  params: z.object({
    RegionId: requiredText,
    NetworkInterfaceId: requiredText,
    Ipv6Address: texts(10),
    Ipv6Prefix: texts(10),
  }),
  handle: ({ account, touched }, params) => {
    checkRegion(account, params.RegionId);
    if (params.Ipv6Address.length + params.Ipv6Prefix.length === 0) throw missingParameter('Ipv6Address');
    checkOneKind(params.Ipv6Address.length, params.Ipv6Prefix.length, ['Ipv6Address', 'Ipv6Prefix']);
    const eni = changeable(account, params.NetworkInterfaceId);
    // An address can be written in several ways, so values are compared.
    const unwanted = params.Ipv6Address.map((ip) => eni.ipv6.find((own) => sameIpv6(own, ip)) ?? ip);
    checkAssigned(unwanted, eni.ipv6);
    checkAssigned(params.Ipv6Prefix, eni.ipv6Prefixes);
    eni.ipv6 = eni.ipv6.filter((ip) => !unwanted.includes(ip));
    eni.ipv6Prefixes = eni.ipv6Prefixes.filter((prefix) => !params.Ipv6Prefix.includes(prefix));
    releaseAddresses(account, eni.vSwitchId, {
      ipv4: [],
      ipv4Prefixes: [],
      ipv6: unwanted,
      ipv6Prefixes: params.Ipv6Prefix,
    });
    touched.push(eni.id);
    return {};
  },
});

/** The ENI, if its status allows a change of its addresses. */
function changeable(account: Account, eniId: string): Eni {
  const eni = account.eni(eniId);
  if (eni.status !== 'Available' && eni.status !== 'InUse')
    throw invalidEniState(eni.id, 'Available or InUse', eni.status);
  if (eni.type === 'Primary' && eni.attachment !== undefined) {
    checkInstanceSettled(account.instance(eni.attachment.instanceId));
  }
  return eni;
}

function checkAssigned(unwanted: readonly string[], own: readonly string[]): void {
  for (const item of unwanted) {
    if (!own.includes(item)) {
      throw new ApiError('InvalidIp.IpUnassigned', 403, `The specified IP "${item}" is not assigned on this ENI.`);
    }
  }
}

function sameIpv6(a: string, b: string): boolean {
  const value = parseIpv6(a);
  return value !== undefined && value === parseIpv6(b);
}
