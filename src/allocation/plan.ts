import { ANNOTATION_POD_UID, FINALIZER_POD_ENI, LABEL_EXCLUSIVE_MODE, LABEL_NODE } from '../crds/names.ts';
import type { Allocation, AttachTarget, PodEni } from '../crds/pod-eni.ts';
import type { PodNetworking } from '../crds/pod-networking.ts';
import type { Reason } from '../crds/reasons/catalogue.ts';
import type { VSwitch } from '../ecs/vpc.ts';
import type { Random } from '../util/random.ts';
import { clientTokenOf } from './identity.ts';
import { DEFAULT_INTERFACE } from './network-request.ts';
import type { SlotLedger } from './slots.ts';
import type { VSwitchPool } from './vswitch-pool.ts';

/** The node state that plans depend on. */
export interface NodeView {
  nodeName: string;
  instanceId: string;
  zone: string;
  /**
   * Pods get whole ENIs of the instance instead of members of its trunk (label
   * `k8s.aliyun.com/exclusive-mode-eni-type`).
   */
  exclusive: boolean;
  /** ENIs that the instance supports besides its primary one; the limit on exclusive nodes. */
  eniLimit: number;
  /** Absent until the trunk is attached. */
  trunkEniId?: string;
  /** Member ENIs that the trunk supports. */
  memberLimit: number;
}

/** How many pod interfaces a node can have. Undefined while a trunk that it needs is missing. */
export function slotLimitOf(node: NodeView): number | undefined {
  return node.exclusive || node.trunkEniId !== undefined ? slotsOf(node) : undefined;
}

/** How many pod interfaces a node can have once it has all that it needs. */
export function slotsOf({ exclusive, eniLimit, memberLimit }: NodeView): number {
  return exclusive ? eniLimit : memberLimit;
}

/** One interface that a pod requests. */
export interface WantedInterface {
  /** Name inside the pod. */
  name: string;
  networking: PodNetworking;
  defaultRoute?: boolean | undefined;
  extraRoutes?: { dst: string }[] | undefined;
}

/** The pod that gets an ENI. */
export interface PodToServe {
  namespace: string;
  name: string;
  uid: string;
}

/** What a pod waits for; a change to it triggers another attempt. */
export type WaitsFor =
  | { kind: 'node'; nodeName: string }
  | { kind: 'slot'; nodeName: string }
  | { kind: 'vSwitch'; zone: string; ids: readonly string[] }
  | { kind: 'networking'; name: string };

export interface Waiting {
  kind: 'wait';
  waitsFor: WaitsFor;
  reason: Reason;
  message: string;
}

export type Plan = { kind: 'create'; podEni: PodEni } | Waiting;
export type Rebinding = { kind: 'rebind'; target: AttachTarget } | Waiting;

/** What plans draw on. A successful plan reserves from `slots` and `vSwitches`. */
export interface Capacity {
  slots: SlotLedger;
  vSwitches: VSwitchPool;
  random: Random;
  clusterId: string;
  /** Pod ENIs get an IPv6 address besides the IPv4 one (configuration key `ipStack`). */
  withIpv6: boolean;
  nowMs: number;
}

/**
 * Plans the PodENI of a pod: vSwitches, security groups, target and creation intents. Reserves slots and addresses; the
 * caller must return them when the PodENI could not be written.
 *
 * @param wanted at least one interface.
 * @param node undefined when the node is not known yet.
 */
export function planPodEni(
  pod: PodToServe,
  wanted: readonly WantedInterface[],
  node: NodeView | undefined,
  nodeName: string,
  capacity: Capacity,
): Plan {
  const key = `${pod.namespace}/${pod.name}`;
  const networkings = wanted.map(({ networking }) => networking);
  const place = findSlots(node, nodeName, { owner: key, count: wanted.length, networkings }, capacity);
  if (place.kind === 'wait') return place;
  const allocations: Allocation[] = [];
  for (const { name, networking, defaultRoute, extraRoutes } of wanted) {
    const choice = chooseVSwitch(networking, place.node.zone, capacity);
    if (choice.kind === 'wait') {
      for (const { eni } of allocations) capacity.vSwitches.giveBack(eni.vSwitchID ?? '');
      return choice;
    }
    const trunk = !place.node.exclusive;
    allocations.push({
      ...allocationFor({ pod, interfaceName: name, attempt: 1, vSwitch: choice.vSwitch, networking, trunk, capacity }),
      allocationType: networking.spec.allocationType,
      ...(defaultRoute === undefined ? {} : { defaultRoute }),
      ...(extraRoutes === undefined ? {} : { extraRoutes }),
    });
  }
  capacity.slots.reserve(key, place.node.instanceId, wanted.length);
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
      spec: { zone: place.node.zone, allocations, target: targetOn(place.node) },
    },
  };
}

function targetOn({ nodeName, instanceId, exclusive, trunkEniId }: NodeView): AttachTarget {
  return {
    nodeName,
    instanceID: instanceId,
    ...(exclusive || trunkEniId === undefined ? {} : { trunkENIID: trunkEniId }),
  };
}

/**
 * Plans a new attempt, with another vSwitch if necessary, for an allocation whose create cannot succeed as planned. The
 * ENI of the previous attempt, if any, is gone.
 */
export function planNewAttempt(
  podEni: PodEni,
  index: number,
  networking: PodNetworking,
  capacity: Capacity,
): { kind: 'attempt'; allocation: Allocation } | Waiting {
  const choice = chooseVSwitch(networking, podEni.spec.zone ?? '', capacity);
  if (choice.kind === 'wait') return choice;
  const before = podEni.spec.allocations?.[index];
  const pod = {
    namespace: podEni.metadata.namespace ?? '',
    name: podEni.metadata.name,
    uid: podEni.metadata.annotations?.[ANNOTATION_POD_UID] ?? '',
  };
  const attempt = (before?.intent?.attempt ?? 0) + 1;
  const { ipv4: _ipv4, ipv6: _ipv6, ipv6CIDR: _ipv6Cidr, ...kept } = before ?? { eni: { id: '' } };
  const interfaceName = before?.interface || DEFAULT_INTERFACE;
  const trunk = podEni.spec.target?.trunkENIID !== undefined;
  return {
    kind: 'attempt',
    allocation: {
      ...kept,
      ...allocationFor({ pod, interfaceName, attempt, vSwitch: choice.vSwitch, networking, trunk, capacity }),
    },
  };
}

/**
 * Plans where an unbound Fixed PodENI goes when its pod is back. It stays in its zone because its address belongs to a
 * vSwitch of that zone (I4).
 */
export function planRebind(
  podEni: PodEni,
  pod: PodToServe,
  node: NodeView | undefined,
  nodeName: string,
  capacity: Capacity,
): Rebinding {
  if (node !== undefined && podEni.spec.zone !== undefined && node.zone !== podEni.spec.zone) {
    return {
      kind: 'wait',
      waitsFor: { kind: 'node', nodeName },
      reason: 'ZoneMismatch',
      message: `the fixed address is in zone ${podEni.spec.zone}, but node ${nodeName} is in ${node.zone}: schedule the pod to zone ${podEni.spec.zone}, or delete PodENI ${pod.namespace}/${pod.name} to give up the address`,
    };
  }
  const owner = `${pod.namespace}/${pod.name}`;
  const count = podEni.spec.allocations?.length ?? 1;
  const place = findSlots(node, nodeName, { owner, count, networkings: [] }, capacity);
  if (place.kind === 'wait') return place;
  capacity.slots.reserve(owner, place.node.instanceId, count);
  return { kind: 'rebind', target: targetOn(place.node) };
}

function allocationFor(plan: {
  pod: PodToServe;
  interfaceName: string;
  attempt: number;
  vSwitch: VSwitch;
  networking: PodNetworking;
  trunk: boolean;
  capacity: Capacity;
}): Allocation {
  const { pod, interfaceName, attempt, vSwitch, networking, trunk, capacity } = plan;
  const securityGroupIds = networking.spec.securityGroupIDs ?? [];
  const generation = networking.metadata.generation;
  // With milliseconds: pods that wait for quota are served in this order.
  const createdAt = new Date(capacity.nowMs).toISOString();
  return {
    interface: interfaceName,
    ipv4CIDR: vSwitch.cidrBlock,
    ...(capacity.withIpv6 ? { ipv6CIDR: vSwitch.ipv6CidrBlock } : {}),
    eni: {
      id: '',
      zone: vSwitch.zoneId,
      vSwitchID: vSwitch.id,
      securityGroupIDs: securityGroupIds,
      attachmentOptions: { trunk },
    },
    intent: {
      attempt,
      clientToken: clientTokenOf({
        clusterId: capacity.clusterId,
        owner: `${pod.namespace}/${pod.name}`,
        ownerUid: pod.uid,
        interfaceName,
        attempt,
        plannedAt: createdAt,
        vSwitchId: vSwitch.id,
        securityGroupIds,
      }),
      createdAt,
      networking: networking.metadata.name,
      ...(generation === undefined ? {} : { networkingGeneration: generation }),
    },
  };
}

/** Slots that the owner already holds count as free for it, because it may be planned again before it is attached. */
function findSlots(
  node: NodeView | undefined,
  nodeName: string,
  request: { owner: string; count: number; networkings: readonly PodNetworking[] },
  capacity: Capacity,
): { kind: 'found'; node: NodeView } | Waiting {
  const wait = (waitsFor: WaitsFor, reason: Waiting['reason'], message: string): Waiting => ({
    kind: 'wait',
    waitsFor,
    reason,
    message,
  });
  const itself: WaitsFor = { kind: 'node', nodeName };
  if (node === undefined) {
    return wait(
      itself,
      'NodeNotReady',
      `node ${nodeName} is not known to the control plane yet; \`kubectl get nodes.network.alibabacloud.com ${nodeName}\` shows its state`,
    );
  }
  for (const networking of request.networkings) {
    const refusal = eniTypeRefusal(networking, node);
    if (refusal !== undefined) return wait(itself, 'EniTypeNotSupported', refusal);
  }
  const limit = slotLimitOf(node);
  if (limit === undefined) {
    return wait(
      itself,
      'TrunkNotReady',
      `node ${nodeName} has no trunk ENI yet; condition TrunkReady of nodes.network.alibabacloud.com ${nodeName} says why`,
    );
  }
  const used = capacity.slots.usedByOthers(node.instanceId, request.owner);
  if (used + request.count > limit) {
    const [reason, what] = node.exclusive
      ? (['NoEniSlot', `ENIs that node ${nodeName} can hold for pods`] as const)
      : (['NoMemberSlot', `member ENIs that node ${nodeName} can hold`] as const);
    return wait(
      { kind: 'slot', nodeName },
      reason,
      `all ${limit} ${what} are in use; the pod is served when one is released`,
    );
  }
  return { kind: 'found', node };
}

function eniTypeRefusal({ metadata, spec }: PodNetworking, node: NodeView): string | undefined {
  const { eniType } = spec.eniOptions;
  if (eniType === 'ENI' && !node.exclusive) {
    return `PodNetworking ${metadata.name} requires whole ENIs (eniType ENI), but node ${node.nodeName} provides trunk members; only nodes with this label provide whole ENIs: ${LABEL_EXCLUSIVE_MODE}=eniOnly`;
  }
  if (eniType === 'Trunk' && node.exclusive) {
    return `PodNetworking ${metadata.name} requires trunk members (eniType Trunk), but node ${node.nodeName} provides whole ENIs (label ${LABEL_EXCLUSIVE_MODE}=eniOnly)`;
  }
  return undefined;
}

function chooseVSwitch(
  networking: PodNetworking,
  zone: string,
  capacity: Capacity,
): { kind: 'taken'; vSwitch: VSwitch } | Waiting {
  const options = networking.spec.vSwitchOptions ?? [];
  const hasIpv6 = (id: string) => (capacity.vSwitches.get(id)?.ipv6CidrBlock ?? '') !== '';
  const candidates = capacity.withIpv6 ? options.filter(hasIpv6) : options;
  const policy = networking.spec.vSwitchSelectOptions.vSwitchSelectionPolicy;
  const choice = capacity.vSwitches.take(zone, candidates, policy, capacity.random, capacity.nowMs);
  switch (choice.kind) {
    case 'taken':
      return choice;
    case 'noneInZone':
      return {
        kind: 'wait',
        waitsFor: { kind: 'networking', name: networking.metadata.name },
        reason: 'NoVSwitchInZone',
        message: `PodNetworking ${networking.metadata.name} has no vSwitch${capacity.withIpv6 ? ' with an IPv6 CIDR' : ''} in zone ${zone} of the node; add one to vSwitchOptions or schedule the pod to another zone`,
      };
    case 'full':
      return {
        kind: 'wait',
        waitsFor: { kind: 'vSwitch', zone, ids: choice.ids },
        reason: 'VSwitchFull',
        message: `no free address in ${choice.ids.join(', ')}, the vSwitches of PodNetworking ${networking.metadata.name} in zone ${zone}`,
      };
  }
}
