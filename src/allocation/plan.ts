import { ANNOTATION_POD_UID, FINALIZER_POD_ENI, LABEL_NODE } from '../crds/names.ts';
import type { Allocation, AttachTarget, PodEni } from '../crds/pod-eni.ts';
import type { PodNetworking } from '../crds/pod-networking.ts';
import { rfc3339 } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import { clientTokenOf } from './identity.ts';
import type { SlotLedger } from './slots.ts';
import type { VSwitchFacts, VSwitchPool } from './vswitch-pool.ts';

/** Where a pod's ENI is to be attached, as the node controller knows it. */
export interface NodeFacts {
  nodeName: string;
  instanceId: string;
  zone: string;
  /** Absent until the trunk is attached. */
  trunkEniId?: string;
  /** Member ENIs that the trunk takes. */
  memberLimit: number;
}

/** The pod that gets an ENI. */
export interface PodToServe {
  namespace: string;
  name: string;
  uid: string;
}

/** What a pod waits for; it is looked at again when this changes. */
export type WaitsFor =
  | { kind: 'node'; nodeName: string }
  | { kind: 'slot'; nodeName: string }
  | { kind: 'vSwitch'; zone: string }
  | { kind: 'networking'; name: string };

export interface Waiting {
  kind: 'wait';
  waitsFor: WaitsFor;
  /** Event reason, CamelCase. */
  reason:
    | 'EniTypeNotSupported'
    | 'NodeNotReady'
    | 'TrunkNotReady'
    | 'NoMemberSlot'
    | 'NoVSwitchInZone'
    | 'VSwitchFull'
    | 'ZoneMismatch';
  message: string;
}

export type Plan = { kind: 'create'; podEni: PodEni } | Waiting;
export type Rebinding = { kind: 'rebind'; target: AttachTarget } | Waiting;

/** What plans are made from; `slots` and `vSwitches` are reserved by a plan that succeeds. */
export interface Room {
  slots: SlotLedger;
  vSwitches: VSwitchPool;
  random: Random;
  clusterId: string;
  nowMs: number;
}

const INTERFACE = 'eth0';

/**
 * Plans the PodENI of a pod: vSwitch, security groups, target and the intent of its creation. Reserves a member slot and
 * an address; the caller gives them back when the PodENI could not be written.
 *
 * @param node undefined when the node is not known yet.
 */
export function planPodEni(
  pod: PodToServe,
  networking: PodNetworking,
  node: NodeFacts | undefined,
  nodeName: string,
  room: Room,
): Plan {
  const { name } = networking.metadata;
  if (networking.spec.eniOptions.eniType === 'ENI') {
    return {
      kind: 'wait',
      waitsFor: { kind: 'networking', name },
      reason: 'EniTypeNotSupported',
      message: `PodNetworking ${name} asks for whole ENIs (eniType ENI), which this version does not give; use Trunk or Default`,
    };
  }
  const key = `${pod.namespace}/${pod.name}`;
  const place = findSlots(node, nodeName, { owner: key, count: 1 }, room);
  if (place.kind === 'wait') return place;
  const choice = chooseVSwitch(networking, place.node.zone, room);
  if (choice.kind === 'wait') return choice;
  room.slots.reserve(key, place.trunkEniId, 1);

  const allocation: Allocation = {
    ...allocationFor({ pod, attempt: 1, vSwitch: choice.vSwitch, networking, room }),
    allocationType: networking.spec.allocationType,
  };
  return {
    kind: 'create',
    podEni: {
      metadata: {
        name: pod.name,
        namespace: pod.namespace,
        finalizers: [FINALIZER_POD_ENI],
        labels: { [LABEL_NODE]: place.node.nodeName },
        annotations: { [ANNOTATION_POD_UID]: pod.uid },
      },
      spec: {
        zone: place.node.zone,
        allocations: [allocation],
        target: { nodeName: place.node.nodeName, instanceID: place.node.instanceId, trunkENIID: place.trunkEniId },
      },
    },
  };
}

/**
 * Plans a new attempt for an allocation whose creation cannot succeed as it was planned, with another vSwitch if need be.
 * The ENI of the attempt before, if any, is gone.
 */
export function planNewAttempt(
  podEni: PodEni,
  index: number,
  networking: PodNetworking,
  room: Room,
): { kind: 'attempt'; allocation: Allocation } | Waiting {
  const choice = chooseVSwitch(networking, podEni.spec.zone ?? '', room);
  if (choice.kind === 'wait') return choice;
  const before = podEni.spec.allocations?.[index];
  const pod = {
    namespace: podEni.metadata.namespace ?? '',
    name: podEni.metadata.name,
    uid: podEni.metadata.annotations?.[ANNOTATION_POD_UID] ?? '',
  };
  const attempt = (before?.intent?.attempt ?? 0) + 1;
  const { ipv4: _ipv4, ipv6: _ipv6, ...kept } = before ?? { eni: { id: '' } };
  return {
    kind: 'attempt',
    allocation: { ...kept, ...allocationFor({ pod, attempt, vSwitch: choice.vSwitch, networking, room }) },
  };
}

/**
 * Plans where an unbound Fixed PodENI goes now that its pod is back: it stays in its zone, as the address lies in a
 * vSwitch of that zone (I4).
 */
export function planRebind(
  podEni: PodEni,
  pod: PodToServe,
  node: NodeFacts | undefined,
  nodeName: string,
  room: Room,
): Rebinding {
  if (node !== undefined && podEni.spec.zone !== undefined && node.zone !== podEni.spec.zone) {
    return {
      kind: 'wait',
      waitsFor: { kind: 'node', nodeName },
      reason: 'ZoneMismatch',
      message: `the fixed address lies in zone ${podEni.spec.zone}, node ${nodeName} in ${node.zone}: let the pod be scheduled to zone ${podEni.spec.zone}, or delete PodENI ${pod.namespace}/${pod.name} to give up the address`,
    };
  }
  const owner = `${pod.namespace}/${pod.name}`;
  const count = podEni.spec.allocations?.length ?? 1;
  const place = findSlots(node, nodeName, { owner, count }, room);
  if (place.kind === 'wait') return place;
  room.slots.reserve(owner, place.trunkEniId, count);
  return {
    kind: 'rebind',
    target: { nodeName, instanceID: place.node.instanceId, trunkENIID: place.trunkEniId },
  };
}

function allocationFor(plan: {
  pod: PodToServe;
  attempt: number;
  vSwitch: VSwitchFacts;
  networking: PodNetworking;
  room: Room;
}): Allocation {
  const { pod, attempt, vSwitch, networking, room } = plan;
  const securityGroupIds = networking.spec.securityGroupIDs ?? [];
  const generation = networking.metadata.generation;
  return {
    interface: INTERFACE,
    ipv4CIDR: vSwitch.cidrBlock,
    eni: {
      id: '',
      zone: vSwitch.zoneId,
      vSwitchID: vSwitch.id,
      securityGroupIDs: securityGroupIds,
      attachmentOptions: { trunk: true },
    },
    intent: {
      attempt,
      clientToken: clientTokenOf({
        clusterId: room.clusterId,
        owner: `${pod.namespace}/${pod.name}`,
        ownerUid: pod.uid,
        interfaceName: INTERFACE,
        attempt,
        plannedAt: new Date(room.nowMs).toISOString(),
        vSwitchId: vSwitch.id,
        securityGroupIds,
      }),
      createdAt: rfc3339(room.nowMs),
      networking: networking.metadata.name,
      ...(generation === undefined ? {} : { networkingGeneration: generation }),
    },
  };
}

/** What the owner holds already counts as free for it: it may be planned again before it was attached. */
function findSlots(
  node: NodeFacts | undefined,
  nodeName: string,
  wanted: { owner: string; count: number },
  room: Room,
): { kind: 'found'; node: NodeFacts; trunkEniId: string } | Waiting {
  if (node === undefined) {
    return {
      kind: 'wait',
      waitsFor: { kind: 'node', nodeName },
      reason: 'NodeNotReady',
      message: `node ${nodeName} is not known to the control plane yet; \`kubectl get nodes.network.alibabacloud.com ${nodeName}\` shows its state`,
    };
  }
  if (node.trunkEniId === undefined) {
    return {
      kind: 'wait',
      waitsFor: { kind: 'node', nodeName },
      reason: 'TrunkNotReady',
      message: `node ${nodeName} has no trunk ENI yet; condition TrunkReady of nodes.network.alibabacloud.com ${nodeName} says why`,
    };
  }
  const used = room.slots.usedByOthers(node.trunkEniId, wanted.owner);
  if (used + wanted.count > node.memberLimit) {
    return {
      kind: 'wait',
      waitsFor: { kind: 'slot', nodeName },
      reason: 'NoMemberSlot',
      message: `all ${node.memberLimit} member ENIs that node ${nodeName} can hold are in use; the pod is served when one is released`,
    };
  }
  return { kind: 'found', node, trunkEniId: node.trunkEniId };
}

function chooseVSwitch(
  networking: PodNetworking,
  zone: string,
  room: Room,
): { kind: 'taken'; vSwitch: VSwitchFacts } | Waiting {
  const candidates = networking.spec.vSwitchOptions ?? [];
  const policy = networking.spec.vSwitchSelectOptions.vSwitchSelectionPolicy;
  const choice = room.vSwitches.take(zone, candidates, policy, room.random, room.nowMs);
  switch (choice.kind) {
    case 'taken':
      return choice;
    case 'noneInZone':
      return {
        kind: 'wait',
        waitsFor: { kind: 'networking', name: networking.metadata.name },
        reason: 'NoVSwitchInZone',
        message: `PodNetworking ${networking.metadata.name} has no vSwitch in zone ${zone} of the node; add one to vSwitchOptions or keep the pod in another zone`,
      };
    case 'full':
      return {
        kind: 'wait',
        waitsFor: { kind: 'vSwitch', zone },
        reason: 'VSwitchFull',
        message: `no free address in ${choice.ids.join(', ')}, the vSwitches of PodNetworking ${networking.metadata.name} in zone ${zone}`,
      };
  }
}
