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

/** Which pod sandboxes of a node saw CNI ADD and DEL; written by the node agent (reference 2.5). */
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
 * Whether a node's word on a pod is that its sandbox is gone: the newest of its states counts, and of two of one second
 * `deleted` does (reference 1.7). No entry says nothing.
 */
export function saysDeleted(entry: PodEntry | undefined): boolean {
  const states = Object.entries(entry?.status ?? {}).map(([state, { lastUpdateTime = '' }]) => ({
    state,
    atMs: Date.parse(lastUpdateTime) || 0,
  }));
  const newestMs = Math.max(...states.map(({ atMs }) => atMs));
  return states.some(({ state, atMs }) => state === 'deleted' && atMs === newestMs);
}
