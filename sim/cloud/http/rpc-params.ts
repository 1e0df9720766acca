import type { ParamTree, ParamValue } from '../model/action.ts';

/** Parameters of a request as sent: those of the query and the form body. The body takes precedence. */
export type FlatParams = ReadonlyMap<string, string>;

/** Names with more parts than this are ignored: no API has them, and the tree stays shallow. */
const DEEPEST_NAME = 6;

/**
 * Decodes `a=b&c=d` as in a query or a form. Malformed percent signs are taken literally, as browsers and the gateway do, so this
 * never throws.
 */
export function decodeForm(encoded: string, into: Map<string, string>): void {
  for (const [name, value] of new URLSearchParams(encoded)) into.set(name, value);
}

/**
 * `{'Tag.1.Key': 'a'}` → `{Tag: {1: {Key: 'a'}}}`. The objects have no prototype, so that a hostile name such as `__proto__` has
 * no effect.
 */
export function toParamTree(flat: FlatParams): ParamTree {
  const root = emptyNode();
  for (const [name, value] of flat) {
    const parts = name.split('.');
    if (parts.length > DEEPEST_NAME || parts.includes('')) continue;
    let node = root;
    for (const part of parts.slice(0, -1)) {
      const existing = node[part];
      // In `Tag=x&Tag.1.Key=y` the structure replaces the scalar.
      const child = isNode(existing) ? existing : emptyNode();
      node[part] = child;
      node = child;
    }
    const leaf = parts.at(-1) ?? '';
    if (!isNode(node[leaf])) node[leaf] = value;
  }
  return root;
}

interface Node {
  [name: string]: ParamValue | Node;
}

function emptyNode(): Node {
  return Object.create(null);
}

function isNode(value: ParamValue | Node): value is Node {
  return typeof value === 'object';
}
