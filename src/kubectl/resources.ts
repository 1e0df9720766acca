import * as z from 'zod';
import { objectMetaSchema } from '../crds/common.ts';
import { API_GROUP, API_VERSION } from '../crds/define.ts';
import { nodeSchema, type TerwayNode } from '../crds/node.ts';
import { type NodeRuntime, nodeRuntimeSchema } from '../crds/node-runtime.ts';
import { type PodEni, podEniSchema } from '../crds/pod-eni.ts';
import { type PodNetworking, podNetworkingSchema } from '../crds/pod-networking.ts';
import type { HasMetadata, Resource } from '../kube/types.ts';

/** The kinds that the commands read, as far as they read them. */

const podConditionSchema = z.object({
  type: z.string(),
  status: z.string(),
  reason: z.string().optional(),
  message: z.string().optional(),
  lastTransitionTime: z.string().nullish(),
});

const startedSchema = z.object({ startedAt: z.string().nullish() });
const containerStatusSchema = z.object({
  name: z.string(),
  ready: z.boolean().default(false),
  restartCount: z.number().default(0),
  state: z
    .object({
      running: startedSchema.optional(),
      waiting: z.object({ reason: z.string().optional(), message: z.string().optional() }).optional(),
      terminated: z
        .object({ reason: z.string().optional(), exitCode: z.number(), finishedAt: z.string().nullish() })
        .optional(),
    })
    .prefault({}),
});

const podSchema = z.object({
  metadata: objectMetaSchema,
  spec: z.object({ nodeName: z.string().default(''), hostNetwork: z.boolean().default(false) }).prefault({}),
  status: z
    .object({
      phase: z.string().default(''),
      podIP: z.string().default(''),
      conditions: z.array(podConditionSchema).default([]),
      containerStatuses: z.array(containerStatusSchema).default([]),
    })
    .prefault({}),
});
export type Pod = z.infer<typeof podSchema>;

const eventSchema = z.object({
  metadata: objectMetaSchema,
  eventTime: z.string().nullish(),
  deprecatedFirstTimestamp: z.string().nullish(),
  deprecatedLastTimestamp: z.string().nullish(),
  deprecatedCount: z.number().nullish(),
  type: z.string().default(''),
  reason: z.string().default(''),
  note: z.string().default(''),
  reportingController: z.string().default(''),
  regarding: z
    .object({ kind: z.string().default(''), name: z.string().default(''), uid: z.string().optional() })
    .prefault({}),
  series: z.object({ count: z.number(), lastObservedTime: z.string() }).nullish(),
});
export type Event = z.infer<typeof eventSchema>;

const coreNodeSchema = z.object({
  metadata: objectMetaSchema,
  status: z.object({ conditions: z.array(podConditionSchema).default([]) }).prefault({}),
});
export type CoreNode = z.infer<typeof coreNodeSchema>;

const plainSchema = z.object({ metadata: objectMetaSchema });
/** An object of which only the metadata is read. */
export type PlainObject = z.infer<typeof plainSchema>;
/** As the API server has it; for bundles. */
export type RawObject = z.infer<typeof rawSchema>;
const rawSchema = z.looseObject({ metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }) });

function resource<T extends HasMetadata>(
  where: Pick<Resource<T>, 'group' | 'version' | 'plural' | 'kind' | 'namespaced'>,
  schema: z.ZodType<T>,
): Resource<T> {
  return { ...where, parse: (raw) => schema.parse(raw) };
}

const core = { group: '', version: 'v1' };
const ours = { group: API_GROUP, version: API_VERSION };

export const podResource = resource<Pod>({ ...core, plural: 'pods', kind: 'Pod', namespaced: true }, podSchema);
export const coreNodeResource = resource<CoreNode>(
  { ...core, plural: 'nodes', kind: 'Node', namespaced: false },
  coreNodeSchema,
);
export const namespaceResource = resource<PlainObject>(
  { ...core, plural: 'namespaces', kind: 'Namespace', namespaced: false },
  plainSchema,
);
export const eventResource = resource<Event>(
  { group: 'events.k8s.io', version: 'v1', plural: 'events', kind: 'Event', namespaced: true },
  eventSchema,
);
export const podNetworkingResource = resource<PodNetworking>(
  { ...ours, plural: 'podnetworkings', kind: 'PodNetworking', namespaced: false },
  podNetworkingSchema,
);
export const podEniResource = resource<PodEni>(
  { ...ours, plural: 'podenis', kind: 'PodENI', namespaced: true },
  podEniSchema,
);
export const terwayNodeResource = resource<TerwayNode>(
  { ...ours, plural: 'nodes', kind: 'Node', namespaced: false },
  nodeSchema,
);
export const nodeRuntimeResource = resource<NodeRuntime>(
  { ...ours, plural: 'noderuntimes', kind: 'NodeRuntime', namespaced: false },
  nodeRuntimeSchema,
);
export const networkInterfaceResource = resource<PlainObject>(
  { ...ours, plural: 'networkinterfaces', kind: 'NetworkInterface', namespaced: false },
  plainSchema,
);

/** The same kind, with everything that the API server has of an object. */
export function unread(of: Resource<HasMetadata>): Resource<RawObject> {
  const { group, version, plural, kind, namespaced } = of;
  return resource<RawObject>({ group, version, plural, kind, namespaced }, rawSchema);
}

export const configMapResource = resource<RawObject>(
  { ...core, plural: 'configmaps', kind: 'ConfigMap', namespaced: true },
  rawSchema,
);
