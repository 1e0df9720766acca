import type { ProgramName } from './bpf/programs.ts';
import { DatapathError } from './errors.ts';
import { familyOf, hostPrefix, IPV4 } from './ip.ts';
import { NODE } from './kernel/kernel.ts';
import type { Marks } from './marks.ts';
import {
  aliasOf,
  HOST_PEER_NAME,
  hostLinkName,
  LINK_LOCAL_GATEWAY,
  linkMac,
  ownerOf,
  POD_TABLE,
  RULE_PRIORITY,
  TABLE_MAIN,
  tableOf,
} from './names.ts';
import type { Direction } from './netlink/traffic.ts';
import type { KernelObject } from './objects.ts';
import { noRouterAdvertisements, PREFERENCE, type ResolvedEni } from './plan-node.ts';
import { ipv6Sysctls, planInside, planNextHop } from './plan-pod-inside.ts';
import { addressesOf, eniOf, hostPeerDestinations, sourcesOf, vethMac } from './pod-interfaces.ts';
import type { DatapathSettings, EniDevice, PodAttachment, PodInterface } from './types.ts';

/** What a pod's plan depends on besides the pod. */
export interface PlanContext {
  settings: DatapathSettings;
  marks: Marks;
  /** @throws DatapathError when it was not looked up */
  eni(device: EniDevice): ResolvedEni;
}

/**
 * Everything that belongs to one pod, in the order of creation: the tag before the veth, the veth's filter before it is up, the
 * route to the pod last.
 *
 * @throws DatapathError when the pod's data contradict each other
 */
export function planPod(pod: PodAttachment, context: PlanContext): KernelObject[] {
  if (pod.interfaces.filter(({ defaultRoute }) => defaultRoute).length > 1) {
    throw new DatapathError('plan', `${pod.namespace}/${pod.name} has more than one default route`);
  }
  return pod.interfaces.flatMap((network, position) => planInterface(pod, network, position, context));
}

function planInterface(
  pod: PodAttachment,
  network: PodInterface,
  position: number,
  context: PlanContext,
): KernelObject[] {
  const owner = ownerOf(pod.containerId);
  const { attachment } = network;
  const inside = planInside(pod, network, position, context.settings);
  switch (attachment.kind) {
    case 'member':
    case 'shared':
      return [
        ...planTags(network, owner, context),
        ...planVeth(pod, network, network.name, context),
        ...inside,
        ...planHostRoutes(pod, network, context),
      ];
    case 'vlanDevice': {
      const trunk = context.eni(attachment.trunk);
      return [
        ...planNoTags(network, owner, context),
        ...(context.settings.tagProgram === 'ebpf'
          ? [
              {
                kind: 'vlanEntry',
                trunkIndex: trunk.index,
                vlanId: attachment.vlanId,
                ...sourcesOf(network),
                owner,
              } as const,
            ]
          : []),
        {
          kind: 'vlanLink',
          netns: pod.netnsPath,
          name: network.name,
          trunk: trunk.name,
          vlanId: attachment.vlanId,
          mtu: network.mtu,
        },
        ...inside,
      ];
    }
    case 'exclusive':
      return [
        ...planNoTags(network, owner, context),
        { kind: 'movedLink', netns: pod.netnsPath, name: network.name, mac: attachment.eni.mac.toLowerCase() },
        ...inside,
        ...(attachment.hostPeer ? planHostPeer(pod, network, context) : []),
      ];
  }
}

/** A tag for each address of a member, and explicitly none for other pods: a stale tag would put their packets into another network. */
function planTags(network: PodInterface, owner: bigint, context: PlanContext): KernelObject[] {
  const { attachment } = network;
  if (attachment.kind !== 'member') return planNoTags(network, owner, context);
  const trunk = context.eni(attachment.trunk);
  const { vlanId } = attachment;
  if (context.settings.tagProgram === 'tc') {
    return addressesOf(network).map((source) => ({ kind: 'pushFilter', link: trunk.name, source, vlanId }));
  }
  const tag = { vlanId, trunkIndex: trunk.index, priority: network.priority };
  return addressesOf(network).map((address) => ({ kind: 'tag', address, tag, owner }));
}

function planNoTags(network: PodInterface, owner: bigint, { settings }: PlanContext): KernelObject[] {
  if (settings.tagProgram === 'tc') return [];
  return addressesOf(network).map((address) => ({ kind: 'tag', address, tag: undefined, owner }));
}

/** The veth pair, and what the host's end needs before it is up. */
function planVeth(pod: PodAttachment, network: PodInterface, podLink: string, context: PlanContext): KernelObject[] {
  const { settings } = context;
  const link = hostLinkName(pod, network.name);
  const objects: KernelObject[] = [
    {
      kind: 'veth',
      name: link,
      mac: linkMac(pod.containerId, network.name, 'host'),
      mtu: network.mtu,
      alias: aliasOf(pod.containerId),
      peer: { netns: pod.netnsPath, name: podLink, mac: linkMac(pod.containerId, network.name, 'pod') },
    },
    // Without our programs, the kernel's own check drops packets whose source is not routed to this link.
    {
      kind: 'sysctl',
      netns: NODE,
      name: `net/ipv4/conf/${link}/rp_filter`,
      value: settings.tagProgram === 'tc' ? '1' : '0',
    },
    { kind: 'sysctl', netns: NODE, name: `net/ipv4/conf/${link}/forwarding`, value: '1' },
    noRouterAdvertisements(link),
  ];
  if (network.ipv6 !== undefined) {
    objects.push(
      { kind: 'sysctl', netns: NODE, name: `net/ipv6/conf/${link}/disable_ipv6`, value: '0' },
      { kind: 'sysctl', netns: NODE, name: `net/ipv6/conf/${link}/forwarding`, value: '1' },
    );
  }
  if (settings.tagProgram === 'ebpf') {
    objects.push(
      {
        kind: 'vethEntry',
        link,
        ...markOf(network, context),
        ...sourcesOf(network),
        owner: ownerOf(pod.containerId),
      },
      { kind: 'clsact', netns: NODE, link },
      {
        kind: 'program',
        netns: NODE,
        link,
        direction: 'ingress',
        preference: PREFERENCE.veth,
        program: 'veth_ingress',
      },
    );
  }
  // Traffic to an exclusive ENI does not pass through the node.
  const bytesPerSecond = network.attachment.kind === 'exclusive' ? undefined : network.ingressBytesPerSecond;
  objects.push(
    { kind: 'bandwidth', netns: NODE, link, bytesPerSecond, mtu: network.mtu },
    { kind: 'linkState', netns: NODE, link, mtu: network.mtu, mtuIs: 'exact' },
  );
  return objects;
}

function markOf(network: PodInterface, context: PlanContext): { mark: number; markMask: number } {
  const { settings, marks } = context;
  const device = eniOf(network);
  // The cloud drops packets that carry a whole ENI's address but leave by the node's own ENI, so kube-proxy has to replace the
  // address where the node forwards.
  if (device === undefined) {
    return { mark: settings.masqueradeMark, markMask: (marks.mask | settings.masqueradeMark) >>> 0 };
  }
  const number = marks.of(context.eni(device).index);
  const mark = network.attachment.kind === 'member' ? (number | marks.memberBit) >>> 0 : number;
  return { mark, markMask: marks.mask };
}

/** How the node reaches the pod, and in layout `perPod` which table the pod's packets look up. */
function planHostRoutes(pod: PodAttachment, network: PodInterface, context: PlanContext): KernelObject[] {
  const { settings } = context;
  const link = hostLinkName(pod, network.name);
  const isIsolated =
    network.attachment.kind === 'exclusive' || (network.attachment.kind === 'member' && settings.isolateMembers);
  const device = eniOf(network);
  return addressesOf(network).flatMap((address) => {
    const family = familyOf(address);
    const destination = `${address}/${hostPrefix(family)}`;
    const route = { kind: 'route', netns: NODE, link, destination } as const;
    // Without this entry the first packets wait a second or two, until the host's end has a link-local address to ask from.
    const neighbour = { kind: 'neighbour', netns: NODE, link, address, mac: vethMac(pod, network) } as const;
    if (settings.layout === 'marks') {
      // Without isolation nothing looks up the second table.
      const table = isIsolated && settings.isolateMembers ? POD_TABLE.isolated : POD_TABLE.open;
      return [neighbour, { ...route, table }];
    }
    const rule = { kind: 'rule', netns: NODE, family } as const;
    const from =
      device === undefined
        ? []
        : [{ ...rule, priority: RULE_PRIORITY.eni, table: tableOf(context.eni(device).index), from: destination }];
    // Only the first route is used; the others are where other programs expect them.
    return [
      neighbour,
      { ...route, table: POD_TABLE.open },
      { ...route, table: TABLE_MAIN },
      { ...rule, priority: RULE_PRIORITY.pods, table: TABLE_MAIN, to: destination },
      ...from,
    ];
  });
}

/** The veth beside an exclusive ENI: Services, the node itself and what the node serves. */
function planHostPeer(pod: PodAttachment, network: PodInterface, context: PlanContext): KernelObject[] {
  const netns = pod.netnsPath;
  const link = HOST_PEER_NAME;
  const objects = planVeth(pod, network, link, context);
  if (network.ipv6 !== undefined) objects.push(...ipv6Sysctls(netns, link));
  for (const address of addressesOf(network)) {
    objects.push({ kind: 'address', netns, link, address, prefixLength: hostPrefix(familyOf(address)) });
  }
  objects.push(
    { kind: 'linkState', netns, link, mtu: network.mtu, mtuIs: 'exact' },
    ...planNextHop(pod, network, link),
  );
  for (const destination of hostPeerDestinations(network, context.settings)) {
    const gateway = familyOf(destination) === IPV4 ? LINK_LOCAL_GATEWAY.ipv4 : LINK_LOCAL_GATEWAY.ipv6;
    objects.push({ kind: 'route', netns, link, table: TABLE_MAIN, destination, gateway });
  }
  return [...objects, ...planAnswers(netns, network, context), ...planHostRoutes(pod, network, context)];
}

/**
 * Answers a connection that came through the node, such as one to a node port, through the node: sent by the pod's ENI, the answer
 * would have a source that the client does not know.
 */
function planAnswers(netns: string, network: PodInterface, { settings }: PlanContext): KernelObject[] {
  if (settings.tagProgram === 'tc') return [];
  const filter = (link: string, direction: Direction, program: ProgramName): KernelObject => ({
    kind: 'program',
    netns,
    link,
    direction,
    preference: PREFERENCE.answers,
    program,
  });
  // Sources beyond the node have no route by this link. The kernel uses the greater value of the two.
  const links = network.ipv4 === undefined ? [] : ['all', HOST_PEER_NAME];
  return [
    ...links.map(
      (link): KernelObject => ({ kind: 'sysctl', netns, name: `net/ipv4/conf/${link}/rp_filter`, value: '0' }),
    ),
    { kind: 'clsact', netns, link: HOST_PEER_NAME },
    { kind: 'clsact', netns, link: network.name },
    filter(HOST_PEER_NAME, 'ingress', 'peer_ingress'),
    filter(network.name, 'ingress', 'eni_ingress'),
    filter(network.name, 'egress', 'eni_egress'),
  ];
}
