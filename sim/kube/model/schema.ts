import * as z from 'zod';
import { isRecord, setMember } from '../../../src/util/json.ts';

/** OpenAPI v3 as CustomResourceDefinitions write it, as far as this model enforces it. CEL rules are not. */
export interface StructuralSchema {
  type?: string | undefined;
  properties?: Record<string, StructuralSchema> | undefined;
  additionalProperties?: StructuralSchema | boolean | undefined;
  items?: StructuralSchema | undefined;
  required?: string[] | undefined;
  enum?: unknown[] | undefined;
  pattern?: string | undefined;
  format?: string | undefined;
  minLength?: number | undefined;
  maxLength?: number | undefined;
  minimum?: number | undefined;
  maximum?: number | undefined;
  minItems?: number | undefined;
  maxItems?: number | undefined;
  nullable?: boolean | undefined;
  default?: unknown;
  'x-kubernetes-preserve-unknown-fields'?: boolean | undefined;
  'x-kubernetes-int-or-string'?: boolean | undefined;
  'x-kubernetes-list-type'?: string | undefined;
  'x-kubernetes-list-map-keys'?: string[] | undefined;
  'x-kubernetes-map-type'?: string | undefined;
}

export const structuralSchema: z.ZodType<StructuralSchema> = z.object({
  type: z.string().optional(),
  get properties() {
    return z.record(z.string(), structuralSchema).optional();
  },
  get additionalProperties() {
    return z.union([z.boolean(), structuralSchema]).optional();
  },
  get items() {
    return structuralSchema.optional();
  },
  required: z.array(z.string()).optional(),
  enum: z.array(z.unknown()).optional(),
  pattern: z.string().optional(),
  format: z.string().optional(),
  minLength: z.number().optional(),
  maxLength: z.number().optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  minItems: z.number().optional(),
  maxItems: z.number().optional(),
  nullable: z.boolean().optional(),
  default: z.unknown().optional(),
  'x-kubernetes-preserve-unknown-fields': z.boolean().optional(),
  'x-kubernetes-int-or-string': z.boolean().optional(),
  'x-kubernetes-list-type': z.string().optional(),
  'x-kubernetes-list-map-keys': z.array(z.string()).optional(),
  'x-kubernetes-map-type': z.string().optional(),
});

/**
 * What the server stores of a value: fields that the schema does not know are dropped, nulls where none may stand too, and
 * defaults are filled in. The argument is not changed.
 */
export function normalize(schema: StructuralSchema, value: unknown): unknown {
  if (Array.isArray(value)) {
    const { items } = schema;
    return items === undefined ? value : value.map((element: unknown) => normalize(items, element));
  }
  if (!isRecord(value)) return value;
  const result: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value)) {
    const known = memberSchema(schema, name);
    if (known === undefined) {
      if (keepsUnknown(schema)) setMember(result, name, member);
    } else if (member !== null || known.nullable === true) {
      setMember(result, name, normalize(known, member));
    }
  }
  for (const [name, known] of Object.entries(schema.properties ?? {})) {
    if (known.default === undefined || Object.hasOwn(result, name)) continue;
    setMember(result, name, normalize(known, known.default));
  }
  return result;
}

/** The schema of a member; undefined when the object's schema does not name it. */
export function memberSchema(schema: StructuralSchema, name: string): StructuralSchema | undefined {
  const { properties, additionalProperties } = schema;
  if (properties !== undefined && Object.hasOwn(properties, name)) return properties[name];
  return typeof additionalProperties === 'object' ? additionalProperties : undefined;
}

function keepsUnknown(schema: StructuralSchema): boolean {
  return schema['x-kubernetes-preserve-unknown-fields'] === true || schema.additionalProperties === true;
}
