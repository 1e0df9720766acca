import * as z from 'zod';
import { allocationTypeFields, conditionedStatus, objectMetaSchema } from './common.ts';
import { defineCrd, resourceOf } from './define.ts';

const GO_DURATION = '^([0-9]{1,6}(\\\\.[0-9]{1,9})?(h|ms|m|s|us|ns)){1,6}$';

/**
 * Rules for a user's allocation type. They are on this object and not above it: the API server tolerates an unchanged
 * invalid node (CRD validation ratcheting), so an older PodNetworking can still be edited elsewhere. `duration()` fails
 * on invalid text, so it is evaluated only after `matches()`.
 */
const allocationTypeSchema = z
  .object({
    ...allocationTypeFields,
    // Without a length limit the API server estimates the cost of the rules as too high.
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
        message: 'releaseAfter requires releaseStrategy: TTL; remove it or set the strategy',
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
 * Bounds and patterns are in `meta`: the API server enforces them on new objects, while older objects, which it keeps,
 * can still be parsed here.
 */
const specSchema = z.object({
  eniOptions: z
    .object({
      eniType: z
        .enum(['Default', 'ENI', 'Trunk'])
        .default('Default')
        .describe('Trunk: a member ENI of the trunk of the node. ENI: a whole ENI. Default: what the node provides.'),
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
    .describe(
      'Which pods use this PodNetworking. If both are given, both must match. If none is given, only pods that name it use it.',
    ),
  priority: z
    .int()
    .default(0)
    .meta({ minimum: -1_000_000, maximum: 1_000_000 })
    .describe(
      'If several PodNetworkings select a pod, the one with the highest priority is used, then the first by name.',
    ),
  securityGroupIDs: z
    .array(z.string().meta({ maxLength: 64, pattern: '^sg-[A-Za-z0-9][A-Za-z0-9-]*$' }))
    .optional()
    .meta({ maxItems: 10, ...noDuplicates('security group') })
    .describe('Security groups of each pod ENI; at most 10.'),
  securityGroupRolloutPolicy: z
    .enum(['Immediate', 'OnRecreate'])
    .default('Immediate')
    .describe(
      'Whether an edit of securityGroupIDs changes the ENIs of running pods, or applies only to pods created later.',
    ),
  vSwitchOptions: z
    .array(z.string().meta({ maxLength: 64, pattern: '^vsw-[A-Za-z0-9][A-Za-z0-9-]*$' }))
    .optional()
    .meta({ maxItems: 100, ...noDuplicates('vSwitch') })
    .describe('Candidate vSwitches; a pod gets an address from one in the zone of its node.'),
  vSwitchSelectOptions: z
    .object({
      vSwitchSelectionPolicy: z
        .enum(['ordered', 'random', 'most'])
        .default('ordered')
        .describe(
          'How to choose among the candidates in the zone: the first with a free address, a random one, or the one with the most free addresses.',
        ),
    })
    .prefault({}),
});

const statusSchema = z.object({
  // No enum, because upstream's control plane writes this field too. Anything but Ready serves no pods.
  status: z.string().optional().describe('Ready or Fail.'),
  message: z.string().optional(),
  updateAt: z.string().optional().meta({ format: 'date-time' }),
  vSwitches: z
    .array(
      z.object({
        id: z.string(),
        zone: z.string().optional(),
        availableIPCount: z.int().optional().describe('Free addresses at the last check.'),
        reservedIPCount: z
          .int()
          .optional()
          .describe('Fixed addresses of this PodNetworking that are reserved without a pod.'),
      }),
    )
    .optional(),
  availableIPCount: z.int().optional().describe('Sum of the free addresses of the vSwitches.'),
  reservedIPCount: z.int().optional().describe('Sum of the reserved addresses of the vSwitches.'),
  pods: z
    .object({
      bound: z.int().optional().describe('Pods that have their interface.'),
      starting: z.int().optional().describe('Pods whose interface is being created or attached.'),
      waiting: z.int().optional().describe('Pods that wait for a slot, an address, the node or the quota.'),
      releasing: z.int().optional().describe('Deleted pods whose interface is being released or detached.'),
      reserved: z.int().optional().describe('Deleted pods whose fixed address is kept.'),
      failed: z.int().optional().describe('Pods whose calls the cloud refuses, or whose ENI is lost.'),
    })
    .optional()
    .describe('Number of pods of this PodNetworking by progress.'),
  rollout: z
    .object({
      updated: z.int().optional().describe('Running pods with the security groups of the spec.'),
      changing: z.int().optional().describe('Running pods whose security groups are being changed.'),
      outdated: z.int().optional().describe('Running pods that still have other security groups.'),
    })
    .optional()
    .describe('Progress of applying the security groups of the spec to running pods.'),
  ...conditionedStatus,
});

/** What a user creates to give a set of pods their own network interfaces. */
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

/** The current spec passed its check; an unchecked edit may name resources that do not exist. */
export function isChecked({ metadata, status }: Verdict): boolean {
  return status?.status === 'Ready' && status.observedGeneration === metadata.generation;
}

/** May serve pods. Upstream's verdict counts until ours exists; upstream writes no generation. */
export function isReady(networking: Verdict): boolean {
  const { status } = networking;
  return isChecked(networking) || (status?.status === 'Ready' && status.observedGeneration === undefined);
}

export const podNetworkingResource = resourceOf(podNetworkingCrd, podNetworkingSchema);
export type PodNetworkingStatus = z.infer<typeof statusSchema>;
