import { noSuchPath } from './model/errors.ts';

/** What a path names. */
export interface Route {
  group: string;
  version: string;
  plural: string;
  namespace: string | undefined;
  /** Undefined for the collection. */
  name: string | undefined;
  /** `''` for the object itself. */
  subresource: string;
}

/** Parts of a namespace, as opposed to resources in it. */
const NAMESPACE_PARTS = new Set(['status', 'finalize']);

/** @throws StatusError 404 for a path that names no resource */
export function parsePath(path: string): Route {
  const [root, ...parts] = path.split('/').slice(1).map(decodeURIComponent);
  const isCore = root === 'api';
  const group = isCore ? '' : parts.shift();
  const version = parts.shift();
  if ((!isCore && root !== 'apis') || group === undefined || version === undefined) throw noSuchPath();
  const [first, second, third] = parts;
  const isInside = first === 'namespaces' && third !== undefined && !(parts.length === 3 && NAMESPACE_PARTS.has(third));
  const [plural, name, subresource = '', ...rest] = isInside ? parts.slice(2) : parts;
  if (plural === undefined || plural === '' || rest.length > 0) throw noSuchPath();
  return { group, version, plural, namespace: isInside ? second : undefined, name, subresource };
}
