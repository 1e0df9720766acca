import type { Account } from './account.ts';
import type { Eni, EniType, VSwitch } from './entities.ts';
import { ApiError } from './errors.ts';

/** Addresses for a new ENI. For each kind, either a count or wanted addresses. */
export interface EniAddressRequest {
  primaryIp?: string | undefined;
  secondaryIps: readonly string[];
  secondaryIpCount: number;
  ipv4Prefixes: readonly string[];
  ipv4PrefixCount: number;
  ipv6: readonly string[];
  ipv6Count: number;
  ipv6Prefixes: readonly string[];
  ipv6PrefixCount: number;
}

export const NO_EXTRA_ADDRESSES: EniAddressRequest = {
  secondaryIps: [],
  secondaryIpCount: 0,
  ipv4Prefixes: [],
  ipv4PrefixCount: 0,
  ipv6: [],
  ipv6Count: 0,
  ipv6Prefixes: [],
  ipv6PrefixCount: 0,
};

export type EniAddresses = Pick<Eni, 'ipv4' | 'ipv4Prefixes' | 'ipv6' | 'ipv6Prefixes'>;

/** The address belongs to another ENI (documented for CreateNetworkInterface and the assignment of IPv4). */
function ipv4Taken(address: string): ApiError {
  return new ApiError(
    'InvalidPrivateIpAddress.Duplicated',
    400,
    `Specified private IP address "${address}" is duplicated.`,
  );
}

/** The address is already assigned (documented for the assignment of addresses). */
function ipAssigned(address: string): ApiError {
  return new ApiError('InvalidIp.IpAssigned', 403, `The specified IP "${address}" is already assigned.`);
}

/**
 * Takes all addresses from the vSwitch or none: if one is refused, the others are returned.
 * @param withPrimary false when adding addresses to an existing ENI.
 */
export function takeAddresses(
  account: Account,
  vSwitch: VSwitch,
  request: EniAddressRequest,
  withPrimary: boolean,
): EniAddresses {
  const taken: EniAddresses = { ipv4: [], ipv4Prefixes: [], ipv6: [], ipv6Prefixes: [] };
  const takenError = withPrimary ? ipv4Taken : ipAssigned;
  try {
    if (withPrimary) taken.ipv4.push(account.takeIpv4(vSwitch, request.primaryIp, takenError));
    for (const ip of wanted(request.secondaryIps, request.secondaryIpCount)) {
      taken.ipv4.push(account.takeIpv4(vSwitch, ip, takenError));
    }
    for (const prefix of wanted(request.ipv4Prefixes, request.ipv4PrefixCount)) {
      taken.ipv4Prefixes.push(account.takeIpv4Prefix(vSwitch, prefix, takenError));
    }
    for (const ip of wanted(request.ipv6, request.ipv6Count)) {
      taken.ipv6.push(account.takeIpv6(vSwitch, ip, ipAssigned));
    }
    for (const prefix of wanted(request.ipv6Prefixes, request.ipv6PrefixCount)) {
      taken.ipv6Prefixes.push(account.takeIpv6Prefix(vSwitch, prefix, ipAssigned));
    }
    return taken;
  } catch (error) {
    releaseAddresses(account, vSwitch.id, taken);
    throw error;
  }
}

export function releaseAddresses(account: Account, vSwitchId: string, addresses: EniAddresses): void {
  const ipv4 = account.ipv4Pool(vSwitchId);
  for (const ip of addresses.ipv4) ipv4.release(ip);
  for (const prefix of addresses.ipv4Prefixes) ipv4.releasePrefix(prefix);
  if (addresses.ipv6.length + addresses.ipv6Prefixes.length === 0) return;
  const ipv6 = account.ipv6Pool(vSwitchId);
  for (const ip of addresses.ipv6) ipv6.release(ip);
  for (const prefix of addresses.ipv6Prefixes) ipv6.releasePrefix(prefix);
}

/** Adds a new, `Available` ENI to the account. The caller has checked everything but the addresses. */
export function createEni(
  account: Account,
  vSwitch: VSwitch,
  spec: {
    type: EniType;
    name: string;
    description: string;
    securityGroupIds: string[];
    tags: Map<string, string>;
    resourceGroupId: string;
    deleteOnRelease: boolean;
    sourceDestCheck: boolean;
    trafficMode: Eni['trafficMode'];
    queueNumber?: number | undefined;
    addresses: EniAddressRequest;
  },
  nowMs: number,
): Eni {
  const addresses = takeAddresses(account, vSwitch, spec.addresses, true);
  const eni: Eni = {
    seq: account.nextSeq(),
    id: account.ids.next('eni'),
    name: spec.name,
    description: spec.description,
    type: spec.type,
    status: 'Available',
    macAddress: account.ids.nextMac(),
    vpcId: vSwitch.vpcId,
    vSwitchId: vSwitch.id,
    zoneId: vSwitch.zoneId,
    ...addresses,
    securityGroupIds: spec.securityGroupIds,
    resourceGroupId: spec.resourceGroupId,
    tags: spec.tags,
    deleteOnRelease: spec.deleteOnRelease,
    sourceDestCheck: spec.sourceDestCheck,
    trafficMode: spec.trafficMode,
    ...(spec.queueNumber === undefined ? {} : { queueNumber: spec.queueNumber }),
    creationTimeMs: nowMs,
    epoch: 0,
  };
  account.addEni(eni);
  return eni;
}

/** The given addresses, otherwise `count` times "any". */
function wanted(given: readonly string[], count: number): (string | undefined)[] {
  return given.length > 0 ? [...given] : new Array<undefined>(count).fill(undefined);
}
