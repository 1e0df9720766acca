import * as z from 'zod';

/** Kubernetes object metadata, as far as it is read. */
export const objectMetaSchema = z.object({
  name: z.string(),
  namespace: z.string().optional(),
  uid: z.string().optional(),
  resourceVersion: z.string().optional(),
  generation: z.number().optional(),
  creationTimestamp: z.string().optional(),
  deletionTimestamp: z.string().optional(),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
  finalizers: z.array(z.string()).optional(),
  ownerReferences: z
    .array(
      z.object({
        apiVersion: z.string(),
        kind: z.string(),
        name: z.string(),
        uid: z.string(),
        controller: z.boolean().optional(),
        blockOwnerDeletion: z.boolean().optional(),
      }),
    )
    .optional(),
});

/** `metav1.Condition`. */
export const conditionSchema = z.object({
  type: z.string().max(316),
  status: z.enum(['True', 'False', 'Unknown']),
  observedGeneration: z.int().optional(),
  lastTransitionTime: z.string().meta({ format: 'date-time' }),
  reason: z.string().max(1024),
  message: z.string().max(32768),
});

/** `status.conditions` and `status.observedGeneration`, shared by all kinds. */
export const conditionedStatus = {
  observedGeneration: z.int().optional().describe('metadata.generation on which the control plane based this status.'),
  conditions: z
    .array(conditionSchema)
    .optional()
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] }),
};

/** How long an address is reserved for a pod name. */
export const allocationTypeFields = {
  type: z
    .enum(['Elastic', 'Fixed'])
    .default('Elastic')
    .describe('Elastic: released with the pod. Fixed: kept for the next pod of the same name.'),
  releaseStrategy: z.enum(['TTL', 'Never']).optional().describe('When a Fixed allocation without a pod is released.'),
  releaseAfter: z
    .string()
    .optional()
    .describe('Go duration, such as 10m: how long a Fixed allocation with strategy TTL outlives its pod.'),
};

/** In a record: without rules, because it may be copied from an object that is older than the rules. */
export const allocationTypeSchema = z.looseObject(allocationTypeFields);
export type AllocationType = z.infer<typeof allocationTypeSchema>;

/** One elastic network interface in PodENI and NetworkInterface. */
export const eniFields = {
  id: z.string().default('').describe('Id of the ENI; empty until the cloud has created it.'),
  vpcID: z.string().optional().describe('VPC of the ENI.'),
  mac: z.string().optional().describe('MAC address of the ENI.'),
  zone: z.string().optional().describe('Zone of the vSwitch.'),
  vSwitchID: z.string().optional().describe('vSwitch of the ENI.'),
  resourceGroupID: z
    .string()
    .optional()
    .describe('Resource group; preserved from other versions, not set by this one.'),
  securityGroupIDs: z.array(z.string()).optional().describe('Desired security groups of the ENI.'),
  attachmentOptions: z
    .looseObject({ trunk: z.boolean().optional() })
    .optional()
    .describe('How it is attached; trunk: as a member of the trunk ENI of the node.'),
};

/** Attachment of one ENI to an instance; in a PodENI keyed by ENI id. */
export const eniInfoSchema = z.object({
  id: z.string().optional().describe('Id of the ENI.'),
  type: z
    .enum(['Secondary', 'Trunk', 'Primary', 'Member'])
    .optional()
    .describe('Member: of a trunk. Secondary: attached to the instance directly.'),
  vid: z.int().optional().describe('VLAN id of a member ENI on its trunk.'),
  // No enum, because upstream's control plane writes this field too and may use more values.
  status: z.string().optional().describe('Whether the ENI is attached: Bind, Unbind or Deleted.'),
  networkCardIndex: z.int().optional().describe('Preserved from other versions, not set by this one.'),
  vfID: z.int().optional().describe('Preserved from other versions, not set by this one.'),
});
