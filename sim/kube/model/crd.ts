import * as z from 'zod';
import type { ApiResource } from './resources.ts';
import { structuralSchema } from './schema.ts';

const manifestSchema = z.object({
  kind: z.literal('CustomResourceDefinition'),
  spec: z.object({
    group: z.string(),
    names: z.object({ kind: z.string(), plural: z.string() }),
    scope: z.enum(['Namespaced', 'Cluster']),
    versions: z.array(
      z.object({
        name: z.string(),
        served: z.boolean(),
        storage: z.boolean(),
        subresources: z.object({ status: z.unknown().optional() }).optional(),
        schema: z.object({ openAPIV3Schema: structuralSchema }),
        selectableFields: z.array(z.object({ jsonPath: z.string() })).default([]),
      }),
    ),
  }),
});

/**
 * The resource that a CustomResourceDefinition defines, in the version that is stored.
 *
 * @throws ZodError when it is no such manifest; Error when it stores no version
 */
export function resourceOfCrd(manifest: unknown): ApiResource {
  const { spec } = manifestSchema.parse(manifest);
  const { group, names } = spec;
  const version = spec.versions.find(({ served, storage }) => served && storage);
  if (version === undefined) throw new Error(`${names.plural}.${group} has no version that is served and stored`);
  return {
    group,
    version: version.name,
    plural: names.plural,
    kind: names.kind,
    namespaced: spec.scope === 'Namespaced',
    schema: version.schema.openAPIV3Schema,
    hasStatus: version.subresources?.status !== undefined,
    hasGeneration: true,
    unconditionalUpdate: false,
    selectableFields: version.selectableFields.map(({ jsonPath }) => jsonPath.replace(/^\./, '')),
    isBuiltIn: false,
  };
}
