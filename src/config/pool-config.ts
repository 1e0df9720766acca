import * as z from 'zod';
import type { TerwayNode } from '../crds/node.ts';
import { parseGoDurationMs } from '../util/duration.ts';

type NodeSpec = TerwayNode['spec'];
type EniSpec = NonNullable<NodeSpec['eni']>;

/** What `eni_conf` says about the ENIs that pods share, in the terms of a Node CR. */
export interface PoolConfig extends Pick<EniSpec, 'vSwitchSelectPolicy'> {
  pool: NonNullable<NodeSpec['pool']>;
  /** Only ENIs with these tags belong to a pool. */
  tagFilter: Record<string, string>;
  /** ENIs with one of these tags are left alone; others are built in. */
  tagBlockList: { key: string; value: string }[];
  /** Of new ENIs; empty for the default one. */
  resourceGroupID: string;
  /** Pods get an IPv6 address besides their IPv4 one. */
  dualStack: boolean;
}

const RECLAIM_DEFAULTS = { interval: '10m', batchSize: 5, jitterFactor: '0.1' };

const size = z.int().min(0).nullish();
const text = z.string().nullish();
const tags = z.record(z.string(), z.string()).nullish();
const duration = z
  .string()
  .refine((value) => value === '' || parseGoDurationMs(value) !== undefined, 'must be a Go duration such as 30m')
  .nullish();

/**
 * The keys of the pool. As in Terway, null and the empty text mean that a key is not set, an unreadable `ip_pool_sync_period` or
 * jitter means the default, and a negative batch size turns the reclaim off.
 */
export const poolConfSchema = z
  .looseObject({
    max_pool_size: size,
    min_pool_size: size,
    ip_warm_up_size: size,
    ip_pool_sync_period: text,
    idle_ip_reclaim_after: duration,
    idle_ip_reclaim_interval: duration,
    idle_ip_reclaim_batch_size: z.int().nullish(),
    idle_ip_reclaim_jitter_factor: text,
    vswitch_selection_policy: text,
    eni_tag_filter: tags,
    eni_tag_block_list: z.array(z.object({ key: text, value: text }).nullable()).nullish(),
    resource_group_id: text,
    // Terway's daemon decides on prefixes when it first writes spec.eni of a node, and never again; it must not find ours there.
    enable_ip_prefix: z
      .boolean()
      .refine((isWanted) => !isWanted, 'prefixes are not supported; remove the key, or keep Terway’s control plane')
      .nullish(),
    ip_stack: z
      .string()
      .refine(
        (stack) => stack !== 'ipv6',
        'ipv6 alone is not supported on shared ENIs; use dual, or ipv4, or let a PodNetworking select the pods',
      )
      .refine((stack) => ['', 'ipv4', 'dual'].includes(stack), 'must be ipv4 or dual')
      .nullish(),
  })
  .transform((conf): PoolConfig => {
    const { ip_warm_up_size: warmUpSize, ip_pool_sync_period: poolSyncPeriod, idle_ip_reclaim_after: after } = conf;
    return {
      pool: {
        maxPoolSize: conf.max_pool_size ?? 0,
        minPoolSize: conf.min_pool_size ?? 0,
        ...(isSet(warmUpSize) ? { warmUpSize } : {}),
        ...(isSet(poolSyncPeriod) ? { poolSyncPeriod } : {}),
        ...(isSet(after) ? { reclaim: { after, ...reclaimOf(conf) } } : {}),
      },
      vSwitchSelectPolicy: policyOf(conf.vswitch_selection_policy),
      tagFilter: conf.eni_tag_filter ?? {},
      tagBlockList: (conf.eni_tag_block_list ?? []).flatMap((item) =>
        isSet(item?.key) ? [{ key: item.key, value: item.value ?? '' }] : [],
      ),
      resourceGroupID: conf.resource_group_id ?? '',
      dualStack: conf.ip_stack === 'dual',
    };
  });

function isSet<T extends string | number>(value: T | null | undefined): value is T {
  return value !== undefined && value !== null && value !== '' && value !== 0;
}

function reclaimOf(conf: {
  idle_ip_reclaim_interval?: string | null | undefined;
  idle_ip_reclaim_batch_size?: number | null | undefined;
  idle_ip_reclaim_jitter_factor?: string | null | undefined;
}): typeof RECLAIM_DEFAULTS {
  const { idle_ip_reclaim_interval: interval, idle_ip_reclaim_batch_size: batchSize } = conf;
  const { idle_ip_reclaim_jitter_factor: jitterFactor } = conf;
  return {
    interval: isSet(interval) ? interval : RECLAIM_DEFAULTS.interval,
    batchSize: isSet(batchSize) ? batchSize : RECLAIM_DEFAULTS.batchSize,
    jitterFactor: isSet(jitterFactor) ? jitterFactor : RECLAIM_DEFAULTS.jitterFactor,
  };
}

/** `ordered` has meant the vSwitch with the most free addresses since Terway's control plane chooses it. */
function policyOf(policy: string | null | undefined): PoolConfig['vSwitchSelectPolicy'] {
  return policy === 'ordered' || policy === 'most' ? 'most' : 'random';
}
