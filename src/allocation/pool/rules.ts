import type { NodeEni, TerwayNode } from '../../crds/node.ts';
import { parseGoDurationMs } from '../../util/duration.ts';
import type { TrunkOutlook } from '../trunk.ts';
import type { PoolLimits } from './growth.ts';
import type { PoolKnobs } from './pool-view.ts';
import { FAMILIES, type Families, type Family } from './view.ts';

type NodeSpec = TerwayNode['spec'];
type EniSpec = NonNullable<NodeSpec['eni']>;
type PoolSpec = NonNullable<NodeSpec['pool']>;

/** What a Node CR says about the pool of its node. */
export interface PoolRules {
  families: Families;
  knobs: PoolKnobs;
  limits: PoolLimits;
}

const SYNC_PERIOD_MS = 120_000;
const RECLAIM_INTERVAL_MS = 600_000;
const RECLAIM_JITTER = 0.1;
/** A pool that gives up addresses at each look would be looked at without end. */
const SHORTEST_INTERVAL_MS = 1000;
/** The cloud makes so many attachments of an instance at a time. */
const ATTACHMENTS_AT_ONCE = 5;
/** Addresses of a prefix, /28. */
const PER_PREFIX = 16;
/** Addresses that Terway's daemon uses of an IPv6 prefix. */
const PER_IPV6_PREFIX = 65_536;

/**
 * The rules of a node's pool, from what its daemon or the control plane wrote. As in Terway, what cannot be read means the default. Pure.
 *
 * @param enis ENIs that the Node CR records
 * @param trunk whether the node has a trunk, or is to get one
 * @param periodMs `ip_pool_sync_period` where the Node CR has none
 * @returns the rules, or why the node has no pool, in one line
 */
export function poolRules(
  spec: NodeSpec,
  enis: readonly NodeEni[],
  trunk: TrunkOutlook,
  periodMs = SYNC_PERIOD_MS,
): PoolRules | { reason: string } {
  const { eni, pool, nodeCap } = spec;
  if (eni === undefined || pool === undefined)
    return { reason: 'spec.eni and spec.pool of the Node CR are not written yet' };
  if ((nodeCap?.adapters ?? 0) === 0) return { reason: 'spec.nodeCap of the Node CR is not written yet' };
  if (eni.enableIPPrefix === true) return { reason: 'spec.eni.enableIPPrefix is true, and prefixes are not supported' };
  const most = eniLimit(spec, enis);
  // Of the kinds in a flavor, the trunk alone may never come.
  const isKeptInVain = trunk === 'none' || trunk === 'undecided';
  return {
    families: familiesOf(eni),
    knobs: knobsOf(pool, periodMs),
    limits: {
      enis: most,
      ...(isKeptInVain ? { places: Math.min(most + trunksOf(spec), besidePrimary(spec)) } : {}),
      perEni: { ipv4: perEni(spec, 'ipv4'), ipv6: perEni(spec, 'ipv6') },
      attachments: ATTACHMENTS_AT_ONCE - (mayBeAttached(trunk) ? Math.min(1, trunksOf(spec)) : 0),
    },
  };
}

function familiesOf({ enableIPv4, enableIPv6 }: Pick<EniSpec, 'enableIPv4' | 'enableIPv6'>): Families {
  if (enableIPv6 !== true) return ['ipv4'];
  return enableIPv4 === true ? FAMILIES : ['ipv6'];
}

function knobsOf(
  { maxPoolSize = 0, minPoolSize = 0, warmUpSize = 0, poolSyncPeriod = '', reclaim }: PoolSpec,
  periodMs: number,
): PoolKnobs {
  const syncPeriodMs = parseGoDurationMs(poolSyncPeriod) ?? periodMs;
  const policy = reclaim === undefined ? undefined : reclaimOf(reclaim, syncPeriodMs);
  return {
    // Otherwise the pool would give up what it asks for.
    mostIdle: Math.max(maxPoolSize, minPoolSize),
    leastIdle: minPoolSize,
    warmUp: warmUpSize,
    syncPeriodMs,
    ...(policy === undefined ? {} : { reclaim: policy }),
  };
}

/** Without a readable `after`, or without a batch size, nothing is given up by age. */
function reclaimOf(
  { after = '', interval = '', batchSize = 0, jitterFactor = '' }: NonNullable<PoolSpec['reclaim']>,
  syncPeriodMs: number,
): PoolKnobs['reclaim'] {
  const afterMs = parseGoDurationMs(after);
  if (afterMs === undefined || batchSize <= 0) return undefined;
  const intervalMs = parseGoDurationMs(interval) ?? RECLAIM_INTERVAL_MS;
  const factor = Number(jitterFactor);
  return {
    afterMs,
    intervalMs: Math.max(intervalMs, syncPeriodMs, SHORTEST_INTERVAL_MS),
    batchSize,
    jitter: factor > 0 ? Math.min(factor, 1) : RECLAIM_JITTER,
  };
}

/**
 * ENIs that the pool may have, with those that are in the record and that it did not make. The place of a trunk or of an ENI for RDMA stays
 * free until it is there.
 */
function eniLimit(spec: NodeSpec, enis: readonly NodeEni[]): number {
  const others = enis.filter(
    ({ networkInterfaceType, networkInterfaceTrafficMode }) =>
      networkInterfaceType === 'Trunk' || networkInterfaceTrafficMode === 'HighPerformance',
  );
  const { plain, all } = counts(spec);
  return Math.min(plain + others.length, all, besidePrimary(spec));
}

/** Whether the trunk may be one of the attachments under way. */
function mayBeAttached(trunk: TrunkOutlook): boolean {
  return trunk === 'coming' || trunk === 'undecided';
}

function trunksOf(spec: NodeSpec): number {
  const { plain, standard } = counts(spec);
  return standard - plain;
}

function besidePrimary({ nodeCap }: NodeSpec): number {
  return Math.max(0, (nodeCap?.adapters ?? 0) - 1);
}

/** By flavor; without one, everything besides the primary ENI is a plain one. */
function counts(spec: NodeSpec): { plain: number; standard: number; all: number } {
  const { flavor } = spec;
  const beside = besidePrimary(spec);
  if (flavor === undefined) return { plain: beside, standard: beside, all: beside };
  const standard = flavor.filter(
    ({ networkInterfaceTrafficMode }) => networkInterfaceTrafficMode !== 'HighPerformance',
  );
  const plain = standard.filter(({ networkInterfaceType }) => networkInterfaceType !== 'Trunk');
  const sum = (entries: typeof flavor) => entries.reduce((total, { count = 0 }) => total + count, 0);
  return { plain: sum(plain), standard: sum(standard), all: sum(flavor) };
}

function perEni({ nodeCap }: NodeSpec, family: Family): number {
  return (family === 'ipv4' ? nodeCap?.ipv4PerAdapter : nodeCap?.ipv6PerAdapter) ?? 0;
}

/**
 * Pods that the node has ENIs or addresses for: the value of its annotation `max-available-ip`.
 *
 * @param isExclusive whether pods get whole ENIs
 * @param hasTrunk whether the node has the trunk that is in its flavor, or is to get it
 */
export function maxAvailableIp(spec: NodeSpec, isExclusive: boolean, hasTrunk: boolean): number {
  const { plain, standard: both } = counts(spec);
  if (isExclusive) return plain;
  const standard = hasTrunk ? both : plain;
  const families = familiesOf(spec.eni ?? {});
  if (spec.eni?.enableIPPrefix === true) {
    if (!families.includes('ipv4')) return PER_IPV6_PREFIX;
    return standard * Math.max(0, perEni(spec, 'ipv4') - 1) * PER_PREFIX;
  }
  return standard * Math.min(...families.map((family) => perEni(spec, family)));
}

/** A node must have room for more pods than this, as ACK has it. */
const FEWEST_PODS = { shared: 11, exclusive: 6 };

/** Why a node of this type is too small, in one line; undefined when it is not. */
export function smallNodeHint(pods: number, isExclusive: boolean, instanceType: string): string | undefined {
  const fewest = isExclusive ? FEWEST_PODS.exclusive : FEWEST_PODS.shared;
  if (pods > fewest) return undefined;
  const what = isExclusive ? 'ENIs of their own' : 'shared ENIs';
  return `instance type ${instanceType} has room for ${pods} pods with ${what}; ACK takes nodes with room for more than ${fewest}`;
}
