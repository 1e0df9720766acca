import type { KubeObject } from '../kube/model/objects.ts';

/** Stored objects never change, so each is parsed once. */
export function readOnce<T>(parse: (object: KubeObject) => T): (object: KubeObject) => T {
  const known = new WeakMap<KubeObject, { value: T }>();
  return (object) => {
    const found = known.get(object) ?? { value: parse(object) };
    known.set(object, found);
    return found.value;
  };
}
