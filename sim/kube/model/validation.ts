import { jsonEqual } from '../../../src/kube/patch.ts';
import { isRecord } from '../../../src/util/json.ts';
import type { StatusCause } from './errors.ts';
import { memberSchema, type StructuralSchema } from './schema.ts';

const DATE_TIME = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;
const INT_LIMITS: Readonly<Record<string, number>> = { int32: 2 ** 31, int64: 2 ** 63 };

/**
 * The schema violations of `value`. Unchanged parts are not checked, so that an object which only an older schema allowed can
 * still be written (ratcheting).
 *
 * @param path of the value, such as `spec`
 * @param old what was at that place before; undefined when nothing was
 */
export function validate(schema: StructuralSchema, value: unknown, path: string, old?: unknown): StatusCause[] {
  if (old !== undefined && jsonEqual(value, old)) return [];
  if (value === null && schema.nullable === true) return [];
  const wrongType = typeProblem(schema, value, path);
  if (wrongType !== undefined) return [wrongType];
  const own = schema.enum === undefined ? [] : enumProblem(schema.enum, value, path);
  if (typeof value === 'string') return [...own, ...stringProblems(schema, value, path)];
  if (typeof value === 'number') return [...own, ...numberProblems(schema, value, path)];
  if (Array.isArray(value)) return [...own, ...listProblems(schema, value, path, old)];
  if (isRecord(value)) return [...own, ...objectProblems(schema, value, path, old)];
  return own;
}

function typeProblem(schema: StructuralSchema, value: unknown, path: string): StatusCause | undefined {
  const { type } = schema;
  if (type === undefined) return undefined;
  const actual = typeOf(value);
  if (actual === type || (type === 'number' && actual === 'integer')) return undefined;
  const message = `Invalid value: "${actual}": ${path} in body must be of type ${type}: "${actual}"`;
  return { reason: 'FieldValueTypeInvalid', message, field: path };
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
}

function enumProblem(allowed: readonly unknown[], value: unknown, field: string): StatusCause[] {
  if (allowed.some((candidate) => jsonEqual(candidate, value))) return [];
  const supported = allowed.map((candidate) => JSON.stringify(candidate)).join(', ');
  const message = `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported}`;
  return [{ reason: 'FieldValueNotSupported', message, field }];
}

function stringProblems(schema: StructuralSchema, value: string, path: string): StatusCause[] {
  const causes: StatusCause[] = [];
  const { minLength, maxLength, pattern, format } = schema;
  const quoted = JSON.stringify(value);
  if (maxLength !== undefined && codePoints(value) > maxLength) {
    const message = `Too long: may not be more than ${maxLength} bytes`;
    causes.push({ reason: 'FieldValueTooLong', message, field: path });
  }
  if (minLength !== undefined && codePoints(value) < minLength) {
    causes.push(badValue(path, quoted, `should be at least ${minLength} chars long`));
  }
  if (pattern !== undefined && !new RegExp(pattern, 'u').test(value)) {
    causes.push(badValue(path, quoted, `should match '${pattern}'`));
  }
  if (format === 'date-time' && !DATE_TIME.test(value)) {
    const message = `Invalid value: ${quoted}: ${path} in body must be of type date-time: ${quoted}`;
    causes.push({ reason: 'FieldValueTypeInvalid', message, field: path });
  }
  return causes;
}

/** Lengths are counted in these. */
function codePoints(text: string): number {
  return Array.from(text).length;
}

function numberProblems(schema: StructuralSchema, value: number, path: string): StatusCause[] {
  const causes: StatusCause[] = [];
  const { minimum, maximum, format } = schema;
  if (minimum !== undefined && value < minimum) {
    causes.push(badValue(path, String(value), `should be greater than or equal to ${minimum}`));
  }
  if (maximum !== undefined && value > maximum) {
    causes.push(badValue(path, String(value), `should be less than or equal to ${maximum}`));
  }
  const limit = INT_LIMITS[format ?? ''];
  if (limit !== undefined && (value >= limit || value < -limit)) {
    causes.push(badValue(path, String(value), `must be of type ${format}: "${value}"`));
  }
  return causes;
}

function listProblems(schema: StructuralSchema, value: readonly unknown[], path: string, old: unknown): StatusCause[] {
  const { minItems, maxItems, items } = schema;
  const causes: StatusCause[] = [];
  if (minItems !== undefined && value.length < minItems) {
    causes.push(badValue(path, String(value.length), `should have at least ${minItems} items`));
  }
  if (maxItems !== undefined && value.length > maxItems) {
    const message = `Too many: ${value.length}: must have at most ${maxItems} items`;
    causes.push({ reason: 'FieldValueTooMany', message, field: path });
  }
  if (schema['x-kubernetes-list-type'] === 'map') causes.push(...duplicates(schema, value, path));
  if (items === undefined) return causes;
  for (const [at, element] of value.entries()) {
    causes.push(...validate(items, element, `${path}[${at}]`, counterpart(schema, element, old)));
  }
  return causes;
}

/** The keys of a list's element that make it that element. */
function identity(schema: StructuralSchema, element: unknown): Record<string, unknown> {
  const keys = schema['x-kubernetes-list-map-keys'] ?? [];
  return Object.fromEntries(keys.map((key) => [key, isRecord(element) ? element[key] : undefined]));
}

function duplicates(schema: StructuralSchema, value: readonly unknown[], path: string): StatusCause[] {
  const seen = new Set<string>();
  return value.flatMap((element, at) => {
    const id = JSON.stringify(identity(schema, element));
    if (!seen.has(id)) {
      seen.add(id);
      return [];
    }
    return [{ reason: 'FieldValueDuplicate', message: `Duplicate value: ${id}`, field: `${path}[${at}]` }];
  });
}

/** The element that was this one before: known only in lists whose elements have keys. */
function counterpart(schema: StructuralSchema, element: unknown, old: unknown): unknown {
  if (schema['x-kubernetes-list-type'] !== 'map' || !Array.isArray(old)) return undefined;
  const id = JSON.stringify(identity(schema, element));
  return old.find((candidate: unknown) => JSON.stringify(identity(schema, candidate)) === id);
}

function objectProblems(
  schema: StructuralSchema,
  value: Readonly<Record<string, unknown>>,
  path: string,
  old: unknown,
): StatusCause[] {
  const causes: StatusCause[] = [];
  for (const name of schema.required ?? []) {
    if (Object.hasOwn(value, name)) continue;
    causes.push({ reason: 'FieldValueRequired', message: 'Required value', field: `${path}.${name}` });
  }
  for (const [name, member] of Object.entries(value)) {
    const known = memberSchema(schema, name);
    const before = isRecord(old) && Object.hasOwn(old, name) ? old[name] : undefined;
    if (known !== undefined) causes.push(...validate(known, member, `${path}.${name}`, before));
  }
  return causes;
}

function badValue(path: string, value: string, rule: string): StatusCause {
  return { reason: 'FieldValueInvalid', message: `Invalid value: ${value}: ${path} in body ${rule}`, field: path };
}
