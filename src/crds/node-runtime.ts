import * as z from 'zod';
import { conditionedStatus, objectMetaSchema } from './common.ts';
import { defineCrd, resourceOf } from './define.ts';

const specSchema = z.object({});

const statusSchema = z.object({
  pods: z
    .record(
      z.string(),
      z.object({
        podID: z.string().optional(),
        status: z
          .record(z.string(), z.object({ lastUpdateTime: z.string().optional().meta({ format: 'date-time' }) }))
          .optional(),
      }),
    )
    .optional()
    .describe('CNI state of the pods of the node, keyed by pod uid; the newest entry counts.'),
  ...conditionedStatus,
});

/** Which pod sandboxes of a node saw CNI ADD and DEL; written by the node agent. */
export const nodeRuntimeCrd = defineCrd({
  kind: 'NodeRuntime',
  plural: 'noderuntimes',
  singular: 'noderuntime',
  shortNames: ['nrt'],
  scope: 'Cluster',
  description: 'What the node agent reports about the pod sandboxes of its node.',
  spec: specSchema,
  status: statusSchema,
  printerColumns: [{ name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' }],
});

export const nodeRuntimeSchema = z.object({
  metadata: objectMetaSchema,
  spec: specSchema.optional(),
  status: statusSchema.optional(),
});
export type NodeRuntime = z.infer<typeof nodeRuntimeSchema>;
export const nodeRuntimeResource = resourceOf(nodeRuntimeCrd, nodeRuntimeSchema);

type PodEntry = NonNullable<NonNullable<NodeRuntime['status']>['pods']>[string];

/**
 * Whether a node reports that the sandbox of a pod is gone. The newest of its states counts; of two in the same second,
 * `deleted` counts, because times have whole seconds. A missing entry says nothing.
 */
export function saysDeleted(entry: PodEntry | undefined): boolean {
  const states = Object.entries(entry?.status ?? {}).map(([state, { lastUpdateTime = '' }]) => ({
    state,
    atMs: Date.parse(lastUpdateTime) || 0,
  }));
  const newestMs = Math.max(...states.map(({ atMs }) => atMs));
  return states.some(({ state, atMs }) => state === 'deleted' && atMs === newestMs);
}

/** Whether the node has a sandbox of the pod, as far as it has said. */
export function saysPresent(entry: PodEntry | undefined): boolean {
  return entry?.status?.['initial'] !== undefined && !saysDeleted(entry);
}
