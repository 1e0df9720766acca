import * as z from 'zod';
import { objectMetaSchema } from '../crds/common.ts';
import { NODE, POD, readAs } from '../kube/kinds.ts';

/** Kubernetes' own kinds as the agent reads them; parsing keeps what is read. */

const podSchema = z.object({
  metadata: objectMetaSchema,
  spec: z.object({ nodeName: z.string().default('') }).prefault({}),
  status: z.object({ phase: z.string().default('') }).prefault({}),
});
export type Pod = z.infer<typeof podSchema>;

/** Its containers have finished for good, so it gets no sandbox any more. */
export function hasFinished({ status: { phase } }: Pod): boolean {
  return phase === 'Succeeded' || phase === 'Failed';
}

const coreNodeSchema = z.object({
  metadata: objectMetaSchema,
  status: z
    .object({ addresses: z.array(z.object({ type: z.string(), address: z.string() })).default([]) })
    .prefault({}),
});
export type CoreNode = z.infer<typeof coreNodeSchema>;

export const podResource = readAs<Pod>(POD, podSchema);
export const coreNodeResource = readAs<CoreNode>(NODE, coreNodeSchema);
