import * as z from 'zod';
import { objectMetaSchema } from '../crds/common.ts';
import { API_GROUP, API_VERSION } from '../crds/define.ts';
import { nodeSchema, type TerwayNode } from '../crds/node.ts';
import { type NodeRuntime, nodeRuntimeSchema } from '../crds/node-runtime.ts';
import { type PodEni, podEniSchema } from '../crds/pod-eni.ts';
import type { Resource } from '../kube/types.ts';

/** The kinds that the agent reads or writes; parsing keeps what is read. */

const podSchema = z.object({
  metadata: objectMetaSchema,
  spec: z.object({ nodeName: z.string().default('') }).prefault({}),
  status: z.object({ phase: z.string().default('') }).prefault({}),
});
export type Pod = z.infer<typeof podSchema>;

const coreNodeSchema = z.object({
  metadata: objectMetaSchema,
  status: z
    .object({ addresses: z.array(z.object({ type: z.string(), address: z.string() })).default([]) })
    .prefault({}),
});
export type CoreNode = z.infer<typeof coreNodeSchema>;

export const podResource: Resource<Pod> = {
  group: '',
  version: 'v1',
  plural: 'pods',
  kind: 'Pod',
  namespaced: true,
  parse: (raw) => podSchema.parse(raw),
};
export const coreNodeResource: Resource<CoreNode> = {
  group: '',
  version: 'v1',
  plural: 'nodes',
  kind: 'Node',
  namespaced: false,
  parse: (raw) => coreNodeSchema.parse(raw),
};
export const podEniResource: Resource<PodEni> = {
  group: API_GROUP,
  version: API_VERSION,
  plural: 'podenis',
  kind: 'PodENI',
  namespaced: true,
  parse: (raw) => podEniSchema.parse(raw),
};
export const terwayNodeResource: Resource<TerwayNode> = {
  group: API_GROUP,
  version: API_VERSION,
  plural: 'nodes',
  kind: 'Node',
  namespaced: false,
  parse: (raw) => nodeSchema.parse(raw),
};
export const nodeRuntimeResource: Resource<NodeRuntime> = {
  group: API_GROUP,
  version: API_VERSION,
  plural: 'noderuntimes',
  kind: 'NodeRuntime',
  namespaced: false,
  parse: (raw) => nodeRuntimeSchema.parse(raw),
};
