import type { Collection } from './collection.ts';
import { badRequest, expired, StatusError } from './errors.ts';
import { type StoredObject, textOf } from './objects.ts';
import type { ApiResource } from './resources.ts';
import { fieldMatcher, labelMatcher, type Matcher } from './selectors.ts';

/** Query parameters that choose objects. */
export interface Selection {
  namespace: string | undefined;
  labelSelector: string | undefined;
  fieldSelector: string | undefined;
}

export interface ListQuery extends Selection {
  limit: number;
  continueToken: string | undefined;
  /** As sent; undefined and `''` ask for the present. */
  resourceVersion: string | undefined;
  resourceVersionMatch: string | undefined;
}

/** @throws StatusError 400 for selectors that cannot be read */
export function matcherOf(resource: ApiResource, selection: Selection): Matcher {
  const { namespace, labelSelector = '', fieldSelector = '' } = selection;
  const matchers: Matcher[] = [];
  if (namespace !== undefined) matchers.push(({ metadata }) => metadata.namespace === namespace);
  if (labelSelector !== '') matchers.push(labelMatcher(labelSelector));
  if (fieldSelector !== '') matchers.push(fieldMatcher(fieldSelector, resource));
  return (object) => matchers.every((matches) => matches(object));
}

/**
 * The body of a list.
 *
 * @param currentVersion of the whole cluster
 * @throws StatusError; 410 when a later page or an exact version is asked for that history does not reach
 */
export function listObjects(collection: Collection, query: ListQuery, currentVersion: number): string {
  const { resource } = collection;
  const matches = matcherOf(resource, query);
  const position = startOf(collection, query, currentVersion);
  const all = position.version === currentVersion ? collection.list() : collection.listAt(position.version);
  const found = all.filter(({ object, key }) => key > position.after && matches(object));
  const limit = position.isUnlimited || query.limit <= 0 ? found.length : query.limit;
  const page = found.slice(0, limit);
  const left = found.length - page.length;
  const token = left > 0 ? tokenOf({ version: position.version, after: page.at(-1)?.key ?? '' }) : '';
  const isSelected = (query.labelSelector ?? '') !== '' || (query.fieldSelector ?? '') !== '';
  const metadata = {
    resourceVersion: String(position.version),
    ...(token === '' ? {} : { continue: token }),
    ...(left > 0 && !isSelected ? { remainingItemCount: left } : {}),
  };
  return listText(resource, metadata, page);
}

export function listText(
  resource: ApiResource,
  metadata: Readonly<Record<string, unknown>>,
  items: readonly StoredObject[],
): string {
  const { group, version, kind, isBuiltIn } = resource;
  const apiVersion = group === '' ? version : `${group}/${version}`;
  const head = JSON.stringify({ kind: `${kind}List`, apiVersion, metadata }).slice(0, -1);
  const texts = items.map((item) => (isBuiltIn ? `{${item.tail}` : textOf(item)));
  return `${head},"items":[${texts.join(',')}]}`;
}

interface Position {
  /** The version that is shown. */
  version: number;
  /** Only keys behind this one. */
  after: string;
}

function startOf(
  collection: Collection,
  query: ListQuery,
  currentVersion: number,
): Position & { isUnlimited: boolean } {
  const { continueToken = '', resourceVersionMatch = '' } = query;
  const asked = query.resourceVersion ?? '';
  if (continueToken !== '') {
    if (asked !== '' && asked !== '0') {
      throw badRequest('specifying resource version is not allowed when using continue');
    }
    const position = positionOf(continueToken);
    if (position.version < collection.history.forgotten) throw tokenExpired();
    return { ...position, isUnlimited: false };
  }
  const version = parseVersion(asked);
  checkMatch(resourceVersionMatch, asked);
  if (version > currentVersion) throw tooLarge(version, currentVersion);
  if (resourceVersionMatch !== 'Exact') return { version: currentVersion, after: '', isUnlimited: asked === '0' };
  if (version < collection.history.forgotten) {
    throw expired(`The resourceVersion for the provided list is too old.`);
  }
  return { version, after: '', isUnlimited: false };
}

function checkMatch(match: string, asked: string): void {
  const rule = 'resourceVersionMatch is forbidden unless resourceVersion is provided';
  if (match !== '' && asked === '') throw forbiddenOption('resourceVersionMatch', rule);
  if (match === 'Exact' && asked === '0') {
    throw forbiddenOption('resourceVersionMatch', 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"');
  }
}

/** A combination of query parameters that the server does not take. */
export function forbiddenOption(field: string, rule: string): StatusError {
  const cause = { reason: 'FieldValueForbidden', message: `Forbidden: ${rule}`, field };
  const details = { group: 'meta.k8s.io', kind: 'ListOptions', causes: [cause] };
  return new StatusError(
    422,
    'Invalid',
    `ListOptions.meta.k8s.io "" is invalid: ${field}: Forbidden: ${rule}`,
    details,
  );
}

/** @throws StatusError 400 */
export function parseVersion(text: string): number {
  if (text === '') return 0;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw badRequest(`invalid resource version: resourceVersion: Invalid value: ${JSON.stringify(text)}: invalid syntax`);
}

/** The server waits a while for a version that is still to come; here none is, so it is refused at once. */
export function tooLarge(asked: number, current: number): StatusError {
  const message = `Timeout: Too large resource version: ${asked}, current: ${current}`;
  return new StatusError(504, 'Timeout', message, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });
}

function tokenExpired(): StatusError {
  return expired(
    'The provided continue parameter is too old to display a consistent list result. You can start a new list without ' +
      'the continue parameter.',
  );
}

function tokenOf({ version, after }: Position): string {
  return Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: version, start: after })).toString('base64url');
}

function positionOf(token: string): Position {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(token, 'base64url').toString());
  } catch {
    parsed = undefined;
  }
  if (typeof parsed === 'object' && parsed !== null && 'rv' in parsed && 'start' in parsed) {
    const { rv, start } = parsed;
    if (typeof rv === 'number' && typeof start === 'string') return { version: rv, after: start };
  }
  throw badRequest('invalid continue token: continue key is not valid');
}
