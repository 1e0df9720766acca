import {
  NETWORKING_ALLOCATION,
  NETWORKING_CAPACITY,
  NETWORKING_CONFIGURATION,
  NETWORKING_GROUPS,
  NETWORKING_READY,
  NETWORKING_ROLLOUT,
  NETWORKING_VSWITCHES,
  NODE_CR_CONFIGURATION,
  type ReasonEntry,
} from './entry.ts';

/** Reasons for the check of a PodNetworking and for the pods that it serves. */
export const NETWORKING_REASONS = {
  SyncPodNetworkingSucceed: {
    on: [{ kind: 'PodNetworking', event: 'Normal' }],
    cause: 'vSwitches and security groups exist; pods can use it.',
  },
  SyncPodNetworkingFailed: {
    on: [{ kind: 'PodNetworking', event: 'Warning' }],
    cause: 'The check failed; the note says what is wrong.',
    remedy: 'Correct the spec, or create what is missing.',
  },
  Checked: { on: [NETWORKING_READY], cause: 'vSwitches and security groups exist in the VPC.' },
  Found: { on: [NETWORKING_VSWITCHES, NETWORKING_GROUPS], cause: 'All of them exist in the VPC.' },
  VSwitchMissing: {
    on: [NETWORKING_VSWITCHES, NETWORKING_READY],
    cause: '`vSwitchOptions` is empty.',
    remedy: 'Name at least one vSwitch.',
  },
  VSwitchNotFound: {
    on: [NETWORKING_VSWITCHES, NETWORKING_READY],
    cause: 'A vSwitch does not exist in this account and region; the message names it.',
    remedy: 'Correct the id, or create the vSwitch.',
  },
  VSwitchInOtherVPC: {
    on: [NETWORKING_VSWITCHES, NETWORKING_READY],
    cause: 'A vSwitch is not in the VPC of the cluster.',
    remedy: 'Name vSwitches of the VPC of the cluster.',
  },
  NoIPv6CIDR: {
    on: [NETWORKING_VSWITCHES, NETWORKING_READY],
    cause: 'No vSwitch has an IPv6 CIDR, which `ipStack` requires.',
    remedy: 'Give a vSwitch an IPv6 CIDR, or name another.',
  },
  SecurityGroupMissing: {
    on: [NETWORKING_GROUPS, NETWORKING_READY],
    cause: '`securityGroupIDs` is empty.',
    remedy: 'Name at least one security group.',
  },
  SecurityGroupNotFound: {
    on: [NETWORKING_GROUPS, NETWORKING_READY],
    cause: 'A security group does not exist in this account and region; the message names it.',
    remedy: 'Correct the id, or create the group.',
  },
  SecurityGroupInOtherVPC: {
    on: [NETWORKING_GROUPS, NETWORKING_READY],
    cause: 'A security group is not in the VPC of the cluster.',
    remedy: 'Name security groups of the VPC of the cluster.',
  },
  SecurityGroupKindsDiffer: {
    on: [NETWORKING_GROUPS, NETWORKING_READY],
    cause: 'Basic and enterprise security groups are mixed; an ENI supports only one kind.',
    remedy: 'Name groups of one kind.',
  },
  AddressesFree: { on: [NETWORKING_CAPACITY], cause: 'There are free addresses wherever pods need them.' },
  ZoneFull: {
    on: [NETWORKING_CAPACITY],
    cause: 'Pods wait in a zone where all vSwitches are full; the message names zone and vSwitches.',
    remedy: 'Add a vSwitch of that zone to `vSwitchOptions`, or free some addresses.',
  },
  AllVSwitchesFull: {
    on: [NETWORKING_CAPACITY],
    cause: 'No vSwitch has a free address.',
    remedy: 'Add a vSwitch to `vSwitchOptions`, or free some addresses.',
  },
  NotKnown: {
    on: [NETWORKING_CAPACITY],
    cause: 'The number of free addresses is not known yet.',
    remedy: 'See condition `VSwitchesReady`.',
  },
  Healthy: { on: [NETWORKING_ALLOCATION], cause: 'No pod fails to get its interface.' },
  PodsFailing: {
    on: [NETWORKING_ALLOCATION],
    cause: 'Some pods fail to get their interface; the message shows how many, and the last error with its request id.',
    remedy: 'See the PodENIs that are not Ready: `kubectl get podeni -A -o wide`.',
  },
  ConfigurationInForce: {
    on: [NETWORKING_CONFIGURATION, NODE_CR_CONFIGURATION],
    cause:
      "The control plane's configuration file is in force again; on a Node CR: so is the ConfigMap that the node's label names.",
  },
  ConfigurationRefused: {
    on: [NETWORKING_CONFIGURATION],
    cause: "The control plane's configuration file was changed and is invalid; the previous one stays in force.",
    remedy: 'Correct the key named in the message.',
  },
  UpToDate: { on: [NETWORKING_ROLLOUT], cause: 'Every running pod has the security groups of the spec.' },
  RollingOut: {
    on: [NETWORKING_ROLLOUT],
    cause: 'The security groups of the spec are being applied to running pods; the message counts them.',
    remedy: 'Wait; pods that wait for their network go first.',
  },
  RolloutBlocked: {
    on: [NETWORKING_ROLLOUT],
    cause: 'The security groups of the spec are not rolled out, because the PodNetworking is not Ready.',
    remedy: 'See condition `Ready`.',
  },
  AwaitingRecreation: {
    on: [NETWORKING_ROLLOUT],
    cause: 'With `securityGroupRolloutPolicy: OnRecreate` running pods keep their security groups.',
    remedy: 'Recreate the pods, or set the policy to `Immediate`.',
  },
} as const satisfies Record<string, ReasonEntry>;
