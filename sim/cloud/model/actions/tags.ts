import * as z from 'zod';
import type { Account } from '../account.ts';
import { defineAction, type Product } from '../action.ts';
import { assignableTags, checkRegion, checkTagCount } from '../checks.ts';
import { ApiError, invalidParameter, missingParameter, notFound } from '../errors.ts';
import { cutPage } from '../paging.ts';
import { anyText, boolean, list, requiredText, tags, text, texts } from '../params.ts';
import { hasTags } from './instances.ts';

/** An object with tags, and the functions that change them and keep the index up to date. */
interface Tagged {
  seq: number;
  id: string;
  tags: ReadonlyMap<string, string>;
  set(key: string, value: string): void;
  remove(key: string): void;
}

const PAGE_SIZE = 50;

export const tagResources = tagAction('Ecs');
export const tagResourcesVpc = tagAction('Vpc');

function tagAction(product: Product) {
  return defineAction({
    name: 'TagResources',
    product,
    params: z.object({
      RegionId: requiredText,
      ResourceType: requiredText,
      ResourceId: texts(50),
      Tag: tags,
    }),
    handle: ({ account, touched }, params) => {
      checkRegion(account, params.RegionId);
      if (params.Tag.length === 0) throw missingParameter('Tag');
      const added = assignableTags(params.Tag);
      const resources = named(account, product, params.ResourceType, params.ResourceId);
      for (const resource of resources) checkTagCount(new Set([...resource.tags.keys(), ...added.keys()]).size);
      for (const resource of resources) {
        for (const [key, value] of added) resource.set(key, value);
        touched.push(resource.id);
      }
      return {};
    },
  });
}

/** Removes the named tags, or every tag with All=true and no key. */
export const untagResources = defineAction({
  name: 'UntagResources',
  product: 'Ecs',
  params: z.object({
    RegionId: requiredText,
    ResourceType: requiredText,
    ResourceId: texts(50),
    TagKey: texts(20),
    All: boolean,
  }),
  handle: ({ account, touched }, params) => {
    checkRegion(account, params.RegionId);
    if (params.TagKey.length === 0 && params.All !== true) throw missingParameter('TagKey');
    for (const resource of named(account, 'Ecs', params.ResourceType, params.ResourceId)) {
      const keys = params.TagKey.length > 0 ? params.TagKey : [...resource.tags.keys()];
      for (const key of keys) resource.remove(key);
      touched.push(resource.id);
    }
    return {};
  },
});

/** Paging by NextToken, 50 resources per page (assumed). Unknown ids are missing from the response. */
export const listTagResources = defineAction({
  name: 'ListTagResources',
  product: 'Ecs',
  params: z.object({
    RegionId: requiredText,
    ResourceType: requiredText,
    ResourceId: texts(50),
    Tag: tags,
    TagFilter: list(z.object({ TagKey: anyText, TagValues: texts(5) }), 5),
    NextToken: text,
  }),
  handle: ({ account }, params) => {
    checkRegion(account, params.RegionId);
    if (params.Tag.length > 0 && params.TagFilter.length > 0) throw invalidParameter('TagFilter');
    if (params.Tag.some((tag) => tag.Key === undefined || tag.Key === '')) {
      throw new ApiError('InvalidParameter.TagValue', 400, 'A tag value needs a tag key.');
    }
    const lookUp = resourcesOfType(account, 'Ecs', params.ResourceType);
    const candidates =
      params.ResourceId.length > 0 ? params.ResourceId.flatMap((id) => lookUp.one(id) ?? []) : [...lookUp.all()];
    const found = candidates
      .filter((resource) => resource.tags.size > 0 && hasTags(resource.tags, params.Tag))
      .filter((resource) => params.TagFilter.every((filter) => fuzzyMatch(resource.tags, filter)))
      .sort((a, b) => a.seq - b.seq);
    const page = cutPage(
      found,
      { maxResults: PAGE_SIZE, nextToken: params.NextToken },
      { maxPageSize: PAGE_SIZE, minResults: 1, maxResults: PAGE_SIZE, defaultResults: PAGE_SIZE },
    );
    return {
      NextToken: page.nextToken,
      TagResources: {
        TagResource: page.items.flatMap((resource) =>
          [...resource.tags].map(([key, value]) => ({
            ResourceId: resource.id,
            ResourceType: params.ResourceType,
            TagKey: key,
            TagValue: value,
          })),
        ),
      },
    };
  },
});

/** The named resources. Throws InvalidResourceId.NotFound for the first one that does not exist. */
function named(account: Account, product: Product, resourceType: string, ids: readonly string[]): Tagged[] {
  if (ids.length === 0) throw missingParameter('ResourceId');
  const lookUp = resourcesOfType(account, product, resourceType);
  return [...new Set(ids)].map((id) => {
    const resource = lookUp.one(id);
    if (resource === undefined) throw notFound.resource(id);
    return resource;
  });
}

interface LookUp {
  one(id: string): Tagged | undefined;
  all(): Iterable<Tagged>;
}

function resourcesOfType(account: Account, product: Product, resourceType: string): LookUp {
  const type = `${product}:${resourceType.toLowerCase()}`;
  switch (type) {
    case 'Ecs:eni': {
      const wrap = (eni: { seq: number; id: string; tags: Map<string, string> }): Tagged => ({
        seq: eni.seq,
        id: eni.id,
        tags: eni.tags,
        set: (key, value) => account.setEniTag(account.eni(eni.id), key, value),
        remove: (key) => account.removeEniTag(account.eni(eni.id), key),
      });
      return lookUpIn(account.enis, wrap);
    }
    case 'Ecs:instance':
      return lookUpIn(account.instances, plain);
    case 'Ecs:securitygroup':
      return lookUpIn(account.securityGroups, plain);
    case 'Vpc:vpc':
      return lookUpIn(account.vpcs, plain);
    case 'Vpc:vswitch':
      return lookUpIn(account.vSwitches, plain);
    default:
      throw new ApiError('InvalidResourceType.NotFound', 404, `The ResourceType "${resourceType}" is not found.`);
  }
}

function lookUpIn<T>(map: ReadonlyMap<string, T>, wrap: (item: T) => Tagged): LookUp {
  return {
    one: (id) => {
      const item = map.get(id);
      return item === undefined ? undefined : wrap(item);
    },
    all: () => [...map.values()].map(wrap),
  };
}

function plain(item: { seq: number; id: string; tags: Map<string, string> }): Tagged {
  return {
    seq: item.seq,
    id: item.id,
    tags: item.tags,
    set: (key, value) => item.tags.set(key, value),
    remove: (key) => item.tags.delete(key),
  };
}

/** `env*`, `*env*` and exact patterns; values of one key are alternatives. */
function fuzzyMatch(
  own: ReadonlyMap<string, string>,
  filter: { TagKey?: string | undefined; TagValues: readonly string[] },
): boolean {
  const keyPattern = filter.TagKey ?? '';
  for (const [key, value] of own) {
    if (!like(key, keyPattern)) continue;
    if (filter.TagValues.length === 0 || filter.TagValues.some((pattern) => like(value, pattern))) return true;
  }
  return false;
}

function like(value: string, pattern: string): boolean {
  if (pattern.length > 1 && pattern.startsWith('*') && pattern.endsWith('*'))
    return value.includes(pattern.slice(1, -1));
  return pattern.endsWith('*') ? value.startsWith(pattern.slice(0, -1)) : value === pattern;
}
