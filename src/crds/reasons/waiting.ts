import { NODE_CR_POOL, NODE_CR_READY, NODE_CR_TRUNK, POD_ENI_READY, POD_WARNING, type ReasonEntry } from './entry.ts';

const POD_AND_RECORD = [POD_WARNING, POD_ENI_READY] as const;

/** What a pod waits for before it has an interface. */
export const WAITING_REASONS = {
  PodNetworkingNotReady: {
    on: [POD_WARNING],
    cause: 'The PodNetworking that selects the pod failed its check.',
    remedy: 'See its conditions; the pod is served once it passes.',
  },
  PodNetworkingNotFound: {
    on: [POD_WARNING],
    cause: 'The annotation `k8s.aliyun.com/pod-networking` names a PodNetworking that does not exist.',
    remedy: 'Create it, or correct the annotation on the workload.',
  },
  FixedNeedsStableName: {
    on: [POD_WARNING],
    cause: 'A Fixed PodNetworking selects a pod without a stable name.',
    remedy: 'Use a StatefulSet, or an Elastic PodNetworking.',
  },
  NetworkRequestInvalid: {
    on: [POD_WARNING],
    cause: 'The annotation `k8s.aliyun.com/pod-networks-request` is wrong; the note names field and rule.',
    remedy: 'Correct it on the workload.',
  },
  PodNetworkingsOverlap: {
    on: [POD_WARNING],
    cause:
      'Several PodNetworkings select the pod; the note names the one that serves it and those with lower precedence.',
    remedy: 'Make the selectors disjoint, or set `spec.priority`.',
  },
  EscapedWebhook: {
    on: [POD_WARNING],
    cause: 'A PodNetworking selects the pod, but the webhook did not process it when it was created.',
    remedy: 'Delete the pod so that its owner recreates it; `webhook.escapedPods: evict` does this automatically.',
  },
  Unreadable: {
    on: [POD_WARNING],
    cause: 'The PodENI or PodNetworking of the pod cannot be parsed by this version.',
    remedy: 'Correct or delete the object that the note names.',
  },
  NodeNotReady: {
    pod: 'waiting',
    on: POD_AND_RECORD,
    cause: 'The control plane does not know the node yet.',
    remedy: 'See the Node CR; the Kubernetes node may lack `spec.providerID` or its topology labels.',
  },
  TrunkNotReady: {
    pod: 'waiting',
    on: POD_AND_RECORD,
    cause: 'The node has no trunk ENI.',
    remedy: 'Condition `TrunkReady` of the Node CR says why.',
  },
  NoMemberSlot: {
    pod: 'waiting',
    on: POD_AND_RECORD,
    cause: 'Every member ENI that the instance type allows is in use.',
    remedy:
      'Wait, add nodes, or use a larger type; pods are served in arrival order, and the note shows the place in line.',
  },
  NoEniSlot: {
    pod: 'waiting',
    on: POD_AND_RECORD,
    cause: 'A node in exclusive mode has as many ENIs as its instance type allows.',
    remedy: 'Wait, add nodes, or use a larger type.',
  },
  NoVSwitchInZone: {
    pod: 'waiting',
    on: POD_AND_RECORD,
    cause: 'The PodNetworking has no vSwitch in the zone of the node.',
    remedy: 'Add one to `vSwitchOptions`, or schedule the pod to another zone.',
  },
  VSwitchFull: {
    pod: 'waiting',
    on: [...POD_AND_RECORD, NODE_CR_TRUNK, NODE_CR_READY, NODE_CR_POOL],
    cause: 'There is no free address in the vSwitches of the zone.',
    remedy: 'Add a vSwitch, or free some addresses; the pod is retried within 15 s.',
  },
  ZoneMismatch: {
    pod: 'waiting',
    on: POD_AND_RECORD,
    cause: 'A fixed address cannot leave the zone of its vSwitch.',
    remedy: 'Schedule the pod to that zone, or delete the PodENI to give the address up.',
  },
  EniTypeNotSupported: {
    pod: 'waiting',
    on: POD_AND_RECORD,
    cause: 'The PodNetworking requires whole ENIs on a node that provides trunk members, or the reverse.',
    remedy: 'Use `Default`, or nodes with the label `k8s.aliyun.com/exclusive-mode-eni-type=eniOnly` for whole ENIs.',
  },
  NetworkingGone: {
    pod: 'failed',
    on: POD_AND_RECORD,
    cause: 'The PodNetworking was deleted before the ENI was created.',
    remedy: 'Create it again, or delete the pod.',
  },
  WaitingForQuota: {
    pod: 'waiting',
    on: [POD_ENI_READY],
    cause: "The account's calls per minute are used up; the message shows how many calls wait and until when.",
    remedy: 'Request a higher quota and set `rateLimit`, or wait.',
  },
} as const satisfies Record<string, ReasonEntry>;
