import { isRecord } from '../../../src/util/json.ts';
import type { ManagedFields } from './field-sets.ts';

/** `metav1.ObjectMeta` as plain JSON. What is stored is shared, so nobody may change it. */
export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation?: number;
  readonly creationTimestamp: string;
  readonly deletionTimestamp?: string;
  readonly deletionGracePeriodSeconds?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  /** Of custom kinds. */
  readonly managedFields?: readonly ManagedFields[];
  readonly [field: string]: unknown;
}

/** An object as the model keeps it. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Metadata;
  readonly [field: string]: unknown;
}

/** An object with its JSON, which is made once and sent to everybody. */
export interface StoredObject {
  /** `namespace/name`, or `name`: the order of lists. */
  readonly key: string;
  readonly version: number;
  readonly object: KubeObject;
  /** The JSON after the opening brace, kind and apiVersion left out: lists of built-in kinds have items without them. */
  readonly tail: string;
}

/** @param object must not be changed any more */
export function store(key: string, version: number, object: KubeObject): StoredObject {
  const { kind: _kind, apiVersion: _apiVersion, ...rest } = object;
  return { key, version, object, tail: JSON.stringify(rest).slice(1) };
}

/** The whole object as JSON. */
export function textOf({ object, tail }: StoredObject): string {
  return `{"kind":${JSON.stringify(object.kind)},"apiVersion":${JSON.stringify(object.apiVersion)},${tail}`;
}

export function withVersion(object: KubeObject, version: number): KubeObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
}

/** `namespace/name`, or `name` of a cluster-scoped object. */
export function keyOf(namespace: string | undefined, name: string): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** A member that is an object; empty when it is something else. */
export function recordAt(value: unknown, member: string): Readonly<Record<string, unknown>> {
  const found = isRecord(value) && Object.hasOwn(value, member) ? value[member] : undefined;
  return isRecord(found) ? found : {};
}

export function stringAt(value: unknown, member: string): string | undefined {
  const found = isRecord(value) && Object.hasOwn(value, member) ? value[member] : undefined;
  return typeof found === 'string' ? found : undefined;
}

/** Texts by name, a null read as the empty text as the server does; what is no object stays as it is. */
export function textsOf(value: unknown): unknown {
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, text]) => [key, text ?? '']));
}
