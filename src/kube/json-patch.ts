import { isRecord } from '../util/json.ts';
import { cloneJson, jsonEqual } from './patch.ts';

/** One operation of a JSON patch (RFC 6902). */
export type JsonPatchOperation =
  | { op: 'add' | 'replace' | 'test'; path: string; value: unknown }
  | { op: 'remove'; path: string };

/**
 * The operations that turn `before` into `after`, each as deep in the tree as possible, so that equal parts stay untouched.
 * Both are plain JSON; a member that is `undefined` counts as absent.
 *
 * Lists are compared element by element; a list that became shorter is replaced as a whole.
 */
export function diffJsonPatch(before: unknown, after: unknown, path = ''): JsonPatchOperation[] {
  if (jsonEqual(before, after)) return [];
  if (isRecord(before) && isRecord(after)) return diffMembers(before, after, path);
  if (Array.isArray(before) && Array.isArray(after) && after.length >= before.length) {
    const changed = before.flatMap((element, at) => diffJsonPatch(element, after[at], `${path}/${at}`));
    const added = after
      .slice(before.length)
      .map((value): JsonPatchOperation => ({ op: 'add', path: `${path}/-`, value: cloneJson<unknown>(value) }));
    return [...changed, ...added];
  }
  return [{ op: 'replace', path, value: cloneJson(after) }];
}

function diffMembers(
  before: Record<string, unknown>,
  after: Record<string, unknown>,
  path: string,
): JsonPatchOperation[] {
  const operations: JsonPatchOperation[] = [];
  for (const key of Object.keys(before)) {
    if (before[key] !== undefined && ownValue(after, key) === undefined) {
      operations.push({ op: 'remove', path: `${path}/${escapePointer(key)}` });
    }
  }
  for (const key of Object.keys(after)) {
    const [previous, next] = [ownValue(before, key), after[key]];
    const place = `${path}/${escapePointer(key)}`;
    if (next === undefined) continue;
    if (previous === undefined) operations.push({ op: 'add', path: place, value: cloneJson(next) });
    else operations.push(...diffJsonPatch(previous, next, place));
  }
  return operations;
}

function ownValue(object: Record<string, unknown>, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** RFC 6901: `~` and `/` of a member's name. */
export function escapePointer(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}
