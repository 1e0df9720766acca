import * as z from 'zod';
import type { Account } from '../account.ts';
import { defineAction } from '../action.ts';
import { checkRegion } from '../checks.ts';
import { eniAttribute, eniListItem } from '../eni-view.ts';
import type { Eni } from '../entities.ts';
import { invalidParameter } from '../errors.ts';
import { cutPage } from '../paging.ts';
import { integer, requiredText, tags, text, texts, word } from '../params.ts';

const params = z.object({
  RegionId: requiredText,
  NetworkInterfaceId: texts(100),
  InstanceId: text,
  VpcId: text,
  VSwitchId: text,
  SecurityGroupId: text,
  Type: word('Primary', 'Secondary', 'Trunk', 'Member'),
  Status: word('Available', 'Attaching', 'InUse', 'Detaching', 'Deleting', 'Creating', 'CreateFailed'),
  NetworkInterfaceName: text,
  PrimaryIpAddress: text,
  PrivateIpAddress: texts(100),
  Ipv6Address: texts(100),
  ResourceGroupId: text,
  Tag: tags,
  MaxResults: integer(),
  NextToken: text,
  PageNumber: integer(1),
  PageSize: integer(1),
});

type Filter = z.output<typeof params>;

const NO_FILTER = { NetworkInterfaceId: [], PrivateIpAddress: [], Ipv6Address: [] };

/**
 * Paging: MaxResults 10–500 (clamped) with NextToken, or PageNumber with PageSize up to 100. Lists may lag, and filters by tag or
 * resource group may cover a limited number of resources (behaviour.ts).
 */
export const describeNetworkInterfaces = defineAction({
  name: 'DescribeNetworkInterfaces',
  product: 'Ecs',
  params,
  handle: ({ account }, filter) => {
    checkRegion(account, filter.RegionId);
    const page = cutPage(
      matching(account, filter),
      {
        pageNumber: filter.PageNumber,
        pageSize: filter.PageSize,
        maxResults: filter.MaxResults,
        nextToken: filter.NextToken,
      },
      { maxPageSize: 100, minResults: 10, maxResults: 500, defaultResults: 10 },
    );
    return {
      NetworkInterfaceSets: { NetworkInterfaceSet: page.items.map((eni) => eniListItem(account, eni)) },
      NextToken: page.nextToken,
      PageNumber: page.pageNumber,
      PageSize: page.pageSize,
      TotalCount: page.totalCount,
    };
  },
});

/** One ENI by id, with the members of a trunk. */
export const describeNetworkInterfaceAttribute = defineAction({
  name: 'DescribeNetworkInterfaceAttribute',
  product: 'Ecs',
  params: z.object({ RegionId: requiredText, NetworkInterfaceId: requiredText, Attribute: text }),
  handle: ({ account }, { RegionId, NetworkInterfaceId }) => {
    checkRegion(account, RegionId);
    return eniAttribute(account, account.eni(NetworkInterfaceId));
  },
});

/** In order of creation. */
function matching(account: Account, filter: Filter): Eni[] {
  let found: Eni[] = [];
  let ordered = true;
  let lastSeq = 0;
  const { tagFilterMaxResources, instanceFilterReturnsMembers } = account.behaviour;
  const isBounded = tagFilterMaxResources > 0 && (filter.Tag.length > 0 || filter.ResourceGroupId !== undefined);
  const hidesMembers = filter.InstanceId !== undefined && !instanceFilterReturnsMembers;
  // The coverage of a limited filter does not depend on the other filters.
  const narrowed = isBounded ? { ...NO_FILTER, RegionId: filter.RegionId, Tag: filter.Tag } : filter;
  const shown = [...candidates(account, narrowed)].filter((eni) => account.isListed(eni));
  for (const eni of [...shown, ...account.ghosts().filter((ghost) => isNamed(ghost, narrowed))]) {
    if (isBounded ? !isTagged(eni, filter) : !matches(eni, filter)) continue;
    if (hidesMembers && eni.type === 'Member') continue;
    found.push(eni);
    // Nearly always true, because the indexes keep the order in which ENIs were added.
    ordered &&= eni.seq > lastSeq;
    lastSeq = eni.seq;
  }
  if (!ordered) found.sort((a, b) => a.seq - b.seq);
  // Assumed: the oldest are covered, and other filters apply only to those.
  if (isBounded) found = found.slice(0, tagFilterMaxResources).filter((eni) => matches(eni, filter));
  return found;
}

/** The smallest set that an index gives. Every filter is checked again on each candidate. */
function candidates(account: Account, filter: Filter): Iterable<Eni> {
  if (filter.NetworkInterfaceId.length > 0) {
    return [...new Set(filter.NetworkInterfaceId)].flatMap((id) => account.enis.get(id) ?? []);
  }
  const indexed: ReadonlySet<Eni>[] = [];
  if (filter.InstanceId !== undefined) indexed.push(account.enisByInstance.get(filter.InstanceId));
  if (filter.VSwitchId !== undefined) indexed.push(account.enisByVSwitch.get(filter.VSwitchId));
  if (filter.SecurityGroupId !== undefined) indexed.push(account.enisBySecurityGroup.get(filter.SecurityGroupId));
  for (const { Key: key, Value: value } of filter.Tag) {
    if (key === undefined || key === '') throw invalidParameter('Tag.Key');
    indexed.push(account.enisByTag.get(value === undefined ? key : `${key}\n${value}`));
  }
  if (indexed.length === 0) return account.enis.values();
  return indexed.reduce((smallest, set) => (set.size < smallest.size ? set : smallest));
}

function isNamed(eni: Eni, filter: Filter): boolean {
  return filter.NetworkInterfaceId.length === 0 || filter.NetworkInterfaceId.includes(eni.id);
}

function isTagged(eni: Eni, filter: Filter): boolean {
  return (
    (filter.ResourceGroupId === undefined || eni.resourceGroupId === filter.ResourceGroupId) &&
    filter.Tag.every(({ Key: key = '', Value: value }) =>
      value === undefined ? eni.tags.has(key) : eni.tags.get(key) === value,
    )
  );
}

function matches(eni: Eni, filter: Filter): boolean {
  return (
    isTagged(eni, filter) &&
    isNamed(eni, filter) &&
    (filter.InstanceId === undefined || eni.attachment?.instanceId === filter.InstanceId) &&
    (filter.VpcId === undefined || eni.vpcId === filter.VpcId) &&
    (filter.VSwitchId === undefined || eni.vSwitchId === filter.VSwitchId) &&
    (filter.Type === undefined || eni.type === filter.Type) &&
    (filter.Status === undefined || eni.status === filter.Status) &&
    (filter.SecurityGroupId === undefined || eni.securityGroupIds.includes(filter.SecurityGroupId)) &&
    (filter.NetworkInterfaceName === undefined || eni.name === filter.NetworkInterfaceName) &&
    (filter.PrimaryIpAddress === undefined || eni.ipv4[0] === filter.PrimaryIpAddress) &&
    (filter.PrivateIpAddress.length === 0 || filter.PrivateIpAddress.some((ip) => eni.ipv4.includes(ip))) &&
    (filter.Ipv6Address.length === 0 || filter.Ipv6Address.some((ip) => eni.ipv6.includes(ip)))
  );
}
