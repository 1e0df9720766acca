import type { NodeEni, TerwayNode } from '../../crds/node.ts';
import type { Random } from '../../util/random.ts';
import type { PoolLimits } from './growth.ts';
import type { Families, PoolPod } from './view.ts';

export type PoolStatus = NonNullable<TerwayNode['status']>;

/** Knobs of `eni-config`. */
export interface PoolKnobs {
  /** `max_pool_size`: idle addresses beyond it are given up. */
  mostIdle: number;
  /** `min_pool_size` */
  leastIdle: number;
  /** `ip_warm_up_size`: so many addresses a new node asks for, whatever it needs. */
  warmUp: number;
  /** `ip_pool_sync_period`: so long a surplus must have lasted. */
  syncPeriodMs: number;
  /** `idle_ip_reclaim_*`: so many idle addresses go at a time, down to `leastIdle`, while nothing is handed out. */
  reclaim?: { afterMs: number; intervalMs: number; batchSize: number; jitter: number };
}

/** Everything that is known about the pool of one node. */
export interface PoolView {
  status: PoolStatus;
  /** Pods that the pool serves and whose network may still be there, in the order in which they are served. */
  pods: readonly PoolPod[];
  /** Whether the node has reported `deleted` for a pod's uid. */
  isGone: (uid: string) => boolean;
  /** Whether the node has reported a sandbox of a pod's uid that is not gone. */
  hasSandbox: (uid: string) => boolean;
  /** Whether the node has reported sandboxes of pods that are not known, and whose addresses the record does not show. */
  hasStrangers: boolean;
  /** The record is so new that pods may not have told what they have. */
  isNew: boolean;
  families: Families;
  knobs: PoolKnobs;
  limits: PoolLimits;
  /** ENIs that give nothing until their tags are known. */
  unread?: ReadonlySet<string>;
  /** Whether the vSwitch of an ENI has addresses. */
  mayGrow: (eni: NodeEni) => boolean;
  /** Whether ENIs may be made: the cloud has not refused one a moment ago. */
  mayMake: boolean;
  /** Whether a vSwitch for a new ENI has an address, as far as is known. */
  hasVSwitch: boolean;
  /** Whether anything may be given up: otherwise what is marked would serve nobody, and stay. */
  mayRelease: boolean;
  /** When an address was freed, epoch milliseconds; undefined: long ago, or by an earlier leader. */
  freedMs: (ip: string) => number | undefined;
  /** Since when there has been a surplus, as the last plan said. */
  surplusSinceMs?: number | undefined;
  /** What has been wanted that nobody has asked for, as the last plan said. */
  wanted?: Wanted | undefined;
  random: Random;
  nowMs: number;
}

/** Addresses that can be asked for. */
export interface Wanted {
  /** Epoch milliseconds. */
  sinceMs: number;
  /** Pods wait for them; others are to be idle. */
  isAwaited: boolean;
}
