import * as z from 'zod';

/** JSON schema keys that zod emits and the API server's structural schemas support. */
const KEPT_KEYS = new Set([
  'type',
  'description',
  'default',
  'enum',
  'format',
  'pattern',
  'minLength',
  'maxLength',
  'minimum',
  'maximum',
  'minItems',
  'maxItems',
  'required',
  'nullable',
]);

const objectSchema = z.record(z.string(), z.unknown());

/**
 * Turns a zod schema into an OpenAPI v3 structural schema, the dialect of CustomResourceDefinitions: objects have
 * either `properties` or `additionalProperties`, never both, and bounds that only restate the width of an integer are
 * left out.
 *
 * @param path names the schema in errors, such as `PodENI.spec`.
 * @throws Error naming the path when something has no structural form (unions, look-around patterns, unknown values).
 */
export function toStructuralSchema(schema: z.ZodType, path: string): Record<string, unknown> {
  const json = z.toJSONSchema(schema, {
    target: 'openapi-3.0',
    io: 'input',
    unrepresentable: 'throw',
    reused: 'inline',
  });
  return convert({ ...json }, path);
}

function convert(node: Record<string, unknown>, path: string): Record<string, unknown> {
  for (const forbidden of ['anyOf', 'oneOf', 'allOf', 'not', '$ref']) {
    if (forbidden in node) throw new Error(`${path}: ${forbidden} has no structural form`);
  }
  if (typeof node['type'] !== 'string' && node['x-kubernetes-preserve-unknown-fields'] !== true) {
    throw new Error(`${path}: a structural schema needs a type`);
  }
  const result: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(node)) {
    if (KEPT_KEYS.has(key) || key.startsWith('x-kubernetes-')) result[key] = value;
  }
  if (typeof result['pattern'] === 'string' && /\(\?[=!<]/.test(result['pattern'])) {
    throw new Error(`${path}: the API server's patterns are RE2 and do not support look-around: ${result['pattern']}`);
  }
  if (node['type'] === 'integer') narrowInteger(result);
  if (node['properties'] !== undefined) {
    const properties: Record<string, unknown> = {};
    for (const [name, child] of Object.entries(objectSchema.parse(node['properties']))) {
      properties[name] = convert(objectSchema.parse(child), `${path}.${name}`);
    }
    result['properties'] = properties;
  } else if (node['type'] === 'object' && node['additionalProperties'] !== undefined) {
    result['additionalProperties'] = convert(objectSchema.parse(node['additionalProperties']), `${path}.*`);
  }
  if (node['items'] !== undefined) result['items'] = convert(objectSchema.parse(node['items']), `${path}[]`);
  return result;
}

/** zod emits ±2^53 for every safe integer; the API server uses `format` for the width. */
function narrowInteger(result: Record<string, unknown>): void {
  if (result['minimum'] === Number.MIN_SAFE_INTEGER) delete result['minimum'];
  if (result['maximum'] === Number.MAX_SAFE_INTEGER) delete result['maximum'];
  result['format'] ??= 'int64';
}
