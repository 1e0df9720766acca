import type { Account } from './account.ts';
import type { Eni, VSwitch } from './entities.ts';
import { ApiError, invalidEcsState, invalidParameter, vpcMismatch } from './errors.ts';

/** Rules that several APIs share. */

const MAX_SECURITY_GROUPS_PER_ENI = 10;
const MAX_TAGS = 20;
/** Limit of secondary IPv4 addresses (a prefix counts as one) of an ENI that is not attached. */
export const MAX_SECONDARY_IPV4_AVAILABLE = 49;
/** Limit of IPv6 addresses of an ENI that is not attached. */
export const MAX_IPV6_AVAILABLE = 10;

/** Throws InvalidRegionId.NotFound for any region but the account's. */
export function checkRegion(account: Account, regionId: string): void {
  if (regionId === account.regionId) return;
  throw new ApiError('InvalidRegionId.NotFound', 404, `The specified RegionId "${regionId}" does not exist.`);
}

/** Tags of a request as pairs. Throws as documented for Tag.N of CreateNetworkInterface. */
export function assignableTags(
  tags: readonly { Key?: string | undefined; Value?: string | undefined }[],
): Map<string, string> {
  const result = new Map<string, string>();
  for (const { Key: key, Value: value = '' } of tags) {
    if (key === undefined || key === '') throw tagKeyMalformed('the key cannot be empty');
    if (key.length > 128) throw tagKeyMalformed('at most 128 characters');
    if (/^(aliyun|acs:)/i.test(key)) throw tagKeyMalformed('the key cannot start with aliyun or acs:');
    if (/https?:\/\//i.test(key)) throw tagKeyMalformed('the key cannot contain http:// or https://');
    if (value.length > 128) throw tagValueMalformed('at most 128 characters');
    if (/https?:\/\//i.test(value)) throw tagValueMalformed('the value cannot contain http:// or https://');
    if (result.has(key)) {
      throw new ApiError('Duplicate.TagKey', 400, `The Tag.N.Key contain duplicate key "${key}".`);
    }
    result.set(key, value);
  }
  return result;
}

/** Throws QuotaExceed.Tags when a resource would have more tags than allowed. */
export function checkTagCount(count: number): void {
  if (count > MAX_TAGS) throw new ApiError('QuotaExceed.Tags', 403, `A resource can have at most ${MAX_TAGS} tags.`);
}

/**
 * Checks that the groups exist, are in the VPC, are of one kind and not too many. Returns them without duplicates. The codes for
 * "too many" and "of two kinds" are assumed.
 */
export function checkSecurityGroups(account: Account, groupIds: readonly string[], vpcId: string): string[] {
  const unique = [...new Set(groupIds)];
  const kinds = new Set<string>();
  for (const id of unique) {
    const group = account.securityGroup(id);
    if (group.vpcId !== vpcId) throw vpcMismatch(`the security group "${id}" is not in the VPC "${vpcId}"`);
    kinds.add(group.type);
  }
  if (unique.length > MAX_SECURITY_GROUPS_PER_ENI) {
    throw new ApiError(
      'InstanceSecurityGroupLimitExceeded',
      403,
      `An ENI can be in at most ${MAX_SECURITY_GROUPS_PER_ENI} security groups.`,
    );
  }
  if (kinds.size > 1) {
    throw new ApiError('InvalidParameter.Conflict', 400, 'Basic and enterprise security groups cannot be mixed.');
  }
  return unique;
}

/** The vSwitch of an ENI. It exists, because a vSwitch with ENIs cannot be deleted. */
export function vSwitchOf(account: Account, eni: Eni): VSwitch {
  return account.vSwitch(eni.vSwitchId);
}

/** Throws InvalidOperation.InvalidEcsState unless the instance is Running or Stopped. */
export function checkInstanceSettled(instance: { id: string; status: string }): void {
  if (instance.status !== 'Running' && instance.status !== 'Stopped')
    throw invalidEcsState(instance.id, instance.status);
}

/**
 * How many IPv4 (secondary addresses and prefixes) and IPv6 (addresses and prefixes) the ENI may have, given its attachment.
 */
export function addressLimits(account: Account, eni: Eni): { secondaryIpv4: number; ipv6: number } {
  const instance = eni.attachment === undefined ? undefined : account.instances.get(eni.attachment.instanceId);
  if (instance === undefined) return { secondaryIpv4: MAX_SECONDARY_IPV4_AVAILABLE, ipv6: MAX_IPV6_AVAILABLE };
  const type = account.typeOf(instance);
  return {
    secondaryIpv4: Math.max(0, type.eniPrivateIpAddressQuantity - 1),
    ipv6: type.eniIpv6AddressQuantity,
  };
}

/** Name of an ENI or a group: 2–128 characters, no URL. Throws InvalidParameter. */
export function checkName(parameter: string, name: string | undefined): void {
  if (name === undefined) return;
  if (name.length < 2 || name.length > 128) throw invalidParameter(parameter, '2 to 128 characters');
  if (/^https?:\/\//.test(name)) throw invalidParameter(parameter, 'it cannot start with http:// or https://');
}

export function checkDescription(description: string | undefined): void {
  if (description === undefined) return;
  if (description.length < 2 || description.length > 256) throw invalidParameter('Description', '2 to 256 characters');
  if (/^https?:\/\//.test(description)) {
    throw invalidParameter('Description', 'it cannot start with http:// or https://');
  }
}

function tagKeyMalformed(rule: string): ApiError {
  return new ApiError('InvalidTagKey.Malformed', 400, `The specified Tag.n.Key is not valid: ${rule}.`);
}

function tagValueMalformed(rule: string): ApiError {
  return new ApiError('InvalidTagValue.Malformed', 400, `The specified Tag.n.Value is not valid: ${rule}.`);
}
