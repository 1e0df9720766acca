import * as z from 'zod';

/**
 * What the control plane answers, as far as it is read. Loose: the plugin and the control plane may be of different versions,
 * and what one does not know is handed on.
 */

export const statusAnswer = z.looseObject({
  identity: z.string(),
  version: z.string().optional(),
  leading: z.boolean(),
  leader: z.string(),
  degradation: z.string().default(''),
  configurationProblem: z.string().optional(),
  problem: z.string().optional(),
  certificateEndsAt: z.string().optional(),
  queues: z
    .array(z.looseObject({ name: z.string(), waiting: z.number(), working: z.number(), delayed: z.number() }))
    .default([]),
  inFlight: z.number().optional(),
  waiting: z
    .array(z.looseObject({ waitsFor: z.string(), name: z.string(), count: z.number(), pods: z.array(z.string()) }))
    .default([]),
  collector: z
    .looseObject({ orphans: z.number(), released: z.number(), braked: z.boolean(), endedAt: z.string() })
    .optional(),
});
export type StatusAnswer = z.infer<typeof statusAnswer>;

export const quotaAnswer = z.looseObject({
  apis: z.array(
    z.looseObject({
      api: z.string(),
      limitPerMinute: z.number(),
      usedThisMinute: z.number(),
      waiting: z.number(),
      nextMinuteAt: z.string(),
    }),
  ),
});

const listedEni = {
  eniID: z.string(),
  type: z.string(),
  status: z.string(),
  ip: z.string().default(''),
  instanceID: z.string().optional(),
  trunkENIID: z.string().optional(),
  createdAt: z.string().optional(),
  madeFor: z.string().optional(),
};

export const orphansAnswer = z.looseObject({
  listed: z.number(),
  braked: z.boolean(),
  orphans: z.array(z.looseObject({ ...listedEni, decision: z.string(), why: z.string() })),
  released: z.array(z.looseObject({ eniID: z.string(), call: z.string(), error: z.string().optional() })).optional(),
});

export const adoptAnswer = z.looseObject({
  ownRecords: z.number(),
  adoptees: z.array(
    z.looseObject({
      kind: z.string(),
      name: z.string(),
      eniIDs: z.array(z.string()),
      state: z.string(),
      hindrance: z.string().optional(),
    }),
  ),
});

export const enisAnswer = z.looseObject({
  enis: z.array(z.looseObject({ ...listedEni, namedBy: z.string().optional() })),
});
