import {
  NODE_CR_CONFIGURATION,
  NODE_CR_POOL,
  NODE_CR_POOL_CONFIGURED,
  NODE_CR_READY,
  NODE_CR_TRUNK,
  NODE_CR_WARNING,
  NODE_WARNING,
  POD_WARNING,
  type ReasonEntry,
} from './entry.ts';

/** Reasons for the network of a node, and for what the node agent reports about a pod. */
export const NODE_REASONS = {
  Attached: { on: [NODE_CR_TRUNK, NODE_CR_READY], cause: 'The trunk ENI is attached.' },
  ExclusiveMode: {
    on: [NODE_CR_TRUNK, NODE_CR_READY],
    cause: 'Nothing is wrong: pods of this node get whole ENIs.',
  },
  TrunkNotSupported: {
    on: [NODE_CR_TRUNK, NODE_CR_READY],
    cause:
      'The instance type does not support member ENIs, or trunk mode is turned off, for the cluster or for this node.',
    remedy: 'Use an instance type with member ENIs for nodes whose pods need them.',
  },
  PlaceAwaited: {
    on: [NODE_CR_TRUNK, NODE_CR_READY],
    cause: 'Other ENIs have all places of the instance. The trunk is made and attached when one of them is gone.',
    remedy:
      'Wait. Where ENIs are shared, condition `PoolAsConfigured` names the one that gives way, and what holds it.',
  },
  TrunkLost: {
    on: [NODE_CR_TRUNK, NODE_CR_READY],
    cause:
      'The trunk no longer exists in the cloud; a new one is created where the configuration asks for one, or pods have interfaces on the former one.',
  },
  InstanceReplaced: {
    on: [NODE_CR_TRUNK, NODE_CR_READY],
    cause: 'The name of the node now belongs to another instance.',
  },
  ConfigError: {
    on: [
      NODE_CR_TRUNK,
      NODE_CR_READY,
      NODE_CR_CONFIGURATION,
      NODE_CR_POOL,
      NODE_CR_POOL_CONFIGURED,
      NODE_WARNING,
      POD_WARNING,
    ],
    cause:
      "`eni-config`, or the ConfigMap that the node's label names, is missing, malformed, or has no vSwitch for the zone; or the node lacks its identity (`spec.providerID`, topology labels).",
    remedy: 'The message names the key, label or field.',
  },
  AllocIPFailed: {
    on: [POD_WARNING, NODE_CR_WARNING],
    cause:
      'The node agent could not attach the network; the note shows what it waited for. On a Node CR: an ENI of the pool got no more addresses; the note shows code and request id.',
    remedy: 'See the PodENI, or the Node CR; kubelet and control plane retry automatically.',
  },
  NetworkChangedInPod: {
    on: [POD_WARNING],
    cause:
      'Something in the namespace of the pod differs from what ADD set up: a VPN, a chained plugin or an init container changed it, or there is too much to compare. The node agent leaves it unchanged.',
    remedy:
      'None if the change is intended. Otherwise find out which container has NET_ADMIN; a new sandbox gets a fresh network.',
  },
  AddressChanged: {
    on: [POD_WARNING],
    cause:
      'The PodENI of a running pod has got another address: somebody deleted the ENI or the PodENI, or restored an old backup. The sandbox keeps the address that the pod was started with.',
    remedy: 'Delete the pod; it starts with the new address.',
  },
  ParseFailed: {
    on: [POD_WARNING],
    cause: 'An annotation about bandwidth or priority is invalid and was ignored.',
    remedy: 'Correct it; it takes effect with the next sandbox.',
  },
} as const satisfies Record<string, ReasonEntry>;
