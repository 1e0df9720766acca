import { jsonEqual } from '../../../src/kube/patch.ts';
import { isRecord } from '../../../src/util/json.ts';
import type { StructuralSchema } from './schema.ts';

/**
 * Fields of an object, as `fieldsV1` of `managedFields` names them: `f:zone` a member, `v:"a"` an element of a set, `k:{"type":"Ready"}`
 * one of a list with keys, and `.` the field itself beside fields in it. One that stands alone is empty.
 */
export interface FieldSet {
  readonly [element: string]: FieldSet;
}

/** An entry of `metadata.managedFields`: who has written which fields, and how. */
export interface ManagedFields {
  readonly manager: string;
  readonly operation: 'Apply' | 'Update';
  readonly apiVersion: string;
  /** Absent where an apply has changed nothing. */
  readonly time?: string;
  readonly fieldsType: 'FieldsV1';
  readonly fieldsV1: FieldSet;
  readonly subresource?: string;
}

/** Of objects whose fields have owners of their own; undefined: none. */
type Fields = FieldSet | undefined;

const ALONE: FieldSet = {};

/** What a write has changed: `taken` belongs to its author, `removed` to nobody any more. */
export interface FieldChanges {
  taken: Fields;
  removed: Fields;
}

export function union(a: Fields, b: Fields): Fields {
  if (a === undefined || b === undefined) return a ?? b;
  const children = [...new Set([...elementsOf(a), ...elementsOf(b)])].map(
    (element) => [element, union(a[element], b[element])] as const,
  );
  return fieldOf(isNamed(a) || isNamed(b), children);
}

export function difference(a: Fields, b: Fields): Fields {
  if (a === undefined || b === undefined) return a;
  const children = elementsOf(a).map((element) => [element, difference(a[element], b[element])] as const);
  return fieldOf(isNamed(a) && !isNamed(b), children);
}

export function intersection(a: Fields, b: Fields): Fields {
  if (a === undefined || b === undefined) return undefined;
  const children = elementsOf(a).map((element) => [element, intersection(a[element], b[element])] as const);
  return fieldOf(isNamed(a) && isNamed(b), children);
}

/** Paths as causes of a refusal have them: `.spec.zone`. */
export function pathsOf(fields: Fields, prefix = ''): string[] {
  if (fields === undefined) return [];
  const inside = elementsOf(fields).flatMap((element) => {
    const name = element.startsWith('f:') ? `.${element.slice(2)}` : `[${element.slice(2)}]`;
    return pathsOf(fields[element], prefix + name);
  });
  return isNamed(fields) && prefix !== '' ? [prefix, ...inside] : inside;
}

/** What differs between two values of a field. */
export function compare(before: unknown, after: unknown, schema: StructuralSchema | undefined): FieldChanges {
  if (before === after) return { taken: undefined, removed: undefined };
  const [had, has] = [partsOf(before, schema), partsOf(after, schema)];
  const isWhole = (before !== undefined && had === undefined) || (after !== undefined && has === undefined);
  if (isWhole || (had?.size ?? 0) + (has?.size ?? 0) === 0) {
    if (before === undefined) return { taken: ALONE, removed: undefined };
    if (after === undefined) return { taken: undefined, removed: ALONE };
    return { taken: jsonEqual(before, after) ? undefined : ALONE, removed: undefined };
  }
  const changes = [...new Set([...(had?.keys() ?? []), ...(has?.keys() ?? [])])].map((element) => {
    const [was, is] = [had?.get(element), has?.get(element)];
    return [element, compare(was?.value, is?.value, (is ?? was)?.schema)] as const;
  });
  return {
    taken: fieldOf(
      before === undefined,
      changes.map(([element, { taken }]) => [element, taken]),
    ),
    removed: fieldOf(
      after === undefined,
      changes.map(([element, { removed }]) => [element, removed]),
    ),
  };
}

/** The fields that an applied configuration names. */
export function fieldsIn(value: unknown, schema: StructuralSchema | undefined, isNamed = false): Fields {
  const parts = partsOf(value, schema);
  if (parts === undefined || parts.size === 0) return ALONE;
  const children = [...parts].map(([element, part]) => {
    const isDeclared = schema?.properties !== undefined && Object.hasOwn(schema.properties, element.slice(2));
    return [element, fieldsIn(part.value, part.schema, !isDeclared)] as const;
  });
  return fieldOf(isNamed, children);
}

/** Puts an applied configuration over a value. */
export function mergeApplied(value: unknown, applied: unknown, schema: StructuralSchema | undefined): unknown {
  const [had, has] = [partsOf(value, schema), partsOf(applied, schema)];
  if (had === undefined || has === undefined) return applied;
  const elements = [...new Set([...had.keys(), ...has.keys()])];
  return containerOf(
    Array.isArray(applied),
    elements.map((element) => {
      const [was, is] = [had.get(element), has.get(element)];
      if (is === undefined) return [element, was?.value];
      return [element, was === undefined ? is.value : mergeApplied(was.value, is.value, is.schema)];
    }),
  );
}

/** A value without the fields that have lost their last owner. */
export function withoutFields(value: unknown, fields: Fields, schema: StructuralSchema | undefined): unknown {
  if (fields === undefined) return value;
  const parts = partsOf(value, schema);
  if (parts === undefined) return isNamed(fields) ? undefined : value;
  const left = [...parts].flatMap(([element, part]): [string, unknown][] => {
    const kept = withoutFields(part.value, fields[element], part.schema);
    return kept === undefined ? [] : [[element, kept]];
  });
  // What was there for the sake of these fields goes with them.
  return left.length === 0 ? undefined : containerOf(Array.isArray(value), left);
}

interface Part {
  value: unknown;
  schema: StructuralSchema | undefined;
}

/** What has owners of its own within a value; undefined: the value has one as a whole. */
function partsOf(value: unknown, schema: StructuralSchema | undefined): Map<string, Part> | undefined {
  if (Array.isArray(value)) return elementPartsOf(value, schema);
  if (!isRecord(value) || schema?.['x-kubernetes-map-type'] === 'atomic') return undefined;
  return new Map(
    Object.entries(value).map(([name, member]) => [`f:${name}`, { value: member, schema: schemaOf(schema, name) }]),
  );
}

function elementPartsOf(list: readonly unknown[], schema: StructuralSchema | undefined): Map<string, Part> | undefined {
  const { items } = schema ?? {};
  const keys = schema?.['x-kubernetes-list-map-keys']?.toSorted() ?? [];
  switch (schema?.['x-kubernetes-list-type']) {
    case 'set':
      return new Map(list.map((value) => [`v:${JSON.stringify(value)}`, { value, schema: items }]));
    case 'map':
      return new Map(
        list.map((value) => {
          const key = keys.map((name) => [name, isRecord(value) ? value[name] : undefined]);
          return [`k:${JSON.stringify(Object.fromEntries(key))}`, { value, schema: items }];
        }),
      );
    default:
      return undefined;
  }
}

function schemaOf(schema: StructuralSchema | undefined, name: string): StructuralSchema | undefined {
  const { properties, additionalProperties } = schema ?? {};
  if (properties !== undefined && Object.hasOwn(properties, name)) return properties[name];
  return typeof additionalProperties === 'object' ? additionalProperties : undefined;
}

function containerOf(isList: boolean, parts: readonly (readonly [element: string, value: unknown])[]): unknown {
  if (isList) return parts.map(([, value]) => value);
  return Object.fromEntries(parts.map(([element, value]) => [element.slice(2), value]));
}

/** Whether the field itself is meant, and not only fields in it. */
function isNamed(fields: FieldSet): boolean {
  return Object.hasOwn(fields, '.') || Object.keys(fields).length === 0;
}

function elementsOf(fields: FieldSet): string[] {
  return Object.keys(fields).filter((element) => element !== '.');
}

function fieldOf(isNamed: boolean, children: readonly (readonly [element: string, fields: Fields])[]): Fields {
  const present = children.flatMap(([element, fields]) => (fields === undefined ? [] : [[element, fields] as const]));
  if (present.length === 0) return isNamed ? ALONE : undefined;
  return Object.fromEntries(isNamed ? [['.', ALONE], ...present] : present);
}
