/**
 * Where a reason appears: an event on an object, or a condition of it. `Node` is Kubernetes' own kind, `Node CR` ours.
 */
export type ReasonPlace =
  | { kind: 'Pod' | 'PodENI' | 'PodNetworking' | 'Node' | 'Node CR'; event: 'Normal' | 'Warning' }
  | { kind: 'PodENI' | 'NetworkInterface' | 'PodNetworking' | 'Node' | 'Node CR'; condition: string };

/** One reason: its meaning and what the reader can do. */
export interface ReasonEntry {
  on: readonly ReasonPlace[];
  /** What has happened, or what the object waits for. */
  cause: string;
  /** What to do; absent when there is nothing to do. */
  remedy?: string;
  /** How a pod counts whose PodENI has this reason; without it, the pod counts as in progress. */
  pod?: 'waiting' | 'failed';
}

export const POD_NORMAL: ReasonPlace = { kind: 'Pod', event: 'Normal' };
export const POD_WARNING: ReasonPlace = { kind: 'Pod', event: 'Warning' };
export const POD_ENI_READY: ReasonPlace = { kind: 'PodENI', condition: 'Ready' };
export const NODE_WARNING: ReasonPlace = { kind: 'Node', event: 'Warning' };
export const NODE_CR_TRUNK: ReasonPlace = { kind: 'Node CR', condition: 'TrunkReady' };
export const NODE_CR_READY: ReasonPlace = { kind: 'Node CR', condition: 'Ready' };
export const NODE_CR_CONFIGURATION: ReasonPlace = { kind: 'Node CR', condition: 'ConfigurationValid' };
export const NODE_CR_POOL: ReasonPlace = { kind: 'Node CR', condition: 'PoolReady' };
export const NODE_CR_POOL_CONFIGURED: ReasonPlace = { kind: 'Node CR', condition: 'PoolAsConfigured' };
export const NODE_CR_POOL_RELEASES: ReasonPlace = { kind: 'Node CR', condition: 'PoolReleasesConfirmed' };
export const NODE_CR_NORMAL: ReasonPlace = { kind: 'Node CR', event: 'Normal' };
export const NODE_CR_WARNING: ReasonPlace = { kind: 'Node CR', event: 'Warning' };
export const NODE_SUFFICIENT_IP: ReasonPlace = { kind: 'Node', condition: 'SufficientIP' };
export const NETWORKING_READY: ReasonPlace = { kind: 'PodNetworking', condition: 'Ready' };
export const NETWORKING_VSWITCHES: ReasonPlace = { kind: 'PodNetworking', condition: 'VSwitchesReady' };
export const NETWORKING_GROUPS: ReasonPlace = { kind: 'PodNetworking', condition: 'SecurityGroupsReady' };
export const NETWORKING_CAPACITY: ReasonPlace = { kind: 'PodNetworking', condition: 'CapacityAvailable' };
export const NETWORKING_ALLOCATION: ReasonPlace = { kind: 'PodNetworking', condition: 'AllocationHealthy' };
export const NETWORKING_CONFIGURATION: ReasonPlace = { kind: 'PodNetworking', condition: 'ConfigurationValid' };
export const NETWORKING_ROLLOUT: ReasonPlace = { kind: 'PodNetworking', condition: 'RolloutComplete' };
