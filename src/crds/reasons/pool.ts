import {
  NODE_CR_NORMAL,
  NODE_CR_POOL,
  NODE_CR_POOL_CONFIGURED,
  NODE_CR_POOL_RELEASES,
  NODE_CR_WARNING,
  NODE_SUFFICIENT_IP,
  NODE_WARNING,
  POD_NORMAL,
  POD_WARNING,
  type ReasonEntry,
} from './entry.ts';

/** Reasons for the ENIs that the pods of a node share. */
export const POOL_REASONS = {
  PoolServes: { on: [NODE_CR_POOL], cause: 'Pods get addresses of shared ENIs.' },
  PoolNotDescribed: {
    on: [NODE_CR_POOL, POD_WARNING],
    cause:
      "The Node CR does not say yet what the node may have: neither our node agent runs there, nor Terway's daemon, or it is not decided yet whether the node gets a trunk.",
    remedy: 'Check that the node agent runs on the node, and read its log; condition `TrunkReady` must be there.',
  },
  PoolOff: {
    on: [NODE_CR_POOL, POD_WARNING],
    cause:
      '`ipam_type` in `eni-config` is not `crd` any more. The control plane records what it had asked for, and gives pods no addresses of shared ENIs.',
    remedy: "Set `ipam_type: crd` again, or let Terway's daemon serve the node.",
  },
  PoolGrowthOff: {
    on: [NODE_CR_POOL, POD_WARNING],
    cause:
      "No address is idle, and `poolGrowth` is `false` in the control plane's configuration, so that none is asked for.",
    remedy: "Set `poolGrowth` to `true`, or let Terway's control plane take over.",
  },
  TagsUnread: {
    on: [NODE_CR_POOL, POD_WARNING],
    cause:
      '`eni_tag_filter` or `eni_tag_block_list` was edited, and the cloud has not told the tags of the ENIs of the node since. Nothing is handed out of them until then.',
    remedy: 'None if it ends within a minute. Otherwise see the degradation switch, and `kubectl terway quota`.',
  },
  NodeFull: {
    on: [NODE_CR_POOL, POD_WARNING],
    cause: 'The node has as many ENIs and addresses as its instance type allows, and all of them are in use.',
    remedy: 'Wait, add nodes, or use a larger type.',
  },
  AddressAwaited: {
    on: [POD_NORMAL],
    cause: 'No address is idle, and the node is getting more; the note shows how long that usually takes.',
  },
  AddressesUntold: {
    on: [POD_NORMAL],
    cause:
      'The record of the node was lost, and pods with a sandbox have not reported their addresses yet. Until they do, for five minutes at most, nobody gets an idle address, which may be theirs.',
  },
  FormerPodNotReleased: {
    on: [POD_WARNING],
    cause:
      'The former pod of this name had an address, and the node has not reported that its sandbox is gone. The address goes to the new pod then.',
    remedy: 'Check that the node agent runs on the node, and that the former pod no longer runs there.',
  },
  AddressUnavailable: {
    on: [POD_WARNING],
    cause:
      'The pod reports an address that no ENI of its node can give it: the ENI is gone, or another pod has the address.',
    remedy: 'Delete the pod; its successor gets another address.',
  },
  SufficientIP: { on: [NODE_SUFFICIENT_IP], cause: 'The node has an address for another pod, or can get one.' },
  InsufficientIP: {
    on: [NODE_SUFFICIENT_IP],
    cause: 'The node has had no address for another pod for half a minute, and cannot get one.',
    remedy: 'The message says why; condition `PoolReady` of the Node CR carries the reason.',
  },
  AsConfigured: { on: [NODE_CR_POOL_CONFIGURED], cause: 'The node can have what `eni_conf` asks for.' },
  DualStackNotSupported: {
    on: [NODE_CR_POOL_CONFIGURED],
    cause:
      '`ip_stack` is `dual`, but the ENIs of the instance type have fewer IPv6 than IPv4 addresses; pods get IPv4 alone.',
    remedy: 'Use an instance type whose ENIs have as many IPv6 as IPv4 addresses.',
  },
  ErdmaNotSupported: {
    on: [NODE_CR_POOL_CONFIGURED],
    cause: "Terway's daemon asks for ERDMA (`enable_erdma`), and pods get ordinary addresses of shared ENIs.",
    remedy: 'Take `enable_erdma` away, or keep Terway’s control plane where pods need ERDMA.',
  },
  PoolSizeBeyondNode: {
    on: [NODE_CR_POOL_CONFIGURED],
    cause: '`min_pool_size` or `ip_warm_up_size` is more than the node can hold.',
    remedy: 'Make it smaller, for such nodes in a ConfigMap of their own, or use a larger instance type.',
  },
  EniGivesWay: {
    on: [NODE_CR_POOL_CONFIGURED],
    cause:
      'The node is to have fewer shared ENIs than it has: trunks were turned on, somebody made `spec.flavor` smaller, or the instance has fewer places by now. An ENI serves only pods that no other can serve, and goes after its last one; then the next, if need be.',
    remedy:
      'Wait, or delete the pods that have an address of the ENI, as `kubectl terway pool` lists them. Where new pods always take their places, cordon the node first.',
  },
  NodeTooSmall: {
    on: [NODE_CR_POOL_CONFIGURED, NODE_WARNING],
    cause: 'The instance type has room for few pods; ACK does not take such nodes.',
    remedy: 'Use a larger instance type.',
  },
  ReleasesConfirmed: {
    on: [NODE_CR_POOL_RELEASES],
    cause: 'The node has said of all pods that are gone that no sandbox of them is left.',
  },
  ReleasesUnconfirmed: {
    on: [NODE_CR_POOL_RELEASES],
    cause:
      'Pods are gone, and for two minutes the node has not said that no sandbox of them is left. Nobody gets their addresses until it does.',
    remedy:
      "Check that the node is Ready and that the node agent, or Terway's daemon from v1.11.3 on, runs there; read its log. A node that is gone for good must be deleted.",
  },
  CreateENISucceed: { on: [NODE_CR_NORMAL], cause: 'An ENI for the pool of the node was created; the note names it.' },
  CreateENIFailed: {
    on: [NODE_CR_WARNING],
    cause: 'An ENI for the pool of the node could not be created; the note shows code and request id.',
    remedy: 'Fix the cause; the call is retried with growing delays of at most a minute.',
  },
  AttachENIFailed: {
    on: [NODE_CR_WARNING],
    cause: 'An ENI of the pool could not be attached; the note shows code and request id.',
    remedy: 'Fix the cause; the call is retried with growing delays of at most a minute.',
  },
  DeleteENISucceed: { on: [NODE_CR_NORMAL], cause: 'An ENI that the pool of the node no longer needs was deleted.' },
  DeleteENIFailed: {
    on: [NODE_CR_WARNING],
    cause: 'An ENI that the pool no longer needs could not be detached or deleted; the note shows code and request id.',
    remedy: 'Fix the cause; the call is retried with growing delays of at most a minute.',
  },
} as const satisfies Record<string, ReasonEntry>;
