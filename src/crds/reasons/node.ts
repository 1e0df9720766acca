import {
  NODE_CR_CONFIGURATION,
  NODE_CR_READY,
  NODE_CR_TRUNK,
  NODE_WARNING,
  POD_WARNING,
  type ReasonEntry,
} from './entry.ts';

/** What the node's network says of itself, and what the node agent tells of a pod. */
export const NODE_REASONS = {
  Attached: { on: [NODE_CR_TRUNK, NODE_CR_READY], cause: 'The trunk ENI is attached.' },
  ExclusiveMode: {
    on: [NODE_CR_TRUNK, NODE_CR_READY],
    cause: 'Nothing is wrong: pods of this node get whole ENIs.',
  },
  TrunkNotSupported: {
    on: [NODE_CR_TRUNK, NODE_CR_READY],
    cause: 'The instance type takes no member ENIs, or trunk mode is turned off, for the cluster or for this node.',
    remedy: 'Use an instance type with member ENIs for nodes whose pods need them.',
  },
  TrunkLost: {
    on: [NODE_CR_TRUNK, NODE_CR_READY],
    cause: 'The trunk no longer exists in the cloud; another one is created.',
  },
  InstanceReplaced: {
    on: [NODE_CR_TRUNK, NODE_CR_READY],
    cause: 'The name of the node belongs to another instance now.',
  },
  ConfigError: {
    on: [NODE_CR_TRUNK, NODE_CR_READY, NODE_CR_CONFIGURATION, NODE_WARNING, POD_WARNING],
    cause:
      "`eni-config`, or the ConfigMap that the node's label names, is missing, malformed, or has no vSwitch for the zone; or the node lacks what describes it.",
    remedy: 'The message names the key, label or field.',
  },
  AllocIPFailed: {
    on: [POD_WARNING],
    cause: 'The node agent could not attach the network; the note says what it waited for.',
    remedy: 'See the PodENI; the kubelet tries again by itself.',
  },
  NetworkChangedInPod: {
    on: [POD_WARNING],
    cause:
      'Something in the namespace of the pod is not as ADD made it: a VPN, a chained plugin or an init container changed it, or so much was put there that it cannot be compared. The node agent leaves it.',
    remedy:
      'Nothing, where the change is meant. Otherwise see who in the pod has NET_ADMIN; a new sandbox has the network anew.',
  },
  ParseFailed: {
    on: [POD_WARNING],
    cause: 'An annotation about bandwidth or priority is wrong, and was ignored.',
    remedy: 'Correct it; it counts for the next sandbox.',
  },
} as const satisfies Record<string, ReasonEntry>;
