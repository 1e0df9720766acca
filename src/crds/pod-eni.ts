import * as z from 'zod';
import { allocationTypeSchema, conditionedStatus, eniFields, eniInfoSchema, objectMetaSchema } from './common.ts';
import { defineCrd, resourceOf } from './define.ts';

/** The write-ahead record of a creation (invariant I2): persisted before the cloud is called. */
const intentSchema = z.looseObject({
  attempt: z.int().describe('Counts up whenever the parameters of the creation change.'),
  clientToken: z.string().describe('ClientToken that is sent; the same intent always sends the same one.'),
  createdAt: z.string().meta({ format: 'date-time' }),
  networking: z.string().optional().describe('PodNetworking whose vSwitches and security groups were used.'),
  networkingGeneration: z.int().optional().describe('metadata.generation of that PodNetworking.'),
});
export type CreateIntent = z.infer<typeof intentSchema>;

/**
 * Loose, as is every object inside: a merge patch replaces the whole list of allocations, so what this version does not
 * know has to survive reading.
 */
const allocationSchema = z.looseObject({
  allocationType: allocationTypeSchema
    .optional()
    .describe('How long the address belongs to the name of the pod; copied from the PodNetworking.'),
  eni: z.looseObject(eniFields).prefault({}).describe('The ENI.'),
  ipv4: z.string().optional().describe('IPv4 address of the ENI, and of the pod.'),
  ipv6: z.string().optional().describe('IPv6 address of the ENI, and of the pod.'),
  ipv4CIDR: z.string().optional().describe('IPv4 CIDR of the vSwitch.'),
  ipv6CIDR: z.string().optional().describe('IPv6 CIDR of the vSwitch.'),
  interface: z.string().optional().describe('Name inside the pod; eth0 when empty.'),
  defaultRoute: z
    .boolean()
    .optional()
    .describe('Whether the default route of the pod leads through this interface; eth0 when no interface has it.'),
  extraRoutes: z
    .array(z.looseObject({ dst: z.string().optional() }))
    .optional()
    .describe('Further destinations that are reached through this interface.'),
  extraConfig: z.record(z.string(), z.string()).optional().describe('Kept from other versions, not set by this one.'),
  intent: intentSchema.optional().describe('The creation of the ENI, written down before the cloud is called.'),
});
export type Allocation = z.infer<typeof allocationSchema>;

/** Where the ENIs are to be attached; persisted before the attachment is asked for (I2). */
const targetSchema = z.object({
  nodeName: z.string().describe('Kubernetes node of the pod.'),
  instanceID: z.string().describe('ECS instance of that node.'),
  trunkENIID: z.string().optional().describe('Trunk ENI of the instance; absent for whole ENIs.'),
});
export type AttachTarget = z.infer<typeof targetSchema>;

const specSchema = z.object({
  zone: z.string().optional().describe('Zone in which the addresses lie.'),
  allocations: z.array(allocationSchema).optional().describe('One entry per interface of the pod.'),
  target: targetSchema
    .optional()
    .describe('Where the ENIs are to be attached, written down before the cloud is called.'),
});

/** One cloud call for this record. Loose, and all but two fields may be missing: another version may have written it. */
const operationSchema = z.looseObject({
  time: z.string().meta({ format: 'date-time' }).describe('When the call ended.'),
  action: z.string().describe('API, such as CreateNetworkInterface.'),
  eniID: z.string().optional().describe('ENI that the call was about.'),
  requestID: z.string().optional().describe("What the cloud's support asks for."),
  durationMs: z.int().optional().describe('From the decision to the answer, waits for quota included.'),
  code: z.string().optional().describe('Error code; absent when the call succeeded.'),
});
export type OperationRecord = z.infer<typeof operationSchema>;

/** Life-cycle phases (reference 4.4); Initial is the empty string. */
const podEniPhaseSchema = z.enum(['', 'Initial', 'Binding', 'Bind', 'Detaching', 'Unbind', 'Deleting']);

const statusFields = {
  operations: z
    .array(operationSchema)
    .optional()
    .describe('The latest cloud calls, oldest first; at most 20. Written with what is written anyway.'),
  instanceID: z.string().optional().describe('ECS instance to which the ENIs are attached.'),
  trunkENIID: z.string().optional().describe('Trunk ENI to which they are attached.'),
  msg: z.string().optional().describe('Kept from other versions; conditions tell more.'),
  podLastSeen: z
    .string()
    .optional()
    .meta({ format: 'date-time' })
    .describe('When the pod was last there; the TTL of a fixed address counts from it.'),
  eniInfos: z.record(z.string(), eniInfoSchema).optional().describe('Binding of each ENI, by its id.'),
  ...conditionedStatus,
};
const statusSchema = z.object({
  phase: z
    .string()
    .optional()
    .describe('Initial (empty), Binding, Bind, Detaching, Unbind or Deleting. Bind: the node may use it.'),
  ...statusFields,
});

/** Record of the network interfaces of one pod; same namespace and name as the pod (reference 2.2). */
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
  /** A phase that is not in reference 4.4 reads as none, and so do operations of another form: a hand-edited status cannot stop the reflector. */
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
