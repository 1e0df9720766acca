import { invalidParameter } from './errors.ts';

/** One page of a list, with the paging fields of its response. */
export interface Page<T> {
  items: T[];
  totalCount: number;
  /** Empty on the last page. */
  nextToken: string;
  pageNumber: number;
  pageSize: number;
}

/** The paging parameters of a request. The limits are those of the API. */
export interface PageRequest {
  pageNumber?: number | undefined;
  pageSize?: number | undefined;
  maxResults?: number | undefined;
  nextToken?: string | undefined;
}

export interface PageRules {
  maxPageSize: number;
  /** MaxResults outside these limits is clamped, as documented. */
  minResults: number;
  maxResults: number;
  defaultResults: number;
}

/**
 * Cuts a page out of `all`, which must be in ascending order of `seq`. With NextToken the page begins after the last item seen, so
 * objects that are created or deleted between two pages do not repeat or hide others.
 * Throws InvalidParameter for an unknown NextToken or a PageSize above the limit.
 */
export function cutPage<T extends { seq: number }>(all: readonly T[], request: PageRequest, rules: PageRules): Page<T> {
  const byToken = request.nextToken !== undefined || request.maxResults !== undefined;
  const size = byToken ? resultsPerPage(request.maxResults, rules) : pageSize(request.pageSize, rules);
  const pageNumber = byToken ? 1 : (request.pageNumber ?? 1);
  const start = byToken ? firstAfter(all, decodeToken(request.nextToken)) : (pageNumber - 1) * size;
  const items = all.slice(start, start + size);
  const last = items.at(-1);
  const more = start + items.length < all.length;
  return {
    items,
    totalCount: all.length,
    nextToken: more && last !== undefined ? encodeToken(last.seq) : '',
    pageNumber,
    pageSize: size,
  };
}

function resultsPerPage(maxResults: number | undefined, rules: PageRules): number {
  if (maxResults === undefined) return rules.defaultResults;
  return Math.min(rules.maxResults, Math.max(rules.minResults, maxResults));
}

function pageSize(requested: number | undefined, rules: PageRules): number {
  if (requested === undefined) return 10;
  if (requested < 1 || requested > rules.maxPageSize) throw invalidParameter('PageSize', `1 to ${rules.maxPageSize}`);
  return requested;
}

/** Index of the first item whose seq is above the given one, by bisection. */
function firstAfter(all: readonly { seq: number }[], seq: number): number {
  let low = 0;
  let high = all.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((all[middle]?.seq ?? 0) > seq) high = middle;
    else low = middle + 1;
  }
  return low;
}

const TOKEN_PREFIX = 'page:';

function encodeToken(seq: number): string {
  return Buffer.from(`${TOKEN_PREFIX}${seq}`).toString('base64');
}

function decodeToken(token: string | undefined): number {
  if (token === undefined) return 0;
  const text = Buffer.from(token, 'base64').toString('latin1');
  const seq = Number(text.slice(TOKEN_PREFIX.length));
  if (!text.startsWith(TOKEN_PREFIX) || !Number.isSafeInteger(seq)) throw invalidParameter('NextToken');
  return seq;
}
