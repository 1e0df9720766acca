import * as z from 'zod';
import { allocationTypeFields, conditionedStatus, objectMetaSchema } from './common.ts';
import { defineCrd, resourceOf } from './define.ts';

const GO_DURATION = '^([0-9]{1,6}(\\\\.[0-9]{1,9})?(h|ms|m|s|us|ns)){1,6}$';

/**
 * The rules that a user's allocation type must keep. They stand on this object and nowhere wider: the API server forgives
 * an unchanged node (ratcheting), so a PodNetworking from before the rules can still be edited elsewhere. `duration()`
 * fails on text that is none, so it is reached only behind `matches()`.
 */
const allocationTypeSchema = z
  .object({
    ...allocationTypeFields,
    // A bound, without which the cost of the rules is too high for the API server.
    releaseAfter: allocationTypeFields.releaseAfter.meta({ maxLength: 64 }),
  })
  .meta({
    'x-kubernetes-validations': [
      {
        rule: "self.type != 'Fixed' || has(self.releaseStrategy)",
        message: 'a Fixed allocation needs releaseStrategy: TTL (with releaseAfter) or Never',
      },
      {
        rule:
          "!has(self.releaseStrategy) || self.releaseStrategy != 'TTL' || (has(self.releaseAfter) && " +
          `self.releaseAfter.matches('${GO_DURATION}') && duration(self.releaseAfter) >= duration('5m'))`,
        message: 'releaseStrategy TTL needs releaseAfter, a Go duration of at least 5m such as 10m or 1h30m',
      },
      {
        rule: "!has(self.releaseAfter) || (has(self.releaseStrategy) && self.releaseStrategy == 'TTL')",
        message: 'releaseAfter has a meaning only with releaseStrategy: TTL; remove it or set the strategy',
      },
    ],
  });

const labelSelectorSchema = z
  .object({
    matchLabels: z.record(z.string(), z.string()).optional(),
    matchExpressions: z
      .array(z.object({ key: z.string(), operator: z.string(), values: z.array(z.string()).optional() }))
      .optional(),
  })
  .meta({ 'x-kubernetes-map-type': 'atomic' });
export type LabelSelector = z.infer<typeof labelSelectorSchema>;

const noDuplicates = (what: string) => ({
  'x-kubernetes-validations': [
    { rule: 'self.all(id, self.exists_one(other, other == id))', message: `a ${what} may be named only once` },
  ],
});

/**
 * Bounds and patterns stand in `meta`: the API server holds new objects to them, while one from before them, which it
 * keeps, can still be read here.
 */
const specSchema = z.object({
  eniOptions: z
    .object({
      eniType: z
        .enum(['Default', 'ENI', 'Trunk'])
        .default('Default')
        .describe('Trunk: a member ENI of the trunk of the node. ENI: a whole ENI. Default: what the node offers.'),
    })
    .prefault({})
    .describe('How the ENI of a pod is attached.'),
  allocationType: allocationTypeSchema.prefault({ type: 'Elastic' }).describe('Elastic (default) or Fixed.'),
  selector: z
    .object({
      podSelector: labelSelectorSchema.optional(),
      namespaceSelector: labelSelectorSchema.optional(),
    })
    .optional()
    .describe('Which pods use this networking. Both given: both must match. None given: only pods that name it.'),
  priority: z
    .int()
    .default(0)
    .meta({ minimum: -1_000_000, maximum: 1_000_000 })
    .describe(
      'Of several networkings that select a pod the one with the highest priority is used, then the first by name.',
    ),
  securityGroupIDs: z
    .array(z.string().meta({ maxLength: 64, pattern: '^sg-[A-Za-z0-9][A-Za-z0-9-]*$' }))
    .optional()
    .meta({ maxItems: 10, ...noDuplicates('security group') })
    .describe('Security groups of the ENI of each pod; at most 10.'),
  securityGroupRolloutPolicy: z
    .enum(['Immediate', 'OnRecreate'])
    .default('Immediate')
    .describe(
      'Whether an edit of securityGroupIDs changes the ENIs of running pods, or only those of pods created later.',
    ),
  vSwitchOptions: z
    .array(z.string().meta({ maxLength: 64, pattern: '^vsw-[A-Za-z0-9][A-Za-z0-9-]*$' }))
    .optional()
    .meta({ maxItems: 100, ...noDuplicates('vSwitch') })
    .describe('Candidate vSwitches; a pod gets one in the zone of its node.'),
  vSwitchSelectOptions: z
    .object({
      vSwitchSelectionPolicy: z
        .enum(['ordered', 'random', 'most'])
        .default('ordered')
        .describe('Which of the candidates in the zone is taken: the first with a free address, any, or the emptiest.'),
    })
    .prefault({}),
});

const statusSchema = z.object({
  // No enum: upstream's control plane writes this field too. What is not Ready serves no pods.
  status: z.string().optional().describe('Ready or Fail.'),
  message: z.string().optional(),
  updateAt: z.string().optional().meta({ format: 'date-time' }),
  vSwitches: z
    .array(
      z.object({
        id: z.string(),
        zone: z.string().optional(),
        availableIPCount: z.int().optional().describe('Free addresses when the cloud was last asked.'),
        reservedIPCount: z.int().optional().describe('Fixed addresses of this PodNetworking that wait for their pods.'),
      }),
    )
    .optional(),
  availableIPCount: z.int().optional().describe('Sum of the free addresses of the vSwitches.'),
  reservedIPCount: z.int().optional().describe('Sum of the reserved addresses of the vSwitches.'),
  pods: z
    .object({
      bound: z.int().optional().describe('Have their interface.'),
      starting: z.int().optional().describe('The cloud creates or attaches their interface.'),
      waiting: z.int().optional().describe('Wait for a slot, an address, the node or the quota.'),
      releasing: z.int().optional().describe('Are gone; their interface is being released or detached.'),
      reserved: z.int().optional().describe('Are gone; their fixed address is kept.'),
      failed: z.int().optional().describe('The cloud refuses, or what they had is lost.'),
    })
    .optional()
    .describe('How many pods of this PodNetworking are how far.'),
  rollout: z
    .object({
      updated: z.int().optional().describe('Have the security groups of the spec.'),
      changing: z.int().optional().describe('Are being given them.'),
      outdated: z.int().optional().describe('Have others still.'),
    })
    .optional()
    .describe('How many running pods have the security groups of the spec.'),
  ...conditionedStatus,
});

/** What a user applies to give a set of pods their own network interfaces (reference 2.1). */
export const podNetworkingCrd = defineCrd({
  kind: 'PodNetworking',
  plural: 'podnetworkings',
  singular: 'podnetworking',
  shortNames: ['pn'],
  scope: 'Cluster',
  description: 'Gives the pods that it selects their own network interface, vSwitch and security groups.',
  spec: specSchema,
  status: statusSchema,
  printerColumns: [
    { name: 'Status', type: 'string', jsonPath: '.status.status' },
    { name: 'ENI', type: 'string', jsonPath: '.spec.eniOptions.eniType' },
    { name: 'Allocation', type: 'string', jsonPath: '.spec.allocationType.type' },
    { name: 'Reason', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].reason' },
    { name: 'Bound', type: 'integer', jsonPath: '.status.pods.bound' },
    { name: 'Waiting', type: 'integer', jsonPath: '.status.pods.waiting' },
    { name: 'Failed', type: 'integer', jsonPath: '.status.pods.failed' },
    { name: 'Priority', type: 'integer', jsonPath: '.spec.priority', priority: 1 },
    { name: 'vSwitches', type: 'string', jsonPath: '.spec.vSwitchOptions', priority: 1 },
    { name: 'Free', type: 'integer', jsonPath: '.status.availableIPCount', priority: 1 },
    { name: 'Reserved', type: 'integer', jsonPath: '.status.reservedIPCount', priority: 1 },
    { name: 'SecurityGroups', type: 'string', jsonPath: '.spec.securityGroupIDs', priority: 1 },
    {
      name: 'Rollout',
      type: 'string',
      jsonPath: '.status.conditions[?(@.type=="RolloutComplete")].reason',
      priority: 1,
    },
    { name: 'Message', type: 'string', jsonPath: '.status.message', priority: 1 },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  ],
});

export const podNetworkingSchema = z.object({
  metadata: objectMetaSchema,
  spec: specSchema.prefault({}),
  status: statusSchema.optional(),
});
export type PodNetworking = z.infer<typeof podNetworkingSchema>;

type Verdict = Pick<PodNetworking, 'metadata' | 'status'>;

/** The spec as it stands was checked with the cloud and found sound; an edit that was not may name what does not exist. */
export function isChecked({ metadata, status }: Verdict): boolean {
  return status?.status === 'Ready' && status.observedGeneration === metadata.generation;
}

/** May serve pods: upstream's verdict counts until our own is there. Upstream writes no generation. */
export function isReady(networking: Verdict): boolean {
  const { status } = networking;
  return isChecked(networking) || (status?.status === 'Ready' && status.observedGeneration === undefined);
}

export const podNetworkingResource = resourceOf(podNetworkingCrd, podNetworkingSchema);
export type PodNetworkingStatus = z.infer<typeof statusSchema>;
