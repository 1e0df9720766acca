import type { ChangeOrigin, StoreHandler } from '../kube/store.ts';

/** Passes on the keys that a controller must look at, until the returned function is called. */
export type Watch = (add: (key: string) => void) => () => void;

/** Which keys a change to an object concerns. Objects already in the store count as added. */
export interface KeysOf<T> {
  added?(object: T, origin: ChangeOrigin): readonly string[];
  changed?(before: T, after: T, origin: ChangeOrigin): readonly string[];
  removed?(last: T): readonly string[];
}

export function watch<T>(source: { addHandler(handler: StoreHandler<T>): () => void }, keysOf: KeysOf<T>): Watch {
  return (add) => {
    const addAll = (keys: readonly string[] = []) => {
      for (const key of keys) add(key);
    };
    return source.addHandler({
      onAdd: (object, origin) => addAll(keysOf.added?.(object, origin)),
      onUpdate: (before, after, origin) => addAll(keysOf.changed?.(before, after, origin)),
      onDelete: (last) => addAll(keysOf.removed?.(last)),
    });
  };
}
