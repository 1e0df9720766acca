import * as z from 'zod';
import { objectMetaSchema } from '../crds/common.ts';
import { API_GROUP, API_VERSION } from '../crds/define.ts';
import { type NetworkInterface, networkInterfaceSchema } from '../crds/network-interface.ts';
import { nodeSchema, type TerwayNode } from '../crds/node.ts';
import { type NodeRuntime, nodeRuntimeSchema } from '../crds/node-runtime.ts';
import { type PodEni, podEniSchema } from '../crds/pod-eni.ts';
import { type PodNetworking, podNetworkingSchema } from '../crds/pod-networking.ts';
import type { HasMetadata, Resource } from '../kube/types.ts';

/**
 * The kinds that the controllers read. Parsing keeps what is read and drops the rest, so that a store of 10,000 pods stays
 * small; writers send merge patches of differences, so that nothing that was dropped here is lost in the cluster.
 */

const podSchema = z.object({
  metadata: objectMetaSchema,
  spec: z.object({ nodeName: z.string().default(''), hostNetwork: z.boolean().default(false) }).prefault({}),
  status: z.object({ phase: z.string().default(''), podIP: z.string().default('') }).prefault({}),
});
export type Pod = z.infer<typeof podSchema>;

const quantities = z.record(z.string(), z.string()).default({});

const coreNodeSchema = z.object({
  metadata: objectMetaSchema,
  spec: z.object({ providerID: z.string().default('') }).prefault({}),
  status: z
    .object({
      capacity: quantities,
      allocatable: quantities,
      /** Only `Ready`: the others change with every heartbeat of a busy node. */
      conditions: z
        .array(z.object({ type: z.string(), status: z.string() }))
        .default([])
        .transform((all) => all.filter(({ type }) => type === 'Ready')),
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

function core<T extends HasMetadata>(
  kind: string,
  plural: string,
  namespaced: boolean,
  schema: z.ZodType<T>,
): Resource<T> {
  return { group: '', version: 'v1', plural, kind, namespaced, parse: (raw) => schema.parse(raw) };
}

function custom<T extends HasMetadata>(
  kind: string,
  plural: string,
  namespaced: boolean,
  schema: z.ZodType<T>,
): Resource<T> {
  return { group: API_GROUP, version: API_VERSION, plural, kind, namespaced, parse: (raw) => schema.parse(raw) };
}

export const podResource = core<Pod>('Pod', 'pods', true, podSchema);
export const coreNodeResource = core<CoreNode>('Node', 'nodes', false, coreNodeSchema);
export const namespaceResource = core<Namespace>('Namespace', 'namespaces', false, namespaceSchema);
export const configMapResource = core<ConfigMap>('ConfigMap', 'configmaps', true, configMapSchema);
export const podNetworkingResource = custom<PodNetworking>(
  'PodNetworking',
  'podnetworkings',
  false,
  podNetworkingSchema,
);
export const podEniResource = custom<PodEni>('PodENI', 'podenis', true, podEniSchema);
export const networkInterfaceResource = custom<NetworkInterface>(
  'NetworkInterface',
  'networkinterfaces',
  false,
  networkInterfaceSchema,
);
export const terwayNodeResource = custom<TerwayNode>('Node', 'nodes', false, nodeSchema);
export const nodeRuntimeResource = custom<NodeRuntime>('NodeRuntime', 'noderuntimes', false, nodeRuntimeSchema);
