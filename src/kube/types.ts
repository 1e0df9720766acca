/** `metav1.OwnerReference`. */
export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean | undefined;
  blockOwnerDeletion?: boolean | undefined;
}

/**
 * `metav1.ObjectMeta` as plain JSON: timestamps stay RFC 3339 strings, and fields that are not named here are kept.
 * Optional fields admit `undefined` so that types inferred from zod schemas fit.
 */
export interface ObjectMeta {
  name: string;
  namespace?: string | undefined;
  uid?: string | undefined;
  resourceVersion?: string | undefined;
  generation?: number | undefined;
  creationTimestamp?: string | undefined;
  deletionTimestamp?: string | undefined;
  labels?: Record<string, string> | undefined;
  annotations?: Record<string, string> | undefined;
  ownerReferences?: OwnerReference[] | undefined;
  finalizers?: string[] | undefined;
}

/** What every function of this layer needs of an object; interfaces without an index signature fit too. */
export interface HasMetadata {
  apiVersion?: string | undefined;
  kind?: string | undefined;
  metadata: ObjectMeta;
}

/** The location of a kind in the API, and how its objects are parsed. */
export interface Resource<T extends HasMetadata> {
  /** `''` for the core group. */
  group: string;
  version: string;
  plural: string;
  kind: string;
  namespaced: boolean;
  /**
   * Checks and types what the server sent. Runs once per received object. Without it the JSON is taken as `T` unchecked,
   * which is safe only for kinds whose schema the server itself enforces.
   */
  parse?: (raw: unknown) => T;
}

/** Name, and namespace when the kind has one. `object.metadata` fits. */
export interface ObjectKey {
  name: string;
  namespace?: string | undefined;
}

/** `apiVersion` of the resource's objects. */
export function apiVersionOf(resource: { group: string; version: string }): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
}

/** `namespace/name`, or `name` for a cluster-scoped object: the key of stores and work queues. */
export function keyOf(meta: ObjectKey): string {
  return meta.namespace === undefined || meta.namespace === '' ? meta.name : `${meta.namespace}/${meta.name}`;
}

/** The inverse of {@link keyOf}. */
export function splitKey(key: string): ObjectKey {
  const slash = key.indexOf('/');
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/**
 * Orders two resource versions of one resource as decimal numbers of any length: negative when `a` is older, 0 when equal,
 * positive when newer. Kubernetes documents them as comparable since 1.35; every etcd-backed server before it numbers the
 * same way. An unknown version (`undefined`, `''`) is older than every known one.
 */
export function compareResourceVersions(a: string | undefined, b: string | undefined): number {
  const left = a ?? '';
  const right = b ?? '';
  // Canonical decimals without leading zeros: the longer one is the larger one. Avoids two BigInts per watch event.
  if (left.length !== right.length) return left.length - right.length;
  if (left === right) return 0;
  return left < right ? -1 : 1;
}
