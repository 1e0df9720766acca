import * as z from 'zod';
import { conditionedStatus, eniFields, eniInfoSchema, objectMetaSchema } from './common.ts';
import { defineCrd, resourceOf } from './define.ts';

const specSchema = z.object({
  eni: z
    .object({
      ...eniFields,
      id: z
        .string()
        .default('')
        .meta({ 'x-kubernetes-validations': [{ rule: 'self == oldSelf', message: 'eni.id cannot be changed' }] }),
    })
    .prefault({})
    // Here and not on `mac`: a rule with oldSelf is not evaluated when its own field is removed.
    .meta({
      'x-kubernetes-validations': [
        {
          rule: "!has(oldSelf.mac) || oldSelf.mac == '' || (has(self.mac) && self.mac == oldSelf.mac)",
          message: 'eni.mac cannot be changed once it is set',
          fieldPath: '.mac',
        },
      ],
    }),
  ipv4: z.string().optional().describe('IPv4 address of the ENI.'),
  ipv6: z.string().optional().describe('IPv6 address of the ENI.'),
  ipv4CIDR: z.string().optional().describe('IPv4 CIDR of the vSwitch.'),
  ipv6CIDR: z.string().optional().describe('IPv6 CIDR of the vSwitch.'),
  extraConfig: z
    .record(z.string(), z.string())
    .optional()
    .describe('Preserved from other versions, not set by this one.'),
  managePolicy: z
    .object({ cache: z.boolean().optional(), unManaged: z.boolean().optional() })
    .optional()
    .describe('Preserved from other versions, not set by this one.'),
  podENIRef: z
    .object({
      apiVersion: z.string().optional(),
      kind: z.string().optional(),
      namespace: z.string().optional(),
      name: z.string().optional(),
      uid: z.string().optional(),
      resourceVersion: z.string().optional(),
      fieldPath: z.string().optional(),
    })
    .optional(),
});

const statusSchema = z.object({
  phase: z.string().describe('The same as in the PodENI.'),
  eniInfo: eniInfoSchema.optional().describe('Binding of the ENI.'),
  instanceID: z.string().optional().describe('ECS instance of the attachment.'),
  trunkENIID: z.string().optional().describe('Trunk ENI of the attachment.'),
  networkCardIndex: z.int().optional().describe('Preserved from other versions, not set by this one.'),
  nodeName: z.string().optional().describe('Kubernetes node of that instance.'),
  ...conditionedStatus,
});

/** One ENI of one pod; named after the ENI id. */
export const networkInterfaceCrd = defineCrd({
  kind: 'NetworkInterface',
  plural: 'networkinterfaces',
  singular: 'networkinterface',
  shortNames: ['ni', 'netif'],
  scope: 'Cluster',
  description: 'An elastic network interface of a pod, named after the ENI id. Written by the control plane.',
  // Defaults down to eni.id: removing an enclosing object must not lose the identity of an ENI.
  spec: specSchema.prefault({}),
  status: statusSchema,
  printerColumns: [
    { name: 'Phase', type: 'string', jsonPath: '.status.phase' },
    { name: 'InstanceID', type: 'string', jsonPath: '.status.instanceID' },
    { name: 'TrunkENIID', type: 'string', jsonPath: '.status.trunkENIID' },
    { name: 'NodeName', type: 'string', jsonPath: '.status.nodeName' },
    { name: 'PodNamespace', type: 'string', jsonPath: '.spec.podENIRef.namespace' },
    { name: 'PodName', type: 'string', jsonPath: '.spec.podENIRef.name' },
    { name: 'Type', type: 'string', jsonPath: '.status.eniInfo.type' },
    { name: 'VLAN', type: 'integer', jsonPath: '.status.eniInfo.vid', priority: 1 },
    { name: 'IPv4', type: 'string', jsonPath: '.spec.ipv4', priority: 1 },
    { name: 'vSwitch', type: 'string', jsonPath: '.spec.eni.vSwitchID', priority: 1 },
    { name: 'SecurityGroups', type: 'string', jsonPath: '.spec.eni.securityGroupIDs', priority: 1 },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  ],
});

export const networkInterfaceSchema = z.object({
  metadata: objectMetaSchema,
  spec: specSchema.prefault({}),
  status: statusSchema.partial().optional(),
});
export type NetworkInterface = z.infer<typeof networkInterfaceSchema>;
export const networkInterfaceResource = resourceOf(networkInterfaceCrd, networkInterfaceSchema);
