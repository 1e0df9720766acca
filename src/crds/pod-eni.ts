import { z } from 'zod';
import { allocationTypeSchema, conditionedStatus, eniFields, eniInfoSchema, objectMetaSchema } from './common.ts';
import { defineCrd } from './define.ts';

/** The write-ahead record of a creation (invariant I2): persisted before the cloud is called. */
const intentSchema = z.looseObject({
  attempt: z.int().describe('Counts up whenever the parameters of the creation change.'),
  clientToken: z.string().describe('ClientToken that is sent; the same intent always sends the same one.'),
  createdAt: z.string().meta({ format: 'date-time' }),
  networking: z.string().optional().describe('PodNetworking whose vSwitches and security groups were used.'),
  networkingGeneration: z.int().optional(),
});
export type CreateIntent = z.infer<typeof intentSchema>;

/**
 * Loose, as is every object inside: a merge patch replaces the whole list of allocations, so what this version does not
 * know has to survive reading.
 */
const allocationSchema = z.looseObject({
  allocationType: allocationTypeSchema.optional(),
  eni: z.looseObject(eniFields).prefault({}),
  ipv4: z.string().optional(),
  ipv6: z.string().optional(),
  ipv4CIDR: z.string().optional(),
  ipv6CIDR: z.string().optional(),
  interface: z.string().optional().describe('Name inside the pod; eth0 when empty.'),
  defaultRoute: z.boolean().optional(),
  extraRoutes: z.array(z.looseObject({ dst: z.string().optional() })).optional(),
  extraConfig: z.record(z.string(), z.string()).optional(),
  intent: intentSchema.optional(),
});
export type Allocation = z.infer<typeof allocationSchema>;

/** Where the ENIs are to be attached; persisted before the attachment is asked for (I2). */
const targetSchema = z.object({
  nodeName: z.string(),
  instanceID: z.string(),
  trunkENIID: z.string().optional(),
});
export type AttachTarget = z.infer<typeof targetSchema>;

const specSchema = z.object({
  zone: z.string().optional(),
  allocations: z.array(allocationSchema).optional(),
  target: targetSchema.optional(),
});

/** One cloud call for this record. Loose, and all but two fields may be missing: another version may have written it. */
const operationSchema = z.looseObject({
  time: z.string().meta({ format: 'date-time' }).describe('When the call ended.'),
  action: z.string().describe('API, such as CreateNetworkInterface.'),
  eniID: z.string().optional(),
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
  instanceID: z.string().optional(),
  trunkENIID: z.string().optional(),
  msg: z.string().optional(),
  podLastSeen: z.string().optional().meta({ format: 'date-time' }),
  eniInfos: z.record(z.string(), eniInfoSchema).optional(),
  ...conditionedStatus,
};
const statusSchema = z.object({ phase: z.string().optional(), ...statusFields });

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
export type PodEniStatus = NonNullable<PodEni['status']>;
