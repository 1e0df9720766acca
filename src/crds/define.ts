import type * as z from 'zod';
import { toStructuralSchema } from './structural.ts';

/** API group of all kinds of this product. */
export const API_GROUP = 'network.alibabacloud.com';
/** The only served and stored version. */
export const API_VERSION = 'v1beta1';

/**
 * Upstream replaces a CRD whose version annotation is lower than its own. Ours stays above every upstream version, so
 * that a roll-back to upstream's control plane does not drop our fields.
 */
const CRD_VERSION = 'v1.0.0';

export interface PrinterColumn {
  name: string;
  type: 'string' | 'integer' | 'date' | 'boolean';
  jsonPath: string;
  description?: string;
  /** 0 (default) is always shown, 1 only with `-o wide`. */
  priority?: 0 | 1;
}

/** The definition of a kind; the content of its schemas is in the type parameters. */
export interface CrdDefinition<Spec extends z.ZodType, Status extends z.ZodType> {
  kind: string;
  plural: string;
  singular: string;
  shortNames: string[];
  scope: 'Cluster' | 'Namespaced';
  description: string;
  spec: Spec;
  status: Status;
  printerColumns: PrinterColumn[];
}

/** A custom resource definition in the form that `kubectl apply` accepts. */
export interface CrdManifest {
  apiVersion: 'apiextensions.k8s.io/v1';
  kind: 'CustomResourceDefinition';
  metadata: { name: string; annotations: Record<string, string> };
  spec: Record<string, unknown>;
}

/** A kind: its schemas for parsing, and its manifest. */
export interface Crd<Spec extends z.ZodType, Status extends z.ZodType> extends CrdDefinition<Spec, Status> {
  apiVersion: string;
  manifest: () => CrdManifest;
}

/**
 * Defines one kind. The manifest is derived from the same zod schemas that parse the objects, so the two cannot drift.
 *
 * @throws Error when the schema uses something that a structural schema cannot express.
 */
export function defineCrd<Spec extends z.ZodType, Status extends z.ZodType>(
  definition: CrdDefinition<Spec, Status>,
): Crd<Spec, Status> {
  return {
    ...definition,
    apiVersion: `${API_GROUP}/${API_VERSION}`,
    manifest: () => manifestOf(definition),
  };
}

/** API location and parser of a kind: the `Resource` of src/kube, which this folder does not import. */
export function resourceOf<T>(
  { kind, plural, scope }: Pick<CrdDefinition<z.ZodType, z.ZodType>, 'kind' | 'plural' | 'scope'>,
  schema: z.ZodType<T>,
) {
  return {
    group: API_GROUP,
    version: API_VERSION,
    plural,
    kind,
    namespaced: scope === 'Namespaced',
    parse: (raw: unknown): T => schema.parse(raw),
  };
}

function manifestOf(definition: CrdDefinition<z.ZodType, z.ZodType>): CrdManifest {
  const { kind, plural, singular, shortNames, scope, description, printerColumns } = definition;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: `${plural}.${API_GROUP}`,
      annotations: { 'crd.network.alibabacloud.com/version': CRD_VERSION },
    },
    spec: {
      group: API_GROUP,
      names: { kind, listKind: `${kind}List`, plural, singular, shortNames, categories: ['terway'] },
      scope,
      versions: [
        {
          name: API_VERSION,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: printerColumns,
          schema: {
            openAPIV3Schema: {
              type: 'object',
              description,
              properties: {
                apiVersion: { type: 'string' },
                kind: { type: 'string' },
                metadata: { type: 'object' },
                spec: toStructuralSchema(definition.spec, `${kind}.spec`),
                status: toStructuralSchema(definition.status, `${kind}.status`),
              },
            },
          },
        },
      ],
    },
  };
}
