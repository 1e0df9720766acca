import {
  NODE_CR_NORMAL,
  NODE_CR_POOL,
  NODE_CR_READY,
  NODE_CR_TRUNK,
  NODE_WARNING,
  POD_ENI_READY,
  POD_NORMAL,
  POD_WARNING,
  type ReasonEntry,
  type ReasonPlace,
} from './entry.ts';

const NETWORK_INTERFACE_READY: ReasonPlace = { kind: 'NetworkInterface', condition: 'Ready' };

/** Reasons for the life cycle of an interface and for responses of the cloud. */
export const INTERFACE_REASONS = {
  AttachENISucceed: {
    on: [POD_NORMAL, NODE_CR_NORMAL],
    cause: 'The ENI is attached; the note shows its address, vSwitch and VLAN id. On a Node CR: an ENI of its pool.',
  },
  SecurityGroupsChanged: {
    on: [POD_NORMAL],
    cause: 'The ENI of a running pod now has other security groups; the note names them.',
  },
  Bound: {
    on: [POD_ENI_READY, NETWORK_INTERFACE_READY],
    cause: 'Everything is attached; the message shows trunk and VLAN id.',
  },
  Reserved: {
    on: [POD_ENI_READY, NETWORK_INTERFACE_READY],
    cause: 'A fixed address without a pod.',
  },
  Creating: { on: [POD_ENI_READY], cause: 'The ENI is being created. Written only if it takes long.' },
  Attaching: { on: [POD_ENI_READY], cause: 'The ENI is being attached. Written only if it takes long.' },
  Detaching: {
    on: [POD_ENI_READY],
    cause: 'A fixed address is detached from its pod, or an ENI is moved to the node of its pod.',
  },
  Deleting: { on: [POD_ENI_READY], cause: 'An unusable ENI is being deleted before a new one is created.' },
  Binding: { on: [POD_ENI_READY], cause: 'A fixed address is given to the next pod of its name.' },
  ChangingSecurityGroups: {
    on: [POD_ENI_READY],
    cause: 'The security groups of the ENI are being changed to those of the record.',
  },
  CallingCloud: {
    on: [POD_ENI_READY],
    cause: 'A call to the cloud is still in progress. Written only if it takes long.',
  },
  CloudError: {
    pod: 'failed',
    on: [
      POD_WARNING,
      NODE_WARNING,
      POD_ENI_READY,
      NODE_CR_TRUNK,
      NODE_CR_READY,
      NODE_CR_POOL,
      { kind: 'PodNetworking', condition: 'VSwitchesReady' },
      { kind: 'PodNetworking', condition: 'Ready' },
    ],
    cause: 'The cloud refused a call; code and request id are in the message.',
    remedy: 'Fix the cause; the call is retried with growing delays of at most a minute.',
  },
  CloudDegraded: {
    pod: 'failed',
    on: [
      POD_WARNING,
      NODE_WARNING,
      POD_ENI_READY,
      NODE_CR_TRUNK,
      NODE_CR_READY,
      NODE_CR_POOL,
      { kind: 'PodNetworking', condition: 'VSwitchesReady' },
      { kind: 'PodNetworking', condition: 'Ready' },
      { kind: 'PodNetworking', condition: 'AllocationHealthy' },
    ],
    cause: 'The configured `degradation` forbids such calls to the cloud.',
    remedy: 'Reset `degradation` in the configuration when the cloud has recovered.',
  },
  EniLost: {
    pod: 'failed',
    on: [POD_WARNING, POD_ENI_READY],
    cause: 'The ENI was deleted by someone else.',
    remedy: 'The message says what to delete.',
  },
  EniNotOurs: {
    pod: 'failed',
    on: [POD_WARNING, POD_ENI_READY, NODE_CR_TRUNK, NODE_CR_READY],
    cause: "The ENI lacks this cluster's tags, so it is left alone.",
    remedy: 'Restore the tags, or remove the finalizer if the ENI belongs to someone else.',
  },
  EniMismatch: {
    pod: 'failed',
    on: [POD_WARNING, POD_ENI_READY, NODE_CR_TRUNK, NODE_CR_READY],
    cause: 'The ENI is not in the vSwitch of its record; such an ENI is never bound.',
    remedy: 'Delete the pod to give its successor a new ENI.',
  },
  ReleaseUnconfirmed: {
    on: [{ kind: 'PodENI', event: 'Warning' }],
    cause:
      'The node agent did not confirm within `releaseConfirmation` that the sandbox of a deleted pod is gone; its ENI was detached nevertheless.',
    remedy:
      'Check that the agent runs on the node, and read its log; containers of the pod that still run there have no network.',
  },
  SecurityGroupDrift: {
    on: [POD_WARNING, POD_ENI_READY],
    cause: 'Someone changed the security groups of the ENI; those of the record are being restored.',
    remedy: 'Change the groups in the PodNetworking, not in the console.',
  },
} as const satisfies Record<string, ReasonEntry>;
