/** Where a reason is read: an event on an object, or a condition of it. `Node` is Kubernetes' own, `Node CR` ours. */
export type ReasonPlace =
  | { kind: 'Pod' | 'PodENI' | 'PodNetworking' | 'Node'; event: 'Normal' | 'Warning' }
  | { kind: 'PodENI' | 'NetworkInterface' | 'PodNetworking' | 'Node CR'; condition: string };

/** One reason: what it means and what the reader can do. */
export interface ReasonEntry {
  on: readonly ReasonPlace[];
  /** What has happened, or what is waited for. */
  cause: string;
  /** What to do; absent where nothing is to be done. */
  remedy?: string;
  /** As what a pod counts whose PodENI says this; neither: it is on its way. */
  pod?: 'waiting' | 'failed';
}

export const POD_NORMAL: ReasonPlace = { kind: 'Pod', event: 'Normal' };
export const POD_WARNING: ReasonPlace = { kind: 'Pod', event: 'Warning' };
export const POD_ENI_READY: ReasonPlace = { kind: 'PodENI', condition: 'Ready' };
export const NODE_WARNING: ReasonPlace = { kind: 'Node', event: 'Warning' };
export const NODE_CR_TRUNK: ReasonPlace = { kind: 'Node CR', condition: 'TrunkReady' };
export const NODE_CR_READY: ReasonPlace = { kind: 'Node CR', condition: 'Ready' };
export const NODE_CR_CONFIGURATION: ReasonPlace = { kind: 'Node CR', condition: 'ConfigurationValid' };
export const NETWORKING_READY: ReasonPlace = { kind: 'PodNetworking', condition: 'Ready' };
export const NETWORKING_VSWITCHES: ReasonPlace = { kind: 'PodNetworking', condition: 'VSwitchesReady' };
export const NETWORKING_GROUPS: ReasonPlace = { kind: 'PodNetworking', condition: 'SecurityGroupsReady' };
export const NETWORKING_CAPACITY: ReasonPlace = { kind: 'PodNetworking', condition: 'CapacityAvailable' };
export const NETWORKING_ALLOCATION: ReasonPlace = { kind: 'PodNetworking', condition: 'AllocationHealthy' };
export const NETWORKING_CONFIGURATION: ReasonPlace = { kind: 'PodNetworking', condition: 'ConfigurationValid' };
export const NETWORKING_ROLLOUT: ReasonPlace = { kind: 'PodNetworking', condition: 'RolloutComplete' };
