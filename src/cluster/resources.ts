import * as z from 'zod';
import { objectMetaSchema } from '../crds/common.ts';
import { CONDITION_SUFFICIENT_IP } from '../crds/names.ts';
import { CONFIG_MAP, NAMESPACE, NODE, POD, readAs } from '../kube/kinds.ts';

/**
 * Kubernetes' own kinds, reduced to the fields that the control plane reads, so that a store of 10,000 pods stays
 * small. Writers send merge patches of differences, so that fields dropped here are not lost in the cluster.
 */

const podSchema = z.object({
  metadata: objectMetaSchema,
  spec: z.object({ nodeName: z.string().default(''), hostNetwork: z.boolean().default(false) }).prefault({}),
  status: z
    .object({ phase: z.string().default(''), podIPs: z.array(z.object({ ip: z.string() })).default([]) })
    .prefault({})
    .transform(({ phase, podIPs }) => ({ phase, podIPs: podIPs.map(({ ip }) => ip) })),
});
export type Pod = z.infer<typeof podSchema>;

const nodeConditionSchema = z.object({
  type: z.string(),
  status: z.string(),
  reason: z.string().optional(),
  message: z.string().optional(),
});
type NodeCondition = z.infer<typeof nodeConditionSchema>;

const quantities = z.record(z.string(), z.string()).default({});

const coreNodeSchema = z.object({
  metadata: objectMetaSchema,
  spec: z.object({ providerID: z.string().default('') }).prefault({}),
  status: z
    .object({
      capacity: quantities,
      allocatable: quantities,
      /** `Ready`, and our own: the other conditions change with every heartbeat, as does the text of `Ready`. */
      conditions: z
        .array(nodeConditionSchema)
        .default([])
        .transform((all) =>
          all.flatMap(({ type, status, ...words }): NodeCondition[] => {
            if (type === CONDITION_SUFFICIENT_IP) return [{ type, status, ...words }];
            return type === 'Ready' ? [{ type, status }] : [];
          }),
        ),
    })
    .prefault({}),
});
export type CoreNode = z.infer<typeof coreNodeSchema>;

const namespaceSchema = z.object({ metadata: objectMetaSchema });
export type Namespace = z.infer<typeof namespaceSchema>;

const configMapSchema = z.object({
  metadata: objectMetaSchema,
  data: z.record(z.string(), z.string()).default({}),
});
export type ConfigMap = z.infer<typeof configMapSchema>;

export const podResource = readAs<Pod>(POD, podSchema);
export const coreNodeResource = readAs<CoreNode>(NODE, coreNodeSchema);
export const namespaceResource = readAs<Namespace>(NAMESPACE, namespaceSchema);
export const configMapResource = readAs<ConfigMap>(CONFIG_MAP, configMapSchema);
