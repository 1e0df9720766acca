import {
  ANNOTATION_EGRESS_BANDWIDTH,
  ANNOTATION_INGRESS_BANDWIDTH,
  ANNOTATION_NETWORK_PRIORITY,
  ANNOTATION_POD_ENI,
  ANNOTATION_POD_UID,
} from '../crds/names.ts';
import type { NodeAddress, NodeEni, TerwayNode } from '../crds/node.ts';
import type { Allocation, PodEni } from '../crds/pod-eni.ts';
import type { Attachment, InterfaceAddress, PodAttachment, PodInterface } from '../datapath/types.ts';
import { gatewayOf, parseCidr, parseIp } from '../util/ip.ts';
import { parseBandwidth } from './bandwidth.ts';
import type { AttachmentRequest } from './cni/request.ts';
import type { Pod } from './resources.ts';

/** What is known when an assignment is requested; undefined fields have not been seen (yet). */
export interface AssignmentInput {
  request: AttachmentRequest;
  pod: Pod | undefined;
  podEni: PodEni | undefined;
  node: TerwayNode | undefined;
  /** Used unless the request or the network configuration says otherwise. */
  mtu: number;
}

/**
 * `waiting`: it may still come, and why it has not. `refused`: waiting does not help. `problems` are annotations that were
 * ignored because they are wrong.
 */
export type Assignment =
  | { state: 'ready'; attachment: PodAttachment; problems: string[] }
  | { state: 'waiting'; reason: string }
  | { state: 'refused'; reason: string };

type Part<T> = { value: T } | { waiting: string } | { refused: string };

/**
 * What a sandbox of a pod gets. A PodENI counts once it is `Bind`, is not being deleted, carries the pod's uid, is bound to this
 * node's instance and is complete. Pure.
 */
export function assignmentOf(input: AssignmentInput): Assignment {
  const { request, pod, podEni, node } = input;
  const name = `${request.pod.namespace}/${request.pod.name}`;
  if (pod === undefined) return { state: 'waiting', reason: `pod ${name} is not known on this node yet` };
  const uid = pod.metadata.uid ?? '';
  if (request.pod.uid !== undefined && request.pod.uid !== uid) {
    return { state: 'waiting', reason: `pod ${name} is known with uid ${uid}, the sandbox is for ${request.pod.uid}` };
  }
  const { options, problems } = podOptions(input, pod);
  // A pod that escaped the webhook gets a PodENI all the same where the configuration says so.
  const isPooled = podEni === undefined && pod.metadata.annotations?.[ANNOTATION_POD_ENI] !== 'true';
  const assigned = isPooled
    ? pooledInterface(name, uid, node, request, options)
    : ownInterfaces(name, uid, podEni, node, request, options);
  if ('waiting' in assigned) return { state: 'waiting', reason: assigned.waiting };
  if ('refused' in assigned) return { state: 'refused', reason: assigned.refused };
  return {
    state: 'ready',
    problems,
    attachment: {
      namespace: request.pod.namespace,
      name: request.pod.name,
      uid,
      containerId: request.containerId,
      netnsPath: request.netnsPath,
      interfaces: assigned.value,
    },
  };
}

/** The interfaces of a pod with a PodENI: each has an ENI of its own. */
function ownInterfaces(
  name: string,
  uid: string,
  podEni: PodEni | undefined,
  node: TerwayNode | undefined,
  request: AttachmentRequest,
  options: PodOptions,
): Part<PodInterface[]> {
  const usable = usablePodEni(name, uid, podEni, node);
  if (!('value' in usable)) return usable;
  const interfaces: PodInterface[] = [];
  for (const allocation of usable.value.spec.allocations ?? []) {
    const part = interfaceOf(allocation, usable.value, node, request, options);
    if (!('value' in part)) return part;
    interfaces.push(part.value);
  }
  const refusal = settleDefaultRoute(interfaces, request.ifName);
  return refusal === undefined ? { value: interfaces } : { refused: `PodENI ${name}: ${refusal}` };
}

/** The interface of a pod that shares an ENI: its Node CR says which address it has. */
function pooledInterface(
  name: string,
  uid: string,
  node: TerwayNode | undefined,
  request: AttachmentRequest,
  { mtu, limits }: PodOptions,
): Part<PodInterface[]> {
  if (node === undefined) return { waiting: 'the Node CR of this node is not known yet' };
  const isHis = ({ podID, podUID = '' }: NodeAddress) => podID === name && (podUID === '' || podUID === uid);
  for (const eni of Object.values(node.status?.networkInterfaces ?? {})) {
    const { macAddress: mac = '', ipv4CIDR, ipv6CIDR, status } = eni;
    const addressIn = (addresses: NodeEni['ipv4'], cidr: string | undefined) =>
      addressOf(Object.values(addresses ?? {}).find((one) => one.status === 'Valid' && isHis(one))?.ip, cidr);
    const ipv4 = addressIn(eni.ipv4, ipv4CIDR);
    const ipv6 = addressIn(eni.ipv6, ipv6CIDR);
    if (ipv4 === undefined && ipv6 === undefined) continue;
    if (ipv4 === 'invalid' || ipv6 === 'invalid') {
      return {
        refused: `Node ${node.metadata.name}, ENI ${eni.id}: an address of pod ${name} or its CIDR is malformed`,
      };
    }
    if (status !== 'InUse' || mac === '') {
      return { waiting: `pod ${name} has an address of ENI ${eni.id}, which is ${status}` };
    }
    // Both families are written at once. A pod of before IPv6 was turned on has IPv4 alone, and keeps to that.
    const lost = [eni.ipv4, eni.ipv6].flatMap((addresses) =>
      Object.values(addresses ?? {}).filter((one) => one.status !== 'Valid' && isHis(one)),
    );
    if (lost.length > 0)
      return { waiting: `pod ${name} has ${lost[0]?.ip} of ENI ${eni.id}, which is ${lost[0]?.status}` };
    return {
      value: [
        {
          name: request.ifName,
          ...(ipv4 === undefined ? {} : { ipv4 }),
          ...(ipv6 === undefined ? {} : { ipv6 }),
          mtu,
          defaultRoute: true,
          extraRoutes: [],
          attachment: { kind: 'shared', eni: { mac, gateway: gatewaysOf(ipv4CIDR, ipv6CIDR) } },
          ...limits,
        },
      ],
    };
  }
  return {
    waiting: `pod ${name} has neither a PodENI nor an address in Node ${node.metadata.name}: the control plane has not got to it, or the node has no address left`,
  };
}

function usablePodEni(
  name: string,
  uid: string,
  podEni: PodEni | undefined,
  node: TerwayNode | undefined,
): Part<PodEni> {
  if (podEni === undefined) {
    return { waiting: `pod ${name} has no PodENI on this node: the control plane has not got to it` };
  }
  if (podEni.metadata.deletionTimestamp !== undefined) return { waiting: `PodENI ${name} is being deleted` };
  const owner = podEni.metadata.annotations?.[ANNOTATION_POD_UID];
  if (owner !== uid) return { waiting: `PodENI ${name} still belongs to the pod with uid ${owner ?? '(none)'}` };
  const { status } = podEni;
  if (status?.phase !== 'Bind') {
    const ready = status?.conditions?.find(({ type }) => type === 'Ready');
    const because = ready === undefined ? (status?.msg ?? '') : `${ready.reason}: ${ready.message}`;
    return {
      waiting: `PodENI ${name} is ${status?.phase || 'Initial'}, not Bind${because === '' ? '' : ` (${because})`}`,
    };
  }
  const here = node?.spec.nodeMetadata?.instanceID;
  if (here === undefined) return { waiting: 'the Node CR of this node does not name its instance yet' };
  if (status.instanceID !== undefined && status.instanceID !== here) {
    return { waiting: `PodENI ${name} is bound to instance ${status.instanceID}; this node is ${here}` };
  }
  if ((podEni.spec.allocations ?? []).length === 0) return { refused: `PodENI ${name} is Bind but has no allocations` };
  return { value: podEni };
}

interface PodOptions {
  mtu: number;
  vlanDevice: boolean;
  limits: Pick<PodInterface, 'ingressBytesPerSecond' | 'egressBytesPerSecond' | 'priority'>;
}

/** Limits that the runtime hands over take precedence over the pod's annotations, as upstream has it. */
function podOptions({ request, mtu }: AssignmentInput, pod: Pod): { options: PodOptions; problems: string[] } {
  const problems: string[] = [];
  const annotations = pod.metadata.annotations ?? {};
  const { ingressRate, egressRate } = request.config.runtimeConfig?.bandwidth ?? {};
  const limit = (bits: number | undefined, annotation: string): number | undefined => {
    if (bits !== undefined && bits > 0) return Math.ceil(bits / 8);
    const text = annotations[annotation];
    if (text === undefined) return undefined;
    const bytes = parseBandwidth(text);
    if (bytes === undefined) {
      problems.push(
        `annotation ${annotation}: "${text}" is not a bandwidth; write bytes per second with a unit, such as 10M`,
      );
    }
    return bytes;
  };
  const ingress = limit(ingressRate, ANNOTATION_INGRESS_BANDWIDTH);
  const egress = limit(egressRate, ANNOTATION_EGRESS_BANDWIDTH);
  const text = annotations[ANNOTATION_NETWORK_PRIORITY];
  const priority = PRIORITIES.find((known) => known === text);
  if (text !== undefined && priority === undefined) {
    problems.push(`annotation ${ANNOTATION_NETWORK_PRIORITY}: "${text}" is not one of ${PRIORITIES.join(', ')}`);
  }
  return {
    problems,
    options: {
      mtu: request.config.mtu ?? mtu,
      vlanDevice: request.config.vlan_strip_type === 'vlan',
      limits: {
        ...(ingress === undefined ? {} : { ingressBytesPerSecond: ingress }),
        ...(egress === undefined ? {} : { egressBytesPerSecond: egress }),
        ...(priority === undefined ? {} : { priority }),
      },
    },
  };
}

const PRIORITIES = ['guaranteed', 'burstable', 'best-effort'] as const;

function interfaceOf(
  allocation: Allocation,
  podEni: PodEni,
  node: TerwayNode | undefined,
  request: AttachmentRequest,
  options: PodOptions,
): Part<PodInterface> {
  const name = `${podEni.metadata.namespace}/${podEni.metadata.name}`;
  const ifName =
    allocation.interface === undefined || allocation.interface === '' ? request.ifName : allocation.interface;
  const what = `PodENI ${name}, interface ${ifName}`;
  const ipv4 = addressOf(allocation.ipv4, allocation.ipv4CIDR);
  const ipv6 = addressOf(allocation.ipv6, allocation.ipv6CIDR);
  if (ipv4 === 'invalid' || ipv6 === 'invalid') {
    return { refused: `${what}: an address without the CIDR of its vSwitch, or one that is malformed` };
  }
  if (ipv4 === undefined && ipv6 === undefined) return { refused: `${what}: is Bind but has no address` };
  const attachment = attachmentOf(allocation, podEni, node, { ipv4, ipv6 }, options.vlanDevice);
  if ('waiting' in attachment) return { waiting: `${what}: ${attachment.waiting}` };
  if ('refused' in attachment) return { refused: `${what}: ${attachment.refused}` };
  const routes = (allocation.extraRoutes ?? []).flatMap(({ dst }) => (dst === undefined || dst === '' ? [] : [dst]));
  const wrong = routes.find((route) => parseCidr(route) === undefined);
  if (wrong !== undefined) return { refused: `${what}: extra route "${wrong}" is not a CIDR` };
  return {
    value: {
      name: ifName,
      ...(ipv4 === undefined ? {} : { ipv4 }),
      ...(ipv6 === undefined ? {} : { ipv6 }),
      mtu: options.mtu,
      defaultRoute: allocation.defaultRoute ?? false,
      extraRoutes: routes,
      attachment: attachment.value,
      ...options.limits,
    },
  };
}

function attachmentOf(
  allocation: Allocation,
  podEni: PodEni,
  node: TerwayNode | undefined,
  addresses: { ipv4: InterfaceAddress | undefined; ipv6: InterfaceAddress | undefined },
  vlanDevice: boolean,
): Part<Attachment> {
  const { status } = podEni;
  const info = status?.eniInfos?.[allocation.eni.id];
  if (info === undefined) return { refused: `status.eniInfos has no entry for ${allocation.eni.id || 'the ENI'}` };
  const trunkId = status?.trunkENIID ?? '';
  const isMember = info.type === undefined ? trunkId !== '' : info.type === 'Member';
  if (!isMember) {
    const mac = allocation.eni.mac ?? '';
    if (mac === '') return { refused: `ENI ${allocation.eni.id} has no MAC address` };
    return {
      value: {
        kind: 'exclusive',
        eni: { mac, gateway: gatewaysOf(addresses.ipv4?.subnet, addresses.ipv6?.subnet) },
        hostPeer: true,
      },
    };
  }
  const vlanId = info.vid ?? 0;
  if (vlanId < 1 || vlanId > 4094) return { refused: `VLAN id ${info.vid ?? '(none)'} is not one of 1 to 4094` };
  const trunk = node?.status?.networkInterfaces?.[trunkId];
  if (trunk === undefined || (trunk.macAddress ?? '') === '') {
    return { waiting: `its trunk ${trunkId || '(none)'} is not recorded in the Node CR of this node` };
  }
  const device = { mac: trunk.macAddress ?? '', gateway: gatewaysOf(trunk.ipv4CIDR, trunk.ipv6CIDR) };
  return { value: { kind: vlanDevice ? 'vlanDevice' : 'member', trunk: device, vlanId } };
}

function gatewaysOf(ipv4Cidr: string | undefined, ipv6Cidr: string | undefined): { ipv4?: string; ipv6?: string } {
  const ipv4 = ipv4Cidr === undefined ? undefined : gatewayOf(ipv4Cidr);
  const ipv6 = ipv6Cidr === undefined ? undefined : gatewayOf(ipv6Cidr);
  return { ...(ipv4 === undefined ? {} : { ipv4 }), ...(ipv6 === undefined ? {} : { ipv6 }) };
}

function addressOf(address: string | undefined, cidr: string | undefined): InterfaceAddress | undefined | 'invalid' {
  if (address === undefined || address === '') return undefined;
  if (cidr === undefined || parseIp(address) === undefined || parseCidr(cidr) === undefined) return 'invalid';
  return { address, subnet: cidr };
}

/** Exactly one interface has the default route: the one that the PodENI names, else the one that the runtime asked for. */
function settleDefaultRoute(interfaces: PodInterface[], ifName: string): string | undefined {
  const names = interfaces.map(({ name }) => name);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) return `two allocations name interface ${twice}`;
  const primary = interfaces.find(({ name }) => name === ifName);
  if (primary === undefined) return `no allocation is for interface ${ifName}, which the runtime asks for`;
  const chosen = interfaces.filter(({ defaultRoute }) => defaultRoute);
  if (chosen.length > 1) return `${chosen.map(({ name }) => name).join(' and ')} both have the default route`;
  if (chosen.length === 0) primary.defaultRoute = true;
  return undefined;
}
