import * as z from 'zod';

/**
 * Responses of the control plane on its admin channel, used by both ends. Loose and with defaults, because plugin and
 * control plane may have different versions; unknown fields are passed on.
 */

/** The query of a request; empty without parameters. */
export function adminQuery({
  overrideBrake,
  node,
}: {
  overrideBrake?: boolean | undefined;
  node?: string | undefined;
}): string {
  const parameters = new URLSearchParams();
  if (overrideBrake) parameters.set('overrideBrake', 'true');
  if (node !== undefined) parameters.set('node', node);
  return parameters.size === 0 ? '' : `?${parameters.toString()}`;
}

export const statusResponse = z.looseObject({
  identity: z.string(),
  version: z.string().optional(),
  clusterID: z.string().optional(),
  regionID: z.string().optional(),
  vpcID: z.string().optional(),
  startedAt: z.string().optional(),
  now: z.string().optional(),
  leading: z.boolean(),
  leader: z.string(),
  degradation: z.string().default(''),
  /** Whether pools of shared ENIs ask for addresses when they lack some. */
  poolGrowth: z.boolean().default(true),
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
export type StatusResponse = z.output<typeof statusResponse>;

export type SentStatus = z.input<typeof statusResponse>;

export const quotaResponse = z.looseObject({
  apis: z.array(
    z.looseObject({
      api: z.string(),
      /** The lower one of what is configured and what was learnt. */
      limitPerMinute: z.number(),
      /** What the cloud accepts, as far as it has refused more. */
      learntPerMinute: z.number().optional(),
      learntPerSecond: z.number().optional(),
      usedThisMinute: z.number(),
      waiting: z.number(),
      nextMinuteAt: z.string(),
    }),
  ),
});
export type SentQuota = z.input<typeof quotaResponse>;

const listedEni = z.looseObject({
  eniID: z.string(),
  type: z.string(),
  status: z.string(),
  vSwitchID: z.string().optional(),
  ip: z.string().default(''),
  instanceID: z.string().optional(),
  trunkENIID: z.string().optional(),
  createdAt: z.string().optional(),
  /** The former owner by its tag: `namespace/pod` or `node/name`. */
  madeFor: z.string().optional(),
});
/** One ENI with the tags of the cluster. */
export type ListedEni = z.input<typeof listedEni>;

export const orphansResponse = z.looseObject({
  /** ENIs with the tags of the cluster. */
  listed: z.number(),
  /** Implausibly many ENIs are orphans; none is released. */
  braked: z.boolean(),
  orphans: z.array(listedEni.extend({ decision: z.string(), why: z.string() })),
  /** Calls that were made; absent from a plan. */
  released: z.array(z.looseObject({ eniID: z.string(), call: z.string(), error: z.string().optional() })).optional(),
});
export type SentOrphans = z.input<typeof orphansResponse>;

export const adoptResponse = z.looseObject({
  ownRecords: z.number(),
  adoptees: z.array(
    z.looseObject({
      /** `PodENI`, `Trunk`, `Pool` or `ENI`. */
      kind: z.string(),
      /** `namespace/name` of the PodENI, name of the node of a trunk or a pool, or ENI id. */
      name: z.string(),
      eniIDs: z.array(z.string()),
      /** `adopted` or `hindered`. */
      state: z.string(),
      /** Why it is not adopted, and what to do about it. */
      hindrance: z.string().optional(),
    }),
  ),
});
export type SentAdoption = z.input<typeof adoptResponse>;

export const enisResponse = z.looseObject({
  enis: z.array(listedEni.extend({ namedBy: z.string().optional() })),
});
export type SentEnis = z.input<typeof enisResponse>;

/** What only the leader knows of the ENIs that the pods of a node share. */
export const poolResponse = z.looseObject({
  /** Idle addresses that others get only when there is no other. */
  resting: z.array(z.looseObject({ ip: z.string(), freedAt: z.string() })),
  /** Pods without an address; `pod` is `namespace/name`. */
  waiting: z.array(z.looseObject({ pod: z.string(), reason: z.string(), message: z.string(), since: z.string() })),
  /** `ip_pool_sync_period` where the Node CR has none. */
  syncPeriodMs: z.number().optional(),
  /** Since when more than the maximum has been idle. */
  surplusSince: z.string().optional(),
  /** Addresses of pods that are gone, for which the node has not given its word. */
  unconfirmed: z.array(z.looseObject({ ip: z.string(), pod: z.string(), since: z.string() })).default([]),
});
export type SentPool = z.input<typeof poolResponse>;
