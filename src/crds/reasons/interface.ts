import {
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

/** What becomes of an interface: the cloud's answers and the life cycle of its record. */
export const INTERFACE_REASONS = {
  AttachENISucceed: {
    on: [POD_NORMAL],
    cause: 'The ENI is attached; the note has address, vSwitch and VLAN id.',
  },
  SecurityGroupsChanged: {
    on: [POD_NORMAL],
    cause: 'The ENI of a running pod has other security groups now; the note names them.',
  },
  Bound: {
    on: [POD_ENI_READY, NETWORK_INTERFACE_READY],
    cause: 'Everything is attached; the message has trunk and VLAN id.',
  },
  Reserved: {
    on: [POD_ENI_READY, NETWORK_INTERFACE_READY],
    cause: 'A fixed address without a pod.',
  },
  Creating: { on: [POD_ENI_READY], cause: 'The ENI is being created. Written only when it lasts.' },
  Attaching: { on: [POD_ENI_READY], cause: 'The ENI is being attached. Written only when it lasts.' },
  Detaching: {
    on: [POD_ENI_READY],
    cause: 'A fixed address leaves its pod, or an ENI is moved to the node where its pod is.',
  },
  Deleting: { on: [POD_ENI_READY], cause: 'An ENI of no use is being deleted before another is created.' },
  Binding: { on: [POD_ENI_READY], cause: 'A fixed address is given to the next pod of the name.' },
  ChangingSecurityGroups: {
    on: [POD_ENI_READY],
    cause: 'The security groups of the ENI are being changed to those of the record.',
  },
  CallingCloud: {
    on: [POD_ENI_READY],
    cause: 'A call to the cloud has not ended. Written only when it lasts.',
  },
  CloudError: {
    pod: 'failed',
    on: [
      ...[POD_WARNING, NODE_WARNING, POD_ENI_READY, NODE_CR_TRUNK, NODE_CR_READY],
      { kind: 'PodNetworking', condition: 'VSwitchesReady' },
      { kind: 'PodNetworking', condition: 'Ready' },
    ],
    cause: 'The cloud refused a call; code and request id are in the message.',
    remedy: 'Mend the cause; the call is repeated with growing pauses, at most a minute.',
  },
  CloudDegraded: {
    pod: 'failed',
    on: [
      ...[POD_WARNING, NODE_WARNING, POD_ENI_READY, NODE_CR_TRUNK, NODE_CR_READY],
      { kind: 'PodNetworking', condition: 'VSwitchesReady' },
      { kind: 'PodNetworking', condition: 'Ready' },
      { kind: 'PodNetworking', condition: 'AllocationHealthy' },
    ],
    cause: 'The control plane is told not to make such calls to the cloud (degradation).',
    remedy: 'Lift the degradation in the configuration when the cloud is well again.',
  },
  EniLost: {
    pod: 'failed',
    on: [POD_WARNING, POD_ENI_READY],
    cause: 'The ENI was deleted outside.',
    remedy: 'The message says what to delete.',
  },
  EniNotOurs: {
    pod: 'failed',
    on: [POD_WARNING, POD_ENI_READY, NODE_CR_TRUNK, NODE_CR_READY],
    cause: "The ENI lacks this cluster's tags, so it is not touched.",
    remedy: 'Restore the tags, or remove the finalizer if the ENI is somebody else’s.',
  },
  EniMismatch: {
    pod: 'failed',
    on: [POD_WARNING, POD_ENI_READY, NODE_CR_TRUNK, NODE_CR_READY],
    cause: 'The ENI lies in another vSwitch than the record says; such an ENI is never bound.',
    remedy: 'Delete the pod to give its successor a new ENI.',
  },
  ReleaseUnconfirmed: {
    on: [{ kind: 'PodENI', event: 'Warning' }],
    cause:
      'The node agent did not say within `releaseConfirmation` that the sandbox of a pod that is gone is gone, too; its ENI was detached all the same.',
    remedy:
      'See whether the agent runs on the node and what its log says; containers of the pod that still run there have no network.',
  },
  SecurityGroupDrift: {
    on: [POD_WARNING, POD_ENI_READY],
    cause: 'Somebody changed the security groups of the ENI; they are set to those of the record again.',
    remedy: 'Change the groups in the PodNetworking, not in the console.',
  },
} as const satisfies Record<string, ReasonEntry>;
