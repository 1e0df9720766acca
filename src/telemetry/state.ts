/** The leader's state, read at each scrape. Plain numbers, so that this module depends on no controller. */
export interface LeaderState {
  queues: readonly { controller: string; depth: number; oldestWaitMs: number }[];
  /** Asynchronous cloud operations in progress, by kind. */
  inFlight: Readonly<Record<string, number>>;
  /** Pending pods by what they wait for. */
  waiting: Readonly<Record<string, number>>;
  /** Waiting time of the pod that has waited longest for its interface; 0 when none waits. */
  oldestPodWaitMs: number;
  escapedPods: number;
  /** The collector's last round; absent before the first. */
  orphans: { found: number; held: number; braked: boolean } | undefined;
  /** Entries in memory for work in progress, by who holds them. */
  held: Readonly<Record<string, number>>;
  networkings: readonly NetworkingState[];
  vSwitches: readonly { id: string; zone: string; free: number; reserved: number }[];
  pools: PoolState;
}

/** State of the ENIs that pods share. */
export interface PoolState {
  /** By vSwitch, then by what the addresses do. */
  addresses: ReadonlyMap<string, Readonly<Record<string, number>>>;
  wanted: number;
  /** Pods without an address, by reason. */
  waiting: Readonly<Record<string, number>>;
  /** Waiting time of the pod that has waited longest for an address; 0 when none waits. */
  oldestWaitMs: number;
  /** Addresses of pods that are gone, for which their nodes have not given their word; the first whose node is Ready has waited `oldestMs`. */
  unconfirmed: { count: number; oldestMs: number };
}

/** State of one PodNetworking. */
export interface NetworkingState {
  name: string;
  pods: Readonly<Record<string, number>>;
  conditions: readonly { type: string; status: string }[];
}

/** State of every replica, read at each scrape. */
export interface ReplicaState {
  stores: readonly { store: string; staleMs: number }[];
  quota: readonly { action: string; limit: number; left: number; waiting: number }[];
}
