/**
 * The desired state of a node's kernel. The data path compares it with the actual state. Everything is plain data, so that it can be
 * written to a record file unchanged.
 */

/** One address family of one interface. */
export interface InterfaceAddress {
  /** Without a prefix length. */
  address: string;
  /** CIDR of the vSwitch. */
  subnet: string;
}

/** An ENI as a device of the node, found by its MAC address. */
export interface EniDevice {
  mac: string;
  /** Next hops of the ENI's own subnet; a family without one is not routed through it. */
  gateway: { ipv4?: string; ipv6?: string };
}

/** How an interface of a pod is joined to the VPC. */
export type Attachment =
  /** A veth whose packets leave the trunk ENI with a VLAN id and must come back with it. */
  | { kind: 'member'; trunk: EniDevice; vlanId: number }
  /** A veth whose address is a secondary address of an ENI that pods share. */
  | { kind: 'shared'; eni: EniDevice }
  /** The 802.1Q device of a trunk, moved into the pod (upstream's `vlan_strip_type: vlan`). */
  | { kind: 'vlanDevice'; trunk: EniDevice; vlanId: number }
  /** The ENI itself, moved into the pod; `hostPeer` adds a veth to the node for Services and the node itself. */
  | { kind: 'exclusive'; eni: EniDevice; hostPeer: boolean };

/** One interface of a pod. */
export interface PodInterface {
  /** Inside the pod, such as `eth0`. */
  name: string;
  ipv4?: InterfaceAddress;
  ipv6?: InterfaceAddress;
  mtu: number;
  /** Exactly one interface of a pod has it. */
  defaultRoute: boolean;
  /** CIDRs that this interface routes besides. */
  extraRoutes: string[];
  attachment: Attachment;
  /** Into the pod, in bytes per second; absent means unlimited. */
  ingressBytesPerSecond?: number;
  /** Out of the pod. */
  egressBytesPerSecond?: number;
  priority?: 'guaranteed' | 'burstable' | 'best-effort';
}

/** Everything that belongs to one sandbox. */
export interface PodAttachment {
  namespace: string;
  name: string;
  uid: string;
  /** The sandbox's id; a pod may have a new sandbox while the old one is being removed. */
  containerId: string;
  /** Path of the pod's network namespace. It may be gone when the pod is removed. */
  netnsPath: string;
  interfaces: PodInterface[];
}

/** A link as CNI results name it. */
export interface LinkResult {
  name: string;
  mac: string;
  mtu: number;
}

/** The links of one interface of a pod, after it was set up. */
export interface AttachedInterface {
  pod: LinkResult;
  /** The host's end of the veth; absent where there is none. */
  host?: LinkResult;
  /** Routes inside the pod through this interface. */
  routes: { destination: string; gateway?: string }[];
}

export interface SyncOptions {
  dryRun?: boolean;
  nodeOnly?: boolean;
  keepLeftovers?: boolean;
}

/** A difference between what should be and what is, in words for an operator. */
export interface Deviation {
  /** What kind of object differs. */
  object: 'link' | 'address' | 'route' | 'rule' | 'neighbour' | 'filter' | 'qdisc' | 'map' | 'sysctl';
  /** Pod `namespace/name` it belongs to; absent for what the node shares. */
  pod?: string;
  /** Such as `route 10.0.0.7 dev cali1 table 910 is missing`. */
  message: string;
  /** Set for what is in the pod's own namespace, where nothing is repaired after ADD. */
  inPod?: true;
}

/** What a comparison of the whole node found and did. */
export interface SyncReport {
  repaired: Deviation[];
  /** Objects of ours that nothing wants any more, and that were removed. */
  removed: Deviation[];
  /** What could not be repaired, with the reason. */
  failed: Deviation[];
  /** Differences inside pods. Nothing is repaired there after ADD, as they may be intended. Absent if there are none. */
  inPods?: Deviation[];
}

/** How packets of pods are marked and looked up. `perPod` is upstream's layout, two rules for each address. */
export type Layout = 'marks' | 'perPod';

/** How VLAN ids of the trunk are written and checked. */
export type TagProgram = 'ebpf' | 'tc';

/** What is the same for all pods of a node. */
export interface DatapathSettings {
  nodeAddress: { ipv4?: string; ipv6?: string };
  serviceCidrs: string[];
  /** Destinations that pods with an exclusive ENI reach through the node. */
  hostStackCidrs: string[];
  layout: Layout;
  /** Bits of the packet mark that are ours: the highest says "member of a trunk", the others number the ENI. */
  markMask: number;
  /**
   * Bit by which kube-proxy marks packets whose source it will replace by the node's; 0 for none. They are the node's packets
   * from then on: they may reach pods of the node directly, and never leave with a pod's tag.
   */
  masqueradeMark: number;
  /** Packets of trunk pods leave the node even when their destination is a pod of the same node. */
  isolateMembers: boolean;
  tagProgram: TagProgram;
  /** Folder below a mounted bpffs; maps and programs are pinned there and outlive the agent. */
  bpfDirectory: string;
}

/** Packets by what the tag programs did with them, since the maps were made. */
export interface TagVerdicts {
  tagged: number;
  untagged: number;
  /** Of no pod: left alone. */
  passed: number;
  droppedNoEntry: number;
  droppedWrongVlan: number;
  droppedDoubleTag: number;
  droppedMissingTag: number;
  droppedSpoofedSource: number;
}

/** One requirement of the kernel or the machine. */
export interface ProbeResult {
  /** Such as `cls_bpf`. */
  feature: string;
  available: boolean;
  /** The agent cannot work without it; other features only select between methods. */
  required: boolean;
  /** What is missing and what to do, or what was found. */
  message: string;
}

/** Runs `change` once, between the caller's own writes before and after it. */
export type Recording<T> = (change: () => Promise<T>) => Promise<T>;

/**
 * The kernel of this node. All methods may be called at any time and side by side; calls for one pod are one after
 * another. A method that fails leaves nothing half done that the next `add`, `remove` or `sync` does not find.
 */
export interface Datapath extends AsyncDisposable {
  /** What the kernel offers. Changes nothing. */
  probe(): Promise<ProbeResult[]>;

  /**
   * Whether the pod can have its network beside these. Looks at no kernel.
   *
   * @throws CoexistenceError naming the interfaces that exclude each other, and what to do
   */
  assertCoexistence(pod: PodAttachment, others: readonly PodAttachment[]): void;

  /**
   * Sets up the pod's network; what exists already stays. No packet leaves untagged at any time.
   *
   * @param recording part of the call: no sync runs between its writes and the change
   * @throws DatapathError naming the step. What this call made is undone then; what cannot be undone, for example because the
   *   helper ended, stays until `remove`.
   */
  add(pod: PodAttachment, recording?: Recording<AttachedInterface[]>): Promise<AttachedInterface[]>;

  /**
   * Removes whatever there is of the pod, also when its namespace is gone or it was never completed.
   *
   * @param recording is part of the call, as for `add`
   */
  remove(pod: PodAttachment, recording?: Recording<void>): Promise<void>;

  /** Compares everything of one pod. */
  check(pod: PodAttachment): Promise<Deviation[]>;

  /**
   * Compares the whole node, from one dump per kind of object, and mends it: what is missing is added, what is ours and
   * belongs to none of `pods` is removed. Objects that are not ours are never touched. It waits for running calls, and later calls
   * wait for it.
   *
   * @param pods called when no other call runs any more, so it includes what those have added or removed
   * @param options.dryRun reports what would be done
   * @param options.nodeOnly compares what a few lists of the node's namespace show: no pod's namespace, no sysctl, no neighbour
   * @param options.keepLeftovers removes nothing, because `pods` may lack some
   */
  sync(pods: () => readonly PodAttachment[], options?: SyncOptions): Promise<SyncReport>;

  /**
   * Calls back, until disposal, when others may have removed something that the agent made: soon after each change, and without
   * saying what. `lost`: events were lost.
   */
  watch(onDisturbance: (kind: 'node' | 'lost') => void): Promise<void>;

  /** Counters of the tag programs. */
  verdicts(): Promise<TagVerdicts>;

  /** Removes everything of ours from the node; for uninstalling. */
  removeAll(): Promise<void>;
}
