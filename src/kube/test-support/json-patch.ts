import type { JsonPatchOperation } from '../json-patch.ts';

/** Applies a patch as the API server does (RFC 6902); independent of the code that creates patches. @throws on a missing path */
export function applyJsonPatch(document: unknown, operations: readonly JsonPatchOperation[]): unknown {
  const root: Record<string, unknown> = { root: structuredClone(document) };
  for (const operation of operations) {
    const keys = ['root', ...operation.path.split('/').slice(1).map(unescapePointer)];
    const last = keys.pop() ?? '';
    let parent: unknown = root;
    for (const key of keys) parent = child(parent, key, operation.path);
    if (Array.isArray(parent)) applyToList(parent, last, operation);
    else if (typeof parent === 'object' && parent !== null) applyToObject(parent, last, operation);
    else throw new Error(`${operation.path}: no such place`);
  }
  return root['root'];
}

function applyToList(list: unknown[], key: string, operation: JsonPatchOperation): void {
  const at = key === '-' ? list.length : Number(key);
  if (!Number.isInteger(at) || at > list.length) throw new Error(`${operation.path}: no such element`);
  if (operation.op === 'remove') list.splice(at, 1);
  else list.splice(at, operation.op === 'add' ? 0 : 1, structuredClone(operation.value));
}

function applyToObject(object: object, key: string, operation: JsonPatchOperation): void {
  if (operation.op !== 'add' && !Object.hasOwn(object, key)) throw new Error(`${operation.path}: no such member`);
  if (operation.op === 'remove') Reflect.deleteProperty(object, key);
  else Object.defineProperty(object, key, { value: structuredClone(operation.value), ...WRITABLE });
}

/** `__proto__` is a name like any other. */
const WRITABLE = { writable: true, enumerable: true, configurable: true };

function child(parent: unknown, key: string, path: string): unknown {
  if (typeof parent !== 'object' || parent === null || !Object.hasOwn(parent, key))
    throw new Error(`${path}: no ${key}`);
  const value: unknown = Reflect.get(parent, key);
  return value;
}

function unescapePointer(key: string): string {
  return key.replaceAll('~1', '/').replaceAll('~0', '~');
}
