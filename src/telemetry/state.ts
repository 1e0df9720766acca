/** What a leader knows of its work, read when the metrics are. Plain figures, so that whoever has them can give them. */
export interface LeaderState {
  queues: readonly { controller: string; depth: number; oldestWaitMs: number }[];
  /** Asynchronous operations in the cloud that are being awaited, by kind. */
  inFlight: Readonly<Record<string, number>>;
  /** Pending pods by what they wait for. */
  waiting: Readonly<Record<string, number>>;
  /** How long the pod that waits longest for its interface has done so; 0 when none does. */
  oldestPodWaitMs: number;
  escapedPods: number;
  /** The collector's last round; absent before the first. */
  orphans: { found: number; held: number; braked: boolean } | undefined;
  networkings: readonly NetworkingState[];
  vSwitches: readonly { id: string; zone: string; free: number; reserved: number }[];
}

/** How one PodNetworking is served. */
export interface NetworkingState {
  name: string;
  pods: Readonly<Record<string, number>>;
  conditions: readonly { type: string; status: string }[];
}

/** What every replica knows, read when the metrics are. */
export interface ReplicaState {
  stores: readonly { store: string; staleMs: number }[];
  quota: readonly { action: string; limit: number; left: number; waiting: number }[];
}
