import * as z from 'zod';
import { objectMetaSchema } from '../crds/common.ts';
import { networkInterfaceResource as NETWORK_INTERFACE } from '../crds/network-interface.ts';
import { CONFIG_MAP, EVENT, NAMESPACE, NODE, POD, readAs } from '../kube/kinds.ts';
import type { HasMetadata, Resource } from '../kube/types.ts';

/** The kinds that the commands read, with the fields that they use. */

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
/** An object with only its metadata checked. */
export type PlainObject = z.infer<typeof plainSchema>;
/** Exactly as the API server returns it; for bundles. */
export type RawObject = z.infer<typeof rawSchema>;
const rawSchema = z.looseObject({ metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }) });

export const podResource = readAs<Pod>(POD, podSchema);
export const coreNodeResource = readAs<CoreNode>(NODE, coreNodeSchema);
export const namespaceResource = readAs<PlainObject>(NAMESPACE, plainSchema);
export const eventResource = readAs<Event>(EVENT, eventSchema);
export const configMapResource = readAs<RawObject>(CONFIG_MAP, rawSchema);
/** The metadata alone. */
export const networkInterfaceResource = readAs<PlainObject>(NETWORK_INTERFACE, plainSchema);

/** The same kind, with every field that the API server returns. */
export function unread(of: Resource<HasMetadata>): Resource<RawObject> {
  return readAs<RawObject>(of, rawSchema);
}
