import * as z from 'zod';

/** The fields that are read from a pod under review. It is never written back: changes are made to the raw object. */
const quantities = z.record(z.string(), z.union([z.string(), z.number()])).nullish();

const containerSchema = z.object({
  name: z.string().default(''),
  restartPolicy: z.string().optional(),
  resources: z.object({ requests: quantities, limits: quantities }).nullish(),
});

const requirementSchema = z.object({
  key: z.string(),
  operator: z.string(),
  values: z.array(z.string()).nullish(),
});

const termSchema = z.object({
  matchExpressions: z.array(requirementSchema).nullish(),
  matchFields: z.array(z.unknown()).nullish(),
});

export const incomingPodSchema = z.object({
  metadata: z
    .object({
      name: z.string().default(''),
      generateName: z.string().default(''),
      labels: z
        .record(z.string(), z.string())
        .nullish()
        .transform((labels) => labels ?? {}),
      annotations: z
        .record(z.string(), z.string())
        .nullish()
        .transform((annotations) => annotations ?? {}),
      ownerReferences: z
        .array(z.object({ kind: z.string() }))
        .nullish()
        .transform((owners) => owners ?? []),
    })
    .prefault({}),
  spec: z
    .object({
      hostNetwork: z.boolean().nullish(),
      nodeSelector: z.record(z.string(), z.string()).nullish(),
      containers: z.array(containerSchema).default([]),
      initContainers: z.array(containerSchema).nullish(),
      affinity: z
        .object({
          nodeAffinity: z
            .object({
              requiredDuringSchedulingIgnoredDuringExecution: z
                .object({ nodeSelectorTerms: z.array(termSchema).default([]) })
                .nullish(),
            })
            .nullish(),
        })
        .nullish(),
    })
    .prefault({}),
});

export type IncomingPod = z.infer<typeof incomingPodSchema>;
export type IncomingContainer = z.infer<typeof containerSchema>;
export type NodeSelectorTerm = z.infer<typeof termSchema>;
