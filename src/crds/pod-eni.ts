import * as z from 'zod';
import { allocationTypeSchema, conditionedStatus, eniFields, eniInfoSchema, objectMetaSchema } from './common.ts';
import { defineCrd, resourceOf } from './define.ts';

/** The write-ahead record of a create (invariant I2): persisted before the cloud is called. */
const intentSchema = z.looseObject({
  attempt: z.int().describe('Incremented whenever the parameters of the create change.'),
  clientToken: z.string().describe('ClientToken of the create; the same intent always sends the same token.'),
  createdAt: z.string().meta({ format: 'date-time' }),
  networking: z.string().optional().describe('PodNetworking whose vSwitches and security groups were used.'),
  networkingGeneration: z.int().optional().describe('metadata.generation of that PodNetworking.'),
});
export type CreateIntent = z.infer<typeof intentSchema>;

/**
 * Loose, like every object inside: a merge patch replaces the whole list of allocations, so fields unknown to this
 * version must survive parsing.
 */
const allocationSchema = z.looseObject({
  allocationType: allocationTypeSchema
    .optional()
    .describe('How long the address is reserved for the name of the pod; copied from the PodNetworking.'),
  eni: z.looseObject(eniFields).prefault({}).describe('The ENI.'),
  ipv4: z.string().optional().describe('IPv4 address of the ENI, and of the pod.'),
  ipv6: z.string().optional().describe('IPv6 address of the ENI, and of the pod.'),
  ipv4CIDR: z.string().optional().describe('IPv4 CIDR of the vSwitch.'),
  ipv6CIDR: z.string().optional().describe('IPv6 CIDR of the vSwitch.'),
  interface: z.string().optional().describe('Name inside the pod; eth0 when empty.'),
  defaultRoute: z
    .boolean()
    .optional()
    .describe('Whether the default route of the pod uses this interface; eth0 when no interface has it.'),
  extraRoutes: z
    .array(z.looseObject({ dst: z.string().optional() }))
    .optional()
    .describe('Additional destinations reached through this interface.'),
  extraConfig: z
    .record(z.string(), z.string())
    .optional()
    .describe('Preserved from other versions, not set by this one.'),
  intent: intentSchema.optional().describe('The intended create of the ENI, persisted before the cloud is called.'),
});
export type Allocation = z.infer<typeof allocationSchema>;

/** Where the ENIs will be attached; persisted before the attach is requested (I2). */
const targetSchema = z.object({
  nodeName: z.string().describe('Kubernetes node of the pod.'),
  instanceID: z.string().describe('ECS instance of that node.'),
  trunkENIID: z.string().optional().describe('Trunk ENI of the instance; absent for whole ENIs.'),
});
export type AttachTarget = z.infer<typeof targetSchema>;

const specSchema = z.object({
  zone: z.string().optional().describe('Zone of the addresses.'),
  allocations: z.array(allocationSchema).optional().describe('One entry per interface of the pod.'),
  target: targetSchema.optional().describe('Where the ENIs will be attached, persisted before the cloud is called.'),
});

/**
 * One cloud call for this record. Loose, with only two required fields, because another version may have written it.
 */
const operationSchema = z.looseObject({
  time: z.string().meta({ format: 'date-time' }).describe('When the call ended.'),
  action: z.string().describe('API, such as CreateNetworkInterface.'),
  eniID: z.string().optional().describe('ENI of the call.'),
  requestID: z.string().optional().describe('Request id, for support cases with Alibaba Cloud.'),
  durationMs: z.int().optional().describe('From the decision to the response, including waits for quota.'),
  code: z.string().optional().describe('Error code; absent when the call succeeded.'),
});
export type OperationRecord = z.infer<typeof operationSchema>;

/** Life-cycle phases; Initial is the empty string. */
const podEniPhaseSchema = z.enum(['', 'Initial', 'Binding', 'Bind', 'Detaching', 'Unbind', 'Deleting']);

const statusFields = {
  operations: z
    .array(operationSchema)
    .optional()
    .describe('The latest cloud calls, oldest first; at most 20. Updated only together with other changes.'),
  instanceID: z.string().optional().describe('ECS instance to which the ENIs are attached.'),
  trunkENIID: z.string().optional().describe('Trunk ENI to which they are attached.'),
  msg: z.string().optional().describe('Preserved from other versions; see the conditions.'),
  podLastSeen: z
    .string()
    .optional()
    .meta({ format: 'date-time' })
    .describe('When the pod was last seen; the TTL of a fixed address starts then.'),
  eniInfos: z.record(z.string(), eniInfoSchema).optional().describe('Binding of each ENI, by id.'),
  ...conditionedStatus,
};
const statusSchema = z.object({
  phase: z
    .string()
    .optional()
    .describe('Initial (empty), Binding, Bind, Detaching, Unbind or Deleting. Bind: ready for use on the node.'),
  ...statusFields,
});

/** Record of the network interfaces of one pod; has the namespace and name of the pod. */
export const podEniCrd = defineCrd({
  kind: 'PodENI',
  plural: 'podenis',
  singular: 'podeni',
  shortNames: ['pe'],
  scope: 'Namespaced',
  description: 'The network interfaces of the pod of the same name. Written by the control plane; do not edit.',
  spec: specSchema,
  status: statusSchema,
  printerColumns: [
    { name: 'Phase', type: 'string', jsonPath: '.status.phase' },
    { name: 'Node', type: 'string', jsonPath: '.spec.target.nodeName' },
    { name: 'IPv4', type: 'string', jsonPath: '.spec.allocations[0].ipv4' },
    { name: 'VLAN', type: 'string', jsonPath: '.status.eniInfos.*.vid' },
    { name: 'ENI', type: 'string', jsonPath: '.spec.allocations[0].eni.id' },
    { name: 'Reason', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].reason' },
    { name: 'vSwitch', type: 'string', jsonPath: '.spec.allocations[0].eni.vSwitchID', priority: 1 },
    { name: 'SecurityGroups', type: 'string', jsonPath: '.spec.allocations[0].eni.securityGroupIDs', priority: 1 },
    { name: 'Trunk', type: 'string', jsonPath: '.status.trunkENIID', priority: 1 },
    { name: 'Allocation', type: 'string', jsonPath: '.spec.allocations[0].allocationType.type', priority: 1 },
    { name: 'Networking', type: 'string', jsonPath: '.spec.allocations[0].intent.networking', priority: 1 },
    { name: 'Releasing', type: 'date', jsonPath: '.metadata.deletionTimestamp', priority: 1 },
    { name: 'Message', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].message', priority: 1 },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  ],
});

export const podEniSchema = z.object({
  metadata: objectMetaSchema,
  spec: specSchema.prefault({}),
  /**
   * An unknown phase is parsed as none, and so are operations of another form: a hand-edited status must not stop the
   * reflector.
   */
  status: z
    .object({
      phase: podEniPhaseSchema.catch('').optional(),
      ...statusFields,
      operations: z.array(operationSchema).optional().catch([]),
    })
    .optional(),
});
export type PodEni = z.infer<typeof podEniSchema>;
export const podEniResource = resourceOf(podEniCrd, podEniSchema);
export type PodEniStatus = NonNullable<PodEni['status']>;
