import * as z from 'zod';
import { conditionedStatus, objectMetaSchema } from './common.ts';
import { defineCrd, resourceOf } from './define.ts';
import { fieldsOfOthers } from './field-owners.ts';

const tagsSchema = z.record(z.string(), z.string());

const metadataSchema = z.object({
  regionID: z.string().describe('Region of the instance.'),
  instanceType: z.string().describe('Instance type, such as ecs.g7.4xlarge.'),
  instanceID: z.string().describe('Id of the instance, from spec.providerID of the Kubernetes node.'),
  zoneID: z.string().describe('Zone of the instance.'),
});

const capSchema = z.object({
  adapters: z.int().optional().describe('ENIs that the instance supports, including the primary one (EniQuantity).'),
  eriQuantity: z.int().optional().describe('ENIs among them that support RDMA.'),
  totalAdapters: z
    .int()
    .optional()
    .describe('ENIs that the instance supports, including trunk members (EniTotalQuantity).'),
  ipv4PerAdapter: z.int().optional().describe('IPv4 addresses that one ENI supports.'),
  ipv6PerAdapter: z.int().optional().describe('IPv6 addresses that one ENI supports.'),
  memberAdapterLimit: z
    .int()
    .optional()
    .describe('Trunk members available to pods: EniTotalQuantity - EniQuantity; 0 without trunk support.'),
  maxMemberAdapterLimit: z.int().optional().describe('EniTotalQuantity - 2; 0 without trunk support.'),
  instanceBandwidthRx: z.int().optional().describe('Inbound bandwidth, as reported by the cloud.'),
  instanceBandwidthTx: z.int().optional().describe('Outbound bandwidth, as reported by the cloud.'),
  networkCards: z
    .array(z.object({ index: z.int() }))
    .optional()
    .describe('Network cards of the instance type.'),
  networkCardsCount: z.int().optional().describe('Number of network cards.'),
});
export type NodeCap = z.infer<typeof capSchema>;

const nonNegative = z.int().min(0).optional();

const specSchema = z.object({
  nodeMetadata: metadataSchema.optional().describe('Identity of the instance; written by the control plane.'),
  nodeCap: capSchema.optional().describe('Limits of the instance type; written by the control plane.'),
  datapath: z
    .object({ type: z.enum(['veth', 'ipvlan', 'datapathv2']).optional() })
    .optional()
    .describe("Data path of Terway's daemon; written by that daemon, or by the control plane where our agent runs."),
  eni: z
    .object({
      tag: tagsSchema.optional(),
      tagFilter: tagsSchema.optional(),
      tagBlockList: z.array(z.object({ key: z.string().optional(), value: z.string().optional() })).optional(),
      vSwitchOptions: z.array(z.string()),
      securityGroupIDs: z.array(z.string()),
      vSwitchSelectPolicy: z.enum(['ordered', 'random', 'most']),
      resourceGroupID: z.string().optional(),
      enableIPv4: z.boolean().optional(),
      enableIPv6: z.boolean().optional(),
      enableERDMA: z.boolean().optional(),
      enableTrunk: z.boolean().optional(),
      enableIPPrefix: z.boolean().optional(),
      ipv4PrefixCount: z.int().optional(),
      ipv6PrefixCount: z.int().optional(),
    })
    .optional(),
  pool: z
    .object({
      maxPoolSize: nonNegative,
      minPoolSize: nonNegative,
      warmUpSize: nonNegative,
      poolSyncPeriod: z.string().optional(),
      reclaim: z
        .object({
          after: z.string().optional(),
          interval: z.string().optional(),
          batchSize: z.int().optional(),
          jitterFactor: z.string().optional(),
        })
        .optional(),
    })
    .optional(),
  flavor: z
    .array(
      z.object({
        networkInterfaceType: z.string().optional(),
        networkInterfaceTrafficMode: z.enum(['Standard', 'HighPerformance']).optional(),
        count: nonNegative,
      }),
    )
    .optional(),
});

const ipSchema = z.object({
  ip: z.string(),
  primary: z.boolean(),
  status: z.enum(['Valid', 'Invalid', 'Deleting']),
  podID: z.string().optional(),
  podUID: z.string().optional(),
  ipName: z.string().optional(),
});

const prefixSchema = z.object({
  prefix: z.string(),
  status: z.enum(['Valid', 'Frozen', 'Invalid', 'Deleting']),
  frozenExpireAt: z.string().optional().meta({ format: 'date-time' }),
});

const networkInterfaceSchema = z.object({
  id: z.string(),
  status: z.string(),
  macAddress: z.string().optional(),
  vSwitchID: z.string().optional(),
  securityGroupIDs: z.array(z.string()).optional(),
  primaryIPAddress: z.string().optional(),
  networkInterfaceTrafficMode: z.string().optional(),
  networkInterfaceType: z.string().optional(),
  unschedulable: z.boolean().optional(),
  ipv4: z.record(z.string(), ipSchema).optional(),
  ipv6: z.record(z.string(), ipSchema).optional(),
  ipv4Prefix: z.array(prefixSchema).optional(),
  ipv6Prefix: z.array(prefixSchema).optional(),
  ipv4CIDR: z.string().optional(),
  ipv6CIDR: z.string().optional(),
  conditions: z
    .record(
      z.string(),
      z.object({ observedTime: z.string().optional().meta({ format: 'date-time' }), message: z.string().optional() }),
    )
    .optional(),
});

export type NodeAddress = z.infer<typeof ipSchema>;
export type NodeEni = z.infer<typeof networkInterfaceSchema>;

const poolIntentSchema = z.object({
  clientToken: z.string(),
  createdAt: z.string().meta({ format: 'date-time' }),
  attempt: z.int().min(1),
  eniID: z.string().describe('The ENI that gets addresses; empty for an ENI that is to be created.'),
  vSwitchID: z.string(),
  securityGroupIDs: z.array(z.string()),
  resourceGroupID: z.string().optional(),
  tags: tagsSchema,
  ipv4: z.int().min(0).describe('IPv4 addresses asked for; of a new ENI with the primary one.'),
  ipv6: z.int().min(0).describe('IPv6 addresses asked for.'),
});
export type PoolIntent = z.infer<typeof poolIntentSchema>;

const time = () => z.string().optional().meta({ format: 'date-time' });

const statusSchema = z.object({
  nextSyncOpenAPITime: time().describe("Used by Terway's address pool; preserved, not set by this version."),
  lastSyncOpenAPITime: time().describe(
    'When the record was compared with what the cloud has for the instance; absent: never.',
  ),
  lastModifiedTime: time().describe('When addresses were last handed out or asked for.'),
  nextIdleIPReclaimTime: time().describe('When idle addresses are next given back by age.'),
  warmUpTarget: z.int().optional().describe('Addresses that the warm-up asks for.'),
  warmUpAllocatedCount: z.int().optional().describe('Addresses that the cloud has given since the warm-up began.'),
  warmUpCompleted: z.boolean().optional().describe('The warm-up has ended, or there was none.'),
  networkInterfaces: z
    .record(z.string(), networkInterfaceSchema)
    .optional()
    .describe('ENIs of the node by id, with the addresses that its pods share.'),
  poolIntents: z
    .array(poolIntentSchema)
    .optional()
    .describe('Calls for ENIs and addresses whose result is not recorded yet; written before each call.'),
  ...conditionedStatus,
});

/** Network capacity and interfaces of one Kubernetes node; has the name of the node. */
export const nodeCrd = defineCrd({
  kind: 'Node',
  plural: 'nodes',
  singular: 'node',
  shortNames: ['tnode'],
  scope: 'Cluster',
  description: 'Network capacity and network interfaces of the Kubernetes node of the same name.',
  spec: specSchema,
  status: statusSchema,
  printerColumns: [
    { name: 'Instance', type: 'string', jsonPath: '.spec.nodeMetadata.instanceID' },
    { name: 'Type', type: 'string', jsonPath: '.spec.nodeMetadata.instanceType' },
    { name: 'Zone', type: 'string', jsonPath: '.spec.nodeMetadata.zoneID' },
    { name: 'Members', type: 'integer', jsonPath: '.spec.nodeCap.memberAdapterLimit' },
    { name: 'Ready', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
    { name: 'Trunk', type: 'string', jsonPath: '.status.conditions[?(@.type=="TrunkReady")].reason' },
    { name: 'ENIs', type: 'string', jsonPath: '.status.networkInterfaces.*.id', priority: 1 },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  ],
});

/** Field manager of our writes. */
const OUR_MANAGER = 'terway-controlplane';

export const nodeSchema = z.object({
  metadata: objectMetaSchema.extend({
    /** Of the fields that Terway's daemon writes, those that somebody else has written. */
    managedFields: z
      .unknown()
      .transform((fields) => fieldsOfOthers(fields, OUR_MANAGER))
      .optional(),
  }),
  spec: specSchema.prefault({}),
  status: statusSchema.optional(),
});
export type TerwayNode = z.infer<typeof nodeSchema>;
export const terwayNodeResource = resourceOf(nodeCrd, nodeSchema);
