import type { Family } from '../../../src/allocation/pool/view.ts';

/** PodNetworkings of the workload. Pods of the two fixed ones belong to a StatefulSet. */
export const NETWORKINGS = ['elastic', 'fixed', 'never'] as const;
export type Networking = (typeof NETWORKINGS)[number];

/** What users do to objects and ENIs. */
export type UserAct =
  | { kind: 'create-pod'; pod: number; node: number }
  | { kind: 'delete-pod'; pod: number; isForced: boolean }
  | { kind: 'replace-pod'; pod: number; node: number }
  /** A pod that is gone after a moment, in whatever state its interface is then. */
  | { kind: 'flash-pod'; pod: number; node: number; forMs: number }
  | { kind: 'delete-podeni'; pod: number }
  | { kind: 'strip-podeni'; pod: number }
  | { kind: 'delete-mirror'; pod: number }
  | { kind: 'detach-eni'; pod: number }
  | { kind: 'delete-eni'; pod: number }
  | { kind: 'delete-trunk'; node: number }
  | { kind: 'edit-networking'; networking: Networking; vSwitches: readonly number[]; groups: readonly number[] }
  /** Every pod that does not exist is created on this node. */
  | { kind: 'crowd-node'; node: number }
  /** So many pods that have a slot of this node are deleted at once. */
  | { kind: 'delete-bound-pods'; node: number; count: number }
  /** Somebody deletes the PodENI of a pod, and a moment later the sandbox of the pod fails. */
  | { kind: 'renew-podeni'; pod: number; afterMs: number }
  /** Somebody gives the ENI of a pod another security group. */
  | { kind: 'change-groups'; pod: number; group: number }
  /** Somebody detaches the ENI of one of the bound PodENIs and attaches it to the trunk of this node, where it may have been. */
  | { kind: 'move-eni'; bound: number; node: number }
  /** A PodNetworking prefers a small vSwitch from now on, and somebody else takes its addresses right before the next ENI is created there. */
  | { kind: 'take-addresses'; networking: Networking };

/** What happens to replicas. */
export type ReplicaAct =
  | { kind: 'kill-replica'; replica: number; forMs: number }
  | { kind: 'stall-replica'; replica: number; forMs: number }
  | { kind: 'freeze-watches'; replica: number }
  /** The watches of a replica freeze, and after a while it is the only one that is left. */
  | { kind: 'late-takeover'; replica: number; afterMs: number; forMs: number }
  | { kind: 'break-watches'; replica: number }
  /** The configuration file restricts for a while what is done in the cloud: `l1` releases nothing, `l0` calls nothing. */
  | { kind: 'degrade'; level: 'l0' | 'l1'; forMs: number }
  /**
   * As `late-takeover`, but by a replica that does not lead, and only the watch of PodENIs or of our nodes freezes: what it knows is of
   * different times.
   */
  | { kind: 'torn-takeover'; replica: number; frozen: 'podenis' | 'nodes'; afterMs: number; forMs: number };

/** How the cloud behaves. */
export type CloudAct =
  | { kind: 'throttle'; action: string; limit: number; forMs: number }
  | { kind: 'fail-attachments'; outcome: 'fails' | 'hangs'; count: number }
  | { kind: 'lag-lists'; createdMs: number; deletedMs: number; forMs: number }
  /** For a while connections break at each creation of an ENI, and the request arrives `byMs` later. */
  | { kind: 'delay-creations'; byMs: number; forMs: number }
  /**
   * For a while lists show an ENI so late after its creation, connections break at each attachment, and the request arrives `byMs`
   * later. `isPodGone`: the pod goes meanwhile.
   */
  | { kind: 'delay-attachments'; byMs: number; createdMs: number; forMs: number; isPodGone: boolean };

/** What happens around the control plane: to its machines, to the services that it calls, and what people do to whole sets of objects. */
export type OutsideAct =
  /** Connections break, and none can be made. */
  | { kind: 'stop-api-server'; forMs: number }
  /** etcd has no space left: what control plane and agents write is refused, reads and watches go on. */
  | { kind: 'refuse-writes'; forMs: number }
  /** The cloud answers 503 to every call. */
  | { kind: 'stop-cloud'; forMs: number }
  | { kind: 'expire-credentials'; forMs: number }
  | { kind: 'fill-vswitch'; vSwitch: number; forMs: number }
  /** The cloud refuses changes to what is attached to the instance. */
  | { kind: 'stop-instance'; node: number; forMs: number }
  /** A PodNetworking is deleted while its pods live, and created anew, with a generation that starts from one. */
  | { kind: 'recreate-networking'; networking: number; forMs: number }
  /** All pods and PodENIs are deleted. */
  | { kind: 'empty-namespace' }
  /** The wall clock of a replica's machine jumps back. */
  | { kind: 'shift-clock'; replica: number; ms: number }
  /** Every machine stands still, as when their host is paused; then what had arrived is read before a timer ends anything. */
  | { kind: 'suspend'; forMs: number };

/** What happens to nodes that have a node agent. On other nodes it does nothing. */
export type NodeAct =
  | { kind: 'kill-agent'; node: number; forMs: number }
  /** As an upgrade does: with a signal. */
  | { kind: 'replace-agent'; node: number }
  | { kind: 'stall-agent'; node: number; forMs: number }
  | { kind: 'freeze-agent-watches'; node: number }
  | { kind: 'break-agent-watches'; node: number }
  /** Its connections to the API server break, and none can be made. */
  | { kind: 'cut-off-agent'; node: number; forMs: number }
  /** Somebody removes its files; it is restarted. */
  | { kind: 'lose-records'; node: number; forMs: number }
  /** A file is cut off; it is restarted. */
  | { kind: 'damage-record'; node: number; record: number; forMs: number }
  /** It loses power. */
  | { kind: 'reboot-node'; node: number; forMs: number }
  | { kind: 'stop-kubelet'; node: number; forMs: number }
  /** The object is deleted by force, and the containers go on. */
  | { kind: 'abandon-pod'; pod: number; forMs: number }
  /** The pod gets another sandbox; `isLate`: the ADD of that comes before the DEL of the failed one. */
  | { kind: 'fail-sandbox'; pod: number; isLate: boolean }
  /** It ends again and again, so long after each start. */
  | { kind: 'crash-loop'; node: number; times: number; lifeMs: number }
  /** The runtime loses its state: it ends every sandbox and remembers none. `isMidAdd`: when the agent adds the next one, and dies with it. */
  | { kind: 'reset-runtime'; node: number; isMidAdd: boolean }
  /** The runtime calls GC. */
  | { kind: 'collect-sandboxes'; node: number }
  /** For a while each listing of what the kernel has takes so long. */
  | { kind: 'slow-dumps'; node: number; byMs: number; forMs: number };

/** What people do to the ENIs that the pods of a node share. Without a pool, and on nodes without one, it does nothing. */
export type PoolAct =
  /** Every pod of the pool that does not exist is created on this node. */
  | { kind: 'crowd-pool'; node: number }
  /** All pods of the pool on this node are deleted at once. */
  | { kind: 'empty-pool'; node: number; isForced: boolean }
  /** `eni_conf` is edited. */
  | { kind: 'edit-pool'; knobs: PoolKnobs; group: number }
  /** Somebody removes an address from a shared ENI. */
  | { kind: 'unassign-address'; node: number; family: Family; address: number; isBound: boolean }
  /** Somebody adds one. */
  | { kind: 'assign-address'; node: number; eni: number }
  | { kind: 'detach-shared-eni'; node: number; eni: number }
  | { kind: 'delete-shared-eni'; node: number; eni: number }
  /** Somebody deletes the Node CR. */
  | { kind: 'delete-node-record'; node: number }
  /** Somebody else writes a part of what the node may have, which is theirs from then on. */
  | { kind: 'own-pool'; node: number; by: SpecAuthor; knobs: PoolKnobs }
  | { kind: 'own-eni'; node: number; by: SpecAuthor; group: number }
  | { kind: 'own-flavor'; node: number; by: SpecAuthor }
  /** The vSwitch of the ENIs that pods share has no addresses left for a while; `ipv6`: none of that family. */
  | { kind: 'fill-shared-vswitch'; what: 'all' | 'ipv6'; forMs: number };

/** How somebody writes what a node may have into its Node CR: as Terway's daemon does, with `kubectl edit`, or with server-side apply. */
export const SPEC_AUTHORS = ['daemon', 'edit', 'apply'] as const;
export type SpecAuthor = (typeof SPEC_AUTHORS)[number];

/** Keys of `eni_conf` that a history may change. */
export interface PoolKnobs {
  max_pool_size: number;
  min_pool_size: number;
  ip_warm_up_size: number;
  ip_pool_sync_period: string;
  idle_ip_reclaim_after: string;
}

/** What happens to the system. Pods, nodes and replicas are given by number. */
export type Act =
  | UserAct
  | PoolAct
  | ReplicaAct
  | CloudAct
  | { kind: 'remove-node'; node: number }
  | { kind: 'add-node'; node: number }
  /**
   * etcd is restored from a backup, with bumped revisions or without. The control plane is stopped before, and started after
   * `forMs`; after `copiesMs` the operator creates the PodENIs of fixed addresses that the backup lacks from newer copies.
   */
  | { kind: 'restore-backup'; ageMs: number; isBumped: boolean; forMs: number; copiesMs: number }
  | NodeAct
  | OutsideAct;

export interface Step {
  /** Since the start of the workload. */
  atMs: number;
  act: Act;
}
