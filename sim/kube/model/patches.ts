import { jsonEqual } from '../../../src/kube/patch.ts';
import { applyMergePatch, isRecord } from '../../../src/util/json.ts';
import { badRequest, StatusError, unsupportedMediaType } from './errors.ts';

/** Kinds of patches that every resource takes. */
export const PATCH_TYPES = ['application/json-patch+json', 'application/merge-patch+json'] as const;
/** Built-in kinds take this one, too. */
export const STRATEGIC = 'application/strategic-merge-patch+json';

/** By which member the elements of a list are told apart in a strategic merge patch. Other lists are not modelled. */
const MERGE_KEYS: Readonly<Record<string, string>> = { conditions: 'type' };

/** @throws StatusError when the patch cannot be read (400), is of another kind (415), or does not fit the object (422) */
export function applyPatch(target: unknown, contentType: string, body: unknown): unknown {
  const [mediaType = ''] = contentType.split(';');
  switch (mediaType) {
    case 'application/merge-patch+json':
      if (!isRecord(body)) throw badRequest('error decoding patch: a merge patch is a JSON object');
      return applyMergePatch(target, body);
    case STRATEGIC:
      if (!isRecord(body)) throw badRequest('error decoding patch: a strategic merge patch is a JSON object');
      return mergeStrategically(target, body);
    case 'application/json-patch+json':
      if (!Array.isArray(body)) throw badRequest('error decoding patch: a JSON patch is a list of operations');
      return body.reduce((document: unknown, operation: unknown) => operate(document, operation), target);
    default:
      throw unsupportedMediaType();
  }
}

/** As a merge patch, but elements of a list are merged one by one. */
function mergeStrategically(target: unknown, patch: unknown, name = ''): unknown {
  if (Array.isArray(patch)) return mergeLists(Array.isArray(target) ? target : [], patch, name);
  if (!isRecord(patch)) return patch;
  const members = new Map(Object.entries(isRecord(target) ? target : {}));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) members.delete(key);
    else members.set(key, mergeStrategically(members.get(key), value, key));
  }
  return Object.fromEntries(members);
}

function mergeLists(list: readonly unknown[], patch: readonly unknown[], name: string): unknown[] {
  const mergeKey = MERGE_KEYS[name];
  if (mergeKey === undefined) throw badRequest(`strategic merge patches of ${name} are not modelled`);
  const keyOf = (element: unknown) => (isRecord(element) ? element[mergeKey] : undefined);
  const placeOf = (element: unknown) => list.findIndex((one) => keyOf(one) === keyOf(element));
  const merged = [...list];
  for (const element of patch) {
    const at = merged.findIndex((one) => keyOf(one) === keyOf(element));
    const isDeletion = isRecord(element) && element['$patch'] === 'delete';
    if (isDeletion && at >= 0) merged.splice(at, 1);
    else if (isDeletion) continue;
    else if (at < 0) merged.push(element);
    else merged[at] = mergeStrategically(merged[at], element);
  }
  // In the order of the patch, before those that it does not name, unless the list has them the other way round.
  const named = patch.flatMap((element) => merged.filter((one) => keyOf(one) === keyOf(element)));
  const others = merged.filter((one) => !named.includes(one));
  const ordered: unknown[] = [];
  while (named.length > 0 || others.length > 0) {
    const [next, other] = [placeOf(named[0]), placeOf(others[0])];
    const isOthersTurn = named.length === 0 || (others.length > 0 && next >= 0 && other >= 0 && other < next);
    ordered.push(isOthersTurn ? others.shift() : named.shift());
  }
  return ordered;
}

/** One operation of RFC 6902. Changes nothing; the result shares structure with `document`. */
function operate(document: unknown, operation: unknown): unknown {
  if (!isRecord(operation) || typeof operation['path'] !== 'string') throw doesNotFit();
  const path = parsePointer(operation['path']);
  const { op, from } = operation;
  switch (op) {
    case 'test':
      if (!jsonEqual(valueAt(document, path) ?? null, operation['value'] ?? null)) throw doesNotFit();
      return document;
    case 'add':
      return changed(document, path, { op, value: operation['value'] });
    // The server's library puts a member there that is not there yet.
    case 'replace':
      return changed(document, path, { op, value: operation['value'] });
    case 'remove':
      return changed(document, path, { op });
    case 'move':
    case 'copy': {
      if (typeof from !== 'string') throw doesNotFit();
      const source = parsePointer(from);
      const value = valueAt(document, source);
      // A member that is not there is copied as null; its object must be there.
      const isMissing = value === undefined && (op === 'move' || !isRecord(valueAt(document, source.slice(0, -1))));
      if (isMissing) throw doesNotFit();
      const rest = op === 'move' ? changed(document, source, { op: 'remove' }) : document;
      return changed(rest, path, { op: 'add', value: value ?? null });
    }
    default:
      throw doesNotFit();
  }
}

type Change = { op: 'add' | 'replace'; value: unknown } | { op: 'remove' };

function changed(node: unknown, path: readonly string[], change: Change): unknown {
  const [key, ...rest] = path;
  if (key === undefined) {
    if (change.op === 'remove') throw doesNotFit();
    return change.value;
  }
  if (Array.isArray(node)) return changedList(node, key, rest, change);
  if (!isRecord(node)) throw doesNotFit();
  const members = new Map(Object.entries(node));
  if (rest.length > 0) {
    if (!members.has(key)) throw doesNotFit();
    members.set(key, changed(members.get(key), rest, change));
  } else if (change.op !== 'remove') {
    members.set(key, change.value);
  } else if (!members.delete(key)) {
    throw doesNotFit();
  }
  return Object.fromEntries(members);
}

function changedList(list: readonly unknown[], key: string, rest: readonly string[], change: Change): unknown[] {
  const at = key === '-' && change.op === 'add' ? list.length : indexOf(key);
  const end = change.op === 'add' && rest.length === 0 ? list.length : list.length - 1;
  if (at > end) throw doesNotFit();
  if (rest.length > 0) return list.with(at, changed(list[at], rest, change));
  if (change.op === 'remove') return list.toSpliced(at, 1);
  return change.op === 'add' ? list.toSpliced(at, 0, change.value) : list.with(at, change.value);
}

function indexOf(key: string): number {
  if (!/^(0|[1-9]\d*)$/.test(key)) throw doesNotFit();
  return Number(key);
}

function valueAt(document: unknown, path: readonly string[]): unknown {
  let node = document;
  for (const key of path) {
    if (Array.isArray(node)) node = node[indexOf(key)];
    else if (isRecord(node) && Object.hasOwn(node, key)) node = node[key];
    else return undefined;
  }
  return node;
}

function parsePointer(pointer: string): string[] {
  if (pointer === '') return [];
  if (!pointer.startsWith('/')) throw doesNotFit();
  return pointer
    .slice(1)
    .split('/')
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** The server does not say which operation failed. */
function doesNotFit(): StatusError {
  return new StatusError(422, 'Invalid', 'the server rejected our request due to an error in our request', {});
}
