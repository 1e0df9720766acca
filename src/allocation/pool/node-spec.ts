import type { DaemonField } from '../../crds/field-owners.ts';
import type { NodeCap, TerwayNode } from '../../crds/node.ts';

type NodeSpec = TerwayNode['spec'];
type EniSpec = NonNullable<NodeSpec['eni']>;
type PoolSpec = NonNullable<NodeSpec['pool']>;

/** The fields of a Node CR that Terway's daemon writes, or the control plane where no daemon does. */
export type DaemonSpec = Required<{ [Field in DaemonField]: NonNullable<NodeSpec[Field]> }>;

/** What the configuration says about the shared ENIs of a node. */
export interface SharedEniConfig {
  /** vSwitches for the node's zone. */
  vSwitchIds: string[];
  securityGroupIds: string[];
  tags: Record<string, string>;
  vSwitchSelectPolicy: EniSpec['vSwitchSelectPolicy'];
  tagFilter: Record<string, string>;
  tagBlockList: readonly EniTag[];
  resourceGroupID: string;
  dualStack: boolean;
  pool: PoolSpec;
}

export interface NodeTraits {
  cap: NodeCap;
  instanceType: string;
  /** Pods get whole ENIs. */
  isExclusive: boolean;
  /** The node has a trunk, or is to get one. */
  hasTrunk: boolean;
}

interface EniTag {
  key: string;
  value: string;
}

/** ENIs with one of these tags belong to other controllers, or were taken out by a person. */
const BLOCKED_TAGS: readonly EniTag[] = [
  { key: 'creator', value: 'alibabacloud-erdma-controller' },
  { key: 'terway.alibabacloud.com/excluded', value: 'true' },
];

/**
 * What the control plane writes for a node without Terway's daemon, by that daemon's rules. Pure.
 *
 * @returns the fields, and why the pods get less than was asked for, in one line
 */
export function daemonSpec(config: SharedEniConfig, node: NodeTraits): { spec: DaemonSpec; shortfall?: string } {
  const { cap, instanceType, isExclusive } = node;
  const { ipv4PerAdapter = 0, ipv6PerAdapter = 0, memberAdapterLimit = 0, adapters = 0 } = cap;
  const hasPairs = ipv4PerAdapter === ipv6PerAdapter;
  const enableTrunk = node.hasTrunk && memberAdapterLimit > 0 && !isExclusive && adapters > 1;
  const eni: EniSpec = {
    vSwitchOptions: config.vSwitchIds,
    securityGroupIDs: config.securityGroupIds,
    vSwitchSelectPolicy: config.vSwitchSelectPolicy,
    enableIPv4: true,
    tagBlockList: withoutDuplicates([...BLOCKED_TAGS, ...config.tagBlockList]),
    ...(config.dualStack && hasPairs ? { enableIPv6: true } : {}),
    ...(enableTrunk ? { enableTrunk } : {}),
    ...(isEmpty(config.tags) ? {} : { tag: config.tags }),
    ...(isEmpty(config.tagFilter) ? {} : { tagFilter: config.tagFilter }),
    ...(config.resourceGroupID === '' ? {} : { resourceGroupID: config.resourceGroupID }),
  };
  const pool: PoolSpec = isExclusive ? { ...config.pool, maxPoolSize: 0, minPoolSize: 0 } : config.pool;
  const spec: DaemonSpec = { eni, pool, flavor: flavorOf(adapters, enableTrunk), datapath: { type: 'veth' } };
  if (!config.dualStack || hasPairs) return { spec };
  const counts = `${ipv4PerAdapter} IPv4 and ${ipv6PerAdapter} IPv6 addresses`;
  return {
    spec,
    shortfall: `ip_stack is dual, but an ENI of instance type ${instanceType} has ${counts}: pods of the node get IPv4 alone`,
  };
}

/** How many ENIs of which kind: all that the instance supports besides its primary one. */
function flavorOf(adapters: number, hasTrunk: boolean): DaemonSpec['flavor'] {
  const kind = (networkInterfaceType: string, count: number) => ({
    networkInterfaceType,
    networkInterfaceTrafficMode: 'Standard' as const,
    count,
  });
  const secondary = kind('Secondary', Math.max(0, adapters - 1 - (hasTrunk ? 1 : 0)));
  return hasTrunk ? [kind('Trunk', 1), secondary] : [secondary];
}

/** Tags of ENIs that the pool leaves alone. */
export function blockedTags({ tagBlockList }: Pick<EniSpec, 'tagBlockList'>): readonly EniTag[] {
  if (tagBlockList === undefined) return BLOCKED_TAGS;
  return tagBlockList.flatMap(({ key = '', value = '' }) => (key === '' ? [] : [{ key, value }]));
}

function withoutDuplicates(tags: readonly EniTag[]): EniTag[] {
  return [...new Map(tags.map((tag) => [JSON.stringify([tag.key, tag.value]), tag])).values()];
}

function isEmpty(record: Record<string, string>): boolean {
  return Object.keys(record).length === 0;
}
